//! Parts of the columns of every domain: text in one piece of memory, and events that never reach the database.

use std::collections::BTreeMap;

use millstream_engine::Named;
use millstream_engine::decode::Columns;

/// Each row of the quarantine has all bytes of its record. If the rows of one record would exceed this in total, they
/// become one row.
const REPEATED_BYTES_MAX: usize = 16 << 20;

/// The quarantine reason of a record that was kept because its share was paused.
const SHARE_PAUSED: &str = "share_paused";

/// A piece of an [`Arena`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

/// The texts of a batch, one behind the other: no allocation per text.
#[derive(Debug, Default)]
pub struct Arena(Vec<u8>);

impl Arena {
    /// An empty one with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Arena(Vec::with_capacity(bytes))
    }

    /// Adds a text.
    ///
    /// # Panics
    /// Beyond 4 GiB: a batch is a few MiB.
    pub fn push(&mut self, text: &str) -> Span {
        let start = u32::try_from(self.0.len());
        let len = u32::try_from(text.len());
        self.0.extend_from_slice(text.as_bytes());
        match (start, len) {
            (Ok(start), Ok(len)) if start.checked_add(len).is_some() => Span { start, len },
            _ => unreachable!("a batch has less than 4 GiB of text"),
        }
    }

    /// Bytes of all texts.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// The bytes of a span, which must be of this arena.
    pub fn bytes(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        let bytes = self.0.get(start..start + span.len as usize);
        debug_assert!(bytes.is_some(), "a span of another arena");
        bytes.unwrap_or_default()
    }

    /// The text of a span.
    pub fn text(&self, span: Span) -> &str {
        let text = std::str::from_utf8(self.bytes(span));
        debug_assert!(text.is_ok(), "a span that cuts a character");
        text.unwrap_or_default()
    }
}

/// An event that goes to quarantine without asking the database.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The record it came in, as an index into the batch.
    pub record: u32,
    /// Its number within the record; -1 for the record as a whole, or for many of its events.
    pub index: i32,
    /// The number of events that it stands for.
    pub events: u64,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub detail: String,
}

/// The events of a batch that are settled before the database is asked.
#[derive(Debug, Default)]
pub struct Settled {
    /// Events to quarantine.
    pub refused: Vec<Refused>,
    /// Events to filter, by reason.
    pub filtered: BTreeMap<&'static str, u64>,
    /// The names of the filtered events.
    pub named: Named,
}

impl Settled {
    /// Events that go to quarantine.
    pub fn refused_events(&self) -> u64 {
        self.refused.iter().map(|one| one.events).sum()
    }

    /// All events that are settled.
    pub fn events(&self) -> u64 {
        self.refused_events() + self.filtered.values().sum::<u64>()
    }

    /// Filters an event.
    pub fn filter(&mut self, reason: &'static str, name: &str) {
        *self.filtered.entry(reason).or_default() += 1;
        self.named.add(reason, name, 1);
    }

    /// Quarantines a record whose share is paused; it counts as one event.
    pub fn put_aside(&mut self, record: u32) {
        let detail = "its store was paused when it came: it is written when the store is resumed".to_owned();
        self.refused.push(Refused { record, index: -1, events: 1, reason: SHARE_PAUSED, detail });
    }

    /// Merges the refused events of a record, from index `first` on, into one if their rows would repeat its bytes too
    /// often.
    pub fn refuse_together(&mut self, first: usize, payload_bytes: usize) {
        let count = self.refused.len().saturating_sub(first);
        if count < 2 || count.saturating_mul(payload_bytes) <= REPEATED_BYTES_MAX {
            return;
        }
        let events = count as u64;
        let kept = self.refused.drain(first..).next();
        if let Some(Refused { record, index, reason, detail, .. }) = kept {
            let detail = format!("{events} of its events are refused; the first of them, number {index}: {detail}");
            self.refused.push(Refused { record, index: -1, events, reason, detail });
        }
    }
}

/// The columns of a domain.
pub trait Events: Columns {
    /// The events that are already settled.
    fn settled(&self) -> &Settled;

    /// The record of each other event, as an index into the batch, in order.
    fn records(&self) -> impl Iterator<Item = u32>;
}
