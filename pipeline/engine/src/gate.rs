//! The gate in front of one database: every lane of every pipeline of the process asks here for a turn before it
//! writes.
//!
//! It holds the [`Controller`] and tells it what happens, so that the controller needs to know nothing of tasks and
//! clocks. Each pipeline joins under a number of its own, with its own cost, batch size and freshness goal; how many
//! transactions there are at a time is decided for the database. Promises: no more turns at a time than the controller
//! allows; the record that is due first is next, a backlog of one pipeline does not hold up the fresh records of another
//! for longer than a transaction, and no batch is passed by for ever (the rules are those of `queue`); a turn, or a
//! place in the queue, that is dropped at any moment is given back; while no transaction is under way one turn can
//! always be had, so no batch waits for ever for what can no longer happen.

mod slot;

mod member;

mod queue;

mod journal;

mod standing;

pub mod record;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

pub use journal::{Entry, Tally};
pub use member::{Member, Turn};
pub use standing::Standing;

use crate::clock::now_ms;
use crate::concurrency::{Controller, Decision, Event, Knob, Pace, Reason, Settings, Signals};
use crate::limits::Limits;
use journal::Journal;
use queue::Queue;
use record::Recorder;
use slot::Slot;
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
    /// The numbers in force for the first pipeline. Only the size and the wait of others differ.
    pace: Pace,
    /// The pipelines by number.
    slots: Vec<Slot>,
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
    /// The numbers in force. The size and the wait are those of the first pipeline.
    pub pace: Pace,
    /// The pipelines that have joined.
    pub pipelines: Vec<Joined>,
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

/// The state of one pipeline at the gate.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// Its name.
    pub name: Arc<str>,
    /// The numbers in force for it.
    pub pace: Pace,
    /// Its batches that are ready and wait for a turn.
    pub waiting: usize,
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
            pace: controller.pace(0),
            slots: vec![Slot::first()],
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
            freshness: limits.batch.freshness(),
            transaction_max: limits.transaction_max,
            records_per_second_max: limits.records_per_second_max,
            freeze: false,
        })
    }

    /// The numbers in force.
    pub fn pace(&self) -> Pace {
        self.lock().pace
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
        decided.extend(inner.grant(now, now_ms()));
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
            pipelines: inner.pipelines(),
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
            let Decision { knob, pipeline, from, to, reason, .. } = decision;
            let pipeline = pipeline.and_then(|pipeline| self.lock().name(pipeline));
            let pipeline = pipeline.as_deref();
            let knob = journal::name(knob);
            let is_trial = *reason == Reason::Trial;
            let reason = journal::name(reason);
            let figures = journal::figures(decision);
            if is_trial {
                tracing::debug!(knob, pipeline, from, to, reason, figures, "the pace is changed");
            } else {
                tracing::info!(knob, pipeline, from, to, reason, figures, "the pace is changed");
            }
        }
    }
}

impl Inner {
    /// The name of a pipeline that has joined.
    fn name(&self, pipeline: usize) -> Option<Arc<str>> {
        let slot = self.slots.get(pipeline).filter(|slot| !slot.name.is_empty())?;
        Some(Arc::clone(&slot.name))
    }

    /// The numbers in force for a pipeline.
    fn pace_of(&self, pipeline: usize) -> Pace {
        Pace { concurrency: self.pace.concurrency, ..self.controller.pace(pipeline) }
    }

    fn pipelines(&self) -> Vec<Joined> {
        let taken = self.slots.iter().enumerate().filter(|(_, slot)| slot.taken);
        let joined = |(pipeline, slot): (usize, &Slot)| Joined {
            name: Arc::clone(&slot.name),
            pace: self.pace_of(pipeline),
            waiting: self.queue.waiting(pipeline),
        };
        taken.map(joined).collect()
    }

    /// How many turns may be out. At least one while none is out: otherwise nothing could end and open the gate again.
    fn open(&self) -> usize {
        if self.in_flight == 0 { self.pace.concurrency.max(1) } else { self.pace.concurrency }
    }

    /// Tells the controller what happened, and grants the turns that are free because of it.
    fn tell(&mut self, now: Duration, event: &Event) -> Vec<Decision> {
        let mut decided = self.hear(now, event);
        decided.extend(self.grant(now, now_ms()));
        decided
    }

    fn hear(&mut self, now: Duration, event: &Event) -> Vec<Decision> {
        if let Some(recorder) = &mut self.recorder {
            match event {
                Event::Joined { pipeline, anew, allowance } => {
                    let name = self.slots.get(*pipeline).map(|slot| &*slot.name).unwrap_or_default();
                    recorder.joined(now, name, *pipeline, *anew, allowance);
                }
                event => recorder.event(now, event),
            }
        }
        let decided = self.controller.on_event(now, event);
        self.decided(now, &decided);
        decided
    }

    fn decided(&mut self, now: Duration, decided: &[Decision]) {
        self.pace = self.controller.pace(0);
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
            let name = decision.pipeline.and_then(|pipeline| self.name(pipeline));
            self.journal.add(now_ms(), now, name, decision.clone());
        }
    }

    /// Gives the turns that are free. `time_ms` is the time of day.
    fn grant(&mut self, now: Duration, time_ms: i64) -> Vec<Decision> {
        let mut decided = Vec::new();
        loop {
            let mut granted = false;
            while self.in_flight < self.open() && self.queue.grant(time_ms) {
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

#[cfg(test)]
mod tests;
