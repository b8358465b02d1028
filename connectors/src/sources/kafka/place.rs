//! A look at one partition, by a client that reads first one partition and then another.
//!
//! Such a client keeps fetched records that were not taken until the partition is read again (librdkafka 2.12: neither
//! `unassign` nor a seek removes them): 1 MB and more for each partition ever queried. So they are emptied here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;

use super::context::{Asking, hear};

/// While waiting for a record: the interval of polling the client's own events.
const HEAR_EVERY: Duration = Duration::from_millis(100);

/// The partition that a client reads, until this is dropped. There may be one at a time.
pub(super) struct Place<'a> {
    client: &'a BaseConsumer<Asking>,
    list: TopicPartitionList,
    /// The queue of this partition alone, so that it can be emptied.
    queue: PartitionQueue<Asking>,
}

impl<'a> Place<'a> {
    /// Assigns the only partition of a list.
    pub(super) fn enter(client: &'a Arc<BaseConsumer<Asking>>, list: TopicPartitionList) -> KafkaResult<Self> {
        let first = list.elements().first().map(|one| (one.topic().to_owned(), one.partition()));
        let queue = first.and_then(|(topic, partition)| client.split_partition_queue(&topic, partition));
        let queue = queue.ok_or(KafkaError::Global(RDKafkaErrorCode::UnknownPartition))?;
        // A partition stays paused until it is resumed.
        client.assign(&list).and_then(|()| client.resume(&list))?;
        Ok(Place { client, list, queue })
    }

    /// The next record, end or error.
    pub(super) fn next(&self, wait: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        let began = Instant::now();
        loop {
            let left = wait.saturating_sub(began.elapsed());
            let said = self.queue.poll(left.min(HEAR_EVERY));
            if said.is_some() || left.is_zero() {
                return said;
            }
            let complaints = hear(self.client).filter_map(Result::err);
            if let Some(error) = complaints.reduce(|first, _| first) {
                return Some(Err(error));
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // What is on its way when it pauses is thrown away as it comes.
        let paused = self.client.pause(&self.list);
        while self.queue.poll(Duration::ZERO).is_some() {}
        if let Err(error) = paused.and_then(|()| self.client.unassign()) {
            tracing::debug!(%error, "a partition could not be left; the next question goes elsewhere all the same");
        }
    }
}
