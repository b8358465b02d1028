//! What a record holds: entries of streams, or nothing, or what cannot be understood.

use std::fmt;

use super::entry::{ENTRY_BYTES_MAX, Entry, Flags};
use super::key::Place;
use super::packed::Line;
use super::time::Time;
use crate::refusal::{Refusal, RefusalReason};

/// Entries of a record: in memory each takes a hundred bytes, also those of empty lines.
pub const ENTRIES_MAX: usize = 1 << 18;

/// Refuses a record with too many entries.
pub(super) fn check(entries: usize) -> Result<(), Refusal> {
    if entries <= ENTRIES_MAX {
        return Ok(());
    }
    Err(Refusal::new(RefusalReason::TooManyEvents, format!("more than {ENTRIES_MAX} entries in one record")))
}

/// The entries of one stream in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The name of the stream.
    pub stream: String,
    /// The account that the payload names. It never decides alone which store the stream belongs to.
    pub owner: Option<String>,
    /// In the order of the record; none if the origin sent none.
    pub entries: Vec<Entry>,
}

/// What a record holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// Entries, by stream; most dialects have one stream in a record.
    Entries(Vec<Part>),
    /// Nothing is wrong with it, and it has no entries.
    Filtered(FilterReason),
    /// It cannot be understood.
    Refused(Refusal),
}

/// Why a record or an entry is filtered although nothing is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FilterReason {
    /// CloudWatch asks whether the destination can be reached.
    ControlMessage,
    /// A kind of message of CloudWatch that has no log events.
    UnsupportedKind,
    /// The same entry stands in the same batch.
    Duplicate,
    /// It is older than its store keeps.
    Expired,
}

impl FilterReason {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::ControlMessage, Self::UnsupportedKind, Self::Duplicate, Self::Expired];

    /// The stable name, in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ControlMessage => "control_message",
            Self::UnsupportedKind => "unsupported_kind",
            Self::Duplicate => "duplicate",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for FilterReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The entries of a line: one, or open ones and a last one if it is too long. `first` is the index of the first.
pub(super) fn entries_of(line: Line, time: Time, place: Place, first: u64) -> impl Iterator<Item = Entry> {
    let (clock, said) = time.marks();
    let flags = line.flags.and(clock);
    let extra = said.or(line.extra);
    let parts = line.text.len().div_ceil(ENTRY_BYTES_MAX).max(1);
    (0..parts).map(move |part| {
        let start = part * ENTRY_BYTES_MAX;
        let end = line.text.len().min(start + ENTRY_BYTES_MAX);
        Entry {
            key: place.key(time.ns(), first + part as u64),
            text: line.text.slice(start..end),
            flags: if part + 1 < parts { flags.and(Flags::OPEN) } else { flags },
            extra: extra.clone().filter(|_| part == 0),
        }
    })
}
