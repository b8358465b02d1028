//! The gate in front of one database: every lane of every pipeline of the process asks here for a turn before it
//! writes.
//!
//! It holds the [`Controller`] and tells it what happens, so that the controller needs to know nothing of tasks and
//! clocks. Promises: no more turns at a time than the controller allows; the oldest waiting record first, and still no
//! batch is passed by for ever; a turn, or a place in the queue, that is dropped at any moment is given back; while no
//! transaction is under way one turn can always be had, so no batch waits for ever for what can no longer happen.

mod queue;

mod journal;

mod standing;

pub mod record;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};

pub use journal::{Entry, Tally};
pub use standing::Standing;

use crate::clock::now_ms;
use crate::concurrency::{Controller, Decision, Ending, Event, Knob, Pace, Reason, Settings, Signals, Work};
use crate::limits::Limits;
use journal::Journal;
use queue::Queue;
use record::Recorder;
use standing::Recent;

/// How often the controller is told that time has passed. Longer: a stall is found later.
const TICK: Duration = Duration::from_millis(250);

/// Shared by all lanes of all pipelines of a process that write to one database.
#[derive(Debug)]
pub struct Gate {
    origin: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    controller: Controller,
    settings: Settings,
    /// The settings that it was opened with.
    configured: Settings,
    pace: Pace,
    /// The last ceiling that was decided.
    ceiling: Option<usize>,
    in_flight: usize,
    begun: u64,
    /// No transaction begins before this time, because of a rest.
    rested: Duration,
    queue: Queue,
    ticked: Duration,
    recent: Recent,
    journal: Journal,
    recorder: Option<Recorder>,
    /// A width that replaces the controller's.
    #[cfg(test)]
    held: Option<usize>,
}

/// The state of the gate.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// What limits the process just now.
    pub standing: Standing,
    /// The numbers in force.
    pub pace: Pace,
    /// The most transactions at a time that the database is believed to bear, if that was ever decided.
    pub ceiling: Option<usize>,
    /// Transactions under way.
    pub in_flight: usize,
    /// Batches that are ready and wait for a turn.
    pub waiting: usize,
    /// Transactions begun so far.
    pub begun: u64,
    /// What the operator allows.
    pub settings: Settings,
    /// What the operator allowed when the gate was opened.
    pub configured: Settings,
    /// The fewest and the most transactions at a time of this process: its part, where processes share a bound.
    pub limits: (usize, usize),
    /// Processes known to write to this database, including this one.
    pub processes: usize,
}

impl Gate {
    /// A gate with these limits, open as far as the controller begins.
    pub fn new(settings: Settings) -> Arc<Gate> {
        Gate::recorded(settings, None)
    }

    /// The same, with a recorder of everything that the controller is told and of everything that it decides.
    pub fn recorded(settings: Settings, recorder: Option<Recorder>) -> Arc<Gate> {
        let controller = Controller::new(settings.clone(), Duration::ZERO);
        let mut inner = Inner {
            pace: controller.pace(),
            controller,
            configured: settings.clone(),
            settings,
            ceiling: None,
            in_flight: 0,
            begun: 0,
            rested: Duration::ZERO,
            queue: Queue::default(),
            ticked: Duration::ZERO,
            recent: Recent::default(),
            journal: Journal::default(),
            recorder,
            #[cfg(test)]
            held: None,
        };
        if let Some(recorder) = &mut inner.recorder {
            recorder.settings(Duration::ZERO, &inner.settings);
        }
        Arc::new(Gate { origin: Instant::now(), inner: Mutex::new(inner) })
    }

    /// A gate for one pipeline alone.
    pub fn of(limits: &Limits) -> Arc<Gate> {
        Gate::new(Settings {
            concurrency_min: 1,
            concurrency_max: limits.writers.max(1),
            concurrency_max_together: 0,
            records_max: limits.batch.records_max,
            bytes_max: limits.batch_bytes(),
            freshness: limits.batch.linger * 10 / 7,
            transaction_max: limits.transaction_max,
            records_per_second_max: limits.records_per_second_max,
            freeze: false,
        })
    }

    /// The numbers in force.
    pub fn pace(&self) -> Pace {
        self.lock().pace
    }

    /// How long the oldest record of a lane waits for others; `own` is the lane's share of its own freshness goal. The
    /// controller's goal is that of the pipeline in the greatest hurry: what it takes off that pipeline's share for the
    /// time of transactions is taken off `own`, too.
    pub(crate) fn linger(&self, own: Duration) -> Duration {
        let inner = self.lock();
        let whole = inner.settings.freshness * 7 / 10;
        own.saturating_sub(whole.saturating_sub(inner.pace.linger))
    }

    /// Waits for a turn to write a batch whose oldest record was accepted at `oldest_ms`.
    pub async fn enter(self: &Arc<Self>, oldest_ms: i64, work: Work) -> Turn {
        let (mut place, granted) = {
            let (mut inner, now) = self.now();
            if inner.queue.is_empty() && inner.in_flight < inner.open() {
                inner.in_flight += 1;
                (Place { gate: self, number: Some(queue::NOBODY) }, None)
            } else {
                let (grant, granted) = oneshot::channel();
                let number = inner.queue.join(oldest_ms, grant);
                let waiting = Event::Waiting(inner.queue.len());
                let decided = inner.tell(now, &waiting);
                drop(inner);
                self.log(&decided);
                (Place { gate: self, number: Some(number) }, Some(granted))
            }
        };
        if let Some(granted) = granted {
            // The gate outlives every lane that waits at it, and drops no grant.
            granted.await.ok();
        }
        if let Some(rest) = self.rest() {
            tokio::time::sleep(rest).await;
        }
        place.number = None;
        let mut turn = Turn { gate: Arc::clone(self), began: Duration::ZERO, work, ending: Ending::Other };
        let (mut inner, now) = self.now();
        turn.began = now;
        inner.begun += 1;
        let decided = inner.tell(now, &Event::Begun(work));
        drop(inner);
        self.log(&decided);
        turn
    }

    /// How long no transaction may begin, for the sake of other programs.
    fn rest(&self) -> Option<Duration> {
        let (inner, now) = self.now();
        inner.rested.checked_sub(now).filter(|rest| inner.pace.rests && !rest.is_zero())
    }

    /// Tells the controller what the database reports about itself.
    pub fn signals(&self, signals: Signals) {
        self.tell(&Event::Signals(signals));
    }

    /// Tells the controller repeatedly that time has passed. Any number of pipelines may do so.
    pub(crate) async fn keep_time(&self) -> Infallible {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.tick();
        }
    }

    fn tick(&self) {
        let (mut inner, now) = self.now();
        // Another pipeline has just done so.
        if inner.ticked > Duration::ZERO && now.saturating_sub(inner.ticked) < TICK / 2 {
            return;
        }
        inner.ticked = now;
        let limited = inner.controller.limited();
        inner.recent.said(now, limited);
        let decided = inner.tell(now, &Event::Tick);
        drop(inner);
        self.log(&decided);
    }

    /// Changes what the operator allows, in one step: `change` gets the present settings and those that the gate was
    /// opened with. The result holds at once, until the next change; an error changes nothing. Returns the new settings
    /// if they differ from the old ones.
    ///
    /// # Errors
    /// The error that `change` returns.
    pub fn allow<E>(
        &self,
        change: impl FnOnce(&Settings, &Settings) -> Result<Settings, E>,
    ) -> Result<Option<Settings>, E> {
        let (mut inner, now) = self.now();
        let settings = change(&inner.settings, &inner.configured)?;
        if settings == inner.settings {
            return Ok(None);
        }
        if let Some(recorder) = &mut inner.recorder {
            recorder.settings(now, &settings);
        }
        inner.settings = settings.clone();
        let mut decided = inner.controller.set(now, settings.clone());
        inner.decided(now, &decided);
        decided.extend(inner.grant(now));
        drop(inner);
        self.log(&decided);
        Ok(Some(settings))
    }

    /// The state of the gate.
    pub fn look(&self) -> Look {
        let (inner, now) = self.now();
        let braked = inner.pace.concurrency == 0 || inner.journal.braked_since(now, standing::BRAKE_SHOWN);
        Look {
            standing: inner.recent.standing(inner.settings.freeze, braked, now),
            pace: inner.pace,
            ceiling: inner.ceiling,
            in_flight: inner.in_flight,
            waiting: inner.queue.len(),
            begun: inner.begun,
            settings: inner.settings.clone(),
            configured: inner.configured.clone(),
            limits: inner.controller.limits(),
            processes: inner.controller.processes(),
        }
    }

    /// Up to `limit` of the last decisions, the latest first.
    pub fn decisions(&self, limit: usize) -> Vec<Entry> {
        self.lock().journal.latest(limit)
    }

    /// How often each knob was changed for each reason.
    pub fn tally(&self) -> Tally {
        self.lock().journal.tally().clone()
    }

    /// Notes that a lane waits because of a cap on records per second.
    pub(crate) fn capped(&self) {
        let (mut inner, now) = self.now();
        inner.recent.capped(now);
    }

    fn tell(&self, event: &Event) {
        let (mut inner, now) = self.now();
        let decided = inner.tell(now, event);
        drop(inner);
        self.log(&decided);
    }

    /// A poisoned lock means that the controller panicked; its caller saw the panic, and the turns are still counted.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time is read under the lock, so that the controller sees it go forward.
    fn now(&self) -> (MutexGuard<'_, Inner>, Duration) {
        let inner = self.lock();
        (inner, self.origin.elapsed())
    }

    /// One line for each decision, written after the lock is released. Trials come several times a minute with a
    /// backlog.
    fn log(&self, decided: &[Decision]) {
        for decision in decided {
            let Decision { knob, from, to, reason, .. } = decision;
            let knob = journal::name(knob);
            let is_trial = *reason == Reason::Trial;
            let reason = journal::name(reason);
            let figures = journal::figures(decision);
            if is_trial {
                tracing::debug!(knob, from, to, reason, figures, "the pace is changed");
            } else {
                tracing::info!(knob, from, to, reason, figures, "the pace is changed");
            }
        }
    }
}

impl Inner {
    /// How many turns may be out. At least one while none is out: otherwise nothing could end and open the gate again.
    fn open(&self) -> usize {
        if self.in_flight == 0 { self.pace.concurrency.max(1) } else { self.pace.concurrency }
    }

    /// Tells the controller what happened, and grants the turns that are free because of it.
    fn tell(&mut self, now: Duration, event: &Event) -> Vec<Decision> {
        let mut decided = self.hear(now, event);
        decided.extend(self.grant(now));
        decided
    }

    fn hear(&mut self, now: Duration, event: &Event) -> Vec<Decision> {
        if let Some(recorder) = &mut self.recorder {
            recorder.event(now, event);
        }
        let decided = self.controller.on_event(now, event);
        self.decided(now, &decided);
        decided
    }

    fn decided(&mut self, now: Duration, decided: &[Decision]) {
        self.pace = self.controller.pace();
        #[cfg(test)]
        if let Some(width) = self.held {
            self.pace.concurrency = width;
        }
        for decision in decided {
            if decision.knob == Knob::Ceiling {
                self.ceiling = Some(decision.to);
            }
            if let Some(recorder) = &mut self.recorder {
                recorder.decision(now, decision);
            }
            self.journal.add(now_ms(), now, decision.clone());
        }
    }

    fn grant(&mut self, now: Duration) -> Vec<Decision> {
        let mut decided = Vec::new();
        loop {
            let mut granted = false;
            while self.in_flight < self.open() && self.queue.grant() {
                self.in_flight += 1;
                granted = true;
            }
            if !granted {
                return decided;
            }
            let waiting = Event::Waiting(self.queue.len());
            decided.extend(self.hear(now, &waiting));
        }
    }
}

/// A place in the queue. Dropping it leaves the queue.
struct Place<'a> {
    gate: &'a Gate,
    /// `None` once the waiting lane has its turn.
    number: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let (mut inner, now) = self.gate.now();
        let decided = if inner.queue.leave(number) {
            let waiting = Event::Waiting(inner.queue.len());
            inner.tell(now, &waiting)
        } else {
            // It was granted and nobody came: the next one may have it.
            inner.in_flight = inner.in_flight.saturating_sub(1);
            inner.grant(now)
        };
        drop(inner);
        self.gate.log(&decided);
    }
}

/// Permission to write one batch, once. Dropped without an ending it ends as [`Ending::Other`].
#[must_use = "dropping it gives the turn back"]
#[derive(Debug)]
pub struct Turn {
    gate: Arc<Gate>,
    began: Duration,
    work: Work,
    ending: Ending,
}

impl Turn {
    /// Reports how the attempt ended, and gives the turn back.
    pub fn end(mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (mut inner, now) = self.gate.now();
        inner.in_flight = inner.in_flight.saturating_sub(1);
        if inner.pace.rests {
            inner.rested = now + now.saturating_sub(self.began).min(inner.settings.transaction_max);
        }
        let decided = inner.tell(now, &Event::Ended { began: self.began, work: self.work, ending: self.ending });
        drop(inner);
        self.gate.log(&decided);
    }
}

#[cfg(test)]
mod tests;
