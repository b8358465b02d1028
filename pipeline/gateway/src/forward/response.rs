//! The answer of a task as a response of this gateway.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Response, StatusCode};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::body::Body;
use super::lease::Lease;
use super::spawn::spawn;
use super::{headers, tunnel};
use crate::choose::Pinned;

/// How a response goes on after its head.
pub(super) struct Onward {
    pub(super) method: Method,
    /// Where the client asked to go on in another protocol.
    pub(super) upgrade: Option<OnUpgrade>,
    pub(super) idle: Duration,
    pub(super) until: Option<Instant>,
    /// Ends tunnels.
    pub(super) end: CancellationToken,
}

/// Rewrites the head, and lets the body stream. After a 101 a tunnel begins.
pub(super) fn pass(mut response: Response<Incoming>, lease: Lease, pinned: &Pinned, onward: Onward) -> Response<Body> {
    let upgraded = hyper::upgrade::on(&mut response);
    let (mut parts, body) = response.into_parts();
    let keep = lease.keep.filter(|_| headers::is_clear(&parts));
    let lease = Lease { keep, ..lease };
    let task = lease.attempt.task().key();
    headers::rewrite(&mut parts, &onward.method, pinned.generation, &pinned.revision.revision, task);
    let body = match onward.upgrade.filter(|_| parts.status == StatusCode::SWITCHING_PROTOCOLS) {
        Some(client) => {
            lease.counters.upgraded();
            spawn(tunnel::run(client, upgraded, lease, Arc::clone(&pinned.revision), onward.end));
            Body::default()
        }
        None => Body::streamed(body, lease, onward.idle, onward.until),
    };
    Response::from_parts(parts, body)
}
