//! Reading a partition: below the durable length, in whole frames, without any state but remembered positions.

use std::io::ErrorKind;

use crate::error::{During, ReadError};
use crate::frame::{self, Head};
use crate::index::{Cursor, Found, Segment};
use crate::partition::Partition;
use crate::record::{self, Record};
use crate::walk::{Stop, Walk};
use crate::{lock, segment_path};

/// Records read, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// In order of their offsets; empty only at the end.
    pub records: Vec<Record>,
    /// The offset to read from next.
    pub next: u64,
}

/// The offsets a partition has, `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first that retention has left.
    pub start: u64,
    /// The next durable record will have this one.
    pub end: u64,
}

impl Partition {
    pub(crate) fn range(&self) -> Range {
        let index = lock(&self.index);
        Range { start: index.start(), end: index.end() }
    }

    pub(crate) fn read(&self, from: u64, bytes_max: usize) -> Result<Read, ReadError> {
        let Some(found) = self.find(from)? else { return Ok(Read { records: Vec::new(), next: from }) };
        let path = segment_path(&self.directory, found.segment.base);
        let file = match self.system.open(&path, false) {
            // Retention was faster: the range has moved.
            Err(error) if error.kind() == ErrorKind::NotFound && self.range().start > from => {
                return self.find(from).map(|_| Read { records: Vec::new(), next: from });
            }
            opened => opened.during("open", &path)?,
        };
        let start = (found.cursor.position, found.cursor.offset);
        let mut walk = Walk::new(file.as_ref(), &path, self.place, start, found.segment.length);
        let mut records = Vec::new();
        match collect(&mut walk, &found, from, bytes_max, &mut records) {
            // What precedes a damaged frame is good; the next read will begin with the damage.
            Err(stop) if records.is_empty() => return Err(damage(stop, found.segment_end)),
            _ => {}
        }
        let next = walk.offset();
        let cursor = Cursor { segment: found.segment.base, position: walk.position(), offset: next };
        lock(&self.index).remember(cursor);
        Ok(Read { records, next })
    }

    /// The first offset whose record was stored at or after a time; the end if there is none.
    pub(crate) fn offset_at(&self, timestamp_ms: i64) -> Result<u64, ReadError> {
        let (segments, end) = {
            let index = lock(&self.index);
            (index.segments().clone(), index.end())
        };
        let next_base = |at: usize| segments.get(at + 1).map_or(end, |next| next.base);
        // The wanted record is in the last segment that begins before the time, or at the start of the next one.
        let (mut low, mut high) = (0, segments.len());
        while low < high {
            let middle = low.midpoint(high);
            let Some(segment) = segments.get(middle) else { break };
            let begins_before = match self.seek(segment, next_base(middle), |_| true)? {
                Sought::Head(head) => head.timestamp_ms < timestamp_ms,
                Sought::Nothing => false,
                Sought::Removed => true,
            };
            if begins_before { low = middle + 1 } else { high = middle }
        }
        let offset = match low.checked_sub(1).and_then(|at| Some((segments.get(at)?, next_base(at)))) {
            // All that is left is younger.
            None => segments.front().map_or(end, |oldest| oldest.base),
            Some((segment, next_base)) => {
                match self.seek(segment, next_base, |head| head.timestamp_ms >= timestamp_ms)? {
                    Sought::Head(head) => head.base,
                    Sought::Nothing | Sought::Removed => next_base,
                }
            }
        };
        // What retention has removed in the meantime lies before the start.
        Ok(offset.max(self.range().start))
    }

    pub(crate) fn backlog_bytes(&self, from: u64) -> u64 {
        lock(&self.index).backlog_bytes(from)
    }

    fn find(&self, from: u64) -> Result<Option<Found>, ReadError> {
        let mut index = lock(&self.index);
        let (start, end) = (index.start(), index.end());
        if from < start || from > end {
            return Err(ReadError::OutOfRange { from, start, end });
        }
        Ok(index.find(from))
    }

    /// Looks for the first wanted head in a segment, hopping from its start.
    fn seek(&self, segment: &Segment, segment_end: u64, wanted: impl Fn(&Head) -> bool) -> Result<Sought, ReadError> {
        let path = segment_path(&self.directory, segment.base);
        let file = match self.system.open(&path, false) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.range().start > segment.base => {
                return Ok(Sought::Removed);
            }
            opened => opened.during("open", &path)?,
        };
        let mut walk = Walk::new(file.as_ref(), &path, self.place, (0, segment.base), segment.length);
        while let Some(head) = walk.head().map_err(|stop| damage(stop, segment_end))? {
            if wanted(&head) {
                return Ok(Sought::Head(head));
            }
            walk.step(&head);
        }
        Ok(Sought::Nothing)
    }
}

/// What a search in a segment came to.
enum Sought {
    Head(Head),
    Nothing,
    /// Retention was faster than the search.
    Removed,
}

/// Hops to the frame with `from`, then decodes frames until the next would exceed `bytes_max`.
fn collect(
    walk: &mut Walk<'_>,
    found: &Found,
    from: u64,
    bytes_max: usize,
    records: &mut Vec<Record>,
) -> Result<(), Stop> {
    let mut bytes: usize = 0;
    while let Some(head) = walk.head()? {
        if head.end() > found.segment_end {
            return Err(walk.damage("the segment holds offsets of the next one"));
        }
        if head.end() <= from {
            walk.step(&head);
            continue;
        }
        bytes = bytes.saturating_add(head.raw_length as usize);
        if !records.is_empty() && bytes > bytes_max {
            return Ok(());
        }
        if records.is_empty() && bytes_max > head.raw_length as usize {
            walk.streaming();
        }
        let raw = frame::open(&head, walk.payload(&head)?).map_err(|reason| walk.damage(reason))?;
        let skip = from.saturating_sub(head.base);
        let decoded = record::decode(&raw, head.base, head.count, head.timestamp_ms, skip);
        records.append(&mut decoded.ok_or_else(|| walk.damage("a frame's records do not fill it"))?);
        walk.step(&head);
    }
    if walk.offset() != found.segment_end {
        return Err(walk.damage("the segment ends before its last offset"));
    }
    Ok(())
}

fn damage(stop: Stop, resume: u64) -> ReadError {
    match stop {
        Stop::Corrupt(damage) => ReadError::Corrupt { damage, resume },
        Stop::Fault(fault) => ReadError::Fault(fault),
    }
}
