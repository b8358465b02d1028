//! The most transactions at a time that the database is believed to bear.
//!
//! Lowered when the database turns work away or says that its processors or a replica do not keep up; raised
//! again step by step. Never tells how many are written at a time, only how many are too many: what the database says of
//! itself is seconds old, and steering by it would swing.

use super::Signals;

/// More sessions that want a processor than this for each processor, over a while: some only wait.
const RUNNING_PER_PROCESSOR: f64 = 2.0;

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

/// Others are not kept waiting for long: what they suffer is smoothed over so many looks, and is answered so often
/// (seconds).
const BESIDE_OVER: f64 = 3.0;
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

/// To begin with it is twice the processors, or this process's part of that, where they are known. When so many looks in
/// a row found less than half of that in use, transactions mostly wait for something else, and it is doubled.
const IDLE: f64 = 0.5;
const IDLE_LOOKS: u32 = 3;

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
    /// Sessions of others, and all that want a processor, for each processor and smoothed over fewer looks.
    others: f64,
    running: f64,
    /// Parts of the processors in use, and in use by us, smoothed over fewer looks.
    used: f64,
    ours: f64,
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
            others: 0.0,
            running: 0.0,
            used: 0.0,
            ours: 0.0,
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
            let share = processors / signals.processes.unwrap_or(1).max(1) as f64;
            let first = super::ladder::nearest(RUNNING_PER_PROCESSOR * share).max(1);
            self.first = Some(first);
            self.lower(now, first);
            self.by_signal = true;
            return true;
        }
        let excess = self.beside_others(signals, concurrency);
        if let Some(crowd) = crowd {
            self.crowd += (crowd - self.crowd) / SMOOTHED_OVER;
            // Below the first, one of ours on each processor is half of what is enough. Others leave some idle only as long
            // as they wait for their own client.
            let idle = crowd < IDLE
                || (crowd <= IDLE && self.limit.zip(self.first).is_some_and(|(limit, first)| limit < first));
            self.idle_looks = if idle && excess.is_none() { self.idle_looks + 1 } else { 0 };
        }
        if let Some(excess) = excess.filter(|excess| *excess > 0.0)
            && now - self.pressed >= BESIDE_EVERY
        {
            if concurrency > 1 {
                // What fewer of ours use is seen from now on.
                (self.running, self.ours) = (RUNNING_BESIDE_OTHERS, 0.0);
                self.press(now, self.within(concurrency) as f64 - excess);
                return true;
            }
            if !self.rests && self.has_too_much() {
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

    /// How many sessions too many want a processor while others are there; none while they are not.
    fn beside_others(&mut self, signals: &Signals, concurrency: usize) -> Option<f64> {
        let (running, others) = signals.sessions_running.zip(signals.sessions_of_others)?;
        let processors = signals.processors.filter(|processors| *processors >= 1.0)?;
        self.others += ((others / processors).min(OTHERS_PER_PROCESSOR_MAX) - self.others) / BESIDE_OVER;
        self.running += (running / processors - self.running) / BESIDE_OVER;
        self.used += (signals.processors_used.unwrap_or(0.0) - self.used) / BESIDE_OVER;
        self.ours += (signals.processors_ours.unwrap_or(0.0) - self.ours) / BESIDE_OVER;
        let beside = self.others > OTHERS_PER_PROCESSOR;
        let excess = (self.running - RUNNING_BESIDE_OTHERS) * processors;
        // How many of those who wait would run without ours is not known: half of ours each time.
        let half = if self.has_too_much() { concurrency as f64 / 2.0 } else { f64::NEG_INFINITY };
        beside.then_some(excess.max(half))
    }

    /// Whether the processors are full, not least of us.
    fn has_too_much(&self) -> bool {
        self.used > FULL_BESIDE_OTHERS && self.ours > OURS_BESIDE_OTHERS
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
            self.idle_looks = 0;
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
        (Some(running), Some(processors), _) if processors > 0.0 => {
            Some((running / (RUNNING_PER_PROCESSOR * processors)).min(4.0))
        }
        (_, _, Some(used)) => Some(used / PROCESSORS_USED),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_missing_moves_nothing() {
        let mut ceiling = Ceiling::new();
        for second in 0..1000 {
            assert!(!ceiling.heed(f64::from(second), &Signals::default(), 8));
            let half = Signals { sessions_running: Some(500.0), ..Signals::default() };
            assert!(!ceiling.heed(f64::from(second), &half, 8), "how many processors is not known");
        }
        assert_eq!(ceiling.within(64), 64);
    }

    #[test]
    fn it_begins_at_twice_the_processors_and_doubles_while_they_idle() {
        let mut ceiling = Ceiling::new();
        let running =
            |sessions| Signals { sessions_running: Some(sessions), processors: Some(4.0), ..Signals::default() };
        assert!(ceiling.heed(0.0, &running(2.0), 2), "nothing is known of it yet");
        assert_eq!(ceiling.within(64), 8);
        for second in 1..10 {
            ceiling.heed(f64::from(second), &running(7.0), 8);
            assert!(!ceiling.relax(f64::from(second), 64), "most of that is in use");
        }
        let mut raised = Vec::new();
        for second in 10..40 {
            ceiling.heed(f64::from(second), &running(1.0), 8);
            if ceiling.relax(f64::from(second), 64) {
                raised.push(ceiling.within(64));
            }
        }
        assert_eq!(
            raised,
            [16, 32, 64],
            "transactions wait for something else, and the last step is all that is allowed"
        );
    }

    #[test]
    fn too_many_running_lower_it_once_in_ten_seconds_and_it_rises_again() {
        let mut ceiling = Ceiling::new();
        let many = Signals { sessions_running: Some(20.0), processors: Some(4.0), ..Signals::default() };
        assert!(ceiling.heed(0.0, &many, 20), "to begin with");
        let fell = (1..25).filter(|second| ceiling.heed(f64::from(*second), &many, 20)).collect::<Vec<_>>();
        assert_eq!(fell, [6, 16], "not at the first word, and not at each");
        assert_eq!(ceiling.within(64), 3, "by a tenth, then by as much as there is too much");
        let few = Signals { sessions_running: Some(7.0), ..many };
        for second in 25..6000 {
            ceiling.heed(f64::from(second), &few, 16);
            ceiling.relax(f64::from(second), 20);
        }
        assert_eq!(ceiling.within(64), 64);
    }

    #[test]
    fn beside_others_half_as_many_are_enough_and_again_all_when_they_have_left() {
        let mut ceiling = Ceiling::new();
        let running = |own, others| Signals {
            sessions_running: Some(own + others),
            sessions_of_others: Some(others),
            processors: Some(2.0),
            ..Signals::default()
        };
        ceiling.heed(0.0, &running(3.0, 0.0), 4);
        for second in 1..20 {
            assert!(!ceiling.heed(f64::from(second), &running(3.0, 0.0), 4), "three of four that are enough");
        }
        let fell = (20..60).filter(|second| {
            let own = ceiling.within(4);
            ceiling.heed(f64::from(*second), &running(own as f64, 2.0), own)
        });
        let fell: Vec<i32> = fell.collect();
        assert!(matches!(fell[..], [20..25, ..]) && fell.len() <= 2, "{fell:?}");
        assert_eq!(ceiling.within(4), 1, "two of others on two processors are enough");
        let rose = (60..120).find(|second| {
            ceiling.heed(f64::from(*second), &running(1.0, 0.0), 1);
            ceiling.relax(f64::from(*second), 4) && ceiling.within(4) >= 4
        });
        assert!(rose.is_some_and(|second| second < 80), "{rose:?}");
    }

    #[test]
    fn others_keep_it_low_while_they_wait_for_their_clients_and_take_nothing_where_there_is_room() {
        let signals = |running, others| Signals {
            sessions_running: Some(running),
            sessions_of_others: Some(others),
            processors: Some(4.0),
            ..Signals::default()
        };
        let mut ceiling = Ceiling::new();
        ceiling.heed(0.0, &signals(3.0, 8.0), 3);
        for second in 1..600 {
            assert!(!ceiling.heed(f64::from(second), &signals(3.5, 8.0), 3), "half a processor is idle");
        }
        assert_eq!(ceiling.within(8), 8);
        assert!((600..610).any(|second| ceiling.heed(f64::from(second), &signals(6.0, 8.0), 4)));
        assert_eq!(ceiling.within(8), 3, "of four as many as there are too many");
        for second in 610..630 {
            ceiling.heed(f64::from(second), &signals(1.0, 8.0), 3);
            assert!(!ceiling.relax(f64::from(second), 8), "they are there, though seldom seen at work");
        }
        let rose = (630..700).find(|second| {
            ceiling.heed(f64::from(*second), &signals(1.0, 0.0), 3);
            ceiling.relax(f64::from(*second), 8)
        });
        assert!(rose.is_some_and(|second| second < 645), "{rose:?}");
    }

    /// Others whose clients run on the machine of the database: its sessions hardly ever wait, their clients do.
    fn on_a_shared_machine(others: f64, used: f64, ours: f64) -> Signals {
        Signals {
            sessions_running: Some(1.0),
            sessions_of_others: Some(others),
            processors: Some(2.0),
            processors_used: Some(used),
            processors_ours: Some(ours),
            ..Signals::default()
        }
    }

    #[test]
    fn on_a_full_machine_one_at_a_time_rests_beside_others_until_they_have_left() {
        let mut ceiling = Ceiling::new();
        let mut seconds = (0..).map(f64::from);
        let mut look = |ceiling: &mut Ceiling, signals: &Signals, own: usize| {
            let now = seconds.next().unwrap();
            let fell = ceiling.heed(now, signals, own);
            (now, fell, ceiling.relax(now, 8))
        };
        look(&mut ceiling, &on_a_shared_machine(0.0, 1.0, 1.0), 4);
        for _ in 0..20 {
            assert!(!look(&mut ceiling, &on_a_shared_machine(0.0, 1.0, 1.0), 4).1, "nobody else is there");
        }
        let mut steps = Vec::new();
        for _ in 0..20 {
            let own = ceiling.within(4);
            if look(&mut ceiling, &on_a_shared_machine(6.0, 1.0, 0.5), own).1 {
                steps.push((ceiling.within(4), ceiling.rests()));
            }
        }
        assert_eq!(steps, [(2, false), (1, false), (1, true)], "half each time, and then half of one");
        let rose = (0..60).find(|_| {
            look(&mut ceiling, &on_a_shared_machine(0.0, 0.9, 0.5), 1);
            !ceiling.rests() && ceiling.within(4) >= 2
        });
        assert!(rose.is_some_and(|looks| looks < 20), "{rose:?}");
    }

    #[test]
    fn what_many_used_is_not_held_against_one() {
        let mut ceiling = Ceiling::new();
        ceiling.heed(0.0, &on_a_shared_machine(0.0, 1.0, 1.0), 8);
        for second in 1..60 {
            let own = ceiling.within(4);
            let ours = if own == 1 { 0.2 } else { 1.0 };
            ceiling.heed(f64::from(second), &on_a_shared_machine(8.0, 1.0, ours), own);
        }
        assert_eq!((ceiling.within(4), ceiling.rests()), (1, false));
    }

    #[test]
    fn one_rests_neither_on_an_idle_machine_nor_where_it_has_little() {
        for (used, ours) in [(0.6, 0.5), (1.0, 0.2)] {
            let mut ceiling = Ceiling::new();
            ceiling.heed(0.0, &on_a_shared_machine(0.0, 0.6, 0.5), 1);
            for second in 1..60 {
                ceiling.heed(f64::from(second), &on_a_shared_machine(8.0, used, ours), 1);
                assert!(!ceiling.rests(), "{used} {ours}");
            }
        }
    }

    #[test]
    fn one_on_each_processor_is_soon_two_again() {
        let mut ceiling = Ceiling::new();
        let running =
            |sessions| Signals { sessions_running: Some(sessions), processors: Some(1.0), ..Signals::default() };
        ceiling.heed(0.0, &running(1.0), 2);
        assert!((1..20).any(|second| ceiling.heed(f64::from(second), &running(6.0), 2)));
        assert_eq!(ceiling.within(8), 1);
        let mut raised = Vec::new();
        for second in 20..60 {
            ceiling.heed(f64::from(second), &running(ceiling.within(8) as f64), ceiling.within(8));
            if ceiling.relax(f64::from(second), 8) {
                raised.push((second, ceiling.within(8)));
            }
        }
        assert!(matches!(raised[..], [(20..30, 2), ..]), "{raised:?}");
        assert!(raised.len() < 3, "and no more than that while two are in use: {raised:?}");
    }

    #[test]
    fn a_replica_must_fall_further_behind() {
        let mut ceiling = Ceiling::new();
        let lag = |seconds| Signals { replica_lag: Some(Duration::from_secs(seconds)), ..Signals::default() };
        assert!(!ceiling.heed(0.0, &lag(5), 10));
        assert!(ceiling.heed(1.0, &lag(30), 10));
        assert!(!ceiling.heed(20.0, &lag(30), 9));
        assert!(!ceiling.heed(40.0, &lag(20), 9));
    }

    #[test]
    fn what_signals_lowered_ends_some_minutes_after_them() {
        let mut ceiling = Ceiling::new();
        let many = Signals { processors_used: Some(1.0), ..Signals::default() };
        assert!((0..60).any(|second| ceiling.heed(f64::from(second), &many, 20)));
        assert!(!ceiling.relax(200.0, 64), "nothing says that it may rise");
        assert!(ceiling.relax(361.0, 64));
        assert_eq!(ceiling.within(64), 64);
    }
}
