//! A small file of pairs of numbers, each checked by itself, replaced as a whole.
//!
//! An entry has 32 bytes, little endian: magic (of the kind), CRC-32C of the rest, tag, partition, two numbers. The
//! file is written beside, synced and renamed, and its directory synced: a crash leaves the old one or the new one.

use std::path::Path;

use crate::error::{During, Fault};
use crate::frame::Place;
use crate::system::{File, System};

const ENTRY_BYTES: usize = 32;
/// Most pairs of a file: 128 KiB.
pub(crate) const PAIRS_MAX: usize = 4096;

pub(crate) type Pair = (u64, u64);

/// What the pairs mean.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) file_name: &'static str,
    pub(crate) building_name: &'static str,
    pub(crate) magic: [u8; 4],
}

/// The content of the file: its newest pairs, at most [`PAIRS_MAX`]. None if there is no file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) pairs: Vec<Pair>,
    /// How many of the pairs stood before the last damage.
    pub(crate) before_damage: usize,
    /// Where the last damaged entry begins.
    pub(crate) damaged_byte: Option<usize>,
}

pub(crate) fn read(system: &dyn System, directory: &Path, place: Place, kind: Kind) -> Result<Content, Fault> {
    let path = directory.join(kind.file_name);
    let file = match system.open(&path, false) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Content::default()),
        opened => opened.during("open", &path)?,
    };
    Ok(parse(&bytes(file.as_ref()).during("read", &path)?, place, kind))
}

pub(crate) fn replace(
    system: &dyn System,
    directory: &Path,
    place: Place,
    kind: Kind,
    pairs: &[Pair],
) -> Result<(), Fault> {
    let building = directory.join(kind.building_name);
    let path = directory.join(kind.file_name);
    let file = create_anew(system, &building)?;
    let bytes: Vec<u8> = pairs.iter().flat_map(|pair| entry(*pair, place, kind)).collect();
    file.write_all_at(&bytes, 0).during("write", &building)?;
    file.sync().during("sync", &building)?;
    system.rename(&building, &path).during("rename", &building)?;
    system.sync_dir(directory).during("sync", directory)
}

/// Creates a file in place of one that a failed attempt may have left. The old file is not used again: the system may
/// have reported its error already.
pub(crate) fn create_anew(system: &dyn System, path: &Path) -> Result<Box<dyn File>, Fault> {
    let created = match system.create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            system.remove_file(path).during("remove", path)?;
            system.create(path)
        }
        created => created,
    };
    created.during("create", path)
}

fn entry((first, second): Pair, place: Place, kind: Kind) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    bytes[8..12].copy_from_slice(&place.tag.to_le_bytes());
    bytes[12..16].copy_from_slice(&place.partition.to_le_bytes());
    bytes[16..24].copy_from_slice(&first.to_le_bytes());
    bytes[24..].copy_from_slice(&second.to_le_bytes());
    let check = crc32c::crc32c(&bytes[8..]);
    bytes[..4].copy_from_slice(&kind.magic);
    bytes[4..8].copy_from_slice(&check.to_le_bytes());
    bytes
}

fn parse(bytes: &[u8], place: Place, kind: Kind) -> Content {
    let mut content = Content::default();
    for (index, chunk) in bytes.chunks(ENTRY_BYTES).enumerate() {
        let eight = |at: usize| chunk.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        match eight(16).zip(eight(24)).filter(|pair| entry(*pair, place, kind) == chunk) {
            Some(pair) => content.pairs.push(pair),
            None => {
                content.before_damage = content.pairs.len();
                content.damaged_byte = Some(index * ENTRY_BYTES);
            }
        }
    }
    content
}

/// The newest entries of the file, at most [`PAIRS_MAX`].
fn bytes(file: &dyn File) -> std::io::Result<Vec<u8>> {
    let entry_bytes = ENTRY_BYTES as u64;
    let length = file.length()?;
    let over = length.saturating_sub(PAIRS_MAX as u64 * entry_bytes).next_multiple_of(entry_bytes);
    let mut at = over.min(length);
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

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { tag: 7, partition: 3 };
    const KIND: Kind = Kind { file_name: "x", building_name: "~x", magic: *b"MSX1" };

    #[test]
    fn every_flipped_bit_is_found() {
        let pairs = vec![(1, 10), (2, 20), (3, 30)];
        let bytes: Vec<u8> = pairs.iter().flat_map(|pair| entry(*pair, PLACE, KIND)).collect();
        let whole = Content { pairs: pairs.clone(), before_damage: 0, damaged_byte: None };
        assert_eq!(parse(&bytes, PLACE, KIND), whole);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let content = parse(&flipped, PLACE, KIND);
            let at = bit / 8 / ENTRY_BYTES;
            let others: Vec<Pair> = pairs.iter().copied().filter(|pair| *pair != pairs[at]).collect();
            assert_eq!((content.pairs, content.before_damage, content.damaged_byte), (others, at, Some(at * 32)));
        }
        for length in (0..bytes.len()).filter(|length| length % ENTRY_BYTES != 0) {
            let content = parse(&bytes[..length], PLACE, KIND);
            assert_eq!((content.before_damage, content.pairs.len()), (length / 32, length / 32), "cut to {length}");
        }
    }
}
