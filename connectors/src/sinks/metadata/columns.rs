//! The events of a batch as columns over one arena of text: no allocation per event.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_engine::Named;
use millstream_engine::decode::Columns as EngineColumns;

/// A piece of the arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

/// One event. Text is in the arena of its [`Columns`].
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The record it came in, as an index into the batch.
    pub record: u32,
    /// Its number within the record.
    pub index: u16,
    /// Index into [`Columns::stores`].
    pub store: u16,
    /// Effect code: 0 describes only, 1 create, 2 marker, 3 delete.
    pub kind: i16,
    /// Whether it deletes every row of its key; then `kind` is 3 and `version` is empty.
    pub removes_key: bool,
    /// How far the order can be trusted.
    pub order_class: i16,
    /// Bucket name.
    pub bucket: Span,
    /// Object key.
    pub key: Span,
    /// Version id; empty when unversioned.
    pub version: Span,
    /// Entity tag; empty when unknown.
    pub etag: Span,
    /// Time of the facts, order-preserving.
    pub order_time: i64,
    /// Emitter's number, order-preserving.
    pub order_seq: i64,
    /// Bytes, if known.
    pub size: Option<i64>,
    /// What it says beyond facts.
    pub description: Option<DescriptionRow>,
}

/// Content type, metadata and tags of an event, with a hash that tells two of equal order apart.
#[derive(Clone, Copy, Debug)]
pub struct DescriptionRow {
    /// Time of the description, order-preserving.
    pub time: i64,
    /// Emitter's number, order-preserving.
    pub seq: i64,
    /// Hash of the three texts.
    pub hash: i64,
    /// MIME type.
    pub content_type: Option<Span>,
    /// JSON object.
    pub metadata: Option<Span>,
    /// JSON object.
    pub tags: Option<Span>,
}

/// An event that goes to quarantine without asking the database.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The record it came in.
    pub record: u32,
    /// Its number within the record; -1 for the record as a whole, or for many of its events.
    pub index: i32,
    /// The events that it stands for.
    pub events: u64,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub detail: String,
}

/// The decoded events of a batch.
#[derive(Debug, Default)]
pub struct Columns {
    pub(super) arena: Vec<u8>,
    /// Where objects live; few, so events hold an index.
    pub stores: Vec<Arc<str>>,
    /// Events to write.
    pub rows: Vec<Row>,
    /// Events to filter, by reason.
    pub filtered: BTreeMap<&'static str, u64>,
    /// The names of those.
    pub named: Named,
    /// Events to quarantine.
    pub refused: Vec<Refused>,
}

impl Columns {
    /// The bytes of a span; a span of another arena reads as empty.
    pub fn bytes(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        self.arena.get(start..start + span.len as usize).unwrap_or_default()
    }

    /// The text of a span.
    pub fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.bytes(span)).unwrap_or_default()
    }

    /// Where an object lives.
    pub fn store(&self, row: &Row) -> &str {
        self.stores.get(usize::from(row.store)).map_or("", |store| store)
    }

    /// What rows are sorted and folded by: the order of the key index, which is also the order of row locks.
    pub(super) fn key(&self, row: &Row) -> (&[u8], &[u8], &str, &[u8]) {
        (self.bytes(row.bucket), self.bytes(row.key), self.store(row), self.bytes(row.version))
    }

    pub(super) fn push_text(&mut self, text: &str) -> Span {
        let start = self.arena.len();
        self.arena.extend_from_slice(text.as_bytes());
        // A batch is a few MiB; one beyond 4 GiB would read as empty text rather than as another's.
        match (u32::try_from(start), u32::try_from(text.len())) {
            (Ok(start), Ok(len)) => Span { start, len },
            _ => Span::default(),
        }
    }

    /// Events that go to quarantine without asking the database.
    pub(super) fn refused_events(&self) -> u64 {
        self.refused.iter().map(|one| one.events).sum()
    }

    pub(super) fn store_index(&mut self, store: &str) -> u16 {
        let known = self.stores.iter().position(|known| &**known == store);
        let index = known.unwrap_or_else(|| {
            self.stores.push(store.into());
            self.stores.len() - 1
        });
        u16::try_from(index).unwrap_or(u16::MAX)
    }
}

impl EngineColumns for Columns {
    fn events(&self) -> usize {
        self.rows.len() + (self.refused_events() + self.filtered.values().sum::<u64>()) as usize
    }
}
