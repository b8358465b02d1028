//! The fetched records of a client, with one queue per partition.
//!
//! In a shared queue, records of a partition with a slow reader would block those of partitions whose readers wait:
//! they can neither be passed by nor be put back. From its own queue each partition is taken as far as it has room, and
//! the client stops fetching it when its queue is full.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;

use super::burst::Burst;
use super::context::{Reading, hear};
use super::shared::Shared;

/// Records taken from the client in one go, before they are handed to the lanes.
const BURST_RECORDS: usize = 2000;
/// Bytes of these records.
const BURST_BYTES: usize = 2 << 20;
/// Bytes taken of one partition before it is the next one's turn.
const QUANTUM_BYTES: usize = 256 << 10;

/// The queues of a client, by partition.
#[derive(Default)]
pub(super) struct Queues {
    queues: Vec<Queue>,
    /// The queue whose turn it is.
    turn: usize,
}

struct Queue {
    partition: i32,
    queue: PartitionQueue<Reading>,
    /// The queue may hold records.
    filled: Arc<AtomicBool>,
}

/// The events of one round.
#[derive(Debug, Default)]
pub(super) struct Got {
    pub(super) burst: Burst,
    /// Partitions that ended, and after how many records.
    pub(super) ends: Vec<(usize, i32)>,
}

impl Queues {
    /// Creates queues for exactly these partitions. Call it before they are assigned, or their first records come with
    /// the client's own events.
    pub(super) fn split(
        &mut self,
        consumer: &Arc<BaseConsumer<Reading>>,
        shared: &Arc<Shared>,
        partitions: impl Iterator<Item = i32>,
    ) {
        let mut before: BTreeMap<i32, Queue> = self.queues.drain(..).map(|queue| (queue.partition, queue)).collect();
        for partition in partitions {
            let queue = before.remove(&partition).or_else(|| Queue::new(consumer, shared, partition));
            // Without a queue, its records come with the client's own events.
            self.queues.extend(queue);
        }
    }

    /// Takes waiting records, partition by partition, as far as each has room.
    pub(super) fn take(
        &mut self,
        consumer: &BaseConsumer<Reading>,
        shared: &Shared,
        room: &BTreeMap<i32, usize>,
    ) -> Got {
        let mut got = Got::default();
        // The client's own events, and records from before their partition had a queue.
        hear(consumer).for_each(|said| got.add(shared, said));
        for _ in 0..self.queues.len() {
            if got.is_full() {
                break;
            }
            self.turn = (self.turn + 1) % self.queues.len();
            let Some(queue) = self.queues.get(self.turn) else { break };
            let room = room.get(&queue.partition).copied().unwrap_or(0);
            if room > 0 && queue.filled.swap(false, SeqCst) {
                let is_empty = got.add_all(shared, queue, room.min(QUANTUM_BYTES));
                queue.filled.fetch_or(!is_empty, SeqCst);
            }
        }
        // Also the events that the client raised before it queued the last of these records.
        hear(consumer).for_each(|said| got.add(shared, said));
        got
    }
}

impl Queue {
    fn new(consumer: &Arc<BaseConsumer<Reading>>, shared: &Arc<Shared>, partition: i32) -> Option<Self> {
        let mut queue = consumer.split_partition_queue(&shared.topic, partition)?;
        let filled = Arc::new(AtomicBool::new(true));
        let fills = Arc::clone(&filled);
        let shared = Arc::clone(shared);
        // This runs in threads of the client.
        queue.set_nonempty_callback(move || {
            fills.store(true, SeqCst);
            shared.ring();
        });
        Some(Queue { partition, queue, filled })
    }
}

impl Got {
    pub(super) fn is_empty(&self) -> bool {
        self.burst.len() == 0 && self.ends.is_empty()
    }

    fn is_full(&self) -> bool {
        self.burst.len() >= BURST_RECORDS || self.burst.bytes() >= BURST_BYTES
    }

    /// Takes about `bytes_max` of one partition; returns whether its queue is empty.
    fn add_all(&mut self, shared: &Shared, queue: &Queue, bytes_max: usize) -> bool {
        let until = self.burst.bytes().saturating_add(bytes_max);
        while self.burst.bytes() < until && !self.is_full() {
            match queue.queue.poll(Duration::ZERO) {
                Some(said) => self.add(shared, said),
                None => return true,
            }
        }
        false
    }

    fn add(&mut self, shared: &Shared, said: KafkaResult<BorrowedMessage<'_>>) {
        match said {
            Ok(message) => self.burst.add(&message),
            // The partition ends after the records before.
            Err(KafkaError::PartitionEOF(partition)) => self.ends.push((self.burst.len(), partition)),
            Err(error @ KafkaError::MessageConsumptionFatal(_)) => shared.client_failed(&error, ""),
            // The callback has already handled it, with its reason.
            Err(_) => {}
        }
    }
}
