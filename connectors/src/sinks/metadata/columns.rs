//! The events of a batch as columns over one arena of text: no allocation per event.

use std::sync::Arc;

use millstream_engine::decode::Columns as EngineColumns;

use crate::sinks::tables::columns::{Arena, Events, Settled, Span};

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
    /// How reliable the order is.
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
    /// Its description, if it has one.
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

/// The decoded events of a batch.
#[derive(Debug, Default)]
pub struct Columns {
    pub(super) arena: Arena,
    /// Where objects live; few, so events hold an index.
    pub stores: Vec<Arc<str>>,
    /// Events to write.
    pub rows: Vec<Row>,
    /// Events that are settled already.
    pub settled: Settled,
}

impl Columns {
    /// The bytes of a span.
    pub fn bytes(&self, span: Span) -> &[u8] {
        self.arena.bytes(span)
    }

    /// The text of a span.
    pub fn text(&self, span: Span) -> &str {
        self.arena.text(span)
    }

    /// Where an object lives.
    pub fn store(&self, row: &Row) -> &str {
        let store = self.stores.get(usize::from(row.store));
        debug_assert!(store.is_some(), "a row of another batch");
        store.map_or("", |store| store)
    }

    /// The key to sort and fold rows by: the order of the key index, which is also the order of row locks.
    pub(super) fn key(&self, row: &Row) -> (&[u8], &[u8], &str, &[u8]) {
        (self.bytes(row.bucket), self.bytes(row.key), self.store(row), self.bytes(row.version))
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
        self.rows.len() + self.settled.events() as usize
    }

    fn unpacked_bytes(&self) -> usize {
        self.arena.size() + self.rows.len() * size_of::<Row>()
    }
}

impl Events for Columns {
    fn settled(&self) -> &Settled {
        &self.settled
    }

    fn records(&self) -> impl Iterator<Item = u32> {
        self.rows.iter().map(|row| row.record)
    }
}
