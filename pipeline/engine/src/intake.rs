//! Stage 1b: bounded queues between the source and the batch, one per partition of a lane.
//!
//! Turns between partitions are by deficit round robin in bytes (Shreedhar and Varghese, 1995), so that one hot
//! partition cannot starve the others. The queues hold at most the lane's share of the memory budget. Clearing them
//! loses nothing: the next fetch begins at the stored position again.

use std::collections::VecDeque;

use crate::batch::Taken;
use crate::source::{Partition, Position, Record, RecordBatch, Want};

/// The queues of one lane.
#[derive(Debug)]
pub struct Intake {
    queues: Vec<Queue>,
    /// The queue whose turn it is.
    turn: usize,
    budget_bytes: usize,
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
        });
        Intake { queues: queues.collect(), turn: 0, budget_bytes }
    }

    /// What to ask the source for: every partition that holds less than half of its share.
    pub fn wants(&self) -> Vec<Want> {
        let share = self.budget_bytes / self.queues.len().max(1);
        let hungry = self.queues.iter().filter(|queue| queue.bytes <= share / 2);
        hungry
            .map(|queue| Want {
                partition: queue.partition.clone(),
                from: queue.fetched.clone(),
                bytes_max: share - queue.bytes,
            })
            .collect()
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
    }

    /// Records that wait.
    pub fn records(&self) -> usize {
        self.queues.iter().map(|queue| queue.records.len()).sum()
    }

    /// Whether a position moved without records, so that a batch is due although none wait.
    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.records.is_empty() && queue.written == queue.fetched)
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.queues.iter().map(|queue| queue.bytes).sum()
    }

    /// When the oldest record that waits was accepted.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.queues.iter().filter_map(|queue| queue.records.front()).map(|record| record.published_at_ms).min()
    }

    /// Takes up to `records_max` records or about `bytes_max` bytes, in turns, each partition's in order.
    pub fn take(&mut self, records_max: usize, bytes_max: usize) -> Vec<Taken> {
        let mut taken: Vec<Vec<Record>> = self.queues.iter().map(|_| Vec::new()).collect();
        let (mut records, mut bytes) = (0, 0);
        let count = self.queues.len();
        'full: while records < records_max && bytes < bytes_max && self.records() > 0 {
            for _ in 0..count {
                let index = self.turn % count;
                self.turn = (index + 1) % count;
                let (Some(queue), Some(taken)) = (self.queues.get_mut(index), taken.get_mut(index)) else { continue };
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
        self.queues.iter_mut().zip(taken).filter_map(|(queue, records)| queue.hand_over(records)).collect()
    }
}

impl Queue {
    /// Pairs what was taken with the positions it covers.
    fn hand_over(&mut self, records: Vec<Record>) -> Option<Taken> {
        let next = match self.records.front() {
            Some(first) => first.position.clone(),
            None => self.fetched.clone(),
        };
        if records.is_empty() && (self.written == next || !self.records.is_empty()) {
            return None;
        }
        let from = std::mem::replace(&mut self.written, next.clone());
        Some(Taken { partition: self.partition.clone(), from, next, records })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

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

    proptest! {
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
