//! Walking a segment frame by frame.

use std::path::Path;

use crate::error::{Corrupt, During, Fault};
use crate::frame::{HEAD_BYTES, Head, Place};
use crate::system::File;

/// Bytes per read when hopping: enough for a run of small frames, little waste with large ones.
const HOP_BYTES: usize = 4 << 10;
/// Bytes per read when reading everything; more no longer helps.
const STREAM_BYTES: usize = 256 << 10;

/// Why a walk stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    Corrupt(Corrupt),
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A position in a segment, at the start of a frame, with the offset expected there.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    file: &'a dyn File,
    path: &'a Path,
    place: Place,
    position: u64,
    offset: u64,
    timestamp_ms: i64,
    limit: u64,
    ahead_bytes: usize,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl<'a> Walk<'a> {
    /// Starts at `position`, where the record `offset` is expected; nothing at or after `limit` is looked at.
    pub(crate) fn new(
        file: &'a dyn File,
        path: &'a Path,
        place: Place,
        (position, offset): (u64, u64),
        limit: u64,
    ) -> Self {
        let timestamp_ms = i64::MIN;
        let buffer = Vec::new();
        Self { file, path, place, position, offset, timestamp_ms, limit, ahead_bytes: HOP_BYTES, buffer, buffer_at: 0 }
    }

    /// Reads in large pieces, since payloads are wanted from here on.
    pub(crate) fn streaming(&mut self) {
        self.ahead_bytes = STREAM_BYTES;
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The head of the frame here, or `None` at the limit.
    pub(crate) fn head(&mut self) -> Result<Option<Head>, Stop> {
        if self.position >= self.limit {
            return Ok(None);
        }
        let place = self.place;
        let parsed = match self.bytes(self.position, HEAD_BYTES)?.map(<&[u8; HEAD_BYTES]>::try_from) {
            Some(Ok(bytes)) => Head::parse(bytes, place),
            _ => return Err(self.short("the file ends within a frame's head")),
        };
        let head = parsed.map_err(|reason| self.damage(reason))?;
        if head.base != self.offset {
            return Err(self.damage("the frame's offset does not follow the one before"));
        }
        if head.timestamp_ms < self.timestamp_ms {
            return Err(self.damage("the frame's time lies before the one before"));
        }
        if self.position + head.frame_bytes() > self.limit {
            return Err(self.short("the file ends within a frame"));
        }
        Ok(Some(head))
    }

    /// Checks the frame here with its payload, and goes on to the next. It must not hold offsets from `end` on.
    pub(crate) fn checked(&mut self, end: u64) -> Result<Option<Head>, Stop> {
        let Some(head) = self.head()? else { return Ok(None) };
        if head.end() > end {
            return Err(self.damage("the segment holds offsets of the next one"));
        }
        if crc32c::crc32c(self.payload(&head)?) != head.payload_check {
            return Err(self.damage("the check of a frame's payload is wrong"));
        }
        self.step(&head);
        Ok(Some(head))
    }

    /// The payload of the frame here, as stored and unchecked.
    pub(crate) fn payload(&mut self, head: &Head) -> Result<&[u8], Stop> {
        let at = self.position + HEAD_BYTES as u64;
        let damage = self.short("the file ends within a frame");
        self.bytes(at, head.length as usize)?.ok_or(damage)
    }

    /// Goes on to the next frame.
    pub(crate) fn step(&mut self, head: &Head) {
        self.position += head.frame_bytes();
        self.offset = head.end();
        self.timestamp_ms = head.timestamp_ms;
    }

    pub(crate) fn damage(&self, reason: &'static str) -> Stop {
        Stop::Corrupt(Corrupt { file: self.path.to_owned(), byte: self.position, reason, is_short: false })
    }

    /// The damage of a file that is too short.
    pub(crate) fn short(&self, reason: &'static str) -> Stop {
        Stop::Corrupt(Corrupt { file: self.path.to_owned(), byte: self.position, reason, is_short: true })
    }

    /// `length` bytes from `at`; `None` if the file or the limit ends before.
    fn bytes(&mut self, at: u64, length: usize) -> Result<Option<&[u8]>, Fault> {
        let buffered_end = self.buffer_at + self.buffer.len() as u64;
        if at < self.buffer_at || at + length as u64 > buffered_end {
            self.fill(at, length)?;
        }
        let start = usize::try_from(at - self.buffer_at).unwrap_or(usize::MAX);
        Ok(start.checked_add(length).and_then(|end| self.buffer.get(start..end)))
    }

    fn fill(&mut self, at: u64, length: usize) -> Result<(), Fault> {
        let wanted = (length.max(self.ahead_bytes) as u64).min(self.limit.saturating_sub(at));
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        // What is already here from `at` on is moved to the front instead of read again.
        let buffered_end = self.buffer_at + self.buffer.len() as u64;
        if (self.buffer_at..buffered_end).contains(&at) {
            self.buffer.drain(..usize::try_from(at - self.buffer_at).unwrap_or(usize::MAX));
        } else {
            self.buffer.clear();
        }
        self.buffer_at = at;
        let mut filled = self.buffer.len();
        self.buffer.resize(wanted.max(filled), 0);
        while filled < self.buffer.len() {
            let rest = self.buffer.get_mut(filled..).unwrap_or_default();
            match self.file.read_at(rest, at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).during("read", self.path),
            }
        }
        self.buffer.truncate(filled);
        Ok(())
    }
}
