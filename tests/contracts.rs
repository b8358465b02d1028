//! Every source and every sink keeps its contract: the suites of `millstream-engine`, against the real parts.
//!
//! A new connector gets a fixture and a module here.

mod embedded_log;

mod kafka;
mod kinesis;

mod kept;
mod key_values;
mod metadata;
mod routing;

mod sqs;
