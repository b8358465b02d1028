//! The mark: how much of a partition is known to be durable, kept beside the segments.
//!
//! A torn last group and rot in the last group look alike in the segment alone. The mark tells them apart: it is
//! written after each sync and before the acknowledgement, so all that it covers was durable. It is not synced itself:
//! an old or missing mark is no error, it only proves less. A kill does not lose it; a power cut may.
//!
//! 40 bytes, little endian: `MSM2`, CRC-32C of the rest, tag, partition, base offset of the segment, durable length,
//! the offset after the last durable record. `MSM1`, of earlier versions, is 32 bytes and lacks the last.

use std::path::Path;

use crate::error::{During, Fault};
use crate::frame::Place;
use crate::system::{File, System};

pub(crate) const FILE_NAME: &str = "mark";
pub(crate) const MARK_BYTES: usize = 40;
const MAGIC: [u8; 4] = *b"MSM2";
const EARLIER_BYTES: usize = 32;
const EARLIER_MAGIC: [u8; 4] = *b"MSM1";

/// A lower bound of what is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) segment: u64,
    pub(crate) length: u64,
    /// `None` from earlier versions.
    pub(crate) end: Option<u64>,
}

impl Mark {
    /// The mark in a partition's directory; `None` if there is no valid one.
    pub(crate) fn read(file: &dyn File, directory: &Path, place: Place) -> Result<Option<Self>, Fault> {
        let mut bytes = [0; MARK_BYTES];
        let read = file.read_at(&mut bytes, 0).during("read", &directory.join(FILE_NAME))?;
        Ok(Self::parse(&bytes, read, place))
    }

    /// The mark in the first `read` bytes; `None` if it is not valid.
    pub(crate) fn parse(bytes: &[u8; MARK_BYTES], read: usize, place: Place) -> Option<Self> {
        let eight = |at: usize| bytes[at..at + 8].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        let segment = eight(16);
        let length = eight(24);
        let of_this = Self { segment, length, end: Some(eight(32)) };
        let of_earlier = Self { segment, length, end: None };
        let believed = [(of_this, MARK_BYTES), (of_earlier, EARLIER_BYTES)]
            .into_iter()
            .find(|(mark, wanted)| read >= *wanted && mark.to_bytes(place).get(..*wanted) == bytes.get(..*wanted));
        believed.map(|(mark, _)| mark)
    }

    pub(crate) fn write(self, file: &dyn File, place: Place) -> std::io::Result<()> {
        file.write_all_at(&self.to_bytes(place), 0)
    }

    pub(crate) fn to_bytes(self, place: Place) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        bytes[8..12].copy_from_slice(&place.tag.to_le_bytes());
        bytes[12..16].copy_from_slice(&place.partition.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.segment.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.length.to_le_bytes());
        let (magic, checked) = match self.end {
            Some(end) => {
                bytes[32..].copy_from_slice(&end.to_le_bytes());
                (MAGIC, MARK_BYTES)
            }
            None => (EARLIER_MAGIC, EARLIER_BYTES),
        };
        let check = crc32c::crc32c(&bytes[8..checked]);
        bytes[..4].copy_from_slice(&magic);
        bytes[4..8].copy_from_slice(&check.to_le_bytes());
        bytes
    }
}

/// Opens a partition's mark, or creates it.
pub(crate) fn open(system: &dyn System, directory: &Path) -> Result<Box<dyn File>, Fault> {
    let path = directory.join(FILE_NAME);
    match system.open(&path, true) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => system.create(&path).during("create", &path),
        opened => opened.during("open", &path),
    }
}
