//! The events of one object in the stream: its key decides the partition, which is read from a time on.

use std::time::{Duration, Instant};

use millstream_connectors::sinks::metadata::STORE_HEADER;
use millstream_log::{ReadError, Record, Topic};
use millstream_schemas::{Decoded, Input, Limits, ObjectEvent, decode};
use serde::{Deserialize, Serialize};

/// Bytes of one read: some hundred records.
const READ_BYTES: usize = 1 << 20;
/// How long to look; whoever asks does not wait for ever.
const SCAN_TIME_MAX: Duration = Duration::from_secs(20);
/// Events of one object that are told; the latest ones.
const SEEN_MAX: usize = 1_000;

/// What the partition of an object was found to hold.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Scan {
    /// Which stream this is.
    pub(crate) incarnation: String,
    pub(crate) partition: u32,
    /// The range that was looked at.
    pub(crate) from: u64,
    pub(crate) end: u64,
    /// Whether time was up before the end of the partition.
    pub(crate) cut: bool,
    /// Whether the partition holds records before that.
    pub(crate) starts_later: bool,
    pub(crate) seen: Vec<Seen>,
    /// Earlier ones that are not told.
    pub(crate) more: u64,
    /// Records in the range that are damaged or were set aside: they may have been of the object.
    #[serde(default)]
    pub(crate) unreadable: u64,
}

/// An event of the object.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Seen {
    pub(crate) position: u64,
    /// Which event of its record.
    pub(crate) index: u32,
    pub(crate) stored_at_ms: i64,
    pub(crate) store: String,
    pub(crate) event: Event,
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub(crate) enum Event {
    /// Something about a version.
    Fact(Fact),
    /// None of ours.
    Filtered { reason: String, name: String },
    /// Not to be understood.
    Refused { reason: String, detail: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Fact {
    pub(crate) version_id: String,
    /// As in `millstream.objects.kind`; 0 describes only.
    pub(crate) kind: i16,
    pub(crate) order_time: i64,
    pub(crate) order_seq: i64,
    pub(crate) etag: String,
    pub(crate) size: Option<i64>,
}

/// Whose events are looked for.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
    pub(crate) store: Option<&'a str>,
    /// The store of records that carry none.
    pub(crate) store_default: &'a str,
    /// How far back to look.
    pub(crate) since: Duration,
}

/// Reads the partition. Blocks.
///
/// # Errors
/// Damage met while the time is looked for, and refusals of the machine.
pub(crate) fn scan(topic: &Topic, wanted: &Wanted<'_>, record_bytes_max: usize) -> Result<Scan, ReadError> {
    let limits = Limits { record_bytes_max, ..Limits::default() };
    let since_ms = i64::try_from(wanted.since.as_millis()).unwrap_or(i64::MAX);
    let since_ms = millstream_engine::run::now_ms().saturating_sub(since_ms);
    let record_key = format!("{}/{}", wanted.bucket, wanted.key);
    let partition = topic.partition_for(record_key.as_bytes());
    let range = topic.range(partition);
    let from = topic.offset_at(partition, since_ms)?;
    let mut scan = Scan {
        incarnation: topic.id().to_owned(),
        partition,
        from,
        end: range.end,
        cut: false,
        starts_later: range.start < from,
        seen: Vec::new(),
        more: 0,
        unreadable: 0,
    };
    let mut next = from;
    let began = Instant::now();
    while next < range.end {
        if began.elapsed() > SCAN_TIME_MAX {
            (scan.end, scan.cut) = (next, true);
            break;
        }
        let read = match topic.read(partition, next, READ_BYTES) {
            Err(ReadError::Damaged(damage)) => {
                scan.unreadable += damage.to.saturating_sub(next);
                next = damage.to;
                continue;
            }
            read => read?,
        };
        if read.next <= next {
            break;
        }
        if read.records.is_empty() {
            // Set aside.
            scan.unreadable += read.next - next;
        }
        for record in read.records.iter().filter(|record| record.key == record_key) {
            events(record, wanted, &limits, &mut scan.seen);
        }
        let over = scan.seen.len().saturating_sub(SEEN_MAX);
        scan.more += scan.seen.drain(..over).count() as u64;
        next = read.next;
    }
    Ok(scan)
}

fn events(record: &Record, wanted: &Wanted<'_>, limits: &Limits, seen: &mut Vec<Seen>) {
    let headers: Vec<(&str, &[u8])> = record.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    let named = headers.iter().find(|(name, _)| *name == STORE_HEADER);
    let store = named.and_then(|(_, value)| std::str::from_utf8(value).ok()).unwrap_or(wanted.store_default);
    if wanted.store.is_some_and(|only| only != store) {
        return;
    }
    let input = Input { payload: &record.payload, headers: &headers, published_at_ms: record.timestamp_ms };
    let mut index = 0;
    decode(input, limits, &mut |decoded| {
        let event = match decoded {
            Decoded::Event(event) if event.bucket == wanted.bucket && event.key == wanted.key => Some(fact(&event)),
            // Another object's, in the same record.
            Decoded::Event(_) => None,
            Decoded::Filtered { reason, name } => {
                Some(Event::Filtered { reason: reason.as_str().to_owned(), name: name.into_owned() })
            }
            Decoded::Refused(refusal) => {
                Some(Event::Refused { reason: refusal.reason.as_str().to_owned(), detail: refusal.detail })
            }
        };
        let (position, stored_at_ms) = (record.offset, record.timestamp_ms);
        seen.extend(event.map(|event| Seen { position, index, stored_at_ms, store: store.to_owned(), event }));
        index += 1;
    });
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
