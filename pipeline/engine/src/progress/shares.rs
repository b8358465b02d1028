//! Which shares are paused because too many of their records are bad, and which are resumed.

use std::sync::Arc;

use tokio::time::Instant;

use super::register::{SHARES_EVERY, Stop, ToPause};
use super::{Progress, lock};
use crate::batch::Receipt;
use crate::clock::now_ms;
use crate::flood::{FloodLimits, Flooding, OnFlood};
use crate::share::{Aside, Pause, Share, Standing};

impl Progress {
    /// The shares that are paused.
    pub(crate) fn aside(&self) -> Arc<Aside> {
        Arc::clone(&lock(&self.register).aside)
    }

    /// What is known of a share.
    pub fn standing(&self, share: &str) -> Option<Standing> {
        lock(&self.register).standings.get(share).cloned()
    }

    /// Everything that is known of shares: those that are paused or have rows in quarantine.
    pub fn standings(&self) -> Vec<Standing> {
        lock(&self.register).all()
    }

    /// Whether the record of shares is due to be read; if so, the caller reads it now.
    pub(crate) fn look_due(&self) -> bool {
        let mut register = lock(&self.register);
        let is_due = register.looked.is_none_or(|at| at.elapsed() >= SHARES_EVERY);
        if is_due {
            register.looked = Some(Instant::now());
        }
        is_due
    }

    /// Counts the decisions made here, for [`Progress::looked`].
    pub(crate) fn decisions(&self) -> u64 {
        lock(&self.register).decisions
    }

    /// Takes over the record of shares as it was read before any lane began.
    pub fn begin_with(&self, standings: Vec<Standing>) {
        self.looked(0, standings);
    }

    /// Takes over the record of shares, unless a decision was made here since the read began.
    pub(crate) fn looked(&self, decisions: u64, standings: Vec<Standing>) {
        let aside = {
            let mut register = lock(&self.register);
            if register.decisions != decisions {
                return;
            }
            register.uncounted = false;
            register.standings = standings.into_iter().map(|standing| (standing.share.clone(), standing)).collect();
            register.derive();
            Arc::clone(&register.aside)
        };
        // Another process has paused the share because of which this pipeline waits.
        self.paused.send_if_modified(|stop| {
            let is_aside = |stop: &Stop| stop.only.as_ref().is_some_and(|only| aside.contains(&only.share));
            stop.as_ref().is_some_and(is_aside) && stop.take().is_some()
        });
    }

    /// A share is paused, and that is on record. A pipeline that waits because of it alone goes on.
    pub(crate) fn pause_share(&self, to: &ToPause) {
        lock(&self.flood).forget(&to.share);
        {
            let mut register = lock(&self.register);
            let standing = register.standing(&to.share);
            if standing.pause.as_ref().is_none_or(|pause| pause.is_resumed) {
                let rows = standing.pause.as_ref().map_or(0, |pause| pause.rows);
                standing.pause = Some(Pause { since_ms: now_ms(), reason: to.reason.clone(), is_resumed: false, rows });
                register.decided();
                tracing::error!(
                    share = %to.share,
                    reason = %to.reason,
                    "too many bad events of one share: it is paused, the others go on"
                );
            }
        }
        let share = Some(&to.share);
        self.paused.send_if_modified(|stop| {
            stop.as_ref().is_some_and(|stop| stop.only.as_ref().map(|only| &only.share) == share)
                && stop.take().is_some()
        });
    }

    /// A share is resumed, and that is on record: its records are decoded and written again. `left` of its records are
    /// still kept, if that was counted: other processes may have kept some since the last read.
    pub fn resume_share(&self, share: &str, left: Option<u64>) {
        let mut register = lock(&self.register);
        if let Some(pause) = register.standings.get_mut(share).and_then(|standing| standing.pause.as_mut()) {
            pause.is_resumed = true;
            pause.rows = left.unwrap_or(pause.rows);
        }
        register.decided();
    }

    /// Some records of a resumed share that were kept are written.
    pub fn rewrote(&self, share: &str, rows: u64) {
        let mut register = lock(&self.register);
        if let Some(pause) = register.standings.get_mut(share).and_then(|standing| standing.pause.as_mut()) {
            pause.rows = pause.rows.saturating_sub(rows);
        }
    }

    /// No record of the share is kept any more, and its pause is off the record.
    pub fn share_resumed(&self, share: &str) {
        let mut register = lock(&self.register);
        if let Some(standing) = register.standings.get_mut(share)
            && standing.pause.as_ref().is_some_and(|pause| pause.is_resumed)
        {
            standing.pause = None;
        }
        register.decided();
    }

    /// The share whose flood alone paused the pipeline, if one did.
    pub fn only_share(&self) -> Option<Share> {
        Some(self.paused.borrow().as_ref()?.only.as_ref()?.share.clone())
    }

    /// Counts a batch in the window. Returns the shares that flood beside others. Pauses the pipeline if a share floods
    /// alone, or if the quarantine of a share that cannot be refused is full. One that goes on only tells.
    pub(crate) fn watch_flood(&self, limits: &FloodLimits, receipt: &Receipt) -> Vec<ToPause> {
        let flooding = lock(&self.flood).add(limits, Instant::now(), receipt.tallies());
        if limits.on_flood == OnFlood::GoOn {
            let mut register = lock(&self.register);
            receipt.tallies().iter().for_each(|(share, tally)| register.wrote(share, tally));
            drop(register);
            self.tell_floods(limits, flooding);
            return Vec::new();
        }
        let (aside, full) = {
            let mut register = lock(&self.register);
            receipt.tallies().iter().for_each(|(share, tally)| register.wrote(share, tally));
            let grew = receipt.tallies().iter().filter(|(_, tally)| tally.bad + tally.aside > 0);
            let full = grew
                .filter(|_| !register.uncounted)
                .filter_map(|(share, _)| register.standings.get(share))
                .find(|standing| limits.is_full(standing) && limits.irrefusable.contains(&standing.share));
            (Arc::clone(&register.aside), full.cloned())
        };
        if let Some(Standing { share, rows, bytes, .. }) = full {
            let says = format!("the quarantine of {share} is full, with {rows} rows of {bytes} bytes");
            let reason = format!(
                "{says}: look at them with `millstream quarantine ls --store {share}`, purge or redrive them, then go on with `millstream resume {}`",
                self.pipeline
            );
            self.pause(Stop { reason, only: None }, &says);
        }
        let may_pause = |share: &Share| limits.pauses_alone.as_ref().is_none_or(|own| own == share);
        let mut others = Vec::new();
        for flood in flooding {
            let share = flood.share;
            let name = &self.pipeline;
            if aside.contains(&share) {
                // The batch was decoded before the share was paused; only bad records after it are another flood.
                lock(&self.flood).forget(&share);
            } else if (flood.is_only && aside.is_empty() && may_pause(&share)) || share.as_str().is_empty() {
                let reason = format!(
                    "{}: look at them with `millstream quarantine ls`, then go on with `millstream resume {name}`",
                    flood.says
                );
                let only = (!share.as_str().is_empty()).then(|| ToPause { share, reason: flood.says.clone() });
                self.pause(Stop { reason, only }, &flood.says);
            } else {
                others.push(ToPause { share, reason: flood.says });
            }
        }
        others
    }

    /// Tells people of floods, and does nothing else about them.
    fn tell_floods(&self, limits: &FloodLimits, flooding: Vec<Flooding>) {
        let new = lock(&self.floods).take(flooding, Instant::now(), limits.time);
        for flood in new {
            tracing::error!(
                share = %flood.share,
                reason = %flood.says,
                "too many bad events: they are in quarantine, the pipeline goes on"
            );
        }
    }

    /// Pauses the pipeline unless it is paused. The log gets the reason; what to do about it is shown with the state,
    /// by code that knows where this process is.
    fn pause(&self, stop: Stop, reason: &str) {
        let is_new = self.paused.send_if_modified(|paused| {
            let is_new = paused.is_none();
            paused.get_or_insert(stop);
            is_new
        });
        if is_new {
            tracing::error!(%reason, "too many bad events: the pipeline is paused, nothing is lost");
        }
    }
}
