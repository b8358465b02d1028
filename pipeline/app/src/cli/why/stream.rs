//! The events of one object in the stream, from a time on.
//!
//! A record may hold events of several objects, and its producer chooses its key. So no partition and no key may be
//! left out: every record is decoded, and what counts is the object that each event names.

use std::time::{Duration, Instant};

use millstream_log::{ReadError, Record, Topic};
use millstream_schemas::objects::{Decoded, Entity, ObjectEvent, decode_with_entities};
use millstream_schemas::{Input, Limits, STORE_HEADER};
use serde::{Deserialize, Serialize};

/// Bytes of one read: some hundred records.
const READ_BYTES: usize = 1 << 20;
/// Maximum time of a search; the client does not wait for ever.
const SCAN_TIME_MAX: Duration = Duration::from_secs(20);
/// Maximum number of events returned for one object; the latest ones.
const SEEN_MAX: usize = 1_000;

/// What was found in the stream about an object.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Scan {
    /// The identity of the stream.
    pub(crate) incarnation: String,
    /// The ranges that were searched.
    pub(crate) ranges: Vec<Looked>,
    /// Seconds before now at which the search began.
    pub(crate) since_seconds: u64,
    /// Whether time was up before the end of the stream.
    pub(crate) cut: bool,
    /// Whether the stream holds records from before that time.
    pub(crate) starts_later: bool,
    /// In the order in which they were stored.
    pub(crate) seen: Vec<Seen>,
    /// Number of earlier events that are left out.
    pub(crate) more: u64,
    /// Partitions that could not be read to the end, each with the reason.
    pub(crate) unreadable: Vec<String>,
}

/// A part of one partition.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Looked {
    pub(crate) partition: u32,
    pub(crate) from: u64,
    pub(crate) end: u64,
}

/// An event of the object.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Seen {
    pub(crate) partition: u32,
    pub(crate) position: u64,
    /// Which event of its record.
    pub(crate) index: u32,
    pub(crate) stored_at_ms: i64,
    pub(crate) store: String,
    pub(crate) event: Event,
}

/// The meaning of an event.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub(crate) enum Event {
    /// Something about a version, or about the whole key.
    Fact(Fact),
    /// An event that is filtered.
    Filtered { reason: String, name: String },
    /// An event that cannot be decoded.
    Refused { reason: String, detail: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Fact {
    pub(crate) version_id: String,
    /// As in `millstream.objects.kind`; 0 describes only, 4 removes the key with all its versions.
    pub(crate) kind: i16,
    pub(crate) order_time: i64,
    pub(crate) order_seq: i64,
    pub(crate) etag: String,
    pub(crate) size: Option<i64>,
}

/// What to search for.
pub(crate) struct Wanted<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
    pub(crate) store: Option<&'a str>,
    /// The store of records that carry none.
    pub(crate) store_default: &'a str,
    /// How far back to look.
    pub(crate) since: Duration,
    /// Returns false once nobody waits for the result.
    pub(crate) is_wanted: &'a (dyn Fn() -> bool + Sync),
}

impl std::fmt::Debug for Wanted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wanted").field("bucket", &self.bucket).field("key", &self.key).finish_non_exhaustive()
    }
}

impl Wanted<'_> {
    /// The key of a record of this object alone, as producers of ours make it.
    pub(crate) fn record_key(&self) -> Vec<u8> {
        let mut key = Vec::new();
        Entity { bucket: self.bucket.into(), key: self.key.into() }.append_key(&mut key);
        key
    }

    /// True for an outcome about the object. An outcome that names no object counts for the object of its record's key,
    /// if it is the only outcome of the record.
    pub(crate) fn is_about(&self, entity: &Entity<'_>, record_key: &[u8], outcomes: usize) -> bool {
        if entity.is_unknown() {
            return outcomes == 1 && record_key == self.record_key();
        }
        entity.bucket == self.bucket && entity.key == self.key
    }
}

/// Reads the stream, beginning with the partition where the object's own records are. Blocks.
///
/// # Errors
/// None at present; what cannot be read is named in the answer.
pub(crate) fn scan(topic: &Topic, wanted: &Wanted<'_>, record_bytes_max: usize) -> Result<Scan, ReadError> {
    let limits = Limits { record_bytes_max, ..Limits::default() };
    let since_ms = i64::try_from(wanted.since.as_millis()).unwrap_or(i64::MAX);
    let since_ms = millstream_engine::clock::now_ms().saturating_sub(since_ms);
    let until = Instant::now() + SCAN_TIME_MAX;
    let mut scan =
        Scan { incarnation: topic.id().to_owned(), since_seconds: wanted.since.as_secs(), ..Scan::default() };
    let own = topic.partition_for(&wanted.record_key());
    let others = (0..topic.partitions()).filter(|partition| *partition != own);
    for partition in std::iter::once(own).chain(others) {
        if let Err(error) = scan.partition(topic, partition, since_ms, until, wanted, &limits) {
            scan.unreadable.push(format!("partition {partition}: {error}"));
        }
    }
    scan.keep_latest();
    Ok(scan)
}

impl Scan {
    fn partition(
        &mut self,
        topic: &Topic,
        partition: u32,
        since_ms: i64,
        until: Instant,
        wanted: &Wanted<'_>,
        limits: &Limits,
    ) -> Result<(), ReadError> {
        let range = topic.range(partition);
        let from = topic.offset_at(partition, since_ms)?;
        self.starts_later |= range.start < from;
        let mut next = from;
        let outcome = loop {
            if next >= range.end {
                break Ok(());
            }
            if Instant::now() > until || !(wanted.is_wanted)() {
                self.cut = true;
                break Ok(());
            }
            let read = match topic.read(partition, next, READ_BYTES) {
                Ok(read) if read.next > next => read,
                Ok(_) => break Ok(()),
                Err(ReadError::Damaged(damage)) => {
                    self.unreadable.push(format!("partition {partition}: records {next} to {} are damaged", damage.to));
                    next = damage.to;
                    continue;
                }
                Err(error) => break Err(error),
            };
            if read.records.is_empty() {
                self.unreadable.push(format!("partition {partition}: records {next} to {} were set aside", read.next));
            }
            for record in &read.records {
                self.record(partition, record, wanted, limits);
            }
            if self.seen.len() > 2 * SEEN_MAX {
                self.keep_latest();
            }
            next = read.next;
        };
        self.ranges.push(Looked { partition, from, end: next });
        outcome
    }

    fn record(&mut self, partition: u32, record: &Record, wanted: &Wanted<'_>, limits: &Limits) {
        let headers: Vec<(&str, &[u8])> = record.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let named = headers.iter().find(|(name, _)| *name == STORE_HEADER);
        let store = named.and_then(|(_, value)| std::str::from_utf8(value).ok()).unwrap_or(wanted.store_default);
        if wanted.store.is_some_and(|only| only != store) {
            return;
        }
        let input = Input { payload: &record.payload, headers: &headers, published_at_ms: record.timestamp_ms };
        let begin = self.seen.len();
        let mut index = 0;
        let mut unnamed = None;
        decode_with_entities(input, limits, &mut |decoded, entity| {
            let is_unnamed = entity.is_unknown();
            if is_unnamed || wanted.is_about(&entity, &record.key, usize::MAX) {
                let position = record.offset;
                let stored_at_ms = record.timestamp_ms;
                let event = event(decoded);
                let seen = Seen { partition, position, index, stored_at_ms, store: store.to_owned(), event };
                if is_unnamed { unnamed = Some((entity.into_owned(), seen)) } else { self.seen.push(seen) }
            }
            index += 1;
        });
        if let (Some((entity, seen)), true) = (unnamed, self.seen.len() == begin) {
            self.seen.extend(wanted.is_about(&entity, &record.key, index as usize).then_some(seen));
        }
    }

    fn keep_latest(&mut self) {
        self.seen.sort_by_key(|seen| (seen.stored_at_ms, seen.partition, seen.position, seen.index));
        let over = self.seen.len().saturating_sub(SEEN_MAX);
        self.more += self.seen.drain(..over).count() as u64;
    }
}

fn event(decoded: Decoded<'_>) -> Event {
    match decoded {
        Decoded::Event(event) => fact(&event),
        Decoded::Filtered { reason, name } => {
            Event::Filtered { reason: reason.as_str().to_owned(), name: name.into_owned() }
        }
        Decoded::Refused(refusal) => {
            Event::Refused { reason: refusal.reason.as_str().to_owned(), detail: refusal.detail }
        }
    }
}

fn fact(event: &ObjectEvent<'_>) -> Event {
    Event::Fact(Fact {
        version_id: event.version_id.clone().into_owned(),
        kind: event.effect.code(),
        order_time: event.order.time_key(),
        order_seq: event.order.sequencer_key(),
        etag: event.etag.clone().into_owned(),
        size: event.size,
    })
}
