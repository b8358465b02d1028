//! `[http]`: the endpoint, and how long and how much it bears of a client.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The HTTP endpoint.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address and port; beyond loopback only with tokens.
    pub listen: SocketAddr,
    /// A file of bearer tokens, one a line.
    pub tokens_file: Option<PathBuf>,
    /// Bytes of a request body, compressed or not.
    pub body_bytes_max: usize,
    /// Requests that may append at the same time; more are answered 429.
    pub appends_max: usize,
    /// Open connections; when there are more, the idlest make room.
    pub connections_max: usize,
    /// Of those, the most of one peer address (of IPv6, a /64).
    pub connections_per_peer_max: usize,
    /// Beyond those, for health probes alone.
    pub connections_kept: usize,
    /// Seconds for the head of a request, from its first byte, or from the start of the connection.
    pub head_seconds_max: u64,
    /// Seconds between two requests of a connection.
    pub idle_seconds_max: u64,
    /// Seconds without a byte of a body that is not complete.
    pub body_pause_seconds_max: u64,
    /// Seconds for a whole body.
    pub body_seconds_max: u64,
    /// Seconds in which a client takes hardly any of an answer that waits for it.
    pub answer_seconds_max: u64,
    /// Bytes that are thrown away after an early answer, so that the client reads it.
    pub discard_bytes_max: usize,
    /// Seconds of a shutdown in which `/readyz` answers 503 and requests are still taken; `None` is 0 on a terminal, else 5.
    pub drain_notice_seconds: Option<u64>,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tokens_file: None,
            body_bytes_max: 16 << 20,
            appends_max: 64,
            connections_max: 512,
            connections_per_peer_max: 448,
            connections_kept: 16,
            head_seconds_max: 20,
            idle_seconds_max: 75,
            body_pause_seconds_max: 10,
            body_seconds_max: 60,
            answer_seconds_max: 30,
            discard_bytes_max: 64 << 20,
            drain_notice_seconds: None,
        }
    }
}
