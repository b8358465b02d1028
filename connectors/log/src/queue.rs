//! Chunks waiting for a partition's committer.
//!
//! Its room is bounded by the topic's semaphore, which an append takes before it encodes anything.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Cause;
use crate::lock;
use crate::post::Chunk;

/// Whether appends are accepted.
#[derive(Debug)]
enum Health {
    Well,
    /// Every append fails at once with the cause, until `resume` or, if `since` is given, for `mend_delay` after it.
    Stopped {
        cause: Cause,
        since: Option<Instant>,
    },
    /// Every append fails, for good.
    Ended(Cause),
}

#[derive(Debug)]
struct State {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// The committer sleeps until this many bytes wait.
    wake_bytes: usize,
    /// Several appends shared the last group, so more are likely to come within moments.
    shared: bool,
    health: Health,
    thread: bool,
    closing: bool,
}

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    mend_delay: Option<Duration>,
    linger: Duration,
}

impl Queue {
    pub(crate) fn new(mend_delay: Option<Duration>, linger: Duration) -> Self {
        let state = State {
            chunks: VecDeque::new(),
            bytes: 0,
            wake_bytes: 0,
            shared: false,
            health: Health::Well,
            thread: false,
            closing: false,
        };
        Self { state: Mutex::new(state), arrived: Condvar::new(), mend_delay, linger }
    }

    /// Queues chunks, or fails them at once. Returns true if the caller must start the committer, as the first does.
    pub(crate) fn submit(&self, chunks: Vec<Chunk>) -> bool {
        let mut state = lock(&self.state);
        let refusal = match &state.health {
            _ if state.closing => Some(Cause::Closed),
            Health::Well => None,
            Health::Ended(cause) => Some(cause.clone()),
            Health::Stopped { cause, since } => {
                let retry = self.mend_delay.zip(*since).is_some_and(|(delay, since)| since.elapsed() >= delay);
                (!retry).then(|| cause.clone())
            }
        };
        if let Some(cause) = refusal {
            drop(state);
            fail(chunks, &cause);
            return false;
        }
        state.bytes = chunks.iter().fold(state.bytes, |bytes, chunk| bytes.saturating_add(chunk.raw.len()));
        state.chunks.extend(chunks);
        if state.bytes >= state.wake_bytes {
            self.arrived.notify_one();
        }
        !std::mem::replace(&mut state.thread, true)
    }

    /// Waits for chunks and takes a group of about `bytes_max`, one chunk at least; `None` when closed and empty.
    ///
    /// Chunks that arrive while a group is synced go into the next one. If several appends shared the last group, it
    /// lingers for the others: each sync saved is worth more than the wait. A single append never waits.
    pub(crate) fn take(&self, bytes_max: usize) -> Option<Vec<Chunk>> {
        let mut state = lock(&self.state);
        while state.chunks.is_empty() {
            if state.closing {
                return None;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.shared && !self.linger.is_zero() {
            state.wake_bytes = bytes_max;
            let more = |state: &mut State| !state.closing && state.bytes < bytes_max;
            let waited = self.arrived.wait_timeout_while(state, self.linger, more);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            state.wake_bytes = 0;
        }
        let mut bytes: usize = 0;
        let fits = state.chunks.iter().take_while(|chunk| {
            bytes = bytes.saturating_add(chunk.raw.len());
            bytes <= bytes_max
        });
        let count = fits.count().max(1).min(state.chunks.len());
        let group: Vec<Chunk> = state.chunks.drain(..count).collect();
        state.bytes = state.chunks.iter().map(|chunk| chunk.raw.len()).sum();
        state.shared = group.len() > 1;
        Some(group)
    }

    /// Refuses new appends and fails all that wait. With `retry`, an append after the delay is tried again.
    pub(crate) fn stop(&self, cause: &Cause, retry: bool) {
        let mut state = lock(&self.state);
        if !matches!(state.health, Health::Ended(_)) {
            state.health = Health::Stopped { cause: cause.clone(), since: retry.then(Instant::now) };
        }
        let waiting = std::mem::take(&mut state.chunks);
        state.bytes = 0;
        drop(state);
        fail(waiting, cause);
    }

    /// Accepts appends again.
    pub(crate) fn resume(&self) {
        let mut state = lock(&self.state);
        if matches!(state.health, Health::Stopped { .. }) {
            state.health = Health::Well;
        }
    }

    /// The committer has ended for good: fails all appends.
    pub(crate) fn end(&self, cause: &Cause) {
        let mut state = lock(&self.state);
        state.health = Health::Ended(cause.clone());
        let waiting = std::mem::take(&mut state.chunks);
        state.bytes = 0;
        drop(state);
        fail(waiting, cause);
    }

    /// Refuses new chunks; the committer writes those that wait and ends.
    pub(crate) fn close(&self) {
        lock(&self.state).closing = true;
        self.arrived.notify_all();
    }

    /// Why appends fail at the moment, if they do.
    pub(crate) fn stopped(&self) -> Option<Cause> {
        match &lock(&self.state).health {
            Health::Well => None,
            Health::Stopped { cause, .. } | Health::Ended(cause) => Some(cause.clone()),
        }
    }
}

fn fail(chunks: impl IntoIterator<Item = Chunk>, cause: &Cause) {
    chunks.into_iter().for_each(|chunk| chunk.ticket.fail(cause));
}
