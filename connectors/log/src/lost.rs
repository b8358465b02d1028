//! A partition whose segments are all gone, or its directory with everything in it: it begins anew behind every offset
//! that it ever gave, and remembers that the records before were lost.
//!
//! So whoever has yet to read one of them finds its position before the start, however far the partition has grown, and
//! nobody takes a new record for an old one. How far it came is told by its own mark and openings, if they are left, and
//! by the copy of its mark in [`crate::marks`]. If nothing tells it, it begins at an offset that none ever had.
//!
//! `lost` ([`crate::pairs`], `MSL1`) has 0 and the offset at which the partition began anew, or nothing once a person has
//! given these records up. It counts as long as the records of that offset are the oldest ones: what retention would
//! have removed by now is not missed.

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
/// No partition gets as many records; a number in JSON still holds it.
const NEVER_REACHED: u64 = 1 << 50;

/// The offset at which a partition began anew, as it was noted.
pub(crate) fn read(system: &dyn System, directory: &Path, place: Place) -> Result<Option<u64>, Fault> {
    let content = pairs::read(system, directory, place, KIND)?;
    if let Some(byte) = content.damaged_byte {
        let file = directory.join(KIND.file_name);
        tracing::warn!(file = %file.display(), byte, "where the partition began anew after a loss is not known any more");
    }
    Ok(content.pairs.last().map(|(_, to)| *to))
}

/// Notes that a person has given up what was lost.
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

/// Makes a segment where there is none any more, behind all that was there. Returns its first offset.
pub(crate) fn begin_anew(settings: &Settings, witnesses: Witnesses, has_openings: bool) -> Result<u64, Fault> {
    let Settings { system, directory, place, marks, .. } = settings;
    let system = system.as_ref();
    let witnessed = Some(witnesses.end()).filter(|end| *end > 0);
    let base = match marks.end(*place).max(witnessed) {
        Some(0) => 0,
        Some(end) if has_openings => end,
        // Marks are not synced, so there may have been more. What the openings tell is lost with them: a position at
        // this offset must not be the place to go on from.
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

/// An offset that the partition never reached, nor one that it began anew at: microseconds since 1970, if the clock goes.
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
