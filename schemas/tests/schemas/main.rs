//! What the crate promises, seen from outside.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test by panicking, as tests themselves may")]

mod bodies;
mod descriptions;
mod dialects;
mod envelopes;
mod limits;
mod oracles;
mod properties;
mod refusals;
mod support;
mod tasks;
mod vectors;
