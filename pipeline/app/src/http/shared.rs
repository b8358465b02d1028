//! What the handlers share.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::access::Tokens;
use super::appends::Appends;
use super::connection::places::Places;
use super::counts::Counts;
use super::judge::Known;
use super::probe::Probe;
use super::seen::Looks;
use super::subscriptions::Subscriptions;
use crate::config::SinkKind;
use crate::node::Node;

/// The form in which every handler has it.
pub(super) type Shared = Arc<App>;

/// What the handlers share.
#[derive(Debug)]
pub(super) struct App {
    pub(super) node: Arc<Node>,
    /// `None`: every client is trusted, which is allowed on loopback only.
    pub(super) tokens: Option<Tokens>,
    /// Permits for appends in flight.
    pub(super) appends: Semaphore,
    /// How the last of them ended.
    pub(super) appends_ended: Appends,
    /// Bytes that request bodies may hold, compressed and not, with the records that are made of them.
    pub(super) body_bytes: Arc<Semaphore>,
    pub(super) counts: Counts,
    pub(super) places: Arc<Places>,
    pub(super) subscriptions: Subscriptions,
    pub(super) looks: Looks,
    /// Since when each state lasts.
    pub(super) known: Known,
    pub(super) probe: Probe,
}

impl App {
    pub(super) fn appends_in_flight(&self) -> usize {
        self.node.config.http.appends_max.saturating_sub(self.appends.available_permits())
    }

    /// Transactions that were committed, by all pipelines.
    pub(super) fn transactions(&self) -> u64 {
        self.node.pipelines.iter().map(|running| running.progress.transactions()).sum()
    }

    /// The store of requests that name none: that of the pipeline of objects, where their events go.
    pub(super) fn store(&self) -> &str {
        self.node.pipeline_into(SinkKind::Metadata).map_or("default", |pipeline| &pipeline.config.store)
    }
}
