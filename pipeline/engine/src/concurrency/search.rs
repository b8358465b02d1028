//! Finds the smallest concurrency and the smallest transactions that give nearly all the goodput, again and again.
//!
//! While all turns are taken and more is ready, time is cut into windows. After a change the new window is compared
//! with the one before; now and then another number is tried for two windows, between two windows of the present one,
//! so that a drift cancels. [`Evidence`] weighs the comparisons, and the search goes where they point. While turns are
//! free nothing is learnt and nothing is changed.

use super::axis::Axis;
use super::evidence::Evidence;
use super::meter::Meter;
use super::part::Mix;
use super::reading::{Around, BUSY, Reading};
use super::step::{self, Step, figures};
use super::{Knob, Reason};

/// Per cent of goodput that one per cent more of a number must give. Concurrency: a higher price stops on the slope of
/// soft knees; a lower one pays for the last per cent with half as many again. Size: larger transactions cost little.
const CONCURRENCY_PRICE: f64 = 0.11;
const RECORDS_PRICE: f64 = 0.015;

/// The least that a change must be worth: more for sizes, which hardly matter near the best.
const CONCURRENCY_MARGIN: f64 = 0.005;
const RECORDS_MARGIN: f64 = 0.01;

/// Prior for noisy measurements: a sharp knee at low concurrency. Most are so, and a soft one is recognised anyway.
const SHARP: f64 = 1.3;

/// Prior for sizes: a soft knee, which is a transaction's own cost in records, and mostly a high one.
const SOFT: f64 = -1.6;

/// Prior for sizes: larger transactions are slower per record only if they wait for each other's rows, which shows.
const LOSSLESS: f64 = 5.0;

/// Neighbouring numbers differ by this factor.
const CONCURRENCY_FACTOR: f64 = 1.12;
const RECORDS_FACTOR: f64 = 1.41;

/// Factors of trials of more and of fewer. Fewer at a time cost goodput while they are tried, more do not.
const CONCURRENCY_STEPS: (f64, f64) = (1.3, 0.83);
const RECORDS_STEPS: (f64, f64) = (2.0, 0.5);

/// The longest time between trials, in seconds. Concurrency: what a growing database could do goes unused for that
/// long. Size: the best one hardly changes.
const CONCURRENCY_REST: f64 = 25.0;
const RECORDS_REST: f64 = 300.0;

/// A window holds at least this many transactions, more if their times vary, until its result has this variance (or
/// this one while the search is hurried). And it lasts this multiple of a transaction's time.
const TRANSACTIONS: f64 = 24.0;
const VARIANCE: f64 = 0.0012;
const VARIANCE_HURRIED: f64 = 0.006;
const FLIGHTS: f64 = 5.0;

/// The shortest and the longest window, in seconds.
const SECONDS_MIN: f64 = 0.5;
const SECONDS_MAX: f64 = 5.0;

/// With fewer transactions a window says too little and is extended, up to the longest.
const TRANSACTIONS_MIN: f64 = 8.0;

/// Change by itself from one window to the next: variance of the logarithm of goodput.
pub(super) const DRIFT: f64 = 0.0009;

/// Goodput that is off by this much in two windows running means that the database has changed.
const SHIFT: f64 = 0.12;

/// If it is off by more than this, earlier evidence keeps only this part (`SHIFTED`) of its trust.
const SHIFT_LARGE: f64 = 0.35;
const SHIFTED: f64 = 0.4;

/// Which part of a trial the search is in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    Watch,
    /// Another number is tried; `first` is the first of its two windows, a short one, once that is over.
    Try {
        knob: Knob,
        from: usize,
        before: u64,
        first: Option<u64>,
    },
    /// Back at the present number, to see whether goodput is as before.
    Back {
        knob: Knob,
        tried: usize,
        windows: [u64; 3],
    },
}

/// The search.
#[derive(Clone, Debug)]
pub(super) struct Search {
    pub(super) meter: Meter,
    /// Processes known to write to the database, including this one.
    pub(super) processes: usize,
    pub(super) concurrency: Axis,
    /// Of each pipeline.
    pub(super) sizes: Vec<Axis>,
    /// The pipeline whose size is looked at: one at a time. It changes only while nothing is being compared.
    pub(super) sizing: usize,
    /// Something was measured since `sizing` changed.
    pub(super) looked: bool,
    pub(super) phase: Phase,
    open: u64,
    closes: f64,
    /// A window that is over, and when all transactions in flight at its end have most likely ended.
    closed: Option<(u64, f64)>,
    /// The last window before a change of a number, and the number.
    moved_from: Option<(Knob, usize, Reading)>,
    /// Concurrency has only grown so far.
    starting: bool,
    /// Far from the best number, or it is not known how far: windows are short.
    pub(super) hurried: bool,
    /// Many sessions waited for locks lately.
    locked: bool,
    /// The usual level, and how many windows in a row were off it: positive if above, negative if below.
    usual: Option<f64>,
    off: i32,
}

impl Search {
    /// A search within this range of concurrency. It has no pipeline yet.
    pub(super) fn new(concurrency: (usize, usize), now: f64) -> Self {
        let numbers = Evidence::new(
            concurrency.0,
            concurrency.1,
            CONCURRENCY_FACTOR,
            (CONCURRENCY_PRICE, CONCURRENCY_MARGIN),
            (SHARP, 0.0),
        );
        let mut meter = Meter::default();
        let open = meter.open(now, 0.0);
        Self {
            meter,
            processes: 1,
            concurrency: Axis::new(Knob::Concurrency, numbers, CONCURRENCY_STEPS, CONCURRENCY_REST, now),
            sizes: Vec::new(),
            sizing: 0,
            looked: false,
            phase: Phase::Watch,
            open,
            closes: now + SECONDS_MIN,
            closed: None,
            moved_from: None,
            starting: true,
            hurried: true,
            locked: false,
            usual: None,
            off: 0,
        }
    }

    /// Begins to look for the size of one more pipeline, or anew for that of one, within this range.
    pub(super) fn size_within(&mut self, pipeline: usize, (min, max): (usize, usize), now: f64) -> &mut Axis {
        let sizes = Evidence::new(min, max, RECORDS_FACTOR, (RECORDS_PRICE, RECORDS_MARGIN), (SOFT, LOSSLESS));
        let size = Axis::new(Knob::Records, sizes, RECORDS_STEPS, RECORDS_REST, now);
        match self.sizes.get_mut(pipeline) {
            Some(own) => *own = size,
            None => self.sizes.push(size),
        }
        let last = self.sizes.len().saturating_sub(1);
        self.sizes.get_mut(pipeline.min(last)).unwrap_or(&mut self.concurrency)
    }

    pub(super) fn evidence(&mut self, knob: Knob) -> &mut Evidence {
        &mut self.axis(knob).evidence
    }

    pub(super) fn axis(&mut self, knob: Knob) -> &mut Axis {
        match self.sizes.get_mut(self.sizing) {
            Some(size) if knob == Knob::Records => size,
            _ => &mut self.concurrency,
        }
    }

    /// The size that is looked at.
    pub(super) fn size(&self) -> &Axis {
        self.sizes.get(self.sizing).unwrap_or(&self.concurrency)
    }

    /// Whether nothing is being compared, so that the size of another pipeline may be looked at.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Watch) && self.moved_from.is_none()
    }

    /// Restarts at this concurrency: something other than the search changed a number, or time has jumped.
    pub(super) fn restart(&mut self, now: f64, concurrency: usize, mix: Mix) {
        self.phase = Phase::Watch;
        self.closed = None;
        self.moved_from = None;
        self.forget_usual();
        self.open(now, concurrency, mix, true);
    }

    /// The database has changed: evidence is trusted only to this part, and trials are due.
    pub(super) fn shaken(&mut self, now: f64, trust: f64) {
        self.concurrency.evidence.doubt(trust);
        self.concurrency.hurry(now);
        self.hurried |= trust < 1.0;
    }

    /// Many sessions wait for locks, which are held to the end of a transaction: smaller ones may be better. Returns
    /// whether a trial of larger ones is to end.
    pub(super) fn locked(&mut self, now: f64, records: usize) -> bool {
        self.sizes.iter_mut().for_each(|size| size.turn(false));
        self.concurrency.turn(false);
        self.locked = true;
        let ends = self.home().is_some_and(|(knob, home)| knob == Knob::Records && records > home);
        if ends {
            self.axis(Knob::Records).tried(now, false, 0.0, 0.0);
        }
        ends
    }

    /// A brake lowered concurrency: the search soon looks how far it may rise again.
    pub(super) fn braked(&mut self) {
        self.hurried = true;
    }

    /// The number that the present trial will return to, if there is a trial.
    pub(super) fn home(&self) -> Option<(Knob, usize)> {
        if let Phase::Try { knob, from, .. } = self.phase { Some((knob, from)) } else { None }
    }

    /// Whether a higher concurrency would be asked for if it were allowed.
    pub(super) fn wants_more(&self, concurrency: usize) -> bool {
        self.concurrency.evidence.wants_more(concurrency)
    }

    /// Time has passed. Returns the next step, if there is one.
    pub(super) fn tick(&mut self, now: f64, around: &Around<'_>) -> Option<Step> {
        if now >= self.closes && !self.drawn_out(now, around) {
            let step = self.roll(now, around);
            if step.is_some() {
                return step;
            }
        }
        let (closed, ready) = self.closed?;
        if now < ready {
            return None;
        }
        self.closed = None;
        match self.phase {
            Phase::Back { knob, tried, windows: [before, first, second] } => {
                self.phase = Phase::Watch;
                self.compare(now, around, (knob, tried), [before, first, second, closed])
            }
            Phase::Try { knob, from, before, .. } => self.judge(now, around, (knob, from), [before, closed]),
            Phase::Watch => self.watched(now, around, closed),
        }
    }

    /// Whether the open window says too little and goes on, while it is busy.
    fn drawn_out(&self, now: f64, around: &Around<'_>) -> bool {
        let Some(window) = self.meter.window(self.open) else { return false };
        let flights = FLIGHTS * around.mix.recent_seconds;
        let enough = window.transactions() >= TRANSACTIONS_MIN && window.seconds(now) >= flights.min(SECONDS_MAX);
        !enough && window.busy_share(now) >= BUSY && window.seconds(now) < SECONDS_MAX
    }

    /// Ends the open window and opens the next.
    fn roll(&mut self, now: f64, around: &Around<'_>) -> Option<Step> {
        let mix = around.mix;
        let busy = self.meter.window(self.open).is_some_and(|window| window.busy_share(now) >= BUSY);
        let here = around.concurrency;
        let home = |knob, from| if knob == Knob::Records { here } else { from };
        match self.phase {
            Phase::Try { knob, from, .. } if !busy => {
                self.restart(now, home(knob, from), mix);
                self.axis(knob).postpone(now);
                Some(step::home(knob, around.of(knob).0, from, Vec::new()))
            }
            Phase::Try { knob, from, before, first: None } => {
                self.phase = Phase::Try { knob, from, before, first: Some(self.open) };
                self.close(now, mix);
                self.open(now, here, mix, false);
                None
            }
            Phase::Try { knob, from, before, first: Some(first) } => {
                let tried = around.of(knob).0;
                self.phase = Phase::Back { knob, tried, windows: [before, first, self.open] };
                self.open(now, home(knob, from), mix, true);
                Some(step::home(knob, around.of(knob).0, from, Vec::new()))
            }
            Phase::Watch | Phase::Back { .. } => {
                if self.closed.is_none() {
                    self.close(now, mix);
                }
                self.open(now, here, mix, false);
                None
            }
        }
    }

    /// Closes the open window; it is read when what is in flight has most likely ended.
    fn close(&mut self, now: f64, mix: Mix) {
        self.closed = Some((self.open, now + mix.recent_seconds.min(SECONDS_MAX / 2.0)));
    }

    /// Opens a window; after a change, only when what was in flight has most likely ended.
    fn open(&mut self, now: f64, concurrency: usize, mix: Mix, changed: bool) {
        let each = mix.recent_seconds;
        let after = if changed { each.min(SECONDS_MAX / 2.0) } else { 0.0 };
        let short = self.hurried || matches!(self.phase, Phase::Try { first: None, .. });
        let (part, variance) = if short { (0.5, VARIANCE_HURRIED) } else { (1.0, VARIANCE) };
        let transactions = TRANSACTIONS.max(mix.noise / variance);
        let length = (each * FLIGHTS).max(each * transactions / concurrency.max(1) as f64) * part;
        self.open = self.meter.open(now, after);
        self.closes = now + after + length.clamp(SECONDS_MIN, SECONDS_MAX);
    }

    pub(super) fn reading(&self, id: u64, now: f64, around: &Around<'_>) -> Option<Reading> {
        Reading::of(self.meter.window(id)?, now, around)
    }

    /// Reads a window without a trial.
    fn watched(&mut self, now: f64, around: &Around<'_>, id: u64) -> Option<Step> {
        // After a change the comparison waits for the next window that says something.
        let reading = self.reading(id, now, around)?;
        self.looked = true;
        self.worked(reading.seconds);
        if let Some((knob, from, before)) = self.moved_from.take_if(|(knob, ..)| reading.is_of(*knob)) {
            let apart = (now - before.ended - reading.seconds).clamp(0.0, 100.0);
            let variance = before.variance(knob) + reading.variance(knob) + DRIFT * (1.0 + apart);
            let ratio = reading.level(knob) - before.level(knob);
            if self.learn(knob, from, around.of(knob).0, ratio, variance) {
                self.axis(knob).hurry(now);
            }
        }
        self.heed_level(now, &reading);
        let elsewhere = self.size().tried_at != around.concurrency;
        if std::mem::take(&mut self.locked) && (self.size().due <= now || elsewhere) && around.full {
            // How many wait for each other depends on how long transactions take, and on how many there are.
            let due = now.min(self.concurrency.due);
            self.axis(Knob::Records).due = due;
            return self.start_trial(now, around, &reading, id).or_else(|| self.go(now, around, &reading));
        }
        self.go(now, around, &reading).or_else(|| self.start_trial(now, around, &reading, id))
    }

    /// What was gained by going from one number to the other, and its variance.
    ///
    /// A process that shares a database gets more of it by asking more often, though all together get no more. With `n`
    /// equal processes, when nothing more can be had, its part grows with its concurrency by `1 - 1/n` of the growth;
    /// only what it gains beyond that counts.
    pub(super) fn gained(&self, knob: Knob, from: usize, to: usize, ratio: f64, variance: f64) -> (f64, f64) {
        if knob == Knob::Records {
            return (ratio, variance);
        }
        let part = 1.0 / self.processes.max(1) as f64;
        let taken = (1.0 - part) * (to as f64 / from as f64).ln();
        ((ratio - taken) / part, variance / (part * part))
    }

    /// Adds a comparison of two numbers. Returns whether it was a surprise.
    pub(super) fn learn(&mut self, knob: Knob, from: usize, to: usize, ratio: f64, variance: f64) -> bool {
        let (ratio, variance) = self.gained(knob, from, to, ratio, variance);
        self.evidence(knob).compared(from, to, ratio, variance)
    }

    /// Goes where the evidence points.
    pub(super) fn go(&mut self, now: f64, around: &Around<'_>, reading: &Reading) -> Option<Step> {
        let step = self.better(Knob::Concurrency, around, reading);
        if step.as_ref().is_none_or(|step| step.to < around.concurrency) {
            if self.starting && step.is_some() {
                // The last doubling went too far: first find out how far.
                self.concurrency.turn(false);
            }
            self.starting = false;
        }
        self.hurried &= step.is_some();
        let with_size = !self.starting && step.is_none() && around.full;
        let mut step = step.or_else(|| if with_size { self.better(Knob::Records, around, reading) } else { None })?;
        if self.starting {
            step.reason = Reason::Startup;
        }
        self.moved_from = reading.is_of(step.knob).then_some((step.knob, around.of(step.knob).0, *reading));
        self.forget_usual();
        self.open_with(now, around, &step);
        Some(step)
    }

    /// The step to the better number, if there is one.
    pub(super) fn better(&self, knob: Knob, around: &Around<'_>, reading: &Reading) -> Option<Step> {
        let axis = if knob == Knob::Records { self.size() } else { &self.concurrency };
        let (here, most) = around.of(knob);
        let to = axis.evidence.better(here, (around.least(knob), most)).filter(|to| *to != here)?;
        let reason = if to > here { Reason::MoreIsFaster } else { Reason::FewerAreEnough };
        Some(Step { knob, from: here, to, reason, figures: figures(axis, here, to, reading) })
    }

    pub(super) fn open_with(&mut self, now: f64, around: &Around<'_>, step: &Step) {
        let concurrency = if step.knob == Knob::Records { around.concurrency } else { step.to };
        self.open(now, concurrency, around.mix, true);
    }

    pub(super) fn worked(&mut self, seconds: f64) {
        self.concurrency.evidence.worked(seconds);
        self.sizes.iter_mut().for_each(|size| size.evidence.worked(seconds));
    }

    pub(super) fn forget_usual(&mut self) {
        self.usual = None;
        self.off = 0;
    }

    /// Checks whether goodput at the same concurrency is still what it was.
    fn heed_level(&mut self, now: f64, reading: &Reading) {
        let level = reading.usual();
        let Some(usual) = self.usual else {
            self.usual = Some(level);
            return;
        };
        let off = level - usual;
        if off.abs() < SHIFT.max(3.0 * reading.variance(Knob::Concurrency).sqrt()) {
            self.off = 0;
            self.usual = Some(usual + 0.2 * off);
            return;
        }
        let sign = if off > 0.0 { 1 } else { -1 };
        self.off = if self.off * sign < 0 { sign } else { self.off + sign };
        if self.off.abs() >= 2 {
            self.off = 0;
            self.usual = Some(level);
            let trust = if off.abs() > SHIFT_LARGE { SHIFTED } else { 1.0 };
            self.concurrency.turn(off > 0.0);
            self.shaken(now, trust);
        }
    }
}
