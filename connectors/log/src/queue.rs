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
    bytes: usize,
    /// The committer is left asleep until this many bytes wait.
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
        state.bytes = chunks.iter().fold(state.bytes, |bytes, chunk| bytes.saturating_add(chunk.raw.len()));
        state.chunks.extend(chunks);
        if state.bytes >= state.wake_bytes {
            self.arrived.notify_one();
        }
        !std::mem::replace(&mut state.thread, true)
    }

    /// Waits for chunks and takes a group of about `bytes_max`, one chunk at least; `None` when closed and empty.
    ///
    /// Whatever arrives while the last group is being synced goes into the next. Where several appends shared the last
    /// group, it lingers for the others: each sync saved is worth more than the wait. One alone is never kept waiting.
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

    /// Takes no more appends and fails all that wait. `retry` allows a later append to try again after the delay.
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
        state.bytes = 0;
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
