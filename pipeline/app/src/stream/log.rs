//! The embedded stream, opened as it is configured.

use std::time::Duration;

use anyhow::Context as _;
use millstream_log::{Log, Options, Retention};

use crate::config::Config;

/// Opens it.
///
/// # Errors
/// Names the directory, and what is wrong there.
pub(crate) fn open_log(config: &Config) -> anyhow::Result<Log> {
    let directory = config.data_dir.join("stream");
    let some = |value: u64| (value > 0).then_some(value);
    let options = Options {
        retention: Retention {
            age: some(config.stream.retention_seconds).map(Duration::from_secs),
            bytes: some(config.stream.retention_bytes),
        },
        record_bytes_max: config.limits.record_bytes_max + 64 * 1024,
        ..Options::default()
    };
    Log::open(&directory, options).with_context(|| format!("open the stream in {}", directory.display()))
}
