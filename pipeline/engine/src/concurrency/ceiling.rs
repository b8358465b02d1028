//! The most transactions at a time that the database is believed to bear.
//!
//! Lowered when the database turns work away or says that its processors or a replica do not keep up; raised
//! again step by step. Never tells how many are written at a time, only how many are too many, and how many too few to be
//! tried: what the database says of itself is seconds old, and steering by it would swing.

use super::Signals;
use super::processors::Processors;

/// More sessions that want a processor than this for each processor, and one, over a while: some only wait. The one is for
/// few processors: with two transactions on one of them, both wait for a disk or for their client a seventh of the time.
const RUNNING_PER_PROCESSOR: f64 = 2.0;
const RUNNING_MORE: f64 = 1.0;

/// Others are not kept waiting for long: what they suffer is answered so often (seconds).
const BESIDE_EVERY: f64 = 2.0;

/// With more of the processors in use than this, and nothing else known, nothing is left.
const PROCESSORS_USED: f64 = 0.97;

/// What is said is smoothed over about so many times it is said: sessions come and go.
const SMOOTHED_OVER: f64 = 12.0;

/// A replica further behind than this, in seconds, and falling further, reads stale.
const REPLICA_LAG: f64 = 10.0;

/// Signals lower it by as much as there is too much, within these, and at most so often (seconds).
const SIGNAL_FACTOR: (f64, f64) = (0.5, 0.9);
const SIGNAL_EVERY: f64 = 10.0;

/// To begin with it is as many as may run, or this process's part of that, where processors are known. When so many looks
/// in a row found the processors idle now and then, or less than this part of it running where nothing says how idle they
/// are, transactions wait for something else, and it is doubled.
const IDLE: f64 = 0.5;
const IDLE_LOOKS: u32 = 3;

/// A transaction is one session, which has one processor at most: with fewer than this part of those that ours keep busy
/// something is lost for certain.
const BUSY_PART: f64 = 0.9;

/// It is raised so often (seconds), and half as often after each time it was lowered again, up to the longest.
const RAISE_EVERY: f64 = 30.0;
const RAISE_EVERY_MAX: f64 = 300.0;

/// What signals lowered does not hold longer than this after the last signal (seconds).
const SIGNALS_HOLD: f64 = 300.0;

/// The ceiling and what it rests on.
#[derive(Clone, Debug)]
pub(super) struct Ceiling {
    /// None: nothing but the operator's limit.
    limit: Option<usize>,
    changed: f64,
    raise_every: f64,
    signalled: Option<f64>,
    pressed: f64,
    lag: f64,
    /// How crowded the database is, smoothed: above 1 is too much.
    crowd: f64,
    processors: Processors,
    /// One transaction at a time is too many.
    rests: bool,
    by_signal: bool,
    /// The first, that the number of processors gives.
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

    /// The most that is allowed, the operator's limit being this.
    pub(super) fn within(&self, max: usize) -> usize {
        self.limit.map_or(max, |limit| limit.min(max))
    }

    /// Whether one transaction at a time is to rest for as long as it works.
    pub(super) fn rests(&self) -> bool {
        self.rests
    }

    /// Fewer than this of one of so many processes could not keep busy the processors that sessions of all of them do.
    pub(super) fn floor(&self, processes: usize) -> usize {
        let share = self.processors.busy().map(|busy| BUSY_PART * busy / processes.max(1) as f64);
        share.map_or(1, |share| super::ladder::nearest(share.ceil()).max(1))
    }

    /// So many were too many.
    pub(super) fn lower(&mut self, now: f64, to: usize) {
        if self.limit.is_some() {
            self.raise_every = (self.raise_every * 2.0).min(RAISE_EVERY_MAX);
        }
        self.limit = Some(self.within(to).max(1));
        self.changed = now;
        self.by_signal = false;
    }

    /// What lowered it had another cause.
    pub(super) fn lift(&mut self, now: f64) {
        (self.limit, self.changed, self.raise_every) = (None, now, RAISE_EVERY);
        self.rests = false;
    }

    /// What the database says, `concurrency` being in force. Gives whether the ceiling fell, or one is to rest.
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
            // To begin with: how much more it bears, what it says of itself will show.
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
            // Below the first, one of ours on each processor is half of what is enough. Others leave some idle only as long
            // as they wait for their own client.
            let idle = self.processors.are_idle().unwrap_or(crowd < IDLE)
                || (crowd <= IDLE && self.limit.zip(self.first).is_some_and(|(limit, first)| limit < first));
            // What a replica cannot follow is no less for it.
            let followed = lag.is_none_or(|lag| lag <= REPLICA_LAG);
            self.idle_looks = if idle && followed && excess.is_none() { self.idle_looks + 1 } else { 0 };
        }
        if let Some(excess) = excess.filter(|excess| *excess > 0.0)
            && now - self.pressed >= BESIDE_EVERY
        {
            if concurrency > 1 {
                // What fewer of ours use is seen from now on.
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
        // As far as the crowd was ours it is gone before what is smoothed shows it.
        self.crowd *= factor;
        true
    }

    /// The database says that only so many are enough.
    fn press(&mut self, now: f64, enough: f64) {
        self.pressed = now;
        self.lower(now, super::ladder::nearest(enough.max(1.0).floor()).max(1));
        self.by_signal = true;
    }

    /// Time has passed: raised by one, or by a tenth, when it has held long enough; or one rests no more. Gives whether it rose.
    pub(super) fn relax(&mut self, now: f64, max: usize) -> bool {
        let Some(limit) = self.limit else { return false };
        let silent = self.by_signal && self.signalled.is_none_or(|last| now - last > SIGNALS_HOLD);
        if self.by_signal && self.idle_looks >= IDLE_LOOKS {
            // What more of ours use is seen from now on.
            self.idle_looks = 0;
            self.processors.more();
            self.rests = false;
            self.limit = (limit * 2 < max).then_some(limit * 2);
            self.changed = now;
            return true;
        }
        let pressed = self.by_signal && now - self.pressed < self.raise_every;
        // Without signals nothing says that what they lowered may rise, but nothing holds it for ever either.
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

/// How crowded the processors are, 1 at the bound; nothing where that is not said. Sessions that wait for locks are no
/// part of it: what they cost is missing in goodput, which says it better.
fn crowd(signals: &Signals) -> Option<f64> {
    match (signals.sessions_running, signals.processors, signals.processors_used) {
        (Some(running), Some(processors), _) if processors > 0.0 => Some((running / bound(processors)).min(4.0)),
        (_, _, Some(used)) => Some(used / PROCESSORS_USED),
        _ => None,
    }
}

/// How many sessions that run are enough for so many processors.
fn bound(processors: f64) -> f64 {
    RUNNING_PER_PROCESSOR * processors + RUNNING_MORE
}
