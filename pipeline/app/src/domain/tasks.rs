//! Tasks: their rows, and what decodes them.

use std::sync::Arc;

use millstream_connectors::sinks::routing::{self, Columns, Decoder, Routing, Tasks};
use millstream_connectors::sinks::tables::Options;
use millstream_connectors::sinks::tables::redrive::Redrive;
use millstream_engine::Sink;
use millstream_schemas::tasks::Sources;

use super::objects;
use crate::config::Config;

/// Decodes records; those that name no source belong to this one, or to the only one there is.
pub(super) fn decoder(config: &Config, store: &str) -> Decoder {
    let sources = &config.task_source;
    let source = match &sources[..] {
        [only] => &only.name,
        _ => store,
    };
    let known = Sources::new(sources.iter().cloned());
    debug_assert!(known.is_ok(), "checked when the configuration was read");
    Decoder { source: source.to_owned(), sources: Arc::new(known.unwrap_or_default()), limits: objects::limits(config) }
}

/// The writers of one pipeline.
pub(super) fn sinks(options: Options, count: usize) -> Vec<Box<dyn Sink<Columns = Columns>>> {
    let writer = |_| Box::new(Routing::new(options.clone(), Tasks::default())) as Box<dyn Sink<Columns = _>>;
    (0..count).map(writer).collect()
}

/// Writes quarantined records again; a dry run does everything but commit.
pub(super) fn redrive(config: &Config, store: &str, dry_run: bool) -> Redrive<Tasks, Decoder> {
    routing::redrive(decoder(config, store), config.postgres.set_local(), dry_run)
}
