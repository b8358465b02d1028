//! The records read ahead, by partition, and whether they continue at the reader's position.
//!
//! Pure: no client, no clock. Every record must be the next one. A repeat is dropped. A record beyond the next offset
//! means a hole (compaction, control records, aborted transactions), or that the client lost its place: a second seek
//! to the offset before must give the same record, otherwise it is not accepted.

use std::collections::{BTreeMap, VecDeque};

use millstream_engine::{Position, Record};

use super::epochs::Epochs;

/// Holes of a partition to check by a second seek, before holes within a run of records are accepted unchecked: a topic
/// with transactions or compaction has them everywhere.
const HOLES_ASKED_ABOUT: u32 = 8;

/// The partitions that this process has.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    partitions: BTreeMap<i32, Buffer>,
    bytes: usize,
    /// Records that came again and were dropped.
    pub(super) repeats: u64,
}

/// One partition.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    /// The reader's position: the waiting records start here. Without a reader the fields mean nothing.
    begin: u64,
    /// The offset after the waiting records; `None` without a reader.
    next: Option<u64>,
    /// The client must seek to `next`; until then its records come from elsewhere.
    seek: bool,
    /// No record came since the seek to `next`.
    fresh: bool,
    /// First offset received after the previous seek to `next`; the same answer twice proves a hole.
    seen: Option<u64>,
    holes: u32,
    records: VecDeque<Record>,
    bytes: usize,
    /// If the end of the partition is reported before any record, no record exists below this offset.
    probe: Option<u64>,
    /// The client does not fetch it now.
    paused: bool,
    /// The last reported end of the partition.
    end: Option<u64>,
    /// The start and end of the partition, if `next` is outside of them.
    gap: Option<(u64, u64, &'static str)>,
    /// The leader epochs of the records since the reader began.
    epochs: Epochs,
}

/// What a reader gets.
#[derive(Debug)]
pub(super) enum Taken {
    /// Records, perhaps none, and the offset to go on from.
    Records(Vec<Record>, u64),
    /// Nothing yet.
    Nothing,
    /// The partition does not have the wanted offset, only this range.
    Gap(u64, u64, &'static str),
    /// The partition is not assigned to this process.
    NotOurs,
}

impl Buffers {
    /// From now on these partitions are ours. Those that were ours before keep their position and waiting records.
    pub(super) fn assign(&mut self, partitions: &[i32]) {
        let mut before = std::mem::take(&mut self.partitions);
        let mut kept = |partition| before.remove(partition).unwrap_or(Buffer { paused: true, ..Buffer::default() });
        self.partitions = partitions.iter().map(|partition| (*partition, kept(partition))).collect();
        self.bytes = self.partitions.values().map(|buffer| buffer.bytes).sum();
    }

    /// How many more bytes each partition with a reader may receive. Once all together have `bytes_max`, each may still
    /// have its share of as many again, so that none waits for the readers of others.
    pub(super) fn room(&self, bytes_max: usize) -> BTreeMap<i32, usize> {
        let left = bytes_max.saturating_sub(self.bytes);
        let share = bytes_max / self.partitions.len().max(1);
        let read = self.partitions.iter().filter(|(_, buffer)| buffer.next.is_some());
        read.map(|(partition, buffer)| (*partition, left.max(share.saturating_sub(buffer.bytes)))).collect()
    }

    /// Takes the records from an offset on, or makes the client seek there.
    pub(super) fn take(&mut self, partition: i32, from: u64, bytes_max: usize) -> Taken {
        let Some(buffer) = self.partitions.get_mut(&partition) else { return Taken::NotOurs };
        let at_gap = buffer.next == Some(from);
        if let Some((start, end, reason)) = buffer.gap.filter(|_| at_gap) {
            buffer.stop();
            return Taken::Gap(start, end, reason);
        }
        let taken = buffer.take(from, bytes_max);
        self.bytes = self.partitions.values().map(|buffer| buffer.bytes).sum();
        taken
    }

    /// Adds a record that the client gave.
    pub(super) fn accept(&mut self, partition: i32, offset: u64, epoch: Option<i32>, record: Record) {
        let Some(buffer) = self.partitions.get_mut(&partition) else { return };
        let cost = record.cost_bytes();
        match buffer.judge(offset) {
            Judged::Next => {
                buffer.next = Some(offset.saturating_add(1));
                buffer.fresh = false;
                buffer.seen = None;
                buffer.probe = None;
                buffer.epochs.note(offset, epoch);
                buffer.bytes += cost;
                self.bytes += cost;
                buffer.records.push_back(record);
            }
            Judged::Repeat => self.repeats += 1,
            Judged::Ahead | Judged::Elsewhere => {}
        }
    }

    /// The client reports the end of a partition.
    pub(super) fn at_end(&mut self, partition: i32) {
        let Some(buffer) = self.partitions.get_mut(&partition) else { return };
        let Some(end) = buffer.probe.take().filter(|_| !buffer.seek) else { return };
        if buffer.next.is_some_and(|next| next < end) {
            buffer.next = Some(end);
        }
    }

    /// Sets the current ends of partitions. If an end stays ahead of us although nothing comes, there may be no records
    /// before it, only control records: a second seek proves that if the end comes before any record.
    pub(super) fn ends(&mut self, ends: impl Iterator<Item = (i32, u64)>) {
        for (partition, end) in ends {
            let Some(buffer) = self.partitions.get_mut(&partition) else { continue };
            let quiet = buffer.end == Some(end) && buffer.records.is_empty() && !buffer.seek && !buffer.paused;
            if quiet && buffer.probe.is_none() && buffer.next.is_some_and(|next| next < end) {
                buffer.probe = Some(end);
                buffer.seek = true;
            }
            buffer.end = Some(end);
        }
    }

    /// Whether a partition is ours.
    pub(super) fn has(&self, partition: i32) -> bool {
        self.partitions.contains_key(&partition)
    }

    /// The epoch of the leader that wrote the record before an offset, if that record was read here.
    pub(super) fn epoch_before(&self, partition: i32, offset: u64) -> Option<i32> {
        self.partitions.get(&partition)?.epochs.before(offset)
    }

    /// The last reported end of a partition.
    pub(super) fn end(&self, partition: i32) -> Option<u64> {
        self.partitions.get(&partition)?.end
    }

    /// Where the client must seek to.
    pub(super) fn seeks(&self) -> Vec<(i32, u64)> {
        let seek = |(partition, buffer): (&i32, &Buffer)| Some((*partition, buffer.next.filter(|_| buffer.seek)?));
        self.partitions.iter().filter_map(seek).collect()
    }

    /// All partitions, and the offset to read from; `None` without a reader.
    pub(super) fn positions(&self) -> Vec<(i32, Option<u64>)> {
        self.partitions.iter().map(|(partition, buffer)| (*partition, buffer.next)).collect()
    }

    /// Whether exactly these partitions are ours.
    pub(super) fn are(&self, partitions: &[i32]) -> bool {
        self.partitions.keys().eq(partitions)
    }

    /// The client was assigned anew at [`Buffers::positions`].
    pub(super) fn begun_again(&mut self) {
        for buffer in self.partitions.values_mut() {
            buffer.seek = false;
            buffer.fresh = true;
            buffer.paused = buffer.next.is_none();
            buffer.probe = None;
        }
    }

    /// The client has sought there.
    pub(super) fn sought(&mut self, partition: i32, offset: u64) {
        if let Some(buffer) = self.partitions.get_mut(&partition)
            && buffer.next == Some(offset)
        {
            buffer.seek = false;
            buffer.fresh = true;
            buffer.paused = false;
        }
    }

    /// The offsets that readers want next, to be checked when one is out of range.
    pub(super) fn read(&self) -> Vec<(i32, u64)> {
        self.partitions.iter().filter_map(|(partition, buffer)| Some((*partition, buffer.next?))).collect()
    }

    /// Records that the wanted offset is out of range; without a `gap` the client only seeks there again.
    pub(super) fn out_of_range(&mut self, partition: i32, offset: u64, gap: Option<(u64, u64, &'static str)>) {
        if let Some(buffer) = self.partitions.get_mut(&partition)
            && buffer.next == Some(offset)
        {
            match gap {
                // Records before it are still good and are returned first.
                Some(gap) => buffer.gap = Some(gap),
                None => buffer.seek = true,
            }
        }
    }
}

enum Judged {
    Next,
    Repeat,
    /// Beyond the next offset: the client must seek back once.
    Ahead,
    /// Not the wanted offset.
    Elsewhere,
}

impl Buffer {
    fn stop(&mut self) {
        *self = Buffer { paused: self.paused, end: self.end, ..Buffer::default() };
    }

    fn take(&mut self, from: u64, bytes_max: usize) -> Taken {
        if !self.goes_on_at(from) {
            self.stop();
            self.begin = from;
            self.next = Some(from);
            self.seek = true;
            return Taken::Nothing;
        }
        let mut records = Vec::new();
        let mut bytes = 0;
        while let Some(cost) = self.records.front().map(Record::cost_bytes) {
            if bytes + cost > bytes_max && !records.is_empty() {
                break;
            }
            bytes += cost;
            records.extend(self.records.pop_front());
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        let last = records.last().and_then(offset_of);
        let next = match last.filter(|_| !self.records.is_empty()) {
            Some(last) => last.saturating_add(1),
            None => self.next.unwrap_or(from),
        };
        if next == self.begin {
            return Taken::Nothing;
        }
        self.begin = next;
        Taken::Records(records, next)
    }

    /// Whether the waiting records continue at an offset; those before it are dropped.
    fn goes_on_at(&mut self, from: u64) -> bool {
        if self.next.is_none() {
            return false;
        }
        if from == self.begin {
            return true;
        }
        let Some(index) = self.records.iter().position(|record| offset_of(record) == Some(from)) else { return false };
        let dropped: usize = self.records.drain(..index).map(|record| record.cost_bytes()).sum();
        self.bytes = self.bytes.saturating_sub(dropped);
        self.begin = from;
        true
    }

    fn judge(&mut self, offset: u64) -> Judged {
        let Some(next) = self.next.filter(|_| !self.seek && self.gap.is_none()) else { return Judged::Elsewhere };
        if offset < next {
            return Judged::Repeat;
        }
        let believed = offset == next || self.seen == Some(offset) || (!self.fresh && self.holes >= HOLES_ASKED_ABOUT);
        if !believed {
            self.seen = Some(offset);
            self.seek = true;
            return Judged::Ahead;
        }
        if offset > next {
            self.holes = self.holes.saturating_add(1);
        }
        Judged::Next
    }
}

fn offset_of(record: &Record) -> Option<u64> {
    match record.position {
        Position::Offset(offset) => Some(offset),
        Position::Sequence(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(offset: u64) -> Record {
        Record {
            position: Position::Offset(offset),
            published_at_ms: 0,
            key: Bytes::new(),
            headers: Vec::new(),
            payload: Bytes::from_static(b"x"),
        }
    }

    /// One partition that is read from an offset, with the client there.
    fn reading(from: u64) -> Buffers {
        let mut buffers = Buffers::default();
        buffers.assign(&[3]);
        assert_eq!(offsets(&mut buffers, from), None);
        seek(&mut buffers, from);
        buffers
    }

    fn seek(buffers: &mut Buffers, offset: u64) {
        assert_eq!(buffers.seeks(), [(3, offset)]);
        buffers.sought(3, offset);
        assert_eq!(buffers.seeks(), []);
    }

    fn come(buffers: &mut Buffers, offsets: impl IntoIterator<Item = u64>) {
        offsets.into_iter().for_each(|offset| buffers.accept(3, offset, None, record(offset)));
    }

    fn offsets(buffers: &mut Buffers, from: u64) -> Option<(Vec<u64>, u64)> {
        match buffers.take(3, from, usize::MAX) {
            Taken::Records(records, next) => Some((records.iter().filter_map(offset_of).collect(), next)),
            Taken::Nothing => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn records_come_once_and_in_order() {
        let mut buffers = reading(5);
        come(&mut buffers, [5, 6, 6, 5, 7]);
        assert_eq!(offsets(&mut buffers, 5), Some((vec![5, 6, 7], 8)));
        assert_eq!((buffers.repeats, buffers.bytes), (2, 0));
        assert_eq!(offsets(&mut buffers, 8), None);
    }

    #[test]
    fn what_comes_too_early_is_asked_for_again_and_then_believed() {
        let mut buffers = reading(5);
        come(&mut buffers, [5, 9, 10]);
        seek(&mut buffers, 6);
        come(&mut buffers, [6, 7, 8, 9]);
        assert_eq!(offsets(&mut buffers, 5), Some((vec![5, 6, 7, 8, 9], 10)), "the client had lost its place");
        come(&mut buffers, [13, 14]);
        seek(&mut buffers, 10);
        come(&mut buffers, [13, 14]);
        assert_eq!(offsets(&mut buffers, 10), Some((vec![13, 14], 15)), "there is nothing in between");
    }

    #[test]
    fn a_partition_full_of_holes_is_believed_in_the_end_except_after_a_seek() {
        let mut buffers = reading(0);
        for offset in (0..u64::from(HOLES_ASKED_ABOUT) * 2).step_by(2) {
            come(&mut buffers, [offset + 1]);
            let next = buffers.seeks()[0].1;
            seek(&mut buffers, next);
            come(&mut buffers, [offset + 1]);
        }
        let next = u64::from(HOLES_ASKED_ABOUT) * 2;
        come(&mut buffers, [next + 7]);
        assert_eq!(buffers.seeks(), []);
        buffers.out_of_range(3, next + 8, None);
        seek(&mut buffers, next + 8);
        come(&mut buffers, [next + 20]);
        assert_eq!(buffers.seeks(), [(3, next + 8)]);
    }

    #[test]
    fn records_of_before_a_seek_are_not_taken_for_those_after_it() {
        let mut buffers = reading(100);
        come(&mut buffers, [100, 101]);
        assert_eq!(offsets(&mut buffers, 50), None);
        come(&mut buffers, [102, 103]);
        seek(&mut buffers, 50);
        come(&mut buffers, [50, 51]);
        assert_eq!(offsets(&mut buffers, 50), Some((vec![50, 51], 52)));
    }

    #[test]
    fn what_waits_outlives_a_rebalance_that_gives_the_partition_back() {
        let mut buffers = reading(5);
        come(&mut buffers, [5, 6]);
        buffers.assign(&[3, 4]);
        assert_eq!(buffers.positions(), [(3, Some(7)), (4, None)]);
        buffers.begun_again();
        assert_eq!(offsets(&mut buffers, 5), Some((vec![5, 6], 7)));
        come(&mut buffers, [7]);
        assert_eq!(offsets(&mut buffers, 7), Some((vec![7], 8)));
        buffers.assign(&[4]);
        assert_eq!(buffers.bytes, 0);
        buffers.assign(&[3]);
        assert_eq!(offsets(&mut buffers, 8), None);
        seek(&mut buffers, 8);
    }

    #[test]
    fn a_reader_may_begin_within_what_waits() {
        let mut buffers = reading(5);
        come(&mut buffers, 5..9);
        assert_eq!(offsets(&mut buffers, 7), Some((vec![7, 8], 9)));
        assert_eq!(buffers.bytes, 0);
    }

    #[test]
    fn an_end_without_records_is_passed() {
        let mut buffers = reading(5);
        come(&mut buffers, [5]);
        assert_eq!(offsets(&mut buffers, 5), Some((vec![5], 6)));
        buffers.ends([(3, 8)].into_iter());
        buffers.at_end(3);
        assert_eq!(offsets(&mut buffers, 6), None, "records may still be under way");
        buffers.ends([(3, 8)].into_iter());
        seek(&mut buffers, 6);
        buffers.at_end(3);
        assert_eq!(offsets(&mut buffers, 6), Some((vec![], 8)));
        come(&mut buffers, [8]);
        assert_eq!(offsets(&mut buffers, 8), Some((vec![8], 9)));
    }

    /// An end that is reported before the seek back belongs to another offset: records may precede it.
    #[test]
    fn an_end_that_was_heard_before_the_seek_says_nothing() {
        let mut buffers = reading(5);
        buffers.ends([(3, 8)].into_iter());
        buffers.ends([(3, 8)].into_iter());
        assert_eq!(buffers.seeks(), [(3, 5)], "it is asked for once more");
        buffers.at_end(3);
        assert_eq!((buffers.positions(), offsets(&mut buffers, 5)), (vec![(3, Some(5))], None));
        seek(&mut buffers, 5);
        come(&mut buffers, [5, 6]);
        assert_eq!(offsets(&mut buffers, 5), Some((vec![5, 6], 7)));
        buffers.ends([(3, 8)].into_iter());
        seek(&mut buffers, 7);
        buffers.at_end(3);
        assert_eq!(offsets(&mut buffers, 7), Some((vec![], 8)), "the probe that was spoilt is made again");
    }

    /// After a seek the client may begin anywhere: only the record that was sought is taken without asking again.
    #[test]
    fn after_a_seek_the_first_record_must_be_the_one_sought() {
        for ahead in [1, 2, 7] {
            let mut buffers = reading(5);
            come(&mut buffers, [5 + ahead, 6 + ahead]);
            assert_eq!(buffers.seeks(), [(3, 5)], "{ahead} too far");
            assert_eq!(offsets(&mut buffers, 5), None, "nothing is skipped");
            seek(&mut buffers, 5);
            come(&mut buffers, 5..8);
            assert_eq!(offsets(&mut buffers, 5), Some((vec![5, 6, 7], 8)));
        }
    }

    #[test]
    fn a_record_before_the_end_is_no_empty_range() {
        let mut buffers = reading(5);
        buffers.ends([(3, 8)].into_iter());
        buffers.ends([(3, 8)].into_iter());
        seek(&mut buffers, 5);
        come(&mut buffers, [5]);
        buffers.at_end(3);
        assert_eq!(offsets(&mut buffers, 5), Some((vec![5], 6)));
    }

    #[test]
    fn a_partition_without_room_takes_none_from_another() {
        let mut buffers = Buffers::default();
        buffers.assign(&[3, 4, 5]);
        assert_eq!(buffers.room(900), BTreeMap::new(), "nobody reads");
        assert!(matches!(buffers.take(3, 0, 1), Taken::Nothing) && matches!(buffers.take(4, 0, 1), Taken::Nothing));
        assert_eq!(buffers.room(900), BTreeMap::from([(3, 900), (4, 900)]));
        buffers.sought(3, 0);
        let cost = record(0).cost_bytes();
        come(&mut buffers, 0..2);
        assert_eq!(buffers.room(3 * cost), BTreeMap::from([(3, cost), (4, cost)]));
        come(&mut buffers, 2..9);
        assert_eq!(buffers.room(3 * cost), BTreeMap::from([(3, 0), (4, cost)]));
        assert!(matches!(buffers.take(3, 0, 8 * cost), Taken::Records(..)));
        assert_eq!(buffers.room(3 * cost), BTreeMap::from([(3, 2 * cost), (4, 2 * cost)]));
    }

    #[test]
    fn what_was_read_before_a_gap_is_given_first() {
        let mut buffers = reading(5);
        come(&mut buffers, [5, 6]);
        buffers.out_of_range(3, 7, Some((20, 30, "lost")));
        assert_eq!(offsets(&mut buffers, 5), Some((vec![5, 6], 7)));
        assert!(matches!(buffers.take(3, 7, usize::MAX), Taken::Gap(20, 30, "lost")));
        assert!(matches!(buffers.take(4, 0, usize::MAX), Taken::NotOurs));
    }
}
