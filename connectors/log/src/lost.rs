//! When all segments of a partition, or its whole directory, are gone, the partition begins anew above every offset
//! that it ever gave, and remembers that the records before were lost.
//!
//! So a reader of a lost record finds its position before the start, however far the partition has grown, and takes no
//! new record for an old one. The last offset is known from the partition's mark and openings, if they are left, and
//! from the copy of its mark in [`crate::marks`]. Without any of them, it begins at an offset that was never used.
//!
//! `lost` ([`crate::pairs`], `MSL1`) has 0 and the offset at which the partition began anew, or nothing once a person
//! has given these records up. It counts while the record at that offset is the oldest: later, retention would have
//! removed the lost records, too.

use std::io::ErrorKind;
use std::path::Path;

use crate::error::{During, Fault};
use crate::frame::Place;
use crate::pairs::{self, Kind};
use crate::recover::Witnesses;
use crate::segment_path;
use crate::system::System;
use crate::writer::Settings;

const KIND: Kind = Kind { file_name: "lost", building_name: "~lost", magic: *b"MSL1" };
/// More records than any partition gets; still exact as a number in JSON.
const NEVER_REACHED: u64 = 1 << 50;

/// The recorded offset at which a partition began anew.
pub(crate) fn read(system: &dyn System, directory: &Path, place: Place) -> Result<Option<u64>, Fault> {
    let content = pairs::read(system, directory, place, KIND)?;
    if let Some(byte) = content.damaged_byte {
        let file = directory.join(KIND.file_name);
        tracing::warn!(file = %file.display(), byte, "where the partition began anew after a loss is not known any more");
    }
    Ok(content.pairs.last().map(|(_, to)| *to))
}

/// Records that a person gave the lost records up.
pub(crate) fn forget(system: &dyn System, directory: &Path, place: Place) -> Result<(), Fault> {
    pairs::replace(system, directory, place, KIND, &[])
}

/// Makes a partition's directory again if it is gone.
pub(crate) fn make_directory(system: &dyn System, directory: &Path) -> Result<(), Fault> {
    match system.list(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        listed => return listed.map(drop).during("list", directory),
    }
    tracing::error!(directory = %directory.display(), "the directory of a partition is missing, it is made again");
    system.create_dir(directory).during("create", directory)?;
    directory.parent().map_or(Ok(()), |topic| system.sync_dir(topic).during("sync", topic))
}

/// Creates a segment for a partition that lost all of its own, above their offsets. Returns its first offset.
pub(crate) fn begin_anew(settings: &Settings, witnesses: Witnesses, has_openings: bool) -> Result<u64, Fault> {
    let Settings { system, directory, place, marks, .. } = settings;
    let system = system.as_ref();
    let witnessed = Some(witnesses.end()).filter(|end| *end > 0);
    let base = match marks.end(*place).max(witnessed) {
        Some(0) => 0,
        Some(end) if has_openings => end,
        // Marks are not synced, so there may have been more records. The openings are lost, too, so reading must not
        // continue from a position at `end`.
        Some(end) => end.saturating_add(1),
        None => unheard_of(system.now_ms()),
    };
    if base == 0 {
        tracing::warn!(
            directory = %directory.display(),
            "every file of the partition is missing: it begins anew, nothing had been written to it"
        );
    } else {
        tracing::error!(
            directory = %directory.display(), offset = base,
            "every segment is missing: if this directory is a copy, copy it again, else all records before this offset are lost"
        );
        pairs::replace(system, directory, *place, KIND, &[(0, base)])?;
    }
    let path = segment_path(directory, base);
    system.create(&path).during("create", &path)?;
    system.sync_dir(directory).during("sync", directory)?;
    Ok(base)
}

/// An offset that the partition never reached and never began anew at: microseconds since 1970, if the clock is right.
fn unheard_of(now_ms: i64) -> u64 {
    u64::try_from(now_ms).unwrap_or(0).saturating_mul(1_000).max(NEVER_REACHED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_end_is_passed_whatever_the_clock_says() {
        let now = unheard_of(1_900_000_000_000);
        assert_eq!((now, unheard_of(1_900_000_000_001)), (1_900_000_000_000_000, 1_900_000_000_001_000));
        // Every number up to 2^53 can be written in JSON.
        assert!(now < 1 << 53);
        assert_eq!((unheard_of(0), unheard_of(-5)), (NEVER_REACHED, NEVER_REACHED));
    }
}
