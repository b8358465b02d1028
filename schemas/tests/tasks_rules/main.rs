//! What the fold and `resolve` promise, seen from outside.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test by panicking, as tests themselves may")]

mod fold;
mod histories;
mod joins;
mod memory;
mod random;
mod reference;
mod resolve;
mod support;
