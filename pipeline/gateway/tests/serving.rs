//! A gateway with real sockets between clients and tasks that speak raw bytes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "serving/draining.rs"]
mod draining;
#[path = "serving/forwarding.rs"]
mod forwarding;
#[path = "serving/framing.rs"]
mod framing;
#[path = "serving/harness.rs"]
mod harness;
#[path = "serving/retries.rs"]
mod retries;
#[path = "serving/reuse.rs"]
mod reuse;
#[path = "serving/streams.rs"]
mod streams;
#[path = "serving/upstream.rs"]
mod upstream;
#[path = "serving/vectors.rs"]
mod vectors;
