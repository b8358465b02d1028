//! `metadata` of an object, and the cluster that it is of.

use super::super::context::{Context, foreign_cluster, parse_version};
use super::super::document::Object;
use super::super::fact::Kind;
use super::super::source::{Source, SourceKind};
use crate::refusal::{Refusal, RefusalReason};

/// How an object was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// By a list.
    Listed,
    /// By a frame of a watch.
    Watched,
    /// By the frame that says that it is deleted.
    Deleted,
}

/// What all objects have.
pub(super) struct Metadata<'a> {
    pub(super) object: Object<'a>,
    pub(super) version: i64,
    pub(super) cluster: String,
}

/// Reads `metadata` of an object, if the source may send this kind of fact.
pub(super) fn read<'a, 'c>(
    object: &Object<'a>,
    kind: Kind,
    context: &'c Context<'_>,
) -> Result<(&'c Source, Metadata<'a>), Refusal> {
    let source = context.source(kind)?;
    let cluster = match (source.kind, source.clusters.as_slice()) {
        (SourceKind::Kubernetes, [cluster]) => cluster.clone(),
        _ => return Err(foreign_cluster(source)),
    };
    let metadata = object.object("metadata")?;
    let metadata = metadata.ok_or_else(|| Refusal::new(RefusalReason::MissingField, "metadata"))?;
    let digits = metadata.text("resourceVersion")?.unwrap_or_default();
    let version = parse_version(&digits, "metadata.resourceVersion")?;
    Ok((source, Metadata { object: metadata, version, cluster }))
}
