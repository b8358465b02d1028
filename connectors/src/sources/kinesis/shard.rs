//! Reads one shard: an iterator, one call at a time, and its records until a lane takes them.
//!
//! All state here is a cache. It is matched by position with what a lane wants, so that a loss, or another wanted
//! position, costs a call and never a record. A call runs in its own task: a fetch that is dropped leaves it running,
//! and the next fetch finds the answer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_engine::clock::now_ms;
use millstream_engine::{Partition, Position, Record, RecordBatch, SourceError, Want, task};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::pace::Pace;
use super::place::Place;
use super::stream::{Stream, by_kind};
use crate::kinesis::aggregate;
use crate::kinesis::client::{Page, Start, Stored};
use crate::kinesis::failure::{Failure, Kind};

/// Iterators older than this are not used: Kinesis expires them after five minutes.
const ITERATOR_MAX: Duration = Duration::from_secs(270);

/// How long a shard may refuse calls before its lane gets an error: a busy shard often refuses for less.
const REFUSED_MAX: Duration = Duration::from_secs(30);

/// After this many empty answers at the newest end, a record that an iterator was opened at is gone.
const EMPTY_MAX: u32 = 3;

/// Calls within which the record to begin with must appear.
const START_CALLS: u32 = 20;

/// Bytes to read when checking for that record; the first fetch returns them.
const START_BYTES: usize = 256 << 10;

/// Maximum records in one call; Kinesis allows no more.
const RECORDS_MAX: usize = 10_000;

/// Assumed bytes of a record before the first. Smaller: the first call may return more than requested.
const RECORD_BYTES: usize = 1_024;

/// A shard that this process reads.
#[derive(Debug)]
pub(super) struct Shard {
    partition: Partition,
    stream: Arc<Stream>,
    /// The hash range of its keys: only these of an aggregate are its own.
    hashes: Option<(u128, u128)>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    cursor: Option<Cursor>,
    reading: Option<JoinHandle<()>>,
    outcome: Option<Outcome>,
    tip: Option<Tip>,
    /// The place where nothing comes, and since when.
    waiting: Option<(Place, i64)>,
    /// Estimated bytes of a stored record.
    record_bytes: usize,
}

/// An iterator that continues at a position.
#[derive(Clone, Debug)]
struct Cursor {
    at: Position,
    iterator: String,
    made: Instant,
    empty: u32,
}

/// The result of a call, until it is taken.
#[derive(Debug)]
struct Outcome {
    from: Position,
    result: Result<Read, SourceError>,
}

/// Consecutive records that were read and not returned yet.
#[derive(Debug, Default)]
struct Read {
    records: VecDeque<Record>,
    next: Option<Position>,
}

/// Where the last answer ended, and how far that is behind the newest record.
#[derive(Debug)]
struct Tip {
    place: Place,
    behind_ms: i64,
}

impl Shard {
    pub(super) fn new(partition: Partition, stream: Arc<Stream>) -> Self {
        let state = State {
            pace: Pace::new(stream.reads_per_second),
            cursor: None,
            reading: None,
            outcome: None,
            tip: None,
            waiting: None,
            record_bytes: RECORD_BYTES,
        };
        Shard { hashes: stream.hashes(&partition), partition, stream, state: Mutex::new(state) }
    }

    /// Checks that reading can continue from a position, as far as Kinesis shows that.
    pub(super) async fn start(&self, from: &Position) -> Result<(), SourceError> {
        match self.understand(from)? {
            Place::End => Ok(()),
            // Only reading a record shows whether it exists.
            Place::At { .. } => {
                for _ in 0..START_CALLS {
                    if let Some(read) = self.read(from, START_BYTES).await? {
                        self.state().outcome = Some(Outcome { from: from.clone(), result: Ok(read) });
                        return Ok(());
                    }
                }
                Err(SourceError::Unavailable("the shard does not show the record to begin with".into()))
            }
            place => match self.open(from, &place).await? {
                Some(cursor) => {
                    self.state().cursor = Some(cursor);
                    Ok(())
                }
                None => Err(SourceError::Unavailable("the shard refuses calls as too many".into())),
            },
        }
    }

    /// The records read from the wanted position, up to the wanted bytes.
    pub(super) fn take(&self, want: &Want) -> Option<RecordBatch> {
        let mut state = self.state();
        let outcome = state.outcome.take_if(|outcome| outcome.from == want.from && outcome.result.is_ok())?;
        let Ok(mut read) = outcome.result else { return None };
        let mut records = Vec::new();
        let mut bytes = 0;
        while let Some(record) = read.records.pop_front() {
            bytes += record.cost_bytes();
            if bytes > want.bytes_max && !records.is_empty() {
                read.records.push_front(record);
                break;
            }
            records.push(record);
        }
        let next = match read.records.front().map(|record| record.position.clone()) {
            Some(from) => {
                state.outcome = Some(Outcome { from: from.clone(), result: Ok(read) });
                from
            }
            None => read.next?,
        };
        Some(RecordBatch { partition: self.partition.clone(), records, next })
    }

    /// Why nothing could be read from the wanted position. Returned once.
    pub(super) fn fault(&self, want: &Want) -> Option<SourceError> {
        let mut state = self.state();
        let outcome = state.outcome.take_if(|outcome| outcome.from == want.from && outcome.result.is_err())?;
        outcome.result.err()
    }

    /// Starts a read at the wanted position, unless a call is under way; its answer calls [`Stream::changed`].
    pub(super) fn ask(self: &Arc<Self>, want: &Want) {
        let mut state = self.state();
        let is_known = state.outcome.as_ref().is_some_and(|outcome| outcome.from == want.from);
        let is_busy = state.reading.as_ref().is_some_and(|reading| !reading.is_finished());
        if is_known || is_busy || matches!(Place::of(&want.from), Some(Place::End)) {
            return;
        }
        state.outcome = None;
        let shard = Arc::clone(self);
        let from = want.from.clone();
        let bytes_max = want.bytes_max;
        state.reading = Some(task::spawn("read a shard", async move {
            let result = shard.read(&from, bytes_max).await.transpose();
            let mut state = shard.state();
            state.reading = None;
            state.outcome = result.map(|result| Outcome { from, result });
            drop(state);
            shard.stream.changed();
        }));
    }

    /// Clears the cached state.
    pub(super) fn forget(&self) {
        let mut state = self.state();
        if let Some(reading) = state.reading.take() {
            reading.abort();
        }
        state.cursor = None;
        state.outcome = None;
        state.tip = None;
    }

    /// The estimated number of records left, if the last answer shows it: 0 only if none were left.
    pub(super) fn lag_records(&self, next: &Position) -> Option<u64> {
        let place = Place::of(next)?;
        let state = self.state();
        let read = state.outcome.as_ref().filter(|outcome| outcome.from == *next);
        let read = read.and_then(|outcome| outcome.result.as_ref().ok()).map_or(0, |read| read.records.len());
        match place {
            Place::End => Some(0),
            _ if read > 0 => Some(read as u64),
            Place::At { .. } => Some(1),
            place => state.tip.as_ref().filter(|tip| tip.place.is(&place)).map(|tip| u64::from(tip.behind_ms > 0)),
        }
    }

    /// Milliseconds from the end of the last answer to the newest record.
    pub(super) fn lag_ms(&self) -> Option<i64> {
        self.state().tip.as_ref().map(|tip| tip.behind_ms)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn understand(&self, from: &Position) -> Result<Place, SourceError> {
        let unknown = || SourceError::Broken(format!("{from} is no position in a shard").into());
        Place::of(from).ok_or_else(unknown)
    }

    /// One call for records. `None` if there were none, or the call was refused as one too many.
    async fn read(&self, from: &Position, bytes_max: usize) -> Result<Option<Read>, SourceError> {
        let place = self.understand(from)?;
        let kept = self.state().cursor.take();
        // An iterator that retention has passed would begin with what is left, without a word.
        let is_good = |cursor: &Cursor| {
            cursor.at == *from && cursor.made.elapsed() < ITERATOR_MAX && self.stream.is_covered(&place)
        };
        let cursor = match kept.filter(is_good) {
            Some(cursor) => cursor,
            None => match self.open(from, &place).await? {
                Some(cursor) => cursor,
                None => return Ok(None),
            },
        };
        let limit = (bytes_max / self.state().record_bytes).clamp(1, RECORDS_MAX);
        self.turn().await;
        let began_ms = now_ms();
        match self.stream.client.records(&cursor.iterator, limit as i32).await {
            Ok(page) => self.accept(from, place, cursor, page, began_ms),
            // A new iterator continues from the same position. If that is gone, opening one fails.
            Err(failure) if failure.kind == Kind::Expired => Ok(None),
            Err(failure) if failure.kind == Kind::Missing => self.refused(failure),
            Err(failure) => {
                self.state().cursor = Some(cursor);
                self.failed(failure)
            }
        }
    }

    /// Waits until the next call may be made.
    async fn turn(&self) {
        let at = self.state().pace.next_call();
        tokio::time::sleep_until(at).await;
    }

    /// An iterator that begins at a place; `None` if the call was refused as one too many.
    async fn open(&self, from: &Position, place: &Place) -> Result<Option<Cursor>, SourceError> {
        let start = match place {
            Place::Oldest { .. } | Place::End => Start::Oldest,
            Place::At { sequence, .. } => Start::At(sequence),
            Place::After { sequence, .. } => Start::After(sequence),
        };
        self.stream.is_lately_the_same().await?;
        if !self.stream.is_covered(place) && !self.is_still_there(place).await? {
            let reason =
                "it was not read for longer than the stream keeps records, and what came meanwhile may be lost";
            return Err(self.gap(from, &Place::Oldest { seen_ms: None }, reason));
        }
        self.turn().await;
        match self.stream.client.iterator(self.partition.as_str(), start).await {
            Ok(iterator) => Ok(Some(Cursor { at: from.clone(), iterator, made: Instant::now(), empty: 0 })),
            Err(failure) if failure.kind == Kind::Missing => Err(self.missing(from, start, failure).await),
            Err(failure) => self.failed(failure),
        }
    }

    /// Whether the record before a place still exists: then nothing after it is lost.
    async fn is_still_there(&self, place: &Place) -> Result<bool, SourceError> {
        let Some(sequence) = place.sequence() else { return Ok(false) };
        let client = &self.stream.client;
        self.turn().await;
        let mut iterator = match client.iterator(self.partition.as_str(), Start::At(sequence)).await {
            Ok(iterator) => iterator,
            Err(failure) if failure.kind == Kind::Missing => return Ok(false),
            Err(failure) => return Err(by_kind(failure)),
        };
        for _ in 0..START_CALLS {
            self.turn().await;
            let page = client.records(&iterator, 1).await.map_err(by_kind)?;
            match (page.records.first(), page.next) {
                (Some(first), _) => return Ok(first.sequence == sequence),
                (None, Some(next)) if page.behind_ms > 0 => iterator = next,
                (None, _) => return Ok(false),
            }
        }
        Err(SourceError::Unavailable("the shard does not show the record that was read last".into()))
    }

    /// Turns an answer into records, and keeps where the next one begins.
    fn accept(
        &self,
        from: &Position,
        place: Place,
        cursor: Cursor,
        page: Page,
        began_ms: i64,
    ) -> Result<Option<Read>, SourceError> {
        let empty = if page.records.is_empty() && page.behind_ms == 0 { cursor.empty + 1 } else { 0 };
        if let Place::At { sequence, .. } = &place {
            let is_gone = match page.records.first() {
                Some(first) => first.sequence != *sequence,
                None => empty >= EMPTY_MAX || page.next.is_none(),
            };
            if is_gone {
                let reason = "retention has removed the record to go on with";
                return Err(self.gap(from, &Place::Oldest { seen_ms: None }, reason));
            }
        }
        let read_until_ms = began_ms.saturating_sub(page.behind_ms);
        let mut state = self.state();
        let next = match (&page.next, page.records.last()) {
            (None, _) => Some(Place::End),
            (Some(_), Some(last)) => {
                Some(Place::After { sequence: last.sequence.clone(), seen_ms: Some(read_until_ms) })
            }
            (Some(_), None) => state.quiet_mark(&place, read_until_ms, self.stream.quiet_ms()),
        };
        if next == Some(Place::End) {
            self.stream.relist.notify_one();
        }
        let at = next.as_ref().map_or_else(|| from.clone(), Place::position);
        state.tip = Some(Tip { place: next.clone().unwrap_or_else(|| place.clone()), behind_ms: page.behind_ms });
        state.cursor = page.next.map(|iterator| Cursor { at: at.clone(), iterator, made: Instant::now(), empty });
        let records = self.records(&place, page.records, &mut state.record_bytes);
        if next.is_none() && page.behind_ms == 0 {
            state.pace.rest()
        } else {
            state.pace.answered()
        }
        Ok(next.map(|_| Read { records, next: Some(at) }))
    }

    /// The records of users in stored ones, from a place on.
    fn records(&self, place: &Place, stored: Vec<Stored>, record_bytes: &mut usize) -> VecDeque<Record> {
        let mut records = VecDeque::new();
        let count = stored.len();
        for (at, stored) in stored.into_iter().enumerate() {
            let position = |number| Place::At { sequence: stored.sequence.clone(), number }.position();
            let Some(users) = aggregate::split(&stored.data) else {
                let published_at_ms = stored.arrived_ms;
                let key = stored.key;
                let payload = stored.data;
                let headers = Vec::new();
                records.push_back(Record { position: position(None), published_at_ms, key, headers, payload });
                continue;
            };
            let from = match place {
                Place::At { number: Some(number), .. } if at == 0 => *number,
                _ => 0,
            };
            for (number, user) in (0u32..).zip(users).skip(from as usize) {
                // The aggregate was put before the shard was divided: its producer puts the other records again.
                if self.hashes.is_none_or(|(first, last)| (first..=last).contains(&user.hash)) {
                    records.push_back(Record {
                        position: position(Some(number)),
                        published_at_ms: stored.arrived_ms,
                        key: user.key,
                        headers: user.headers,
                        payload: user.data,
                    });
                }
            }
        }
        let bytes: usize = records.iter().map(Record::cost_bytes).sum();
        if let Some(each) = bytes.checked_div(count) {
            *record_bytes = (*record_bytes).midpoint(each).max(1);
        }
        records
    }

    /// Handles a failed call; `None` if the next one may succeed.
    fn failed<T>(&self, failure: Failure) -> Result<Option<T>, SourceError> {
        match failure.kind {
            Kind::Throttled => self.refused(failure),
            Kind::Expired => Ok(None),
            Kind::Away | Kind::Missing | Kind::Broken => Err(by_kind(failure)),
        }
    }

    /// Handles a refused call; an error if calls have been refused for [`REFUSED_MAX`].
    fn refused<T>(&self, failure: Failure) -> Result<Option<T>, SourceError> {
        let lasted = self.state().pace.refused();
        tracing::debug!(shard = %self.partition, code = failure.code, lasted_s = lasted.as_secs(), "a call was refused");
        if lasted < REFUSED_MAX { Ok(None) } else { Err(SourceError::Unavailable(failure.into())) }
    }

    /// Finds out what is missing: the stream, the shard, or only the position.
    async fn missing(&self, from: &Position, start: Start<'_>, failure: Failure) -> SourceError {
        if let Err(error) = self.stream.is_the_same().await {
            return error;
        }
        self.turn().await;
        match self.stream.client.iterator(self.partition.as_str(), Start::Oldest).await {
            Ok(_) if start == Start::Oldest => SourceError::Unavailable(failure.into()),
            Ok(_) => self.gap(from, &Place::Oldest { seen_ms: None }, "the shard does not have this position"),
            Err(failure) if failure.kind == Kind::Missing => {
                self.gap(from, &Place::End, "the stream no longer has this shard")
            }
            Err(failure) => by_kind(failure),
        }
    }

    fn gap(&self, stored: &Position, start: &Place, reason: &'static str) -> SourceError {
        let partition = self.partition.clone();
        let stored = stored.clone();
        let start = start.position();
        SourceError::Gap { partition, stored, start, end: Position::Sequence("newest".into()), reason: reason.into() }
    }
}

impl State {
    /// The same place with a newer time, if nothing came there for so long that storing it pays.
    fn quiet_mark(&mut self, place: &Place, until_ms: i64, quiet_ms: i64) -> Option<Place> {
        let since_ms = match &self.waiting {
            Some((waiting, since_ms)) if waiting == place => *since_ms,
            _ => {
                self.waiting = Some((place.clone(), until_ms));
                until_ms
            }
        };
        let known_ms = place.seen_ms().unwrap_or(since_ms);
        let is_due = until_ms.saturating_sub(known_ms) >= quiet_ms && !matches!(place, Place::At { .. } | Place::End);
        is_due.then(|| place.clone().seen_at(until_ms))
    }
}
