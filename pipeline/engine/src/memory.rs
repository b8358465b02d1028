//! The memory for records, shared by the pipelines of a process.
//!
//! What one pipeline does not use another may. Promises: all together hold no more than the budget, but for the records
//! that one fetch brings beyond what was asked for; each pipeline can always have its equal part, however much another
//! holds: a quarter of it at once, because that is never lent, and the rest as the records of the others are written. A
//! pipeline that cannot write gives back what it has beyond its part, so it locks nobody out.
//!
//! Each is left twice as much as it held lately, up to its part, so that it can grow without waiting. Nothing else is
//! set aside for one that holds little.
//!
//! A lane may fill its queues with a quarter of the memory over all lanes. While a batch is written it is in memory
//! about three times: as records, as columns and as what is sent. So an eighth over all lanes may be in a batch, which
//! leaves a quarter and more of the memory for the process itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// This part of a pipeline's equal part is never lent. Smaller: a pipeline that wakes begins with smaller batches.
/// Larger: more memory lies idle.
const RESERVE: usize = 4;

/// For this long a pipeline counts as holding the most that it held. Shorter: others take what is free between two of
/// its batches, and it waits for that to come back. Longer: what it does not use any more lies idle.
const LATELY: Duration = Duration::from_secs(10);

/// The memory of a lane's queues, and of a batch, is this part of the memory over all lanes.
const QUEUES: usize = 4;
const BATCH: usize = 8;

/// How much of what a batch is measured to weigh is forgotten with each batch that weighs less.
const LIGHTER: f64 = 0.1;

/// The memory of a process for the records of its pipelines.
#[derive(Debug)]
pub struct Budget {
    bytes: usize,
    /// What each pipeline holds, as part of `bytes`; `None` where none is.
    held: Mutex<Vec<Option<Held>>>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    now: usize,
    /// The most that it held lately, and when that was.
    most: usize,
    at: Instant,
}

impl Held {
    fn new() -> Self {
        Held { now: 0, most: 0, at: Instant::now() }
    }

    fn change(&mut self, before: usize, after: usize) {
        self.now = self.now.saturating_sub(before).saturating_add(after);
        if self.now >= self.most || self.at.elapsed() > LATELY {
            self.most = self.now;
            self.at = Instant::now();
        }
    }

    fn lately(&self) -> usize {
        if self.at.elapsed() > LATELY { self.now } else { self.most }
    }
}

impl Budget {
    /// A budget of this many bytes.
    pub fn new(bytes: usize) -> Arc<Budget> {
        Arc::new(Budget { bytes, held: Mutex::default() })
    }

    /// All of it, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets a pipeline in, until the result is dropped.
    pub(crate) fn join(self: &Arc<Self>) -> Arc<Memory> {
        let mut held = self.lock();
        let pipeline = held.iter().position(Option::is_none).unwrap_or(held.len());
        match held.get_mut(pipeline) {
            Some(place) => *place = Some(Held::new()),
            None => held.push(Some(Held::new())),
        }
        drop(held);
        Arc::new(Memory { budget: Arc::clone(self), pipeline })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory of one pipeline.
#[derive(Debug)]
pub(crate) struct Memory {
    budget: Arc<Budget>,
    pipeline: usize,
}

impl Memory {
    /// What it may hold now, and its equal part.
    fn bytes(&self) -> (usize, usize) {
        let all = self.budget.bytes;
        let held = self.budget.lock();
        let part = all / held.iter().flatten().count().max(1);
        let reserve = part / RESERVE;
        let others = held.iter().enumerate().filter(|(pipeline, _)| *pipeline != self.pipeline);
        let left = |held: &Held| held.lately().saturating_mul(2).clamp(reserve, part).max(held.now);
        let others = others.filter_map(|(_, held)| held.as_ref()).map(left).fold(0, usize::saturating_add);
        (all.saturating_sub(others).max(reserve), part)
    }

    fn changed(&self, before: usize, after: usize) {
        if let Some(Some(held)) = self.budget.lock().get_mut(self.pipeline) {
            held.change(before, after);
        }
    }

    /// The memory of one of its `lanes`.
    pub(crate) fn lane(self: &Arc<Self>, lanes: usize) -> LaneMemory {
        LaneMemory {
            pipeline: Arc::clone(self),
            lanes: lanes.max(1),
            queued: 0,
            writing: 0,
            held: 0,
            times: 1.0,
            is_stuck: false,
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(held) = self.budget.lock().get_mut(self.pipeline) {
            *held = None;
        }
    }
}

/// The memory of one lane.
#[derive(Debug)]
pub(crate) struct LaneMemory {
    pipeline: Arc<Memory>,
    lanes: usize,
    /// Bytes in its queues.
    queued: usize,
    /// Bytes of the batch that is written, in all its forms.
    writing: usize,
    /// What both are as part of the budget.
    held: usize,
    /// How many times as much as its records a batch weighs unpacked: 1 at least.
    times: f64,
    /// Whether it cannot write: then it takes no more than its part.
    is_stuck: bool,
}

impl LaneMemory {
    fn share(&self) -> usize {
        let (bytes, part) = self.pipeline.bytes();
        (if self.is_stuck { bytes.min(part) } else { bytes }) / self.lanes
    }

    /// Bytes of records that its queues may hold now.
    pub(crate) fn queue_bytes(&self) -> usize {
        self.share() / QUEUES
    }

    /// Bytes of records that its next batch may hold: no more than `bytes_max` when they are unpacked, as far as the
    /// batches before tell.
    pub(crate) fn batch_bytes(&self, bytes_max: usize) -> usize {
        let most = bytes_max.min(self.share() / BATCH);
        if self.times > 1.0 { (most as f64 / self.times) as usize } else { most }
    }

    /// Its queues hold this many bytes.
    pub(crate) fn queued(&mut self, bytes: usize) {
        self.queued = bytes;
        self.tell();
    }

    /// It writes a batch of this many bytes of records, which are `unpacked` bytes when they are decoded.
    pub(crate) fn writing(&mut self, bytes: usize, unpacked: usize) {
        let unpacked = unpacked.max(bytes);
        let times = unpacked as f64 / bytes.max(1) as f64;
        self.times = times.max(self.times + LIGHTER * (times - self.times)).max(1.0);
        self.writing = bytes.saturating_add(unpacked.saturating_mul(2));
        self.tell();
    }

    /// The batch is written, or is no longer to be.
    pub(crate) fn wrote(&mut self) {
        self.writing = 0;
        self.tell();
    }

    /// Whether it cannot write for now.
    pub(crate) fn stuck(&mut self, is_stuck: bool) {
        self.is_stuck = is_stuck;
    }

    /// Full queues and full batches are five eighths of the budget, which leaves the rest for the process itself.
    fn tell(&mut self) {
        let before = self.held;
        self.held = self.queued.saturating_add(self.writing).saturating_mul(8) / 5;
        self.pipeline.changed(before, self.held);
    }
}

impl Drop for LaneMemory {
    fn drop(&mut self) {
        self.pipeline.changed(self.held, 0);
    }
}

#[cfg(test)]
mod tests;
