//! Looking for whole frames behind damage. A frame names its own offset, so what lies behind can be used again.

use std::path::Path;

use crate::error::{During, Fault};
use crate::frame::{self, HEAD_BYTES, Head, MAGIC, Place};
use crate::system::File;

/// Overlaps by less than a head, so that no head is missed at a seam.
const WINDOW_BYTES: u64 = 1 << 20;

/// What is left after a bad byte.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Left {
    /// A whole frame says that the bad byte was durable when it was written.
    pub(crate) is_witness: bool,
    /// The highest offset that a head names, plus one; 0 without any.
    pub(crate) end: u64,
}

/// Everything behind the bad byte at `position`, where the record `offset` was expected.
pub(crate) fn after(
    file: &dyn File,
    path: &Path,
    place: Place,
    (position, offset): (u64, u64),
    file_length: u64,
) -> Result<Left, Fault> {
    let mut left = Left::default();
    heads(file, path, place, position, file_length, |at, head| {
        if head.base < offset {
            return Ok(true);
        }
        left.end = left.end.max(head.end());
        let speaks = !left.is_witness && at > position && head.synced > position && head.base > offset;
        if speaks && head.synced <= at && is_whole(file, path, &head, at, file_length)? {
            left.is_witness = true;
        }
        Ok(true)
    })?;
    Ok(left)
}

/// The first whole frame behind the bad byte at `position`, where the record `offset` was expected: its position and
/// its first offset. None of records from `end` on.
pub(crate) fn next_whole(
    file: &dyn File,
    path: &Path,
    place: Place,
    (position, offset): (u64, u64),
    (file_length, end): (u64, u64),
) -> Result<Option<(u64, u64)>, Fault> {
    let mut found = None;
    heads(file, path, place, position + 1, file_length, |at, head| {
        if head.base > offset && head.end() <= end && is_whole(file, path, &head, at, file_length)? {
            found = Some((at, head.base));
        }
        Ok(found.is_none())
    })?;
    Ok(found)
}

/// Calls `seen` with each valid head from `at` on, at whatever byte it begins, until it returns false.
fn heads(
    file: &dyn File,
    path: &Path,
    place: Place,
    mut at: u64,
    file_length: u64,
    mut seen: impl FnMut(u64, Head) -> Result<bool, Fault>,
) -> Result<(), Fault> {
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
            if !seen(at + index as u64, head)? {
                return Ok(());
            }
        }
        let advanced = (filled as u64).saturating_sub(HEAD_BYTES as u64 - 1);
        if advanced == 0 {
            break;
        }
        at += advanced;
    }
    Ok(())
}

fn is_whole(file: &dyn File, path: &Path, head: &Head, at: u64, file_length: u64) -> Result<bool, Fault> {
    if at + head.frame_bytes() > file_length {
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
