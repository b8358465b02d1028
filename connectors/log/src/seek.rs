//! Finding the offset of a time: binary search over the segments, then from head to head.

use std::io::ErrorKind;

use crate::error::{During, ReadError};
use crate::frame::Head;
use crate::index::Segment;
use crate::partition::Partition;
use crate::walk::{Stop, Walk};
use crate::{lock, search, segment_path};

impl Partition {
    /// The first offset whose record was stored at or after a time; the end if there is none.
    pub(crate) fn offset_at(&self, timestamp_ms: i64) -> Result<u64, ReadError> {
        let (segments, end) = {
            let index = lock(&self.index);
            let holds_some = |segment: &&Segment| segment.length > 0;
            (index.segments().iter().filter(holds_some).copied().collect::<Vec<_>>(), index.end())
        };
        let next_base = |at: usize| segments.get(at + 1).map_or(end, |next| next.base);
        // The wanted record is in the last segment that begins before the time, or at the start of the next one.
        let mut low = 0;
        let mut high = segments.len();
        while low < high {
            let middle = low.midpoint(high);
            let Some(segment) = segments.get(middle) else { break };
            let begins_before = match self.seek(segment, next_base(middle), |_| true)? {
                Sought::Found { timestamp_ms: first_ms, .. } => first_ms < timestamp_ms,
                Sought::Damage { .. } | Sought::Nothing => false,
                Sought::Removed => true,
            };
            if begins_before { low = middle + 1 } else { high = middle }
        }
        let offset = match low.checked_sub(1).and_then(|at| Some((segments.get(at)?, next_base(at)))) {
            // Every record left is younger.
            None => segments.first().map_or(end, |oldest| oldest.base),
            Some((segment, next_base)) => {
                match self.seek(segment, next_base, |head| head.timestamp_ms >= timestamp_ms)? {
                    Sought::Found { offset, .. } | Sought::Damage { offset } => offset,
                    Sought::Nothing | Sought::Removed => next_base,
                }
            }
        };
        // What retention has removed in the meantime lies before the start.
        Ok(offset.max(self.range().start))
    }

    /// When the first record of the segment with an offset was stored, if it can be read.
    pub(crate) fn first_timestamp(&self, offset: u64) -> Option<i64> {
        let (segment, end) = lock(&self.index).segment_of(offset)?;
        match self.seek(&segment, end, |_| true) {
            Ok(Sought::Found { timestamp_ms, .. }) => Some(timestamp_ms),
            Ok(Sought::Damage { .. } | Sought::Nothing | Sought::Removed) | Err(_) => None,
        }
    }

    /// Looks for the first wanted head in a segment, hopping from its start and over damage.
    fn seek(&self, segment: &Segment, segment_end: u64, wanted: impl Fn(&Head) -> bool) -> Result<Sought, ReadError> {
        let path = segment_path(&self.directory, segment.base);
        let file = match self.system.open(&path, false) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.range().start > segment.base => {
                return Ok(Sought::Removed);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Sought::Damage { offset: segment.base }),
            opened => opened.during("open", &path)?,
        };
        let walk_from = |start| Walk::new(file.as_ref(), &path, self.place, start, segment.length);
        let mut walk = walk_from((0, segment.base));
        let mut damage = None;
        loop {
            match walk.head() {
                Ok(Some(head)) if wanted(&head) => {
                    // A record that cannot be read may be the first one, too.
                    let offset = damage.unwrap_or(head.base);
                    return Ok(Sought::Found { offset, timestamp_ms: head.timestamp_ms });
                }
                Ok(Some(head)) => {
                    damage = None;
                    walk.step(&head);
                }
                Ok(None) if walk.offset() < segment_end => {
                    return Ok(Sought::Damage { offset: damage.unwrap_or(walk.offset()) });
                }
                Ok(None) => return Ok(Sought::Nothing),
                Err(Stop::Corrupt(_)) => {
                    let bad = (walk.position(), walk.offset());
                    let offset = *damage.get_or_insert(walk.offset());
                    let limits = (segment.length, segment_end);
                    match search::next_whole(file.as_ref(), &path, self.place, bad, limits)? {
                        Some(next) => walk = walk_from(next),
                        None => return Ok(Sought::Damage { offset }),
                    }
                }
                Err(Stop::Fault(fault)) => return Err(fault.into()),
            }
        }
    }
}

/// The result of a search in a segment.
enum Sought {
    /// The first record that may match, and when the first that can be read was stored.
    Found {
        offset: u64,
        timestamp_ms: i64,
    },
    /// No match before this offset, and no record that can be read from there on.
    Damage {
        offset: u64,
    },
    Nothing,
    /// Retention removed the segment meanwhile.
    Removed,
}
