//! What is followed into, and how far it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::table::{Applier, Table};

/// How far a follower is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The history that is followed; `None` before the first snapshot.
    pub identity: Option<String>,
    /// The number of the last change that is applied.
    pub seq: i64,
    /// The digest of all facts.
    pub digest: u64,
    /// When the log was last read to its end.
    pub in_step: Option<Instant>,
    /// Why the database does not answer, while it does not.
    pub away: Option<String>,
    /// Snapshots that were taken because the database went back.
    pub db_rewound: u64,
    /// The same, because a digest differed.
    pub digest_differed: u64,
    /// The same, because the log was removed before it was read.
    pub pruned: u64,
    /// All snapshots that were taken.
    pub snapshots: u64,
    /// Whether the facts were read from a file, and the log has not been read to its end since.
    pub is_from_disk: bool,
}

/// Which commit the facts are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) identity: String,
    pub(super) seq: i64,
}

/// What is followed into: locked for the time of one commit.
#[derive(Clone, Debug)]
pub(super) struct Into {
    pub(super) applier: Arc<Mutex<Applier>>,
    pub(super) table: Arc<Table>,
    /// Woken when another generation of an alias may be served.
    pub(super) applied: Arc<Notify>,
    pub(super) standing: watch::Sender<Standing>,
    /// Changed only while the applier is locked.
    place: Arc<Mutex<Place>>,
}

impl Into {
    pub(super) fn new(
        applier: Arc<Mutex<Applier>>,
        table: Arc<Table>,
        applied: Arc<Notify>,
        standing: watch::Sender<Standing>,
    ) -> Self {
        Into { applier, table, applied, standing, place: Arc::default() }
    }

    /// Which commit the facts of the applier are of; that is certain only while it is locked.
    pub(super) fn place(&self) -> Place {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says which commit the facts are of. MUST be called while the applier is locked.
    pub(super) fn stand(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// The same, for the next commit of the same history.
    pub(super) fn stand_at(&self, seq: i64) {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).seq = seq;
    }

    pub(super) fn locked(&self) -> MutexGuard<'_, Applier> {
        self.applier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the applier, and says so if another generation may be served.
    pub(super) fn change<T>(&self, is_alias: bool, change: impl FnOnce(&mut Applier) -> T) -> T {
        let mut applier = self.locked();
        let held = applier.held().len();
        let changed = change(&mut applier);
        if is_alias || applier.held().len() != held {
            self.applied.notify_one();
        }
        changed
    }

    pub(super) fn tick(&self) {
        self.change(false, |applier| applier.tick(Instant::now()));
    }
}
