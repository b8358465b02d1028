//! What a process knows of the shares of a pipeline: which are paused, and how much of each is in quarantine.
//!
//! The sink keeps the record; it is read when leases are taken and every [`SHARES_EVERY`] after that, so that decisions
//! of other processes are known here soon. Between two reads this process adds what it wrote itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::share::{Aside, Share, Standing, Tally};

/// How often the record of shares is read, by one small query of one lane. Longer: a share that another process
/// paused is written, and its posts are accepted, for longer. Shorter: more queries that find nothing new.
pub(crate) const SHARES_EVERY: Duration = Duration::from_secs(2);

/// What is known of each share.
#[derive(Debug, Default)]
pub(super) struct Register {
    pub(super) standings: BTreeMap<Share, Standing>,
    pub(super) aside: Arc<Aside>,
    pub(super) looked: Option<Instant>,
    /// Counts the decisions made here: a read that began before a decision does not undo it.
    pub(super) decisions: u64,
    /// A person resumed the pipeline and may have made room first: the quarantine was not counted since.
    pub(super) uncounted: bool,
}

/// Why every lane of a pipeline waits.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    pub(crate) reason: String,
    /// The share that floods, if it was the only one in the window: it is paused as soon as there is another.
    pub(crate) only: Option<ToPause>,
}

/// A share that floods beside others, and why it is paused.
#[derive(Clone, Debug)]
pub(crate) struct ToPause {
    pub(crate) share: Share,
    pub(crate) reason: String,
}

impl Register {
    pub(super) fn standing(&mut self, share: &Share) -> &mut Standing {
        let fresh = || Standing { share: share.clone(), pause: None, rows: 0, bytes: 0 };
        self.standings.entry(share.clone()).or_insert_with(fresh)
    }

    /// Everything that is known of shares.
    pub(super) fn all(&self) -> Vec<Standing> {
        self.standings.values().cloned().collect()
    }

    /// The pipeline is resumed: the record of shares is read again before the quarantine can be found full.
    pub(super) fn recount(&mut self) {
        self.decisions += 1;
        self.looked = None;
        self.uncounted = true;
    }

    pub(super) fn decided(&mut self) {
        self.decisions += 1;
        self.derive();
    }

    pub(super) fn derive(&mut self) {
        let is_aside = |standing: &&Standing| standing.pause.as_ref().is_some_and(|pause| !pause.is_resumed);
        let aside: Aside = self.standings.values().filter(is_aside).map(|standing| standing.share.clone()).collect();
        if *self.aside != aside {
            self.aside = Arc::new(aside);
        }
    }

    pub(super) fn wrote(&mut self, share: &Share, tally: &Tally) {
        if tally.bad + tally.aside == 0 {
            return;
        }
        let standing = self.standing(share);
        standing.rows += tally.bad + tally.aside;
        standing.bytes += tally.kept_bytes;
        if let Some(pause) = &mut standing.pause {
            pause.rows += tally.aside;
        }
    }
}
