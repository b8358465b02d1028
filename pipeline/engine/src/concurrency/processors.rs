//! What the database's processors do, and for whom: averaged over a few looks only, so as not to keep others waiting.

use super::Signals;

/// Figures are averaged over about this many looks.
const OVER: f64 = 3.0;

/// Below this part of the processors in use, transactions wait for something else.
const IDLE_BELOW: f64 = 0.93;

/// While others want a processor (on average more than this many per processor), more running sessions per processor
/// than the last are too many: what one has, another waits for. Others count up to the second: they leave all at once.
const OTHERS_PER_PROCESSOR: f64 = 0.25;
const OTHERS_PER_PROCESSOR_MAX: f64 = 2.0;
const RUNNING_BESIDE_OTHERS: f64 = 1.0;

/// If more than this part of the processors is in use while others are there, some client waits for one, whatever the
/// sessions do: clients that run on the machine of the database do the waiting. We give way only if we use more than
/// the second part.
const FULL_BESIDE_OTHERS: f64 = 0.9;
const OURS_BESIDE_OTHERS: f64 = 0.25;

/// The averages of the latest looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Processors {
    /// Sessions of others, and all sessions that want a processor, per processor.
    others: f64,
    running: f64,
    /// Part of the processors in use, if that is known, and in use by us.
    used: Option<f64>,
    ours: f64,
    /// How many processors there are, if the rest is known, too.
    count: Option<f64>,
}

impl Processors {
    /// Takes in signals while `concurrency` is in force. Returns how many sessions too many want a processor while
    /// others are there; `None` while they are not.
    pub(super) fn look(&mut self, signals: &Signals, concurrency: usize) -> Option<f64> {
        self.count = None;
        // Before the first look the processors count as full.
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
        // How many of the waiting sessions would run without ours is not known: half of ours each time.
        let half = if self.are_full_of_us() { concurrency as f64 / 2.0 } else { f64::NEG_INFINITY };
        beside.then_some(excess.max(half))
    }

    /// Whether some processors are idle; `None` if that is not known.
    pub(super) fn are_idle(&self) -> Option<bool> {
        self.used.map(|used| used < IDLE_BELOW)
    }

    /// Whether the processors are full, and we use a good part of them.
    pub(super) fn are_full_of_us(&self) -> bool {
        self.used.is_some_and(|used| used > FULL_BESIDE_OTHERS) && self.ours > OURS_BESIDE_OTHERS
    }

    /// How many processors our sessions keep busy, if it is known how many sessions run and how much they use. What
    /// this process itself uses of the same processors does not count.
    pub(super) fn busy(&self) -> Option<f64> {
        self.count.map(|count| (self.running - self.others).min(self.ours).max(0.0) * count)
    }

    /// Forgets our use: from now on, what fewer of our sessions use is measured.
    pub(super) fn fewer(&mut self) {
        self.running = RUNNING_BESIDE_OTHERS;
        self.ours = 0.0;
    }

    /// Forgets the use: from now on, what more of our sessions use is measured.
    pub(super) fn more(&mut self) {
        self.used = None;
    }
}
