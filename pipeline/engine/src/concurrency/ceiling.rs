//! The most transactions at a time that the database is believed to bear.
//!
//! It is lowered when the database turns work away or reports that its processors or a replica do not keep up, and
//! raised again step by step. It never sets how many are written at a time, only how many are too many, and how many
//! too few to be tried: what the database reports is seconds old, and steering by it would oscillate.

use super::Signals;
use super::processors::Processors;

/// This many sessions per processor, and one more, may want a processor on average: some of them only wait. The one
/// more is for few processors: with two transactions on one processor, both wait for a disk or their client a seventh
/// of the time.
const RUNNING_PER_PROCESSOR: f64 = 2.0;
const RUNNING_MORE: f64 = 1.0;

/// Other programs must not be kept waiting for long: excess beside them is answered this often (seconds).
const BESIDE_EVERY: f64 = 2.0;

/// Above this part of the processors in use, if nothing else is known, none is left.
const PROCESSORS_USED: f64 = 0.97;

/// Signals are averaged over about this many of them, because sessions come and go.
const SMOOTHED_OVER: f64 = 12.0;

/// A replica that is further behind than this (seconds), and falling further, gives stale reads.
const REPLICA_LAG: f64 = 10.0;

/// Signals lower the ceiling by a factor that follows the excess, within these, at most this often (seconds).
const SIGNAL_FACTOR: (f64, f64) = (0.5, 0.9);
const SIGNAL_EVERY: f64 = 10.0;

/// The first ceiling is as many sessions as may run, or this process's part of them, if the number of processors is
/// known. If this many looks in a row found the processors idle at times (or, if idleness is not reported, less than
/// this part of the sessions that may run), transactions wait for something else, and the ceiling is doubled.
const IDLE: f64 = 0.5;
const IDLE_LOOKS: u32 = 3;

/// A transaction is one session, which uses one processor at most: with fewer transactions than this part of the
/// processors that our sessions keep busy, goodput is certainly lost.
const BUSY_PART: f64 = 0.9;

/// The ceiling is raised this often (seconds), half as often after each time it was lowered again, up to the longest.
const RAISE_EVERY: f64 = 30.0;
const RAISE_EVERY_MAX: f64 = 300.0;

/// Signals no longer hold the ceiling down this long after the last signal (seconds).
const SIGNALS_HOLD: f64 = 300.0;

/// The ceiling and what it rests on.
#[derive(Clone, Debug)]
pub(super) struct Ceiling {
    /// `None`: only the operator's limit holds.
    limit: Option<usize>,
    changed: f64,
    raise_every: f64,
    signalled: Option<f64>,
    pressed: f64,
    lag: f64,
    /// How crowded the database is, smoothed: above 1 is too much.
    crowd: f64,
    processors: Processors,
    /// Even one transaction at a time is too many: it rests half of the time.
    rests: bool,
    by_signal: bool,
    /// The first ceiling, from the number of processors.
    first: Option<usize>,
    idle_looks: u32,
}

impl Ceiling {
    pub(super) fn new() -> Self {
        Self {
            limit: None,
            changed: 0.0,
            raise_every: RAISE_EVERY,
            signalled: None,
            pressed: f64::NEG_INFINITY,
            lag: 0.0,
            crowd: 0.0,
            processors: Processors::default(),
            rests: false,
            by_signal: false,
            first: None,
            idle_looks: 0,
        }
    }

    /// The most transactions that are allowed, given the operator's limit `max`.
    pub(super) fn within(&self, max: usize) -> usize {
        self.limit.map_or(max, |limit| limit.min(max))
    }

    /// Whether one transaction at a time is to rest for as long as it works.
    pub(super) fn rests(&self) -> bool {
        self.rests
    }

    /// The fewest to try: fewer could not keep as many processors busy as this one of `processes` processes does now.
    pub(super) fn floor(&self, processes: usize) -> usize {
        let share = self.processors.busy().map(|busy| BUSY_PART * busy / processes.max(1) as f64);
        share.map_or(1, |share| super::ladder::nearest(share.ceil()).max(1))
    }

    /// Lowers the ceiling to `to`: more were too many.
    pub(super) fn lower(&mut self, now: f64, to: usize) {
        if self.limit.is_some() {
            self.raise_every = (self.raise_every * 2.0).min(RAISE_EVERY_MAX);
        }
        self.limit = Some(self.within(to).max(1));
        self.changed = now;
        self.by_signal = false;
    }

    /// Removes the ceiling: what lowered it had another cause.
    pub(super) fn lift(&mut self, now: f64) {
        self.limit = None;
        self.changed = now;
        self.raise_every = RAISE_EVERY;
        self.rests = false;
    }

    /// Applies signals at this `concurrency`. Returns whether the ceiling fell or the one transaction begins to rest.
    pub(super) fn heed(&mut self, now: f64, signals: &Signals, concurrency: usize) -> bool {
        let lag = signals.replica_lag.map(|lag| lag.as_secs_f64());
        let behind = lag.is_some_and(|lag| lag > REPLICA_LAG && lag > self.lag);
        self.lag = lag.unwrap_or(self.lag);
        let crowd = crowd(signals);
        if crowd.is_some() || lag.is_some() {
            self.signalled = Some(now);
        }
        if let (false, Some(processors), Some(_)) = (self.first.is_some(), signals.processors, signals.sessions_running)
        {
            // The first ceiling: how much more the database bears, its signals will show.
            let share = bound(processors) / signals.processes.unwrap_or(1).max(1) as f64;
            let first = super::ladder::nearest(share).max(1);
            self.first = Some(first);
            self.lower(now, first);
            self.by_signal = true;
            return true;
        }
        let excess = self.processors.look(signals, concurrency);
        if let Some(crowd) = crowd {
            self.crowd += (crowd - self.crowd) / SMOOTHED_OVER;
            // Below the first ceiling, one session of ours per processor is half of what is enough. Other programs
            // leave some processors idle only while they wait for their own client.
            let idle = self.processors.are_idle().unwrap_or(crowd < IDLE)
                || (crowd <= IDLE && self.limit.zip(self.first).is_some_and(|(limit, first)| limit < first));
            // However idle the processors are, a replica that is behind does not allow more.
            let followed = lag.is_none_or(|lag| lag <= REPLICA_LAG);
            self.idle_looks = if idle && followed && excess.is_none() { self.idle_looks + 1 } else { 0 };
        }
        if let Some(excess) = excess.filter(|excess| *excess > 0.0)
            && now - self.pressed >= BESIDE_EVERY
        {
            if concurrency > 1 {
                // From now on, measure what fewer of our sessions use.
                self.processors.fewer();
                self.press(now, self.within(concurrency) as f64 - excess);
                return true;
            }
            if !self.rests && self.processors.are_full_of_us() {
                self.press(now, 1.0);
                self.rests = true;
                return true;
            }
        }
        if !(behind || self.crowd > 1.0) || now - self.pressed < SIGNAL_EVERY || concurrency < 2 {
            return false;
        }
        let factor = (1.0 / self.crowd.max(0.01)).clamp(SIGNAL_FACTOR.0, SIGNAL_FACTOR.1);
        self.press(now, self.within(concurrency) as f64 * factor);
        // The part of the crowd that was ours is gone before the average shows it.
        self.crowd *= factor;
        true
    }

    /// The database reports that this many transactions are enough.
    fn press(&mut self, now: f64, enough: f64) {
        self.pressed = now;
        self.lower(now, super::ladder::nearest(enough.max(1.0).floor()).max(1));
        self.by_signal = true;
    }

    /// Raises the ceiling, by one or by a tenth, if it held long enough; or ends the rest of one. Returns whether it
    /// did.
    pub(super) fn relax(&mut self, now: f64, max: usize) -> bool {
        let Some(limit) = self.limit else { return false };
        let silent = self.by_signal && self.signalled.is_none_or(|last| now - last > SIGNALS_HOLD);
        if self.by_signal && self.idle_looks >= IDLE_LOOKS {
            // From now on, measure what more of our sessions use.
            self.idle_looks = 0;
            self.processors.more();
            self.rests = false;
            self.limit = (limit * 2 < max).then_some(limit * 2);
            self.changed = now;
            return true;
        }
        let pressed = self.by_signal && now - self.pressed < self.raise_every;
        // Without signals nothing shows that what they lowered may rise, but it does not stay for ever either.
        let mute = self.by_signal && self.signalled.is_none_or(|last| now - last > SIGNAL_EVERY);
        if silent {
            self.lift(now);
            return true;
        }
        if pressed || mute || now - self.changed < self.raise_every {
            return false;
        }
        self.changed = now;
        if std::mem::take(&mut self.rests) {
            return true;
        }
        let raised = limit + (limit / 10).max(1);
        self.limit = (raised < max).then_some(raised);
        true
    }
}

/// How crowded the processors are, 1 at the bound; `None` if that is not reported. Sessions that wait for locks do not
/// count: their cost is missing in goodput, which shows it better.
fn crowd(signals: &Signals) -> Option<f64> {
    match (signals.sessions_running, signals.processors, signals.processors_used) {
        (Some(running), Some(processors), _) if processors > 0.0 => Some((running / bound(processors)).min(4.0)),
        (_, _, Some(used)) => Some(used / PROCESSORS_USED),
        _ => None,
    }
}

/// How many running sessions are enough for this many processors.
fn bound(processors: f64) -> f64 {
    RUNNING_PER_PROCESSOR * processors + RUNNING_MORE
}
