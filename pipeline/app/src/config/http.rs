//! `[http]`: the endpoint, and its limits for clients.

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
    /// Maximum bytes of a request body, compressed or not.
    pub body_bytes_max: usize,
    /// Maximum number of concurrent appends; more are answered 429.
    pub appends_max: usize,
    /// Maximum number of open connections; beyond it, the idlest make room.
    pub connections_max: usize,
    /// Maximum number of these from one peer address (of IPv6, a /64).
    pub connections_per_peer_max: usize,
    /// Further connections, for health probes alone.
    pub connections_kept: usize,
    /// Maximum seconds for the head of a request, from its first byte or from the start of the connection.
    pub head_seconds_max: u64,
    /// Maximum seconds between two requests of a connection.
    pub idle_seconds_max: u64,
    /// Maximum seconds without a byte of an incomplete body.
    pub body_pause_seconds_max: u64,
    /// Maximum seconds for a whole body.
    pub body_seconds_max: u64,
    /// Maximum seconds in which a client takes hardly any of an answer that is ready.
    pub answer_seconds_max: u64,
    /// Maximum bytes discarded after an early answer, so that the client reads it.
    pub discard_bytes_max: usize,
    /// Seconds of a shutdown in which `/readyz` answers 503 but requests are taken; `None` is 0 on a terminal, else 5.
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
