//! Messages from receipt to deletion: bounded, numbered in the order of receipt, kept until they are durable elsewhere.
//!
//! A queue has no positions, so these numbers are this process's own. Messages before the first are deleted or about to
//! be; reading again from a later number returns the same messages.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use millstream_engine::{Position, Record};
use tokio::sync::watch;
use tokio::time::Instant;

use super::client::{BATCH, Message};

/// Bytes of a message besides its text: its entries here and in the index.
const MESSAGE_BYTES: usize = 300;

/// The messages of one queue that this process holds.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    messages_max: usize,
    bytes_max: usize,
    /// Counts arrivals.
    arrived: watch::Sender<u64>,
    /// Counts removals, which make room.
    removed: watch::Sender<u64>,
    /// Counts commits.
    committed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    held: VecDeque<Held>,
    /// The number of the first held message, counted from the start of the process.
    first: u64,
    /// Added to a number, this gives its position.
    shift: u64,
    /// Whether `start` has set the first position.
    is_started: bool,
    /// Where each message is, by its id.
    places: HashMap<Arc<str>, Place>,
    /// Messages that are durable elsewhere and must be deleted.
    done: VecDeque<Done>,
    /// Messages taken from `done` and not yet deleted.
    deleting: usize,
    /// Messages that running polls may still bring.
    reserved: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    message: Message,
    received: Instant,
    /// When its invisibility began.
    visible_from: Instant,
    care: Care,
}

/// What is still done for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    /// It is kept invisible.
    Keep,
    /// It is no longer extended, but deleted once durable: others may receive it.
    LetGo,
    /// It is not even deleted: the stream can never take it, so it is left to the queue's redrive policy.
    Spare,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Held(u64),
    Done,
}

/// A message to be deleted.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    id: Arc<str>,
    pub(crate) handle: Arc<str>,
}

/// A message whose invisibility is to be extended.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    number: u64,
    pub(crate) handle: Arc<str>,
}

/// The first position and the one after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) first: u64,
    pub(crate) end: u64,
}

/// Where reading begins, relative to a stored position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Exactly at the stored position.
    Here,
    /// The tables went back to before deleted messages: this many cannot be read again.
    Behind(u64),
    /// Another process moved the position of this consumer.
    Ahead,
}

/// The right to put `messages` messages.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    inbox: &'a Inbox,
    pub(crate) messages: usize,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut state = self.inbox.lock();
        state.reserved = state.reserved.saturating_sub(self.messages);
        drop(state);
        bump(&self.inbox.removed);
    }
}

impl Inbox {
    /// An empty one with these bounds.
    pub(crate) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Inbox {
            state: Mutex::default(),
            messages_max,
            bytes_max,
            arrived: watch::Sender::new(0),
            removed: watch::Sender::new(0),
            committed: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes with each arrival from now on.
    pub(crate) fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrived.subscribe()
    }

    /// Waits for room for at least one message, up to what one poll may bring.
    pub(crate) async fn room(&self) -> Room<'_> {
        let mut removed = self.removed.subscribe();
        loop {
            if let Some(room) = self.try_room() {
                return room;
            }
            // We hold the sender, so the channel cannot close.
            removed.changed().await.ok();
        }
    }

    fn try_room(&self) -> Option<Room<'_>> {
        let mut state = self.lock();
        let taken = state.held.len() + state.done.len() + state.deleting + state.reserved;
        let messages = self.messages_max.saturating_sub(taken).min(BATCH);
        if messages == 0 || state.bytes >= self.bytes_max {
            return None;
        }
        state.reserved += messages;
        Some(Room { inbox: self, messages })
    }

    /// Puts the messages of a poll, whose invisibility began at `asked` at the earliest. Returns how many were already
    /// here: they keep their number and get the new handle.
    pub(crate) fn put(&self, messages: Vec<Message>, asked: Instant) -> usize {
        let (mut state, mut again) = (self.lock(), 0);
        for message in messages {
            match state.places.get(&message.id).copied() {
                Some(Place::Held(number)) => {
                    again += 1;
                    let first = state.first;
                    if let Some(held) = state.held.get_mut(number.wrapping_sub(first) as usize) {
                        held.message.handle = message.handle;
                        held.received = asked;
                        held.visible_from = asked;
                        if held.care == Care::LetGo {
                            held.care = Care::Keep;
                        }
                    }
                }
                Some(Place::Done) => {
                    again += 1;
                    state.done.push_back(Done { id: message.id, handle: message.handle });
                }
                None => {
                    let number = state.first + state.held.len() as u64;
                    state.places.insert(Arc::clone(&message.id), Place::Held(number));
                    state.bytes += cost(&message);
                    state.held.push_back(Held { message, received: asked, visible_from: asked, care: Care::Keep });
                }
            }
        }
        drop(state);
        bump(&self.arrived);
        bump(&self.committed);
        again
    }

    /// Aligns positions to a stored one. If none is stored, the first call makes them begin at `fresh`. Nothing changes
    /// if the answer is [`Start::Behind`]; see [`Inbox::renumber`].
    pub(crate) fn start(&self, stored: Option<u64>, fresh: u64) -> (Start, Ends) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.is_started, true) {
            state.shift = stored.unwrap_or(fresh).wrapping_sub(state.first);
        }
        let ends = state.ends();
        let Some(stored) = stored else { return (Start::Here, ends) };
        if stored < ends.first {
            return (Start::Behind(ends.first - stored), ends);
        } else if stored > ends.end {
            state.shift = stored.wrapping_sub(state.first);
            return (Start::Ahead, state.ends());
        }
        (Start::Here, state.ends())
    }

    /// Sets the position of the first held message.
    pub(crate) fn renumber(&self, first: u64) {
        let mut state = self.lock();
        state.shift = first.wrapping_sub(state.first);
    }

    /// The position of the first held message, and the one after the last.
    pub(crate) fn ends(&self) -> Ends {
        self.lock().ends()
    }

    /// Messages from a position on, about `bytes_max` but at least one, and the next position. `Err` if the position
    /// does not exist.
    pub(crate) fn read(&self, from: u64, bytes_max: usize) -> Result<(Vec<Record>, u64), Ends> {
        let state = self.lock();
        let ends = state.ends();
        if !(ends.first..=ends.end).contains(&from) {
            return Err(ends);
        }
        let mut records = Vec::new();
        let mut bytes = 0;
        for (held, position) in state.held.iter().skip((from - ends.first) as usize).zip(from..) {
            let record = Record {
                position: Position::Offset(position),
                published_at_ms: held.message.sent_ms,
                key: Bytes::new(),
                headers: Vec::new(),
                payload: held.message.body.clone(),
            };
            bytes += record.cost_bytes();
            if bytes > bytes_max && !records.is_empty() {
                break;
            }
            records.push(record);
        }
        let next = from + records.len() as u64;
        Ok((records, next))
    }

    /// Marks all messages before a position as durable elsewhere: they will be deleted, and cannot be read again.
    pub(crate) fn commit(&self, next: u64) {
        let mut state = self.lock();
        let ends = state.ends();
        let count = next.clamp(ends.first, ends.end) - ends.first;
        for _ in 0..count {
            let Some(held) = state.held.pop_front() else { break };
            state.first += 1;
            state.bytes = state.bytes.saturating_sub(cost(&held.message));
            let Message { id, handle, .. } = held.message;
            if held.care == Care::Spare {
                state.places.remove(&id);
            } else {
                state.places.insert(Arc::clone(&id), Place::Done);
                state.done.push_back(Done { id, handle });
            }
        }
        drop(state);
        bump(&self.removed);
        bump(&self.committed);
    }

    /// Leaves one message to the queue: it is neither kept invisible nor deleted.
    pub(crate) fn spare(&self, position: u64) {
        let mut state = self.lock();
        let index = position.checked_sub(state.ends().first);
        if let Some(held) = index.and_then(|index| state.held.get_mut(index as usize)) {
            held.care = Care::Spare;
        }
    }

    /// Waits for messages to delete, up to what one call takes.
    pub(crate) async fn next_done(&self) -> Vec<Done> {
        let mut committed = self.committed.subscribe();
        loop {
            let done = self.take_done();
            if !done.is_empty() {
                return done;
            }
            // We hold the sender, so the channel cannot close.
            committed.changed().await.ok();
        }
    }

    fn take_done(&self) -> Vec<Done> {
        let mut state = self.lock();
        let count = state.done.len().min(BATCH);
        state.deleting += count;
        state.done.drain(..count).collect()
    }

    /// Forgets messages that were deleted or cannot be.
    pub(crate) fn forget(&self, done: &[Done]) {
        let mut state = self.lock();
        state.deleting = state.deleting.saturating_sub(done.len());
        for done in done {
            if matches!(state.places.get(&done.id), Some(Place::Done)) {
                state.places.remove(&done.id);
            }
        }
        drop(state);
        bump(&self.removed);
    }

    /// Waits until nothing is left to delete.
    pub(crate) async fn all_forgotten(&self) {
        let mut removed = self.removed.subscribe();
        while self.left_to_delete() > 0 {
            removed.changed().await.ok();
        }
    }

    fn left_to_delete(&self) -> usize {
        let state = self.lock();
        state.done.len() + state.deleting
    }

    /// The messages whose invisibility has run for half of `visibility`. Those that would be kept for more than
    /// `age_max` are let go instead; returns how many.
    pub(crate) fn due(&self, now: Instant, visibility: Duration, age_max: Duration) -> (Vec<Due>, usize) {
        let mut due = Vec::new();
        let mut let_go = 0;
        let mut state = self.lock();
        for (held, number) in state.held.iter_mut().enumerate().map(|(index, held)| (held, index as u64)) {
            if held.care != Care::Keep || now.saturating_duration_since(held.visible_from) < visibility / 2 {
                continue;
            }
            if now.saturating_duration_since(held.received) + visibility > age_max {
                held.care = Care::LetGo;
                let_go += 1;
            } else {
                due.push(Due { number, handle: Arc::clone(&held.message.handle) });
            }
        }
        let first = state.first;
        due.iter_mut().for_each(|due| due.number += first);
        (due, let_go)
    }

    /// The invisibility of these messages began anew, at `asked` at the earliest.
    pub(crate) fn extended(&self, due: &[Due], asked: Instant) {
        self.each(due, |held| held.visible_from = asked);
    }

    /// These messages can no longer be kept invisible; returns how many of them are still held.
    pub(crate) fn let_go(&self, due: &[Due]) -> usize {
        self.each(due, |held| held.care = Care::LetGo)
    }

    fn each(&self, due: &[Due], mut change: impl FnMut(&mut Held)) -> usize {
        let mut state = self.lock();
        let first = state.first;
        let mut changed = 0;
        for due in due {
            let Some(index) = due.number.checked_sub(first) else { continue };
            // Another handle means that it was received again meanwhile.
            if let Some(held) = state.held.get_mut(index as usize).filter(|held| held.message.handle == due.handle) {
                change(held);
                changed += 1;
            }
        }
        changed
    }

    /// Lets go of all messages that are kept invisible; returns their handles.
    pub(crate) fn let_all_go(&self) -> Vec<Arc<str>> {
        let mut state = self.lock();
        let kept = state.held.iter_mut().filter(|held| held.care == Care::Keep);
        kept.map(|held| {
            held.care = Care::LetGo;
            Arc::clone(&held.message.handle)
        })
        .collect()
    }

    /// When the oldest held message was sent.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        self.lock().held.iter().map(|held| held.message.sent_ms).min()
    }

    /// The number of held messages, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        let state = self.lock();
        (state.held.len(), state.bytes)
    }
}

impl State {
    fn ends(&self) -> Ends {
        let first = self.first.wrapping_add(self.shift);
        Ends { first, end: first.saturating_add(self.held.len() as u64) }
    }
}

fn cost(message: &Message) -> usize {
    message.body.len() + message.handle.len() + message.id.len() + MESSAGE_BYTES
}

fn bump(count: &watch::Sender<u64>) {
    count.send_modify(|count| *count = count.wrapping_add(1));
}

#[cfg(test)]
mod tests;
