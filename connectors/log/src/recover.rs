//! What is true of the last segment after a crash.
//!
//! Frames are checked from its start. At the first that does not hold together, one question decides: was this byte
//! ever acknowledged? If so it is rot, and the log refuses to open. If not it is the torn tail of a group nobody was
//! told about, and it is cut off. Two witnesses are heard, each a lower bound of what was durable:
//!
//! - a whole frame further on whose `synced` lies beyond the bad byte (groups are synced one after another, so frames
//!   of one torn group never bear witness against each other);
//! - the [`Mark`], which also covers the very last group and a file that has become shorter.
//!
//! Without the mark, rot in the very last group cannot be told from a torn write, as in any log.

use std::path::Path;

use crate::error::{Corrupt, During, Error, Fault};
use crate::frame::{self, HEAD_BYTES, Head, MAGIC, Place};
use crate::mark::Mark;
use crate::system::File;
use crate::walk::{Stop, Walk};

/// The good part of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recovered {
    pub(crate) length: u64,
    pub(crate) end: u64,
    pub(crate) timestamp_first_ms: Option<i64>,
    pub(crate) timestamp_last_ms: Option<i64>,
}

/// Checks the segment that begins with `base`, and cuts a torn tail off.
pub(crate) fn recover(
    file: &dyn File,
    path: &Path,
    place: Place,
    base: u64,
    mark: Option<Mark>,
) -> Result<Recovered, Error> {
    let file_length = file.length().during("measure", path)?;
    let marked_length = match mark {
        Some(mark) if mark.segment == base => mark.length,
        Some(mark) if mark.segment > base => {
            let reason = "a later segment with acknowledged data is missing";
            return Err(Corrupt { file: path.to_owned(), byte: file_length, reason }.into());
        }
        _ => 0,
    };
    let (good, stop) = scan(file, path, place, base, file_length)?;
    let damage = match stop {
        Some(damage) => damage,
        None if marked_length > good.length => {
            Corrupt { file: path.to_owned(), byte: good.length, reason: "acknowledged data after this byte is missing" }
        }
        None => return Ok(good),
    };
    if marked_length > good.length || witnessed(file, path, place, good, file_length)? {
        return Err(damage.into());
    }
    tracing::warn!(
        file = %path.display(), byte = good.length, bytes = file_length - good.length,
        "cut off the torn end of a segment; nothing in it was acknowledged"
    );
    cut(file, path, good.length)?;
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
    let mut good = Recovered { length: 0, end: base, timestamp_first_ms: None, timestamp_last_ms: None };
    loop {
        match checked(&mut walk) {
            Ok(None) => return Ok((good, None)),
            Ok(Some(head)) => {
                walk.step(&head);
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

fn checked(walk: &mut Walk<'_>) -> Result<Option<Head>, Stop> {
    let Some(head) = walk.head()? else { return Ok(None) };
    if crc32c::crc32c(walk.payload(&head)?) != head.payload_check {
        return Err(walk.damage("the check of a frame's payload is wrong"));
    }
    Ok(Some(head))
}

/// Whether a whole frame after the bad byte says that the bad byte was durable when it was written.
fn witnessed(file: &dyn File, path: &Path, place: Place, good: Recovered, file_length: u64) -> Result<bool, Fault> {
    // Overlaps by less than a head, so that no head is missed at a seam.
    const WINDOW_BYTES: u64 = 1 << 20;
    let mut at = good.length + 1;
    let mut window = Vec::new();
    while at + HEAD_BYTES as u64 <= file_length {
        let length = WINDOW_BYTES.min(file_length - at);
        window.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        let filled = fill(file, path, &mut window, at)?;
        for (index, bytes) in window.get(..filled).unwrap_or_default().windows(HEAD_BYTES).enumerate() {
            if !bytes.starts_with(&MAGIC) {
                continue;
            }
            let Some(Ok(head)) = bytes.try_into().ok().map(|bytes| Head::parse(bytes, place)) else { continue };
            if head.synced > good.length
                && head.base > good.end
                && whole(file, path, &head, at + index as u64, file_length)?
            {
                return Ok(true);
            }
        }
        let advanced = (filled as u64).saturating_sub(HEAD_BYTES as u64 - 1);
        if advanced == 0 {
            break;
        }
        at += advanced;
    }
    Ok(false)
}

fn whole(file: &dyn File, path: &Path, head: &Head, at: u64, file_length: u64) -> Result<bool, Fault> {
    if head.synced > at || at + head.frame_bytes() > file_length {
        return Ok(false);
    }
    let mut payload = vec![0; head.length as usize];
    let filled = fill(file, path, &mut payload, at + HEAD_BYTES as u64)?;
    Ok(filled == payload.len() && frame::open(head, &payload).is_ok())
}

fn fill(file: &dyn File, path: &Path, buffer: &mut [u8], at: u64) -> Result<usize, Fault> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).during("read", path),
        }
    }
    Ok(filled)
}
