//! Chunks waiting for a partition's committer.
//!
//! Its room is bounded by the topic's semaphore, which an append takes before it encodes anything.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Cause;
use crate::lock;
use crate::post::Chunk;

/// Whether appends are taken.
#[derive(Debug)]
enum Health {
    Well,
    /// Every append fails at once with the cause, until mended or, where `since` is given, for a delay after it.
    Stopped {
        cause: Cause,
        since: Option<Instant>,
    },
    /// For good.
    Ended(Cause),
}

#[derive(Debug)]
struct State {
    chunks: VecDeque<Chunk>,
    health: Health,
    thread: bool,
    closing: bool,
}

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    mend_delay: Option<Duration>,
}

impl Queue {
    pub(crate) fn new(mend_delay: Option<Duration>) -> Self {
        let state = State { chunks: VecDeque::new(), health: Health::Well, thread: false, closing: false };
        Self { state: Mutex::new(state), arrived: Condvar::new(), mend_delay }
    }

    /// Takes chunks in, or fails them at once. Returns whether the caller must start the committer: it is the first.
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
        state.chunks.extend(chunks);
        self.arrived.notify_one();
        !std::mem::replace(&mut state.thread, true)
    }

    /// Waits for chunks and takes a group of about `bytes_max`, one chunk at least; `None` when closed and empty.
    pub(crate) fn take(&self, bytes_max: usize) -> Option<Vec<Chunk>> {
        let mut state = lock(&self.state);
        while state.chunks.is_empty() {
            if state.closing {
                return None;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut bytes: usize = 0;
        let fits = state.chunks.iter().take_while(|chunk| {
            bytes = bytes.saturating_add(chunk.raw.len());
            bytes <= bytes_max
        });
        let count = fits.count().max(1);
        Some(state.chunks.drain(..count).collect())
    }

    /// Takes no more appends and fails all that wait. `retry` allows a later append to try again after the delay.
    pub(crate) fn stop(&self, cause: &Cause, retry: bool) {
        let mut state = lock(&self.state);
        if !matches!(state.health, Health::Ended(_)) {
            state.health = Health::Stopped { cause: cause.clone(), since: retry.then(Instant::now) };
        }
        let waiting = std::mem::take(&mut state.chunks);
        drop(state);
        fail(waiting, cause);
    }

    /// Takes appends again.
    pub(crate) fn resume(&self) {
        let mut state = lock(&self.state);
        if matches!(state.health, Health::Stopped { .. }) {
            state.health = Health::Well;
        }
    }

    /// There is no committer any more, and there will be none.
    pub(crate) fn end(&self, cause: &Cause) {
        let mut state = lock(&self.state);
        state.health = Health::Ended(cause.clone());
        let waiting = std::mem::take(&mut state.chunks);
        drop(state);
        fail(waiting, cause);
    }

    /// Takes no more; the committer finishes what waits and leaves.
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
