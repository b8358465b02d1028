//! Stage 1b: bounded queues between the source and the batch, one per partition of a lane.
//!
//! Turns between partitions are by deficit round robin in bytes (Shreedhar and Varghese, 1995), so that one hot
//! partition cannot starve the others. The queues hold at most the lane's share of the memory budget ([`crate::memory`]). Clearing them
//! loses nothing: the next fetch begins at the stored position again.
//!
//! A batch that the sink could not write in one piece is given back and taken again in parts, each of one partition;
//! meanwhile the other partitions go on.

mod parts;

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::batch::{Range, Taken};
use crate::limits::Limits;
use crate::memory::LaneMemory;
use crate::position::{Partition, Position};
use crate::retry::Backoff;
use crate::source::{Record, RecordBatch, Want};
use parts::Parts;

/// The queues of one lane.
#[derive(Debug)]
pub struct Intake {
    queues: Vec<Queue>,
    /// The queue whose turn it is.
    turn: usize,
    budget_bytes: usize,
    /// Replaces `budget_bytes`, in a pipeline.
    memory: Option<LaneMemory>,
    /// Whether the last turn took a part: then the next turn is for partitions that are not divided.
    part_taken: bool,
}

#[derive(Debug)]
struct Queue {
    partition: Partition,
    /// Everything before this is in the sink.
    written: Position,
    /// Everything before this is in the sink or in `records`.
    fetched: Position,
    records: VecDeque<Record>,
    bytes: usize,
    deficit_bytes: usize,
    /// How its first records are divided, if they were too slow in one piece.
    parts: Option<Parts>,
}

/// Bytes a partition may take per turn. Smaller: more switching between partitions in a batch. Larger: a batch of
/// 4 MiB would hold only a few partitions.
const QUANTUM_BYTES: usize = 128 * 1024;

impl Intake {
    /// Empty queues that begin at the given positions and hold at most `budget_bytes` together.
    pub fn new(partitions: Vec<(Partition, Position)>, budget_bytes: usize) -> Self {
        let queues = partitions.into_iter().map(|(partition, position)| Queue {
            partition,
            written: position.clone(),
            fetched: position,
            records: VecDeque::new(),
            bytes: 0,
            deficit_bytes: 0,
            parts: None,
        });
        Intake { queues: queues.collect(), turn: 0, budget_bytes, memory: None, part_taken: false }
    }

    /// No queues yet, with this memory for those to come.
    pub(crate) fn within(memory: LaneMemory) -> Self {
        Intake { memory: Some(memory), ..Intake::new(Vec::new(), 0) }
    }

    /// Bytes that the queues may hold now.
    fn budget_bytes(&self) -> usize {
        self.memory.as_ref().map_or(self.budget_bytes, LaneMemory::queue_bytes)
    }

    /// Bytes of records that the next batch may hold.
    pub(crate) fn batch_bytes(&self, limits: &Limits) -> usize {
        self.memory.as_ref().map_or_else(|| limits.batch_bytes(), |memory| memory.batch_bytes(limits.batch.bytes_max))
    }

    /// A batch of this many bytes of records is written, which are `unpacked` bytes when they are decoded.
    pub(crate) fn writing(&mut self, bytes: usize, unpacked: usize) {
        if let Some(memory) = &mut self.memory {
            memory.writing(bytes, unpacked);
        }
    }

    /// The batch is written, or is no longer to be.
    pub(crate) fn wrote(&mut self) {
        if let Some(memory) = &mut self.memory {
            memory.wrote();
        }
    }

    /// Nothing can be written for now: gives back what the queues hold beyond the pipeline's own part of the memory. It
    /// is read again.
    pub(crate) fn stuck(&mut self) {
        let Some(memory) = &mut self.memory else { return };
        memory.stuck(true);
        let share = memory.queue_bytes() / self.queues.len().max(1);
        self.queues.iter_mut().for_each(|queue| queue.shorten(share));
        self.hold();
    }

    /// Something was written: the queues may hold what others do not use.
    pub(crate) fn moves(&mut self) {
        if let Some(memory) = &mut self.memory {
            memory.stuck(false);
        }
    }

    /// Reports what the queues hold.
    fn hold(&mut self) {
        if let Some(memory) = &mut self.memory {
            memory.queued(self.queues.iter().map(|queue| queue.bytes).sum());
        }
    }

    /// Begins anew at the given positions. A partition whose position has not moved keeps its fetched records.
    pub(crate) fn restart(&mut self, partitions: Vec<(Partition, Position)>) {
        let before = std::mem::take(&mut self.queues);
        let memory = self.memory.take();
        *self = Intake { memory, ..Intake::new(partitions, self.budget_bytes) };
        for queue in before {
            let same = |own: &&mut Queue| own.partition == queue.partition && own.written == queue.written;
            if let Some(own) = self.queues.iter_mut().find(same) {
                *own = queue;
            }
        }
        self.wrote();
        self.hold();
    }

    /// What to fetch: every partition whose queue holds less than half of its share of the budget.
    pub fn wants(&self) -> Vec<Want> {
        let share = self.budget_bytes() / self.queues.len().max(1);
        let hungry = self.queues.iter().filter(|queue| queue.bytes <= share / 2);
        hungry
            .map(|queue| Want {
                partition: queue.partition.clone(),
                from: queue.fetched.clone(),
                bytes_max: share.saturating_sub(queue.bytes),
            })
            .collect()
    }

    /// What to fetch beyond the records in hand: every partition, from the position up to which this lane has read.
    pub(crate) fn beyond(&self) -> Vec<Want> {
        let bytes_max = self.budget_bytes() / self.queues.len().max(1);
        let want = |queue: &Queue| Want { partition: queue.partition.clone(), from: queue.fetched.clone(), bytes_max };
        self.queues.iter().map(want).collect()
    }

    /// The records in hand.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Record> {
        self.queues.iter().flat_map(|queue| &queue.records)
    }

    /// Puts fetched records into their queues. Records of a partition that this lane does not hold are ignored: they
    /// were fetched before it was taken away, and its next owner reads them again.
    pub fn accept(&mut self, fetched: Vec<RecordBatch>) {
        for batch in fetched {
            let Some(queue) = self.queues.iter_mut().find(|queue| queue.partition == batch.partition) else { continue };
            queue.bytes += batch.records.iter().map(Record::cost_bytes).sum::<usize>();
            queue.records.extend(batch.records);
            queue.fetched = batch.next;
        }
        self.hold();
    }

    /// Records that wait for a batch of many partitions.
    pub fn records(&self) -> usize {
        self.undivided().map(|queue| queue.records.len()).sum()
    }

    /// Whether no batch of many partitions is due. A position that moved without records also makes one due.
    pub fn is_empty(&self) -> bool {
        self.undivided().all(|queue| queue.records.is_empty() && queue.written == queue.fetched)
    }

    /// Bytes that wait for a batch of many partitions.
    pub fn bytes(&self) -> usize {
        self.undivided().map(|queue| queue.bytes).sum()
    }

    fn undivided(&self) -> impl Iterator<Item = &Queue> {
        self.queues.iter().filter(|queue| queue.parts.is_none())
    }

    /// When the next part may be taken, if anything is divided.
    pub fn part_due(&self) -> Option<Instant> {
        self.queues.iter().filter_map(|queue| Some(queue.parts.as_ref()?.due())).min()
    }

    /// Whether a batch is a part of one that was too slow in one piece.
    pub fn is_part(&self, ranges: &[Range]) -> bool {
        let divided =
            |range: &Range| self.queues.iter().any(|own| own.partition == range.partition && own.parts.is_some());
        ranges.iter().any(divided)
    }

    /// When the oldest record that waits was accepted.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.queues.iter().filter_map(|queue| queue.records.front()).map(|record| record.published_at_ms).min()
    }

    /// Takes up to `records_max` records or about `bytes_max` bytes, from the partitions in turn, in order within each.
    /// A part of a batch that was too slow in one piece is taken alone, and at most every other time.
    pub fn take(&mut self, records_max: usize, bytes_max: usize) -> Vec<Taken> {
        self.part_taken = !self.part_taken || self.is_empty();
        if self.part_taken
            && let Some(part) = self.take_part()
        {
            self.hold();
            return vec![part];
        }
        self.part_taken = false;
        let mut taken: Vec<Vec<Record>> = self.queues.iter().map(|_| Vec::new()).collect();
        let mut records = 0;
        let mut bytes = 0;
        let count = self.queues.len();
        'full: while records < records_max && bytes < bytes_max && self.records() > 0 {
            for _ in 0..count {
                let index = self.turn % count;
                self.turn = (index + 1) % count;
                let (Some(queue), Some(taken)) = (self.queues.get_mut(index), taken.get_mut(index)) else { continue };
                if queue.parts.is_some() {
                    continue;
                }
                queue.deficit_bytes = if queue.records.is_empty() { 0 } else { queue.deficit_bytes + QUANTUM_BYTES };
                while let Some(cost) = queue.records.front().map(Record::cost_bytes) {
                    if records >= records_max || (bytes >= bytes_max && records > 0) {
                        break 'full;
                    }
                    if cost > queue.deficit_bytes {
                        break;
                    }
                    queue.deficit_bytes -= cost;
                    queue.bytes = queue.bytes.saturating_sub(cost);
                    taken.extend(queue.records.pop_front());
                    records += 1;
                    bytes += cost;
                }
            }
        }
        let undivided = self.queues.iter_mut().zip(taken).filter(|(queue, _)| queue.parts.is_none());
        let handed_over = undivided.filter_map(|(queue, records)| queue.hand_over(records)).collect();
        self.hold();
        handed_over
    }

    /// The part that has been due for the longest time.
    fn take_part(&mut self) -> Option<Taken> {
        let now = Instant::now();
        let due = |queue: &Queue| queue.parts.as_ref().map(Parts::due).filter(|due| *due <= now);
        let queue = self.queues.iter_mut().filter(|queue| due(queue).is_some()).min_by_key(|queue| due(queue))?;
        let size = queue.parts.as_ref().map_or(1, Parts::next).min(queue.records.len());
        let records: Vec<Record> = queue.records.drain(..size).collect();
        queue.bytes = queue.bytes.saturating_sub(records.iter().map(Record::cost_bytes).sum());
        queue.hand_over(records)
    }

    /// Takes back a batch that was too slow in one piece and took `took`: records of many partitions come again one
    /// partition at a time, those of one partition in halves.
    pub(crate) fn divide(&mut self, taken: Vec<Taken>, took: Duration, backoff: &Backoff) {
        let of_one = taken.len() == 1;
        for part in &taken {
            let Some(queue) = self.queues.iter_mut().find(|queue| queue.partition == part.partition) else { continue };
            let parts = queue.parts.get_or_insert_with(|| Parts::new(part.records.len(), backoff.clone()));
            if of_one {
                parts.halve(took);
            }
        }
        self.give_back(taken);
    }

    /// Takes back records that were not written, as if they had never been taken.
    pub(crate) fn give_back(&mut self, taken: Vec<Taken>) {
        for part in taken {
            let Some(queue) = self.queues.iter_mut().find(|queue| queue.partition == part.partition) else { continue };
            queue.bytes += part.records.iter().map(Record::cost_bytes).sum::<usize>();
            part.records.into_iter().rev().for_each(|record| queue.records.push_front(record));
            queue.written = part.from;
        }
        self.wrote();
        self.hold();
    }

    /// Notes that a batch is written; returns the partitions that are no longer divided.
    pub(crate) fn written(&mut self, ranges: &[Range]) -> Vec<Partition> {
        let mut whole = Vec::new();
        for range in ranges {
            let Some(queue) = self.queues.iter_mut().find(|queue| queue.partition == range.partition) else { continue };
            if queue.parts.as_mut().is_some_and(Parts::written) {
                queue.parts = None;
                whole.push(range.partition.clone());
            }
        }
        whole
    }
}

impl Queue {
    /// Drops the last records until it holds `bytes_max` bytes, or one record: they are read again.
    fn shorten(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max
            && self.records.len() > 1
            && let Some(last) = self.records.pop_back()
        {
            self.bytes = self.bytes.saturating_sub(last.cost_bytes());
            self.fetched = last.position;
        }
    }

    /// Pairs the taken records with the positions they cover.
    fn hand_over(&mut self, records: Vec<Record>) -> Option<Taken> {
        let next = match self.records.front() {
            Some(first) => first.position.clone(),
            None => self.fetched.clone(),
        };
        if records.is_empty() && (self.written == next || !self.records.is_empty()) {
            return None;
        }
        let from = std::mem::replace(&mut self.written, next.clone());
        Some(Taken { partition: self.partition.clone(), from, next, era: None, records })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::memory::Budget;

    fn record(offset: u64, size: usize) -> Record {
        Record {
            position: Position::Offset(offset),
            published_at_ms: 0,
            key: Bytes::new(),
            headers: Vec::new(),
            payload: vec![b'x'; size].into(),
        }
    }

    fn batch(name: &str, offsets: std::ops::Range<u64>, size: usize) -> RecordBatch {
        let next = Position::Offset(offsets.end);
        RecordBatch { partition: Partition::new(name), records: offsets.map(|at| record(at, size)).collect(), next }
    }

    fn intake(names: &[&str]) -> Intake {
        let start = names.iter().map(|name| (Partition::new(name), Position::Offset(0)));
        Intake::new(start.collect(), 1 << 30)
    }

    #[test]
    fn a_hot_partition_does_not_starve_a_quiet_one() {
        let mut intake = intake(&["hot", "quiet"]);
        intake.accept(vec![batch("hot", 0..10_000, 1000), batch("quiet", 0..200, 1000)]);
        let taken = intake.take(400, 1 << 30);
        let quiet = taken.iter().find(|taken| taken.partition.as_str() == "quiet").unwrap();
        assert!(quiet.records.len() >= 100, "{} of 400", quiet.records.len());
    }

    #[test]
    fn a_position_that_moves_without_records_is_handed_over() {
        let mut intake = intake(&["a"]);
        assert!(intake.is_empty());
        intake.accept(vec![RecordBatch { partition: Partition::new("a"), records: vec![], next: Position::Offset(7) }]);
        assert!(!intake.is_empty());
        let taken = intake.take(10, 1000);
        assert_eq!((taken[0].from.clone(), taken[0].next.clone()), (Position::Offset(0), Position::Offset(7)));
        assert!(intake.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_pipelines_part_of_the_memory_is_read_into_and_given_back() {
        let budget = Budget::new(8_000_000);
        let pipelines = [budget.join(), budget.join()];
        let begun = |memory: LaneMemory| {
            let mut intake = Intake::within(memory);
            intake.restart(vec![(Partition::new("a"), Position::Offset(0))]);
            intake
        };
        let [mut busy, idle] = [begun(pipelines[0].lane(1)), begun(pipelines[1].lane(1))];
        let asks = |intake: &Intake| intake.wants().first().map_or(0, |want| want.bytes_max);
        assert_eq!(asks(&busy), 1_750_000, "a quarter of all but the reserve of the other");
        busy.accept(vec![batch("a", 0..1_500, 1_000)]);
        busy.writing(800_000, 3_000_000);
        assert_eq!((busy.wants().len(), asks(&idle)), (0, 250_000), "the reserve can always be had");

        // The first cannot write: it keeps its part, and reads the rest again when it can.
        busy.wrote();
        busy.stuck();
        assert!(busy.bytes() <= 1_000_000, "{}", busy.bytes());
        let kept = u64::try_from(busy.records()).unwrap();
        assert_eq!(busy.beyond()[0].from, Position::Offset(kept));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(asks(&idle) >= 1_000_000, "half of it, and more");
        busy.moves();
        busy.accept(vec![batch("a", kept..1_500, 1_000)]);
        let taken = busy.take(10_000, 1 << 30);
        assert_eq!(taken[0].records.len(), 1_500, "none is lost, none comes twice");
        drop(idle);
        assert_eq!(asks(&busy), 1_750_000);
    }

    proptest! {
        /// Some records are too slow, and some are slow together: whatever is given back, every record is handed over
        /// in order, the ranges touch, and every record that can be written without the slow ones is written.
        #[test]
        fn what_is_divided_is_covered_once_and_in_order(
            ends in prop::array::uniform3(0u64..40),
            slow in prop::collection::btree_set((0usize..3, 0u64..40), 0..4),
            records_max in 1usize..60,
            company_max in 1usize..60,
        ) {
            let names = ["a", "b", "c"];
            let mut intake = intake(&names);
            intake.accept(names.iter().zip(ends).map(|(name, end)| batch(name, 0..end, 10)).collect());
            let mut seen = [0u64; 3];
            let mut turns = 0;
            while !(intake.is_empty() && intake.part_due().is_none()) && turns < 500 {
                turns += 1;
                let taken = intake.take(records_max, 1 << 20);
                prop_assert!(!taken.is_empty());
                let place = |part: &Taken| names.iter().position(|name| *name == part.partition.as_str()).unwrap();
                for part in &taken {
                    let first = seen[place(part)];
                    prop_assert_eq!(&part.from, &Position::Offset(first));
                    prop_assert_eq!(&part.next, &Position::Offset(first + part.records.len() as u64));
                }
                let count: usize = taken.iter().map(|part| part.records.len()).sum();
                let is_slow = |part: &Taken| slow.iter().any(|(at, offset)| {
                    *at == place(part) && (seen[*at]..seen[*at] + part.records.len() as u64).contains(offset)
                });
                if taken.iter().any(is_slow) || count > company_max {
                    intake.divide(taken, Duration::ZERO, &Backoff::new(Duration::ZERO, Duration::ZERO));
                    continue;
                }
                let ranges = taken.iter().map(|part| Range {
                    partition: part.partition.clone(), from: part.from.clone(), next: part.next.clone(), era: None, records: 0..0,
                });
                intake.written(&ranges.collect::<Vec<_>>());
                taken.iter().for_each(|part| seen[place(part)] += part.records.len() as u64);
            }
            // Each partition is at its end, or at its first slow record.
            for (at, end) in ends.into_iter().enumerate() {
                let stuck = slow.iter().filter(|(partition, _)| *partition == at).map(|(_, offset)| *offset).min();
                prop_assert_eq!(seen[at], stuck.unwrap_or(end).min(end), "partition {}", at);
            }
        }

        /// Whatever the sizes and limits: nothing lost, nothing twice, in order, and the ranges touch.
        #[test]
        fn taking_covers_every_record_once(
            sizes in prop::collection::vec((0usize..3, 0usize..200_000), 1..200),
            records_max in 1usize..50,
            bytes_max in 1usize..1_000_000,
        ) {
            let names = ["a", "b", "c"];
            let mut intake = intake(&names);
            let mut ends = [0u64; 3];
            for (partition, size) in sizes {
                intake.accept(vec![batch(names[partition], ends[partition]..ends[partition] + 1, size)]);
                ends[partition] += 1;
            }
            let mut seen = [0u64; 3];
            while !intake.is_empty() {
                let taken = intake.take(records_max, bytes_max);
                prop_assert!(!taken.is_empty());
                prop_assert!(taken.iter().map(|taken| taken.records.len()).sum::<usize>() <= records_max);
                for part in taken {
                    let at = names.iter().position(|name| *name == part.partition.as_str()).unwrap();
                    prop_assert_eq!(&part.from, &Position::Offset(seen[at]));
                    for record in &part.records {
                        prop_assert_eq!(&record.position, &Position::Offset(seen[at]));
                        seen[at] += 1;
                    }
                    prop_assert_eq!(&part.next, &Position::Offset(seen[at]));
                }
            }
            prop_assert_eq!(seen, ends);
            prop_assert_eq!(intake.bytes(), 0);
        }
    }
}
