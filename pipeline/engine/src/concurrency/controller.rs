//! The state machine: what each event means, and which part gets it.
//!
//! [`Search`] finds the numbers, [`Brakes`] and [`Ceiling`] act where a comparison would come too late, [`Cost`](super::cost::Cost) and
//! [`Batch`](super::batch::Batch) say how large a transaction may be. Those two are of each pipeline, in its [`Part`];
//! everything else is of the database.

mod limits;

mod sizes;

use std::time::Duration;

use super::allowed::limits;
use super::batch::Full;
use super::brake::{Brakes, MILD, OVERLOAD, Overload};
use super::ceiling::Ceiling;
use super::part::{self, Mix, Part};
use super::reading::Around;
use super::search::Search;
use super::step::Step;
use super::{Allowance, Decision, Ending, Event, Knob, Pace, Reason, Settings, Signals, Work, ladder, linger};

/// What keeps more from being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// There is no more to write, or the operator's cap on records per second holds it back.
    Application,
    /// There is more, but in partitions whose lanes are busy: a higher concurrency would not be used.
    Partitions,
    /// The database: a higher concurrency would write hardly more, or too much for it.
    Database,
    /// The operator's limit, the connections or the lanes: a higher concurrency would write more.
    Limit,
}

/// The first concurrency: enough to see whether twice as many write twice as much.
const CONCURRENCY_START: usize = 2;

/// Seconds without an event after which the clock is taken to have jumped; the interval is not measured.
const JUMP: f64 = 5.0;

/// If more than this part of the open transactions wait for locks, smaller transactions are tried before larger ones.
const LOCKED: f64 = 0.25;

/// The cost is fitted, and the size of transactions checked, at most once in this many seconds.
const FIT_EVERY: f64 = 1.0;

/// The state machine.
#[derive(Clone, Debug)]
pub struct Controller {
    settings: Settings,
    now: Duration,
    concurrency: usize,
    inflight: usize,
    /// Whether many sessions waited for locks in the last signals.
    locked: bool,
    waiting: usize,
    /// The pipelines, by number: one at least.
    parts: Vec<Part>,
    /// How many of the latest transactions of all pipelines were full.
    full: Full,
    brakes: Brakes,
    ceiling: Ceiling,
    search: Search,
    fitted: f64,
}

impl Controller {
    /// A controller that knows nothing yet and begins with little, for one pipeline.
    pub fn new(settings: Settings, now: Duration) -> Self {
        let limits = limits(&settings, 1);
        let seconds = now.as_secs_f64();
        let mut search = Search::new(limits, seconds);
        let concurrency = CONCURRENCY_START.clamp(limits.0, limits.1);
        search.restart(seconds, concurrency, Mix::default());
        let mut controller = Self {
            concurrency,
            now,
            inflight: 0,
            locked: false,
            waiting: 0,
            parts: Vec::new(),
            full: Full::default(),
            brakes: Brakes::new(seconds),
            ceiling: Ceiling::new(),
            search,
            fitted: seconds,
            settings,
        };
        controller.add(0, Allowance::default());
        controller
    }

    /// Tells it what happened. Returns the changes made because of that, mostly none.
    ///
    /// Allocates only when it decides. Time that runs backwards stands still; an end that is reported twice counts
    /// twice as work, but is answered once.
    pub fn on_event(&mut self, now: Duration, event: &Event) -> Vec<Decision> {
        let mut decisions = Vec::new();
        self.pass(now, &mut decisions);
        match event {
            Event::Begun(work) => self.begun(work),
            Event::Ended { began, work, ending } => self.ended(*began, work, *ending, &mut decisions),
            Event::Waiting(batches) => self.waiting = *batches,
            Event::Signals(signals) => self.signals(signals, &mut decisions),
            Event::Tick => self.tick(&mut decisions),
            Event::Joined { pipeline, anew, allowance } => {
                self.joined(*pipeline, *anew, *allowance, &mut decisions);
            }
        }
        decisions
    }

    /// The numbers in force for a pipeline. The size differs from one transaction to the next: now and then a small one is asked for,
    /// because transactions of equal size teach nothing.
    pub fn pace(&self, pipeline: usize) -> Pace {
        let mut pace = Pace {
            concurrency: if self.brakes.stalled { 0 } else { self.concurrency },
            records: 1,
            linger: self.settings.freshness / 2,
            rests: self.rests(),
        };
        if let Some(Part { records, cost, batch, allowance, .. }) = self.parts.get(self.index(pipeline)) {
            pace.records = if self.settings.freeze { *records } else { batch.next(*records, cost) };
            pace.linger = linger::linger(&allowance.within(&self.settings), cost);
        }
        pace
    }

    /// How many processes are known to write to this database, including this one.
    pub fn processes(&self) -> usize {
        self.search.processes
    }

    fn rests(&self) -> bool {
        self.ceiling.rests() && self.concurrency == 1
    }

    /// What keeps more from being written, as far as is known now.
    pub fn limited(&self) -> Limited {
        let max = self.limits().1;
        if self.is_busy() {
            let more = self.concurrency >= max && self.search.wants_more(self.concurrency);
            return if more { Limited::Limit } else { Limited::Database };
        }
        if self.rests() && self.full.mostly() {
            return Limited::Database;
        }
        let partitions = self.waiting == 0 && self.inflight > 0 && self.full.mostly();
        if partitions { Limited::Partitions } else { Limited::Application }
    }

    /// Moves time on; the time since the last event counts as busy if all turns were taken and more was ready.
    fn pass(&mut self, now: Duration, decisions: &mut Vec<Decision>) {
        let before = self.now;
        let now = now.max(self.now);
        let from = before.as_secs_f64();
        let to = now.as_secs_f64();
        self.now = now;
        if to - from > JUMP {
            self.brakes.begin(to);
            self.come_home(decisions);
            self.restart();
        } else if self.is_busy() {
            self.search.meter.busy(from, to);
        }
    }

    /// Whether all turns are taken and more is ready to write.
    fn is_busy(&self) -> bool {
        let all_lanes = self.concurrency >= self.limits().1 && self.full.mostly();
        self.inflight >= self.concurrency && (self.waiting > 0 || all_lanes)
    }

    fn begun(&mut self, work: &Work) {
        if self.inflight == 0 {
            self.brakes.begin(self.seconds());
        }
        self.inflight = self.inflight.saturating_add(1);
        self.full.begun(work.full);
        let pipeline = self.index(work.pipeline);
        if let Some(part) = self.parts.get_mut(pipeline) {
            part.batch.begun(work.full);
        }
    }

    fn ended(&mut self, began: Duration, work: &Work, ending: Ending, decisions: &mut Vec<Decision>) {
        self.inflight = self.inflight.saturating_sub(1);
        let began = began.min(self.now);
        let now = self.now;
        let pipeline = self.index(work.pipeline);
        let committed = ending == Ending::Committed;
        self.brakes.ended(self.seconds(), ending == Ending::Contention, committed);
        if committed {
            self.search.meter.committed(began, now, pipeline, work.records);
            part::committed(&mut self.parts, pipeline);
            if let Some(part) = self.parts.get_mut(pipeline) {
                part.cost.committed(now.saturating_sub(began), work.records, work.bytes, self.concurrency);
            }
        }
        if self.brakes.stalled && (committed || self.inflight == 0) {
            self.resume(decisions);
        }
        if !self.settings.freeze {
            self.brake(began.as_secs_f64(), pipeline, ending, decisions);
        }
    }

    /// Brakes on the end of a transaction of this pipeline, if that cannot wait for a comparison.
    fn brake(&mut self, began: f64, pipeline: usize, ending: Ending, decisions: &mut Vec<Decision>) {
        let now = self.seconds();
        match ending {
            Ending::Overload => {
                let overload = self.brakes.overload(now, began, self.concurrency);
                match overload {
                    Overload::Known => return,
                    Overload::TooMany => self.lower_ceiling(now, decisions),
                    Overload::Away => self.ceiling.lift(now),
                }
                self.lower(OVERLOAD, Reason::Overload, Vec::new(), decisions);
            }
            Ending::Contention => {
                if self.brakes.contention(now, began) {
                    self.lower(MILD, Reason::Contention, Vec::new(), decisions);
                }
            }
            Ending::Committed => {
                if let Some(before) = self.brakes.back() {
                    // As after one overload, not after as many as there were while the database was away.
                    let to = part(before, OVERLOAD).min(self.ceiling.within(self.limits().1));
                    self.change(Knob::Concurrency, to.max(self.concurrency), Reason::Recovery, Vec::new(), decisions);
                    self.search.braked();
                    self.restart();
                }
                let Some(part) = self.parts.get_mut(pipeline) else { return };
                if self.brakes.slow(now, began, &part.cost) {
                    let figures = vec![("transaction_milliseconds", part.cost.recent_seconds() * 1000.0)];
                    self.lower(MILD, Reason::Slow, figures, decisions);
                    if let Some(part) = self.parts.get_mut(pipeline) {
                        part.cost.fade(0.2);
                        part.cost.forget_slow();
                    }
                    self.search.shaken(now, 0.4);
                }
            }
            Ending::Other => {}
        }
    }

    /// Ends a stall when a transaction ends: a little less than before, never from the beginning.
    fn resume(&mut self, decisions: &mut Vec<Decision>) {
        self.brakes.stalled = false;
        let (min, _) = self.limits();
        let to = if self.settings.freeze { self.concurrency } else { part(self.concurrency, MILD).max(min) };
        decisions.push(self.decision(Knob::Concurrency, 0, to, Reason::Stall, Vec::new()));
        self.concurrency = to;
        self.search.braked();
        self.restart();
    }

    fn signals(&mut self, signals: &Signals, decisions: &mut Vec<Decision>) {
        if let Some(processes) = signals.processes {
            self.shared_by(processes, decisions);
        }
        if self.settings.freeze {
            return;
        }
        let locked = signals.sessions_locked.is_some_and(|locked| locked > LOCKED * self.inflight as f64);
        // Once is not enough: all who write to a new bucket wait for the first of them.
        if locked && self.locked && self.search.locked(self.seconds(), self.records()) {
            self.come_home(decisions);
        }
        self.locked = locked;
        let now = self.seconds();
        let max = self.limits().1;
        let before = self.ceiling.within(max);
        let rested = self.ceiling.rests();
        let at = match self.search.home() {
            // A trial of more crowds the database by itself.
            Some((Knob::Concurrency, home)) if self.concurrency > home => return,
            Some((Knob::Concurrency, home)) => home,
            _ => self.concurrency,
        };
        if self.ceiling.heed(now, signals, at) {
            let after = self.ceiling.within(max);
            self.rest_changed(rested, Reason::Signal, signals.figures(), decisions);
            if after != before {
                decisions.push(self.decision(Knob::Ceiling, before, after, Reason::Signal, signals.figures()));
            }
            if self.concurrency > after {
                self.come_home(decisions);
                self.lower_to(after, Reason::Signal, Vec::new(), decisions);
            } else if at > after {
                // A trial of fewer cannot return to where it began.
                self.search.braked();
                self.restart();
            }
        }
    }

    fn tick(&mut self, decisions: &mut Vec<Decision>) {
        let now = self.seconds();
        if now - self.fitted >= FIT_EVERY {
            self.fitted = now;
            (0..self.parts.len()).for_each(|pipeline| self.fit_size(pipeline, decisions));
        }
        if self.settings.freeze {
            return;
        }
        self.relax(now, decisions);
        let mix = part::mix(&self.parts);
        if self.brakes.stalls(now, self.inflight, mix.long_seconds) {
            self.come_home(decisions);
            let figures = vec![("long_transaction_milliseconds", mix.long_seconds * 1000.0)];
            decisions.push(self.decision(Knob::Concurrency, self.concurrency, 0, Reason::Stall, figures));
        }
        if self.brakes.stalled {
            return;
        }
        self.look_at_next();
        let cap = self.settings.records_per_second_max;
        let Some(sized) = self.parts.get(self.search.sizing) else { return };
        let around = Around {
            parts: &self.parts,
            mix,
            sizing: self.search.sizing,
            concurrency: self.concurrency,
            records: sized.records,
            concurrency_most: self.ceiling.within(self.limits().1),
            concurrency_least: self.limits().0.max(self.ceiling.floor(self.processes())),
            records_most: sized.most(&self.settings),
            capped_at: if cap == 0 { f64::INFINITY } else { cap as f64 },
            full: sized.batch.mostly_full(),
        };
        if let Some(Step { knob, from, to, reason, figures }) = self.search.tick(now, &around) {
            if to == around.of(knob).0 {
                // A trial whose number stays.
                decisions.push(self.decision(knob, from, to, reason, figures));
            } else {
                self.change(knob, to, reason, figures, decisions);
            }
        }
    }

    /// Raises the ceiling when it is time.
    fn relax(&mut self, now: f64, decisions: &mut Vec<Decision>) {
        let max = self.limits().1;
        let before = self.ceiling.within(max);
        let rested = self.ceiling.rests();
        if self.ceiling.relax(now, max) {
            self.rest_changed(rested, Reason::Recovery, Vec::new(), decisions);
            let after = self.ceiling.within(max);
            if after != before {
                decisions.push(self.decision(Knob::Ceiling, before, after, Reason::Recovery, Vec::new()));
            }
        }
    }

    /// Reports a decision if the one transaction at a time begins or ends resting.
    fn rest_changed(
        &self,
        before: bool,
        reason: Reason,
        figures: Vec<(&'static str, f64)>,
        decisions: &mut Vec<Decision>,
    ) {
        let percent = |rests: bool| if rests { 50 } else { 0 };
        let after = self.ceiling.rests();
        if before != after {
            decisions.push(self.decision(Knob::Rest, percent(before), percent(after), reason, figures));
        }
    }

    fn lower_ceiling(&mut self, now: f64, decisions: &mut Vec<Decision>) {
        let max = self.limits().1;
        let before = self.ceiling.within(max);
        self.ceiling.lower(now, part(self.concurrency, MILD));
        let after = self.ceiling.within(max);
        if after != before {
            decisions.push(self.decision(Knob::Ceiling, before, after, Reason::Overload, Vec::new()));
        }
    }

    /// Brakes: lowers concurrency to this part of itself at once; the search restarts from there.
    fn lower(&mut self, factor: f64, reason: Reason, figures: Vec<(&'static str, f64)>, decisions: &mut Vec<Decision>) {
        let lowered = part(self.concurrency, factor);
        self.come_home(decisions);
        self.lower_to(lowered.min(self.concurrency), reason, figures, decisions);
    }

    fn lower_to(
        &mut self,
        to: usize,
        reason: Reason,
        figures: Vec<(&'static str, f64)>,
        decisions: &mut Vec<Decision>,
    ) {
        let to = self.search.evidence(Knob::Concurrency).rung_below(to);
        self.change(Knob::Concurrency, to, reason, figures, decisions);
        self.search.braked();
        self.restart();
    }

    /// Ends a trial, if there is one.
    fn come_home(&mut self, decisions: &mut Vec<Decision>) {
        if let Some((knob, from)) = self.search.home() {
            self.change(knob, from, Reason::Trial, Vec::new(), decisions);
            self.restart();
        }
    }

    fn restart(&mut self) {
        self.search.restart(self.seconds(), self.concurrency, part::mix(&self.parts));
    }

    /// The size of transactions of the pipeline whose size is looked at.
    fn records(&self) -> usize {
        self.parts.get(self.search.sizing).map_or(1, |part| part.records)
    }

    fn change(
        &mut self,
        knob: Knob,
        to: usize,
        reason: Reason,
        figures: Vec<(&'static str, f64)>,
        decisions: &mut Vec<Decision>,
    ) {
        let (min, max) = self.limits();
        let (from, to) = match self.parts.get_mut(self.search.sizing) {
            Some(part) if knob == Knob::Records => {
                let to = to.clamp(1, part.within(&self.settings).records_max.max(1));
                (std::mem::replace(&mut part.records, to), to)
            }
            _ => {
                let to = to.clamp(min, max);
                (std::mem::replace(&mut self.concurrency, to), to)
            }
        };
        if from != to {
            if knob == Knob::Records
                && let Some(part) = self.parts.get_mut(self.search.sizing)
            {
                part.cost.resized(from, to);
            }
            decisions.push(self.decision(knob, from, to, reason, figures));
        }
    }

    fn decision(
        &self,
        knob: Knob,
        from: usize,
        to: usize,
        reason: Reason,
        figures: Vec<(&'static str, f64)>,
    ) -> Decision {
        let pipeline = (knob == Knob::Records).then_some(self.search.sizing);
        Decision { at: self.now, knob, pipeline, from, to, reason, figures }
    }

    fn seconds(&self) -> f64 {
        self.now.as_secs_f64()
    }
}

/// This part of the concurrency, rounded down, at least 1.
fn part(concurrency: usize, factor: f64) -> usize {
    ladder::nearest((concurrency as f64 * factor).floor()).max(1)
}
