//! Objects: their rows, and what decodes them.

use millstream_connectors::sinks::metadata::{self, Decoder, Metadata, Objects, columns::Columns};
use millstream_connectors::sinks::tables::Options;
use millstream_connectors::sinks::tables::redrive::Redrive;
use millstream_engine::Sink;
use millstream_schemas::Limits;

use crate::config::Config;

/// Limits of the input.
pub(crate) fn limits(config: &Config) -> Limits {
    Limits { record_bytes_max: config.limits.record_bytes_max, ..Limits::default() }
}

/// Decodes records; those that name no store belong to this one.
pub(super) fn decoder(config: &Config, store: &str) -> Decoder {
    Decoder { store: store.to_owned(), limits: limits(config) }
}

/// The writers of one pipeline.
pub(super) fn sinks(config: &Config, options: Options, count: usize) -> Vec<Box<dyn Sink<Columns = Columns>>> {
    let writers = Metadata::several(options, config.limits.segments_max, count);
    writers.map(|writer| Box::new(writer) as Box<dyn Sink<Columns = _>>).collect()
}

/// Writes quarantined records again; a dry run does everything but commit.
pub(super) fn redrive(config: &Config, dry_run: bool) -> Redrive<Objects, Decoder> {
    metadata::redrive(limits(config), config.limits.segments_max, config.postgres.set_local(), dry_run)
}
