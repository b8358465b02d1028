//! A pipeline at the gate, and the turns of its lanes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::slot::Slot;
use super::{Gate, queue};
use crate::clock::now_ms;
use crate::concurrency::{Allowance, Ending, Event, Pace, Work};
use crate::limits::BatchLimits;

/// A pipeline that writes to the database of a gate. Dropping it leaves; what was learnt of the pipeline is kept for
/// when one of the same name joins again, or until another one takes its place.
#[derive(Debug)]
pub struct Member {
    gate: Arc<Gate>,
    pipeline: usize,
}

impl Gate {
    /// Lets a pipeline in, with how old its records may become and what it may put into a transaction. The result gives
    /// it turns. A name that a pipeline of this gate has already is no error: then each has a place of its own.
    pub fn join(self: &Arc<Self>, name: &str, freshness: Duration, batch: &BatchLimits) -> Member {
        let (mut inner, now) = self.now();
        let free = |name: &str| inner.slots.iter().position(|slot| !slot.taken && &*slot.name == name);
        // The first place is nobody's before.
        let place = free(name).or_else(|| free(""));
        let anew = place.is_none();
        let other = inner.slots.iter().position(|slot| !slot.taken);
        let pipeline = place.or(other).unwrap_or(inner.slots.len());
        let slot = Slot { name: Arc::from(name), taken: true, freshness: Some(freshness) };
        match inner.slots.get_mut(pipeline) {
            Some(before) => *before = slot,
            None => inner.slots.push(slot),
        }
        inner.queue.goal(pipeline, freshness);
        let allowance =
            Allowance { records_max: batch.records_max, bytes_max: batch.bytes_max, freshness: Some(freshness) };
        let decided = inner.tell(now, &Event::Joined { pipeline, anew, allowance });
        drop(inner);
        self.log(&decided);
        Member { gate: Arc::clone(self), pipeline }
    }

    pub(super) async fn enter(self: &Arc<Self>, pipeline: usize, oldest_ms: i64, work: Work) -> Turn {
        let (mut place, granted) = {
            let (mut inner, now) = self.now();
            if inner.queue.is_empty() && inner.in_flight < inner.open() {
                inner.in_flight += 1;
                inner.queue.begin(pipeline);
                (Place { gate: self, pipeline, number: Some(queue::NOBODY) }, None)
            } else {
                let (grant, granted) = oneshot::channel();
                let number = inner.queue.join(pipeline, oldest_ms, grant);
                let waiting = Event::Waiting(inner.queue.len());
                let decided = inner.tell(now, &waiting);
                drop(inner);
                self.log(&decided);
                (Place { gate: self, pipeline, number: Some(number) }, Some(granted))
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
}

impl Member {
    /// Waits for a turn to write a batch whose oldest record was accepted at `oldest_ms`.
    pub async fn enter(&self, oldest_ms: i64, work: Work) -> Turn {
        self.gate.enter(self.pipeline, oldest_ms, Work { pipeline: self.pipeline, ..work }).await
    }

    /// The numbers in force for this pipeline.
    pub fn pace(&self) -> Pace {
        self.gate.lock().pace_of(self.pipeline)
    }

    /// The gate where it is.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// How long the oldest record of a lane waits for others; `own` is the lane's share of the freshness goal. What the
    /// controller takes off that share for the time of transactions is taken off `own`.
    pub(crate) fn linger(&self, own: Duration) -> Duration {
        let inner = self.gate.lock();
        let goal = inner.slots.get(self.pipeline).and_then(|slot| slot.freshness).unwrap_or(inner.settings.freshness);
        let whole = goal * 7 / 10;
        own.saturating_sub(whole.saturating_sub(inner.pace_of(self.pipeline).linger))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(slot) = self.gate.lock().slots.get_mut(self.pipeline) {
            slot.taken = false;
        }
    }
}

/// A place in the queue. Dropping it leaves the queue.
struct Place<'a> {
    gate: &'a Gate,
    pipeline: usize,
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
            inner.queue.end(self.pipeline, Duration::ZERO);
            inner.grant(now, now_ms())
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
        let took = now.saturating_sub(self.began);
        inner.in_flight = inner.in_flight.saturating_sub(1);
        inner.queue.end(self.work.pipeline, took);
        if inner.pace.rests {
            inner.rested = now + took.min(inner.settings.transaction_max);
        }
        let decided = inner.tell(now, &Event::Ended { began: self.began, work: self.work, ending: self.ending });
        drop(inner);
        self.gate.log(&decided);
    }
}
