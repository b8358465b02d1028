//! What the decoding of logs promises, seen from outside.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test by panicking, as tests themselves may")]

mod any;
mod otlp;
mod plain;
mod shipped;
mod subscription;
mod support;
mod vectors;
