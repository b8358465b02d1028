//! What the database's processors do, and for whom: smoothed over a few looks, because others are not kept waiting for long.

use super::Signals;

/// Over about so many looks.
const OVER: f64 = 3.0;

/// With less than this part of them in use transactions wait for something else.
const IDLE_BELOW: f64 = 0.93;

/// While others want a processor too, so many for each processor on the average, this many are more than enough: what
/// one session has for itself, another waits for. More than so many of them count no more: they leave all at once.
const OTHERS_PER_PROCESSOR: f64 = 0.25;
const OTHERS_PER_PROCESSOR_MAX: f64 = 2.0;
const RUNNING_BESIDE_OTHERS: f64 = 1.0;

/// With more of the processors in use than this while others are there, somebody waits for one, whatever the sessions do:
/// where clients run on the machine of the database, they do the waiting. It is for us to have less only if we have more
/// than this part.
const FULL_BESIDE_OTHERS: f64 = 0.9;
const OURS_BESIDE_OTHERS: f64 = 0.25;

/// What the latest looks said.
#[derive(Clone, Debug, Default)]
pub(super) struct Processors {
    /// Sessions of others, and all that want a processor, for each processor.
    others: f64,
    running: f64,
    /// Parts of them in use, where that is known, and in use by us.
    used: Option<f64>,
    ours: f64,
    /// How many there are, where the rest is known, too.
    count: Option<f64>,
}

impl Processors {
    /// Looks, `concurrency` being in force. How many sessions too many want a processor while others are there; none while
    /// they are not.
    pub(super) fn look(&mut self, signals: &Signals, concurrency: usize) -> Option<f64> {
        self.count = None;
        // Before anything is seen they are not idle.
        let before = self.used.unwrap_or(1.0);
        self.used = signals.processors_used.map(|used| before + (used - before) / OVER);
        self.ours += (signals.processors_ours.unwrap_or(0.0) - self.ours) / OVER;
        let (running, others) = signals.sessions_running.zip(signals.sessions_of_others)?;
        let processors = signals.processors.filter(|processors| *processors >= 1.0)?;
        self.others += ((others / processors).min(OTHERS_PER_PROCESSOR_MAX) - self.others) / OVER;
        self.running += (running / processors - self.running) / OVER;
        self.count = signals.processors_ours.and(Some(processors));
        let beside = self.others > OTHERS_PER_PROCESSOR;
        let excess = (self.running - RUNNING_BESIDE_OTHERS) * processors;
        // How many of those who wait would run without ours is not known: half of ours each time.
        let half = if self.are_full_of_us() { concurrency as f64 / 2.0 } else { f64::NEG_INFINITY };
        beside.then_some(excess.max(half))
    }

    /// Whether some of them are idle, where that is known.
    pub(super) fn are_idle(&self) -> Option<bool> {
        self.used.map(|used| used < IDLE_BELOW)
    }

    /// Whether they are full, not least of us.
    pub(super) fn are_full_of_us(&self) -> bool {
        self.used.is_some_and(|used| used > FULL_BESIDE_OTHERS) && self.ours > OURS_BESIDE_OTHERS
    }

    /// How many of them sessions of ours keep busy, where it is known how many run and how much they use. What this process
    /// itself uses on the same ones is no session's.
    pub(super) fn busy(&self) -> Option<f64> {
        self.count.map(|count| (self.running - self.others).min(self.ours).max(0.0) * count)
    }

    /// What fewer of ours use is seen from now on.
    pub(super) fn fewer(&mut self) {
        (self.running, self.ours) = (RUNNING_BESIDE_OTHERS, 0.0);
    }

    /// What more of ours use is seen from now on.
    pub(super) fn more(&mut self) {
        self.used = None;
    }
}
