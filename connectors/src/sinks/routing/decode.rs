//! Decodes records into facts, by the rules of `millstream-schemas`.

use std::sync::Arc;

use millstream_engine::{Decode, Record};
use millstream_schemas::tasks::{Decoded, Sources, decode};
use millstream_schemas::{Input, Limits, STORE_HEADER};

use super::columns::{Columns, Event};
use crate::sinks::tables::columns::Refused;

/// Decodes events of tasks of every dialect.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// The source of records that name none: from the configuration, never from the payload.
    pub source: String,
    /// Who may emit what.
    pub sources: Arc<Sources>,
    /// Input limits.
    pub limits: Limits,
}

impl Decode for Decoder {
    type Columns = Columns;

    fn share<'a>(&'a self, record: &'a Record) -> &'a str {
        let is_known = |name: &&str| self.sources.get(name).is_some();
        named(record).filter(is_known).unwrap_or(&self.source)
    }

    fn decode(&self, records: &[Record], aside: &[bool]) -> Columns {
        let mut columns = Columns::default();
        for (number, record) in records.iter().enumerate() {
            let is_aside = aside.get(number).copied().unwrap_or_default();
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            if is_aside {
                columns.settled.put_aside(number);
                continue;
            }
            let headers: Vec<(&str, &[u8])> = record.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
            let source = self.sources.get(named(record).unwrap_or(&self.source));
            let input = Input { payload: &record.payload, headers: &headers, published_at_ms: record.published_at_ms };
            let mut index = 0;
            let first_refused = columns.settled.refused.len();
            decode(input, source, &self.limits, &mut |decoded| {
                columns.push(number, index, decoded);
                index += 1;
            });
            columns.settled.refuse_together(first_refused, record.payload.len());
        }
        columns
    }
}

impl Columns {
    fn push(&mut self, record: u32, index: i32, decoded: Decoded) {
        match decoded {
            Decoded::Event(event) => self.events.push(Event { record, event: *event }),
            Decoded::Filtered { reason, name } => self.settled.filter(reason.as_str(), &name),
            Decoded::Refused(refusal) => self.settled.refused.push(Refused {
                record,
                index,
                events: 1,
                reason: refusal.reason.as_str(),
                detail: refusal.detail,
            }),
        }
    }
}

/// The source that the header of a record names.
fn named(record: &Record) -> Option<&str> {
    let header = record.headers.iter().find(|(name, _)| &**name == STORE_HEADER)?;
    std::str::from_utf8(&header.1).ok()
}
