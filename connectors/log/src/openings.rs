//! In which opening of the log a record was written, so that positions of another history are told from one's own.
//!
//! A directory that was put back from an older copy goes on at the offsets that the original went on at, with other
//! records. An offset alone does not show that. Each opening of a topic therefore has a random id, and each partition
//! keeps the id and the first offset of every opening that wrote to it. A reader keeps the id of the opening in which
//! its position was reached ([`Openings::before`]) and asks later whether that still holds ([`Openings::knows`]).
//!
//! An entry is durable before the first record of its opening is written. An opening that writes nothing to a
//! partition leaves no entry there: it added no offsets that could be taken for others. The file is replaced as a
//! whole (written beside, synced, renamed, directory synced), so that a crash leaves the old or the new one.
//!
//! `openings` is entries of 32 bytes, oldest first, little endian: `MSO1`, CRC-32C of the rest, tag, partition, id,
//! first offset. First offsets rise: an entry that begins at or after a new one is of records that are no more.

use std::path::Path;
use std::sync::Mutex;

use crate::error::{During, Fault};
use crate::frame::Place;
use crate::lock;
use crate::system::{File, System};

pub(crate) const FILE_NAME: &str = "openings";
const BUILDING_NAME: &str = "~openings";
const ENTRY_BYTES: usize = 32;
/// 128 KiB a partition. Only openings that wrote to the partition count, and retention removes them with their
/// records: a process that crashes once a minute, each time after an append, needs three days to reach it.
const ENTRIES_MAX: usize = 4096;
const MAGIC: [u8; 4] = *b"MSO1";

/// An opening that wrote to the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    id: i64,
    /// The offset of its first record.
    first: u64,
}

/// The openings of a partition that are known, oldest first, with rising first offsets.
#[derive(Debug)]
pub(crate) struct Openings(Vec<Entry>);

impl Openings {
    /// Reads what is known of the records before `end`. Damage makes the opening it hits and all older ones unknown.
    pub(crate) fn read(system: &dyn System, directory: &Path, place: Place, end: u64) -> Result<Self, Fault> {
        let path = directory.join(FILE_NAME);
        let file = match system.open(&path, false) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self(Vec::new())),
            opened => opened.during("open", &path)?,
        };
        let bytes = content(file.as_ref()).during("read", &path)?;
        let (mut entries, damage) = parse(&bytes, place);
        if let Some(byte) = damage {
            tracing::warn!(
                file = %path.display(), byte,
                "the openings before this byte are unknown: positions that were reached in them count as lost"
            );
        }
        entries.retain(|entry| entry.first < end);
        Ok(Self(entries))
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

    /// What is to be known once the opening `id` writes from `first` on, of records from `start` on.
    fn with(&self, id: i64, first: u64, start: u64) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.0.iter().copied().filter(|entry| entry.first < first).collect();
        entries.push(Entry { id, first });
        // Positions up to the first offset of the next opening belong to an opening.
        let gone = entries.iter().skip(1).take_while(|next| next.first < start).count();
        let over = entries.len().saturating_sub(ENTRIES_MAX);
        entries.drain(..gone.max(over));
        entries
    }
}

/// Notes durably that the opening `id` writes from the offset `first` on. `start` is the first that retention has left.
pub(crate) fn begin(
    openings: &Mutex<Openings>,
    system: &dyn System,
    directory: &Path,
    place: Place,
    id: i64,
    (start, first): (u64, u64),
) -> Result<(), Fault> {
    let entries = lock(openings).with(id, first, start);
    let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_bytes(place)).collect();
    let (building, path) = (directory.join(BUILDING_NAME), directory.join(FILE_NAME));
    let file = match system.create(&building) {
        // Left by an attempt that failed. A new file: the old one may have had its error reported already.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            system.remove_file(&building).during("remove", &building)?;
            system.create(&building)
        }
        created => created,
    };
    let file = file.during("create", &building)?;
    file.write_all_at(&bytes, 0).during("write", &building)?;
    file.sync().during("sync", &building)?;
    system.rename(&building, &path).during("rename", &building)?;
    system.sync_dir(directory).during("sync", directory)?;
    lock(openings).0 = entries;
    Ok(())
}

impl Entry {
    fn to_bytes(self, place: Place) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[8..12].copy_from_slice(&place.tag.to_le_bytes());
        bytes[12..16].copy_from_slice(&place.partition.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.id.to_le_bytes());
        bytes[24..].copy_from_slice(&self.first.to_le_bytes());
        let check = crc32c::crc32c(&bytes[8..]);
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8], place: Place) -> Option<Self> {
        let eight = |at: usize| bytes.get(at..at + 8)?.try_into().ok();
        let entry = Self { id: i64::from_le_bytes(eight(16)?), first: u64::from_le_bytes(eight(24)?) };
        (entry.to_bytes(place) == bytes).then_some(entry)
    }
}

/// The newest entries of the file, as many as are kept.
fn content(file: &dyn File) -> std::io::Result<Vec<u8>> {
    let entry_bytes = ENTRY_BYTES as u64;
    let length = file.length()?;
    let mut at = length.saturating_sub(ENTRIES_MAX as u64 * entry_bytes).next_multiple_of(entry_bytes).min(length);
    let mut bytes = vec![0; usize::try_from(length - at).unwrap_or(0)];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(read) => {
                filled += read;
                at += read as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The entries after the last damage, and where that is.
fn parse(bytes: &[u8], place: Place) -> (Vec<Entry>, Option<usize>) {
    let (mut entries, mut damage) = (Vec::<Entry>::new(), None);
    for (index, chunk) in bytes.chunks(ENTRY_BYTES).enumerate() {
        match Entry::parse(chunk, place) {
            Some(entry) if entries.last().is_none_or(|last| last.first < entry.first) => entries.push(entry),
            _ => {
                entries.clear();
                damage = Some(index * ENTRY_BYTES);
            }
        }
    }
    (entries, damage)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { tag: 7, partition: 3 };

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
        let firsts: Vec<u64> = (0..ENTRIES_MAX as u64).collect();
        let entries = openings(&firsts).with(9, 1 << 40, 0);
        assert_eq!((entries.len(), entries[0].first), (ENTRIES_MAX, 1));
    }

    #[test]
    fn damage_makes_its_opening_and_the_older_ones_unknown() {
        let bytes: Vec<u8> = openings(&[10, 20, 30]).0.iter().flat_map(|entry| entry.to_bytes(PLACE)).collect();
        assert_eq!(parse(&bytes, PLACE), (openings(&[10, 20, 30]).0, None));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (entries, damage) = parse(&flipped, PLACE);
            assert_eq!(damage, Some(bit / 8 / ENTRY_BYTES * ENTRY_BYTES));
            assert_eq!(entries, openings(&[10, 20, 30]).0[bit / 8 / ENTRY_BYTES + 1..]);
        }
        for length in (0..bytes.len()).filter(|length| length % ENTRY_BYTES != 0) {
            assert_eq!(parse(&bytes[..length], PLACE).0, [], "cut to {length}");
        }
    }
}
