//! What the client has fetched, in a queue of its own for each partition.
//!
//! In one queue for all, a partition whose reader is slow stands before those whose readers wait: what is fetched of it
//! can neither be passed by nor be put back. Each by itself is taken as far as there is room for it, and the client stops
//! to fetch it when its queue is full.

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
/// Bytes of them.
const BURST_BYTES: usize = 2 << 20;
/// Bytes of one partition before it is the turn of the next.
const QUANTUM_BYTES: usize = 256 << 10;

/// The queues of a client, by partition.
#[derive(Default)]
pub(super) struct Queues {
    queues: Vec<Queue>,
    /// Whose turn it is.
    turn: usize,
}

struct Queue {
    partition: i32,
    queue: PartitionQueue<Reading>,
    /// Something may be in it.
    filled: Arc<AtomicBool>,
}

/// What came in one go.
#[derive(Debug, Default)]
pub(super) struct Got {
    pub(super) burst: Burst,
    /// Partitions that ended, and after how many records.
    pub(super) ends: Vec<(usize, i32)>,
}

impl Queues {
    /// Has queues for exactly these partitions. Before the client is given them, or their first records come with what
    /// the client says of itself.
    pub(super) fn split(
        &mut self,
        consumer: &Arc<BaseConsumer<Reading>>,
        shared: &Arc<Shared>,
        partitions: impl Iterator<Item = i32>,
    ) {
        let mut before: BTreeMap<i32, Queue> = self.queues.drain(..).map(|queue| (queue.partition, queue)).collect();
        for partition in partitions {
            let queue = before.remove(&partition).or_else(|| Queue::new(consumer, shared, partition));
            // Without one, its records come from the client itself.
            self.queues.extend(queue);
        }
    }

    /// Takes what there is, in turns, as far as each partition has room.
    pub(super) fn take(
        &mut self,
        consumer: &BaseConsumer<Reading>,
        shared: &Shared,
        room: &BTreeMap<i32, usize>,
    ) -> Got {
        let mut got = Got::default();
        // What the client says of itself, and records of before there was a queue for them.
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
        // Whatever it said before it put the last of these records into its queue.
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
        // Runs in threads of the client.
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

    /// Takes about so many bytes of one partition; gives whether that was all.
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
            // It ends after what came before.
            Err(KafkaError::PartitionEOF(partition)) => self.ends.push((self.burst.len(), partition)),
            Err(error @ KafkaError::MessageConsumptionFatal(_)) => shared.client_failed(&error, ""),
            // The callback has told it, with its reason.
            Err(_) => {}
        }
    }
}
