//! The changes of a transaction to the counters, summed in memory.

use std::collections::HashMap;

use super::columns::{Columns, Row};

/// The part of a row that counters depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowState {
    pub(super) kind: i16,
    pub(super) time: i64,
    pub(super) size: Option<i64>,
    pub(super) current: bool,
}

/// The part of a key that bucket counters depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Current {
    pub(super) size: Option<i64>,
}

impl RowState {
    /// No row.
    pub(super) const ABSENT: RowState = RowState { kind: 0, time: 0, size: None, current: false };

    /// A row just inserted. A row with a version is current only once that was derived.
    pub(super) fn inserted(columns: &Columns, row: &Row) -> RowState {
        let unversioned = columns.bytes(row.version).is_empty();
        RowState { kind: row.kind, time: row.order_time, size: row.size, current: row.kind == 1 && unversioned }
    }

    fn current(self) -> Option<Current> {
        self.current.then_some(Current { size: self.size })
    }
}

/// A change of one counter of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Objects {
    pub(super) objects: i64,
    pub(super) bytes: i128,
    pub(super) unknown_size: i64,
}

/// A change of one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hour {
    pub(super) created: i64,
    pub(super) removed: i64,
    pub(super) bytes: i128,
}

/// All changes of a transaction.
#[derive(Debug, Default)]
pub struct Deltas {
    pub(super) buckets: Vec<BucketDeltas>,
    places: HashMap<(String, String), usize>,
    /// The index of the last bucket: rows come in the order of buckets.
    last: usize,
}

/// The changes of one bucket.
#[derive(Debug, Default)]
pub(super) struct BucketDeltas {
    pub(super) store: String,
    pub(super) bucket: String,
    pub(super) segments: HashMap<String, Objects>,
    pub(super) hours: HashMap<i64, Hour>,
}

/// The first path segment of a key with its slash; empty for a key without one.
pub(super) fn first_segment(key: &str) -> &str {
    key.find('/').and_then(|at| key.get(..=at)).unwrap_or_default()
}

/// The hour of an order time, whose upper half holds seconds. Without a time these are zero, and there is no hour.
fn hour_of(order_time: i64) -> Option<i64> {
    let seconds = ((order_time ^ i64::MIN) as u64 >> 32) as i64;
    (seconds != 0).then_some(seconds / 3600)
}

impl Objects {
    /// Counts a former and a new object.
    fn change(&mut self, old: Option<Current>, new: Option<Current>) {
        for (state, sign) in [(old, -1), (new, 1)] {
            let Some(state) = state else { continue };
            self.objects += sign;
            match state.size {
                Some(size) => self.bytes += i128::from(sign) * i128::from(size),
                None => self.unknown_size += sign,
            }
        }
    }
}

impl Deltas {
    /// The changes of a bucket.
    fn of(&mut self, store: &str, bucket: &str) -> Option<&mut BucketDeltas> {
        let is_last = self.buckets.get(self.last).is_some_and(|last| last.bucket == bucket && last.store == store);
        if !is_last {
            let next = self.buckets.len();
            self.last = *self.places.entry((store.to_owned(), bucket.to_owned())).or_insert(next);
            if self.last == next {
                let store = store.to_owned();
                let bucket = bucket.to_owned();
                self.buckets.push(BucketDeltas { store, bucket, ..BucketDeltas::default() });
            }
        }
        self.buckets.get_mut(self.last)
    }

    /// Counts the change of one row. A row of a versioned key counts as current only through [`Deltas::current`].
    pub(super) fn row(&mut self, columns: &Columns, row: &Row, old: RowState, new: RowState) {
        let store = columns.store(row);
        let bucket = columns.text(row.bucket);
        let Some(deltas) = self.of(store, bucket) else { return };
        deltas.facts(old, new);
        if columns.bytes(row.version).is_empty() {
            deltas.current(columns.text(row.key), old.current(), new.current());
        }
    }

    /// Counts the change of the facts of one row, but not whether it is current.
    pub(super) fn facts(&mut self, store: &str, bucket: &str, old: RowState, new: RowState) {
        if let Some(deltas) = self.of(store, bucket) {
            deltas.facts(old, new);
        }
    }

    /// Counts the change of the current object of one key.
    pub(super) fn current(&mut self, store: &str, bucket: &str, key: &str, old: Option<Current>, new: Option<Current>) {
        if let Some(deltas) = self.of(store, bucket) {
            deltas.current(key, old, new);
        }
    }
}

impl BucketDeltas {
    /// Moves a row from one hour to another. Without facts or without a time it has no hour.
    fn facts(&mut self, old: RowState, new: RowState) {
        for (state, sign) in [(old, -1), (new, 1)] {
            let hour = hour_of(state.time).filter(|_| state.kind != 0);
            let Some(hour) = hour.map(|hour| self.hours.entry(hour).or_default()) else { continue };
            if state.kind == 1 {
                hour.created += sign;
                hour.bytes += i128::from(sign) * i128::from(state.size.unwrap_or(0));
            } else {
                hour.removed += sign;
            }
        }
    }

    fn current(&mut self, key: &str, old: Option<Current>, new: Option<Current>) {
        if old == new {
            return;
        }
        let segment = first_segment(key);
        match self.segments.get_mut(segment) {
            Some(delta) => delta.change(old, new),
            None => {
                let mut delta = Objects::default();
                delta.change(old, new);
                self.segments.insert(segment.to_owned(), delta);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_segment_ends_with_its_slash() {
        for (key, segment) in [("a/b/c", "a/"), ("a", ""), ("", ""), ("/a", "/"), ("é/x", "é/")] {
            assert_eq!(first_segment(key), segment);
        }
    }

    #[test]
    fn an_hour_is_the_upper_half_of_the_order_time() {
        let time = (7_200u64 + 59) << 32;
        assert_eq!(hour_of((time ^ (1 << 63)) as i64), Some(2));
        // After 2038 the plain cast would be negative.
        let late = u64::from(u32::MAX) << 32;
        assert_eq!(hour_of((late ^ (1 << 63)) as i64), Some(i64::from(u32::MAX) / 3600));
        // Undated: the second of publishing stands where timed events have the fraction.
        for (time, hour) in [(0, None), (u64::from(u32::MAX), None), (1 << 32, Some(0))] {
            assert_eq!(hour_of((time ^ (1 << 63)) as i64), hour, "{time}");
        }
    }
}
