//! The table of routes: which tasks each revision of each service has, and which revisions its aliases mean.
//!
//! One [`Applier`] changes it, commit by commit; any number of requests read it. Reading takes no lock and sees each
//! service as some commit left it, tasks and aliases together.

pub(crate) mod apply;
mod build;
mod draining;
mod hold;
mod judged;
pub(crate) mod suspects;
pub(crate) mod task;
mod trial;
pub(crate) mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use tokio::sync::Notify;
use xxhash_rust::xxh3::xxh3_64;

use self::draining::Draining;
use self::judged::Judged;
use self::suspects::Suspects;
use crate::choose::counters::Counters;

pub(crate) use self::apply::AliasStanding;
pub use self::apply::{Applied, Applier, Change, Former, HeldAlias, Options};
pub use self::task::{Member, TaskKey, TaskState};
pub use self::trial::Trial;
pub use self::view::{AliasView, Held, Lack, RevisionView, ServiceView, Tasks};

/// A service that is added or removed copies one shard: more of them make that cheaper.
const SHARDS: usize = 1_024;

type Shard = HashMap<Arc<str>, Arc<ArcSwap<ServiceView>>>;

/// See the module.
#[derive(Debug)]
pub struct Table {
    shards: Vec<ArcSwap<Shard>>,
    counters: Arc<Counters>,
    trials_due: Notify,
    judged: Arc<Judged>,
    suspects: Arc<Suspects>,
    draining: Draining,
    version: AtomicU64,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| ArcSwap::default()).collect(),
            counters: Arc::default(),
            trials_due: Notify::new(),
            judged: Arc::default(),
            suspects: Arc::default(),
            draining: Draining::default(),
            version: AtomicU64::new(0),
        }
    }
}

impl Table {
    /// A service as the last commit left it; `None` where no fact names it.
    pub fn lookup(&self, service: &str) -> Option<Arc<ServiceView>> {
        let shard = self.shard(service).load();
        shard.get(service).map(|view| view.load_full())
    }

    /// Every service.
    pub fn services(&self) -> impl Iterator<Item = Arc<ServiceView>> {
        self.shards.iter().flat_map(|shard| {
            let shard = shard.load_full();
            shard.values().map(|view| view.load_full()).collect::<Vec<_>>()
        })
    }

    /// Another one after each publication: who has read a table of the same version need not read it again.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What is counted by all of it.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Woken when a view was published that has tasks on probation: see [`Table::trials`].
    pub fn trials_due(&self) -> &Notify {
        &self.trials_due
    }

    /// Woken when a trial reached its task: then [`Applier::tick`] should be called.
    pub fn judged(&self) -> &Notify {
        self.judged.wake()
    }

    /// Tasks that drain, or have left with requests in flight, with the number of these.
    pub fn draining(&self) -> BTreeMap<TaskKey, usize> {
        self.draining.counts()
    }

    /// Replaces services. Called by the applier alone. A shard is copied once, however many services are new in it.
    fn put(&self, views: impl IntoIterator<Item = Arc<ServiceView>>) {
        let mut new: HashMap<usize, Vec<Arc<ServiceView>>> = HashMap::new();
        for view in views {
            let at = place(&view.service);
            match self.shards[at].load().get(&*view.service) {
                Some(there) => there.store(view),
                None => new.entry(at).or_default().push(view),
            }
        }
        for (at, views) in new {
            let mut copy = Shard::clone(&self.shards[at].load());
            copy.extend(views.into_iter().map(|view| (Arc::clone(&view.service), Arc::new(ArcSwap::new(view)))));
            self.shards[at].store(Arc::new(copy));
        }
        self.version.fetch_add(1, Ordering::Release);
    }

    fn remove(&self, service: &str) {
        let shard = self.shard(service);
        let mut copy = Shard::clone(&shard.load());
        if copy.remove(service).is_some() {
            shard.store(Arc::new(copy));
        }
    }

    fn shard(&self, service: &str) -> &ArcSwap<Shard> {
        &self.shards[place(service)]
    }
}

/// The place of the shard of a service.
fn place(service: &str) -> usize {
    (xxh3_64(service.as_bytes()) % SHARDS as u64) as usize
}
