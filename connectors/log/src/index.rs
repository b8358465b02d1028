//! What a partition knows of its segments without reading them: where offsets are, and what is durable.

use std::collections::VecDeque;

use crate::holes::Holes;
use crate::pairs::Pair;

/// Positions remembered, two per sequential reader. Beyond 16 readers of a partition, some must hop over frames.
const CURSORS_MAX: usize = 32;

/// A segment file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    /// Offset of its first record, and its name.
    pub(crate) base: u64,
    /// Durable bytes.
    pub(crate) length: u64,
    /// Time of its last record, where known: it is looked up once, when retention first asks.
    pub(crate) timestamp_last_ms: Option<i64>,
}

/// Where a frame begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) segment: u64,
    pub(crate) position: u64,
    pub(crate) offset: u64,
}

/// Where to start the search for an offset.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) segment: Segment,
    /// The offset at which the next segment begins, or the durable end.
    pub(crate) segment_end: u64,
    /// Where contiguous records end: there, or at the next hole.
    pub(crate) end: u64,
    /// The nearest known frame at or before the offset.
    pub(crate) cursor: Cursor,
    /// The holes between `cursor` and the offset.
    pub(crate) holes: Vec<Pair>,
}

/// The segments of a partition, oldest first; the last is the one being written. Never empty.
#[derive(Debug)]
pub(crate) struct Index {
    segments: VecDeque<Segment>,
    end: u64,
    holes: Holes,
    cursors: VecDeque<Cursor>,
}

impl Index {
    pub(crate) fn new(segments: VecDeque<Segment>, end: u64, holes: Holes) -> Self {
        Self { segments, end, holes, cursors: VecDeque::with_capacity(CURSORS_MAX) }
    }

    /// The ranges set aside.
    pub(crate) fn holes(&self) -> &Holes {
        &self.holes
    }

    pub(crate) fn set_holes(&mut self, holes: Holes) {
        self.holes = holes;
    }

    /// The segment with an offset, and the offset at which the next one begins.
    pub(crate) fn segment_of(&self, offset: u64) -> Option<(Segment, u64)> {
        let after = self.segments.partition_point(|segment| segment.base <= offset);
        let segment = *self.segments.get(after.checked_sub(1)?)?;
        Some((segment, self.segments.get(after).map_or(self.end, |next| next.base)))
    }

    pub(crate) fn start(&self) -> u64 {
        self.segments.front().map_or(self.end, |segment| segment.base)
    }

    /// The offset after the last durable record.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn segments(&self) -> &VecDeque<Segment> {
        &self.segments
    }

    /// Notes a group as durable: from now on readers see it.
    pub(crate) fn extend(&mut self, length: u64, end: u64, timestamp_ms: i64) {
        if let Some(active) = self.segments.back_mut() {
            active.length = length;
            active.timestamp_last_ms = Some(timestamp_ms);
        }
        self.end = end;
    }

    /// Begins a segment.
    pub(crate) fn roll(&mut self) {
        self.segments.push_back(Segment { base: self.end, length: 0, timestamp_last_ms: None });
    }

    /// Forgets the oldest segment, unless it is being written.
    pub(crate) fn remove_oldest(&mut self) -> Option<Segment> {
        if self.segments.len() < 2 {
            return None;
        }
        let removed = self.segments.pop_front()?;
        self.cursors.retain(|cursor| cursor.segment != removed.base);
        Some(removed)
    }

    pub(crate) fn set_timestamp_last(&mut self, base: u64, timestamp_ms: i64) {
        if let Some(segment) = self.segments.iter_mut().find(|segment| segment.base == base) {
            segment.timestamp_last_ms = Some(timestamp_ms);
        }
    }

    /// Where to look for an offset within `start..end`.
    pub(crate) fn find(&mut self, offset: u64) -> Option<Found> {
        if offset >= self.end {
            return None;
        }
        let (segment, segment_end) = self.segment_of(offset)?;
        let known = self.cursors.iter().enumerate().filter(|(_, cursor)| {
            cursor.segment == segment.base && cursor.offset <= offset && cursor.position < segment.length
        });
        let cursor = match known.max_by_key(|(_, cursor)| cursor.offset).map(|(index, cursor)| (index, *cursor)) {
            Some((index, cursor)) => {
                // The least recently used position is forgotten first.
                self.cursors.remove(index);
                self.cursors.push_back(cursor);
                cursor
            }
            None => Cursor { segment: segment.base, position: 0, offset: segment.base },
        };
        let between =
            |(from, to): &Pair| (cursor.offset < *to && *to <= offset).then_some((cursor.offset.max(*from), *to));
        let holes = self.holes.all().iter().filter_map(between).collect();
        let next_hole = self.holes.all().iter().map(|(from, _)| *from).find(|from| *from > offset);
        let end = next_hole.map_or(segment_end, |from| from.min(segment_end));
        Some(Found { segment, segment_end, end, cursor, holes })
    }

    /// Remembers where a reader will go on.
    pub(crate) fn remember(&mut self, cursor: Cursor) {
        let gone = self.segments.front().is_none_or(|oldest| cursor.segment < oldest.base);
        if gone || self.cursors.contains(&cursor) {
            return;
        }
        if self.cursors.len() >= CURSORS_MAX {
            self.cursors.pop_front();
        }
        self.cursors.push_back(cursor);
    }

    /// Stored bytes from an offset on: exact at segment and remembered positions, in proportion between them.
    pub(crate) fn backlog_bytes(&self, from: u64) -> u64 {
        let mut bytes: u64 = 0;
        for (index, segment) in self.segments.iter().enumerate().rev() {
            let end = self.segments.get(index + 1).map_or(self.end, |next| next.base);
            if segment.base >= from {
                bytes = bytes.saturating_add(segment.length);
                continue;
            }
            if from < end {
                let near = self.cursors.iter().filter(|cursor| cursor.segment == segment.base && cursor.offset <= from);
                let (offset, position) = near
                    .max_by_key(|cursor| cursor.offset)
                    .map_or((segment.base, 0), |cursor| (cursor.offset, cursor.position));
                let span = u128::from(segment.length.saturating_sub(position)) * u128::from(end - from);
                let share = span.checked_div(u128::from(end.saturating_sub(offset))).unwrap_or(0);
                bytes = bytes.saturating_add(u64::try_from(share).unwrap_or(u64::MAX));
            }
            break;
        }
        bytes
    }
}
