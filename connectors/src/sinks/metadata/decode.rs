//! Decodes records into columns, by the rules of `millstream-schemas`.

use millstream_engine::{Decode, Record};
use millstream_schemas::objects::{Decoded, Description, Effect, ObjectEvent, decode};
use millstream_schemas::{Input, Limits, STORE_HEADER};
use xxhash_rust::xxh3::Xxh3Default;

use super::columns::{Columns, DescriptionRow, Row};
use crate::sinks::tables::columns::{Arena, Refused};

/// Names of stores are far shorter; a longer one does not fit into an index.
const STORE_BYTES_MAX: usize = 255;

/// Decodes object events of every dialect.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// The store of records that carry none: from the configuration, never from the payload.
    pub store: String,
    /// Input limits.
    pub limits: Limits,
}

impl Decode for Decoder {
    type Columns = Columns;

    /// The store of the header if it is a valid name; otherwise the pipeline's own, so that the row can be written.
    fn share<'a>(&'a self, record: &'a Record) -> &'a str {
        let is_name = |name: &&str| (1..=STORE_BYTES_MAX).contains(&name.len()) && !name.contains('\0');
        named(record).filter(is_name).unwrap_or(&self.store)
    }

    fn decode(&self, records: &[Record], aside: &[bool]) -> Columns {
        let mut columns = Columns {
            arena: Arena::with_capacity(records.iter().map(|record| record.payload.len() / 2).sum()),
            rows: Vec::with_capacity(records.len()),
            ..Columns::default()
        };
        let mut headers: Vec<(&str, &[u8])> = Vec::new();
        for (number, record) in records.iter().enumerate() {
            let is_aside = aside.get(number).copied().unwrap_or_default();
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            if is_aside {
                columns.settled.put_aside(number);
                continue;
            }
            headers.clear();
            headers.extend(record.headers.iter().map(|(name, value)| (&**name, &**value)));
            let store = columns.store_index(named(record).unwrap_or(&self.store));
            let mut index = 0u16;
            let first_refused = columns.settled.refused.len();
            let input = Input { payload: &record.payload, headers: &headers, published_at_ms: record.published_at_ms };
            decode(input, &self.limits, &mut |decoded| {
                columns.push(number, index, store, decoded);
                index = index.saturating_add(1);
            });
            columns.settled.refuse_together(first_refused, record.payload.len());
        }
        columns
    }
}

/// The store that the header of a record names.
fn named(record: &Record) -> Option<&str> {
    let header = record.headers.iter().find(|(name, _)| &**name == STORE_HEADER)?;
    std::str::from_utf8(&header.1).ok()
}

impl Columns {
    fn push(&mut self, record: u32, index: u16, store: u16, decoded: Decoded<'_>) {
        match decoded {
            Decoded::Event(event) => self.push_event(record, index, store, &event),
            Decoded::Filtered { reason, name } => {
                self.settled.filter(reason.as_str(), &name);
            }
            Decoded::Refused(refusal) => {
                let reason = refusal.reason.as_str();
                let detail = refusal.detail;
                self.settled.refused.push(Refused { record, index: index.into(), events: 1, reason, detail });
            }
        }
    }

    fn push_event(&mut self, record: u32, index: u16, store: u16, event: &ObjectEvent<'_>) {
        let order_time = event.order.time_key();
        let order_seq = event.order.sequencer_key();
        let description = event.description.as_ref().map(|description| DescriptionRow {
            time: order_time,
            seq: order_seq,
            hash: hash(description),
            content_type: description.content_type.as_ref().map(|text| self.arena.push(text)),
            metadata: description.metadata.as_ref().map(|text| self.arena.push(text)),
            tags: description.tags.as_ref().map(|text| self.arena.push(text)),
        });
        let row = Row {
            record,
            index,
            store,
            // A removal of the whole key is a deletion of each of its rows; the row without a version keeps it.
            kind: event.effect.code().min(Effect::Delete.code()),
            removes_key: event.effect == Effect::RemoveKey,
            order_class: event.order.class as i16,
            bucket: self.arena.push(&event.bucket),
            key: self.arena.push(&event.key),
            version: self.arena.push(&event.version_id),
            etag: self.arena.push(&event.etag),
            order_time,
            order_seq,
            size: event.size,
            description,
        };
        self.rows.push(row);
    }
}

/// Equal texts hash equal on every build and machine: the hash is stored.
fn hash(description: &Description<'_>) -> i64 {
    let mut hash = Xxh3Default::new();
    for text in [&description.content_type, &description.metadata, &description.tags] {
        match text {
            Some(text) => {
                hash.update(&(text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
            None => hash.update(&u64::MAX.to_le_bytes()),
        }
    }
    hash.digest() as i64
}
