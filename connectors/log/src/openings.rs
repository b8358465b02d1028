//! In which opening of the log a record was written, so that positions of another history are recognised.
//!
//! A directory that was restored from an older copy gives other records the offsets that the original gave after that
//! copy. An offset alone does not show that. Each opening of a topic therefore has a random id, and each partition
//! keeps the id and the first offset of every opening that wrote to it. A reader keeps the id of the opening in which
//! its position was reached ([`Openings::before`]) and asks later whether that still holds ([`Openings::knows`]).
//!
//! An entry is durable before the first record of its opening is written. An opening that writes nothing to a
//! partition leaves no entry there: it added no offsets that could be taken for others. The file is replaced as a
//! whole (written beside, synced, renamed, directory synced), so that a crash leaves the old or the new one.
//!
//! In the file ([`crate::pairs`], `MSO1`) first offsets rise: a new opening removes the entries that begin at or after
//! its own first offset, since none of their records is left.

use std::path::Path;
use std::sync::Mutex;

use crate::error::Fault;
use crate::frame::Place;
use crate::lock;
use crate::pairs::{self, Kind, PAIRS_MAX};
use crate::system::System;

const KIND: Kind = Kind { file_name: "openings", building_name: "~openings", magic: *b"MSO1" };

/// An opening that wrote to the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    id: i64,
    /// The offset of its first record.
    first: u64,
}

/// The openings of a partition that are known, oldest first, with rising first offsets.
///
/// At most [`PAIRS_MAX`]: only openings that wrote to the partition count, and retention removes them with their
/// records. A process that crashes once a minute, each time after an append, needs three days to reach it.
#[derive(Debug)]
pub(crate) struct Openings(Vec<Entry>);

impl Openings {
    /// Damage makes the opening that it hits and all older ones unknown.
    pub(crate) fn read(system: &dyn System, directory: &Path, place: Place) -> Result<Self, Fault> {
        let content = pairs::read(system, directory, place, KIND)?;
        if let Some(byte) = content.damaged_byte {
            tracing::warn!(
                file = %directory.join(KIND.file_name).display(), byte,
                "the openings of the log up to this byte are unknown: positions that were reached in them count as lost"
            );
        }
        let known = content.pairs.iter().skip(content.before_damage);
        Ok(Self(known.map(|(id, first)| Entry { id: id.cast_signed(), first: *first }).collect()))
    }

    /// Whether none is known: nothing was written, it was written by an earlier version, or the file is lost.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every record before this offset existed when the last known opening began to write.
    pub(crate) fn began_at(&self) -> u64 {
        self.0.last().map_or(0, |last| last.first)
    }

    /// Forgets openings of which no record is left.
    pub(crate) fn ends_at(&mut self, end: u64) {
        self.0.retain(|entry| entry.first < end);
    }

    /// The opening that wrote the record before `offset`; `None` where that is not known.
    pub(crate) fn before(&self, offset: u64) -> Option<i64> {
        self.0.iter().rev().find(|entry| entry.first < offset).map(|entry| entry.id)
    }

    /// Whether the opening `id` of this history reached `offset`; `end` is that of the partition.
    pub(crate) fn knows(&self, offset: u64, id: i64, end: u64) -> bool {
        self.reached(id, end).is_some_and(|reached| offset <= reached)
    }

    /// The offset after the last record of the opening `id`, if it is of this history; `end` is that of the partition.
    pub(crate) fn reached(&self, id: i64, end: u64) -> Option<u64> {
        let at = self.0.iter().position(|entry| entry.id == id)?;
        Some(self.0.get(at + 1).map_or(end, |next| next.first))
    }

    /// The entries once the opening `id` writes from `first` on and retention has left `start`.
    fn with(&self, id: i64, first: u64, start: u64) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.0.iter().copied().filter(|entry| entry.first < first).collect();
        entries.push(Entry { id, first });
        // Positions up to the first offset of the next opening belong to an opening.
        let gone = entries.iter().skip(1).take_while(|next| next.first < start).count();
        let over = entries.len().saturating_sub(PAIRS_MAX);
        entries.drain(..gone.max(over));
        entries
    }
}

/// Records durably that the opening `id` writes from the offset `first` on. `start` is the first that retention left.
pub(crate) fn begin(
    openings: &Mutex<Openings>,
    system: &dyn System,
    directory: &Path,
    place: Place,
    id: i64,
    (start, first): (u64, u64),
) -> Result<(), Fault> {
    let entries = lock(openings).with(id, first, start);
    let pairs: Vec<_> = entries.iter().map(|entry| (entry.id.cast_unsigned(), entry.first)).collect();
    pairs::replace(system, directory, place, KIND, &pairs)?;
    lock(openings).0 = entries;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn openings(firsts: &[u64]) -> Openings {
        let entry = |(index, first): (usize, &u64)| Entry { id: index as i64 + 1, first: *first };
        Openings(firsts.iter().enumerate().map(entry).collect())
    }

    #[test]
    fn a_position_belongs_to_the_opening_that_wrote_the_record_before_it() {
        let openings = openings(&[10, 20]);
        let before: Vec<_> = [0, 10, 11, 20, 21, 99].into_iter().map(|offset| openings.before(offset)).collect();
        assert_eq!(before, [None, None, Some(1), Some(1), Some(2), Some(2)]);
    }

    #[test]
    fn an_opening_reaches_as_far_as_the_next_one_begins() {
        let openings = openings(&[10, 20]);
        assert!(openings.knows(20, 1, 30) && !openings.knows(21, 1, 30));
        assert!(openings.knows(30, 2, 30) && !openings.knows(31, 2, 30));
        assert!(!openings.knows(5, 3, 30), "another history");
    }

    #[test]
    fn what_a_new_opening_writes_over_is_forgotten() {
        let entries = openings(&[10, 20, 30]).with(9, 20, 0);
        assert_eq!(entries, [Entry { id: 1, first: 10 }, Entry { id: 9, first: 20 }]);
    }

    #[test]
    fn openings_go_with_their_records_and_beyond_a_number() {
        // The position 20 of the first is still one that a reader may go on from.
        assert_eq!(openings(&[10, 20, 30]).with(9, 40, 20).len(), 4);
        assert_eq!(openings(&[10, 20, 30]).with(9, 40, 21).len(), 3);
        assert_eq!(openings(&[10, 20, 30]).with(9, 40, 40).len(), 2);
        let firsts: Vec<u64> = (0..PAIRS_MAX as u64).collect();
        let entries = openings(&firsts).with(9, 1 << 40, 0);
        assert_eq!((entries.len(), entries[0].first), (PAIRS_MAX, 1));
    }
}
