//! The limits of a gateway, each with a default and its reason.

use std::time::Duration;

use crate::dial::Cidr;

/// See the module. Every wait, queue and buffer of a request is bounded by one of these.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names this gateway in `Via`. It must differ between gateways: a request that comes back is refused as a loop.
    pub id: String,
    /// Networks whose forwarding headers are believed: load balancers in front of the gateway. Default: none.
    pub trusted_hops: Vec<Cidr>,
    /// What `X-Forwarded-Proto` says unless a trusted hop said it. Default: `http`.
    pub scheme: String,
    /// Connections of clients at a time; more wait in the backlog of the listener. Default: 10,000, about 200 MiB.
    pub connections_max: usize,
    /// Bytes of the head of a request, and of a response. Default: 64 KiB, which holds the largest tokens and cookies.
    pub head_bytes_max: usize,
    /// Headers of a request. Default: 100, as hyper has it.
    pub headers_max: usize,
    /// The most time until the head of the next request is complete, idle time included. Default: 75 s, more than the
    /// 60 s for which load balancers keep an idle connection, so that they close it first.
    pub head_read: Duration,
    /// The most time to connect to a task. Default: 1 s: tasks are in the same network.
    pub connect: Duration,
    /// The most time from the last byte of the request to the head of the response. Default: 60 s.
    pub head: Duration,
    /// The most time between two parts of a body. Default: 60 s. Servers of events send comments more often.
    pub body_idle: Duration,
    /// Bytes of a request body that are kept to be sent again. Default: 64 KiB.
    pub replay_bytes_max: usize,
    /// Attempts of a request. Default: 3.
    pub attempts_max: usize,
    /// How long an idle connection to a task is kept where the deploy does not say how long the server keeps it.
    /// Default: 1.5 s, less than the 2 s of the most impatient servers.
    pub pool_idle: Duration,
    /// Requests that must not be sent twice take only a connection idle for less than this. Default: 250 ms.
    pub pool_fresh: Duration,
    /// Idle connections kept for each task. Default: 64.
    pub pool_max: usize,
    /// How long a request waits for a task that may take one more request. Default: 1 s.
    pub queue: Duration,
    /// Requests that wait so for each revision. Default: 100: more would wait in vain.
    pub queue_max: usize,
    /// How long connections are still accepted after the notice to stop. Default: 5 s: load balancers look that often.
    pub drain_notice: Duration,
    /// How long requests may go on after that. Default: 25 s: the whole fits into the 30 s until SIGKILL.
    pub drain: Duration,
}

impl Options {
    /// The defaults, for a gateway of this name.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            trusted_hops: Vec::new(),
            scheme: "http".to_owned(),
            connections_max: 10_000,
            head_bytes_max: 64 << 10,
            headers_max: 100,
            head_read: Duration::from_secs(75),
            connect: Duration::from_secs(1),
            head: Duration::from_secs(60),
            body_idle: Duration::from_secs(60),
            replay_bytes_max: 64 << 10,
            attempts_max: 3,
            pool_idle: Duration::from_millis(1_500),
            pool_fresh: Duration::from_millis(250),
            pool_max: 64,
            queue: Duration::from_secs(1),
            queue_max: 100,
            drain_notice: Duration::from_secs(5),
            drain: Duration::from_secs(25),
        }
    }
}
