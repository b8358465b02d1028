//! Reading a partition: below the durable length, in whole frames, without any state but remembered positions.

use std::io::ErrorKind;
use std::path::Path;

use crate::damage::Damage;
use crate::error::{Corrupt, During, ReadError};
use crate::frame;
use crate::index::{Cursor, Found, Segment};
use crate::pairs::Pair;
use crate::partition::Partition;
use crate::record::{self, Record};
use crate::system::File;
use crate::walk::{Stop, Walk};
use crate::{lock, search, segment_path};

/// Records read, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// In order of their offsets; empty only at the end, and where records were set aside.
    pub records: Vec<Record>,
    /// The offset to read from next. Beyond the one after the last record only where records were set aside
    /// ([`crate::Topic::set_aside`]).
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
        match self.try_read(from, bytes_max) {
            Err(Missed::Damage { segment, .. }) => {
                let found = self.examine(segment.base)?;
                if let Some(damage) = found.into_iter().find(|damage| (damage.from..damage.to).contains(&from)) {
                    return Err(ReadError::Damaged(Box::new(damage)));
                }
                // The damage lies before `from`, or was set aside meanwhile: now it is known and skipped.
                self.try_read(from, bytes_max).map_err(|missed| missed.into_error(self.place.partition, from))
            }
            read => read.map_err(|missed| missed.into_error(self.place.partition, from)),
        }
    }

    fn try_read(&self, from: u64, bytes_max: usize) -> Result<Read, Missed> {
        let (hole, found) = self.find(from)?;
        let nothing = |next| Ok(Read { records: Vec::new(), next });
        if let Some((_, after)) = hole {
            return nothing(after);
        }
        let Some(mut found) = found else { return nothing(from) };
        let segment = found.segment;
        let end = found.segment_end;
        let missed = |stop| match stop {
            Stop::Fault(fault) => Missed::Error(fault.into()),
            Stop::Corrupt(damage) => Missed::Damage { segment, end, damage },
        };
        let path = segment_path(&self.directory, found.segment.base);
        let file = match self.system.open(&path, false) {
            // Retention removed the segment meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound && self.range().start > from => {
                self.find(from)?;
                return nothing(from);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let damage = Corrupt { file: path, byte: 0, reason: "the file is missing", is_short: true };
                return Err(missed(Stop::Corrupt(damage)));
            }
            opened => opened.during("open", &path).map_err(ReadError::from)?,
        };
        self.pass_damage(&mut found, from);
        let mut records = Vec::new();
        let walked = self.walk_to(file.as_ref(), &path, &found).and_then(|mut walk| {
            collect(&mut walk, found.end, from, bytes_max, &mut records)?;
            Ok((walk.position(), walk.offset()))
        });
        match (walked, records.last()) {
            (Ok((position, next)), _) => {
                lock(&self.index).remember(Cursor { segment: found.segment.base, position, offset: next });
                Ok(Read { records, next })
            }
            // Records before a damaged frame are good; the next read will begin with the damage.
            (Err(_), Some(last)) => {
                let next = last.offset.saturating_add(1);
                Ok(Read { records, next })
            }
            (Err(stop), None) => Err(missed(stop)),
        }
    }

    /// Starts after known damage that lies before the wanted offset.
    fn pass_damage(&self, found: &mut Found, from: u64) {
        let segment = found.segment.base;
        let after = found.cursor.offset;
        let damages = lock(&self.damages);
        let passed = damages.iter().rfind(|damage| damage.to > after && damage.to <= from && damage.from >= segment);
        if let Some(damage) = passed {
            found.cursor = Cursor { segment, position: damage.byte + damage.bytes, offset: damage.to };
            found.holes.retain(|(from, _)| *from >= damage.to);
        }
    }

    /// A walk from the nearest known frame, behind the holes between it and the wanted offset.
    fn walk_to<'a>(&self, file: &'a dyn File, path: &'a Path, found: &Found) -> Result<Walk<'a>, Stop> {
        let length = found.segment.length;
        let start = (found.cursor.position, found.cursor.offset);
        let mut walk = Walk::new(file, path, self.place, start, length);
        for (from, to) in &found.holes {
            while walk.offset() < *from {
                let head = walk.head()?.ok_or_else(|| walk.short("the segment ends before its last offset"))?;
                walk.step(&head);
            }
            let bad = (walk.position(), to.saturating_sub(1));
            let behind = search::next_whole(file, path, self.place, bad, (length, found.segment_end))?;
            let behind = behind.filter(|(_, offset)| offset == to);
            let behind = behind.ok_or_else(|| walk.damage("no whole frame follows what was set aside"))?;
            walk = Walk::new(file, path, self.place, behind, length);
        }
        Ok(walk)
    }

    pub(crate) fn backlog_bytes(&self, from: u64) -> u64 {
        lock(&self.index).backlog_bytes(from)
    }

    /// The hole that contains an offset, or where to look for it; neither at the end.
    fn find(&self, from: u64) -> Result<(Option<Pair>, Option<Found>), ReadError> {
        let mut index = lock(&self.index);
        let start = index.start();
        let end = index.end();
        if from < start || from > end {
            return Err(ReadError::OutOfRange { from, start, end });
        }
        Ok((index.holes().at(from), index.find(from)))
    }
}

/// Hops to the frame with `from`, then decodes frames up to `end`, or until the next would exceed `bytes_max`.
fn collect(walk: &mut Walk<'_>, end: u64, from: u64, bytes_max: usize, records: &mut Vec<Record>) -> Result<(), Stop> {
    let mut bytes: usize = 0;
    while walk.offset() < end {
        let head = walk.head()?.ok_or_else(|| walk.short("the segment ends before its last offset"))?;
        if head.end() > end {
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
    Ok(())
}

/// Why a read returned nothing.
enum Missed {
    /// Damage at the offset, or on the way to it in its segment, which ends before `end`.
    Damage {
        segment: Segment,
        end: u64,
        damage: Corrupt,
    },
    Error(ReadError),
}

impl From<ReadError> for Missed {
    fn from(error: ReadError) -> Self {
        Self::Error(error)
    }
}

impl Missed {
    fn into_error(self, partition: u32, from: u64) -> ReadError {
        match self {
            Self::Error(error) => error,
            // The extent is unknown: the rest of the segment counts as damaged.
            Self::Damage { end: to, damage: Corrupt { file, byte, reason, is_short }, .. } => {
                let damage = Damage { partition, file, byte, bytes: 0, reason, from, to, is_missing: is_short };
                ReadError::Damaged(Box::new(damage))
            }
        }
    }
}
