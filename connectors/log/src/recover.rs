//! Recovery of the last segment after a crash.
//!
//! Frames are checked from its start. At the first invalid one, one question decides: was this byte ever acknowledged?
//! If not, it is the torn tail of a group that was never acknowledged, and it is cut off. If so, acknowledged records
//! are lost: the file is not changed, their offsets stay taken, and the partition goes on after them in a new segment.
//! Three witnesses answer, each with a lower bound of what was durable:
//!
//! - a whole frame further on whose `synced` lies beyond the bad byte (groups are synced one after another, so frames
//!   of one torn group never bear witness against each other);
//! - the [`Mark`], which also covers the very last group, a file that has become shorter and one that is missing;
//! - the openings: the last one began to write at an offset that was durable.
//!
//! Without the mark, rot in the very last group cannot be told from a torn write, as in any log. The number of lost
//! records is known from the mark, or else from the heads of the frames that are left. Without either, one lost record
//! is assumed, and the openings show that positions beyond it are lost.

use std::path::Path;

use crate::error::{Corrupt, During, Error, Fault};
use crate::frame::Place;
use crate::mark::Mark;
use crate::search;
use crate::system::File;
use crate::walk::{Stop, Walk};

/// The state of the last segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recovered {
    /// Durable bytes; the whole file if it holds damage.
    pub(crate) length: u64,
    /// The offset of the next record.
    pub(crate) end: u64,
    pub(crate) timestamp_first_ms: Option<i64>,
    pub(crate) timestamp_last_ms: Option<i64>,
    /// Acknowledged records at its end are damaged or missing.
    pub(crate) is_damaged: bool,
}

/// What other files show of the durable end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Witnesses {
    pub(crate) mark: Option<Mark>,
    /// The offset at which the last known opening began to write, or up to which records were set aside.
    pub(crate) end: u64,
}

impl Witnesses {
    /// Bytes of the segment with this base that were durable.
    fn length_of(&self, base: u64) -> u64 {
        self.mark.filter(|mark| mark.segment == base).map_or(0, |mark| mark.length)
    }

    /// The offset before which every record was durable, as far as is known.
    pub(crate) fn end(&self) -> u64 {
        // A mark is written after a record, so one at least was durable.
        let marked = self.mark.filter(|mark| mark.length > 0);
        marked.map_or(0, |mark| mark.end.unwrap_or(mark.segment.saturating_add(1))).max(self.end)
    }
}

/// Checks the segment that begins with `base`, and cuts a torn tail off.
pub(crate) fn recover(
    file: &dyn File,
    path: &Path,
    place: Place,
    base: u64,
    witnesses: Witnesses,
) -> Result<Recovered, Error> {
    let file_length = file.length().during("measure", path)?;
    let (good, stop) = scan(file, path, place, base, file_length)?;
    let left = match stop {
        Some(_) => search::after(file, path, place, (good.length, good.end), file_length)?,
        None => search::Left::default(),
    };
    let durable_length = witnesses.length_of(base);
    if durable_length > good.length || witnesses.end() > good.end || left.is_witness {
        let end = witnesses.end().max(left.end).max(good.end.saturating_add(1));
        return Ok(Recovered { length: file_length, end, is_damaged: true, ..good });
    }
    if stop.is_some() {
        tracing::warn!(
            file = %path.display(), byte = good.length, bytes = file_length - good.length,
            "cut off the torn end of a segment; nothing in it was acknowledged"
        );
        cut(file, path, good.length)?;
    } else if good.length > durable_length {
        // Written before a kill and perhaps not synced: sync before it is read.
        file.sync().during("sync", path)?;
    }
    Ok(good)
}

/// Shortens a segment for good.
pub(crate) fn cut(file: &dyn File, path: &Path, length: u64) -> Result<(), Fault> {
    file.set_length(length).during("cut", path)?;
    file.sync().during("sync", path)
}

fn scan(
    file: &dyn File,
    path: &Path,
    place: Place,
    base: u64,
    file_length: u64,
) -> Result<(Recovered, Option<Corrupt>), Fault> {
    let mut walk = Walk::new(file, path, place, (0, base), file_length);
    walk.streaming();
    let mut good =
        Recovered { length: 0, end: base, timestamp_first_ms: None, timestamp_last_ms: None, is_damaged: false };
    loop {
        match walk.checked(u64::MAX) {
            Ok(None) => return Ok((good, None)),
            Ok(Some(head)) => {
                good.length = walk.position();
                good.end = walk.offset();
                good.timestamp_first_ms = good.timestamp_first_ms.or(Some(head.timestamp_ms));
                good.timestamp_last_ms = Some(head.timestamp_ms);
            }
            Err(Stop::Corrupt(damage)) => return Ok((good, Some(damage))),
            Err(Stop::Fault(fault)) => return Err(fault),
        }
    }
}
