//! A topic: a fixed number of partitions, and the way records get into them.

use std::sync::Arc;

use tokio::sync::watch;

use crate::damage::Damage;
use crate::error::{AppendError, Cause, Failed, ReadError};
use crate::inner::Inner;
use crate::partition::Partition;
use crate::post::{self, Appended, Outcome, Part};
use crate::read::{Range, Read};
use crate::record::NewRecord;
use crate::shared::Shared;

/// A topic of an open [`crate::Log`]. Clones share it.
#[derive(Debug, Clone)]
pub struct Topic {
    shared: Arc<Shared>,
    // Keeps the directory locked while appends are possible.
    _log: Arc<Inner>,
}

impl Topic {
    pub(crate) fn new(shared: Arc<Shared>, log: Arc<Inner>) -> Self {
        Self { shared, _log: log }
    }

    /// The incarnation: random, written when the topic was created. Offsets mean something only together with it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.meta.id
    }

    /// How many partitions there are.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.shared.partitions()
    }

    /// Where records with this key go: XXH3-64 of the key, modulo the number of partitions. Part of the format.
    #[must_use]
    pub fn partition_for(&self, key: &[u8]) -> u32 {
        let hash = xxhash_rust::xxh3::xxh3_64(key) % u64::from(self.shared.partitions().max(1));
        u32::try_from(hash).unwrap_or(0)
    }

    /// Appends records and returns once every one of them is synced.
    ///
    /// Records for one partition keep their order, and appends made one after another theirs. An append is not atomic
    /// across partitions. Waits for room while the queue is full. Dropping the future before it ends leaves open
    /// which records are stored; it does no other harm.
    ///
    /// # Errors
    /// [`AppendError::NotDurable`] says which records are durable and which are not; all others mean that nothing was
    /// stored.
    pub async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Appended>, AppendError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let targets = self.targets(&records)?;
        let bytes: usize = records.iter().map(NewRecord::encoded_bytes_max).sum();
        let bytes = u32::try_from(bytes.min(self.shared.room_bytes)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.shared.room).acquire_many_owned(bytes).await;
        let room = room.map_err(|_| AppendError::Closed)?;

        let (parts, encoded) = self.encode(&records, &targets);
        drop(records);
        let (tickets, outcome) = post::tickets(&parts, room);
        let mut chunks = parts.iter().zip(encoded).zip(tickets).peekable();
        while let Some(&((Part { partition, .. }, _), _)) = chunks.peek() {
            let mut together = Vec::new();
            while let Some(((part, raw), ticket)) = chunks.next_if(|((part, _), _)| part.partition == *partition) {
                together.push(post::Chunk { raw, count: part.count, ticket });
            }
            if let Some(partition) = self.shared.partition(*partition) {
                partition.submit(together);
            }
        }
        // Every ticket settles, at the latest when it is dropped.
        let outcome = outcome.await.map_err(|_| AppendError::Closed)?;
        report(outcome, &targets)
    }

    /// Reads whole frames from an offset on, at least one record if there is any, otherwise until the next frame would
    /// bring the (uncompressed) bytes over `bytes_max`. Blocks, mostly on the page cache.
    ///
    /// Records before damage are returned first.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] below what retention has left and beyond the end.
    pub fn read(&self, partition: u32, from: u64, bytes_max: usize) -> Result<Read, ReadError> {
        self.partition(partition)?.read(from, bytes_max)
    }

    /// The offsets a partition has; an empty range for a partition that does not exist.
    #[must_use]
    pub fn range(&self, partition: u32) -> Range {
        self.shared.partition(partition).map_or(Range { start: 0, end: 0 }, |partition| partition.range())
    }

    /// The first offset stored at or after a time, in milliseconds since 1970; the end if there is none. Blocks.
    ///
    /// # Errors
    /// Damage found on the way.
    pub fn offset_at(&self, partition: u32, timestamp_ms: i64) -> Result<u64, ReadError> {
        self.partition(partition)?.offset_at(timestamp_ms)
    }

    /// The id of the opening in which the record before `offset` was written. `None` where that is not known: it was
    /// written before openings were kept, or there is no such record.
    #[must_use]
    pub fn opening_before(&self, partition: u32, offset: u64) -> Option<i64> {
        self.shared.partition(partition)?.opening_before(offset)
    }

    /// Whether the opening `opening` of this history reached `offset`: the topic knows the opening, and the opening
    /// after it begins at `offset` or later. False for a position that was reached before the directory was put back
    /// from an older copy, however far the partition has grown since.
    #[must_use]
    pub fn knows(&self, partition: u32, offset: u64, opening: i64) -> bool {
        self.shared.partition(partition).is_some_and(|partition| partition.knows(offset, opening))
    }

    /// The offset after the last record that the opening `opening` wrote to a partition; `None` if it is no opening of
    /// this history. [`Topic::knows`] is true up to it.
    #[must_use]
    pub fn reached(&self, partition: u32, opening: i64) -> Option<u64> {
        self.shared.partition(partition)?.reached(opening)
    }

    /// Acknowledged records that cannot be read, as far as was found by opening, reading and checking: oldest first.
    /// They stop neither the other partitions nor appends to this one.
    #[must_use]
    pub fn damages(&self, partition: u32) -> Vec<Damage> {
        self.shared.partition(partition).map(|partition| partition.damages()).unwrap_or_default()
    }

    /// The offset before which all records were lost, because every segment was gone when the log was opened. The
    /// first of [`Topic::damages`] reports it, too. `None` if they were given up since ([`Topic::set_aside`]), or if
    /// retention has removed later records.
    #[must_use]
    pub fn lost_before(&self, partition: u32) -> Option<u64> {
        self.shared.partition(partition)?.lost_before()
    }

    /// Reads a whole partition and returns what of it cannot be read. Blocks.
    ///
    /// # Errors
    /// The operating system refused.
    pub fn check(&self, partition: u32) -> Result<Vec<Damage>, ReadError> {
        Ok(self.partition(partition)?.check()?)
    }

    /// Gives up the damaged records that begin with the offset `from`: reads go on after them, which [`Read::next`]
    /// shows. Nothing is removed. Records that were lost with all segments are no longer reported; a read of one stays
    /// out of range. Blocks.
    ///
    /// # Errors
    /// [`ReadError::NotDamaged`] if no damage begins there.
    pub fn set_aside(&self, partition: u32, from: u64) -> Result<Damage, ReadError> {
        self.partition(partition)?.set_aside(from)
    }

    /// The ranges that were set aside: the first offset, and the one after the last.
    #[must_use]
    pub fn holes(&self, partition: u32) -> Vec<(u64, u64)> {
        self.shared.partition(partition).map(|partition| partition.holes()).unwrap_or_default()
    }

    /// Changes whenever the durable end of any partition has moved. The value only counts; compare [`Topic::range`].
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.progress.subscribe()
    }

    /// Stored (compressed) bytes from an offset to the end: an estimate that costs no I/O.
    #[must_use]
    pub fn backlog_bytes(&self, partition: u32, from: u64) -> u64 {
        self.shared.partition(partition).map_or(0, |partition| partition.backlog_bytes(from))
    }

    /// Lets a partition that stopped after a fault take appends again: the file is opened anew and cut back to what is
    /// durable. Nothing unacknowledged is written or synced again. Blocks; does nothing to a healthy partition.
    ///
    /// # Errors
    /// The fault that is still there; the partition stays stopped.
    pub fn mend(&self, partition: u32) -> Result<(), ReadError> {
        Ok(self.partition(partition)?.mend()?)
    }

    /// Why a partition takes no appends at the moment, if so.
    #[must_use]
    pub fn stopped(&self, partition: u32) -> Option<Cause> {
        self.shared.partition(partition)?.stopped()
    }

    fn partition(&self, partition: u32) -> Result<&Arc<Partition>, ReadError> {
        let partitions = self.shared.partitions();
        self.shared.partition(partition).ok_or(ReadError::NoSuchPartition { partition, partitions })
    }

    fn targets(&self, records: &[NewRecord]) -> Result<Vec<u32>, AppendError> {
        let partitions = self.partitions();
        let bytes_max = self.shared.record_bytes_max;
        let target = |(index, record): (usize, &NewRecord)| {
            let bytes = record.bytes();
            if bytes > bytes_max {
                return Err(AppendError::RecordTooLarge { index, bytes, bytes_max });
            }
            match record.partition {
                Some(partition) if partition >= partitions => {
                    Err(AppendError::NoSuchPartition { index, partition, partitions })
                }
                Some(partition) => Ok(partition),
                None => Ok(self.partition_for(&record.key)),
            }
        };
        records.iter().enumerate().map(target).collect()
    }

    /// Splits records by partition into parts of at most a frame, in order of the partitions.
    fn encode(&self, records: &[NewRecord], targets: &[u32]) -> (Vec<Part>, Vec<Vec<u8>>) {
        let mut order: Vec<(u32, &NewRecord)> = targets.iter().copied().zip(records).collect();
        // Stable: records of a partition keep their order.
        order.sort_by_key(|(partition, _)| *partition);
        let mut parts = Vec::new();
        let mut encoded = Vec::new();
        for same in order.chunk_by(|(one, _), (other, _)| one == other) {
            let mut rest = same;
            while let Some((partition, first)) = rest.first() {
                let mut bytes = first.encoded_bytes_max();
                let more = rest.iter().skip(1).take_while(|(_, record)| {
                    let grown = bytes.saturating_add(record.encoded_bytes_max());
                    grown <= self.shared.frame_bytes_max && {
                        bytes = grown;
                        true
                    }
                });
                let (now, later) = rest.split_at(1 + more.count());
                let mut raw = Vec::with_capacity(bytes);
                now.iter().for_each(|(_, record)| record.encode(&mut raw));
                let count = u32::try_from(now.len()).unwrap_or(u32::MAX);
                parts.push(Part { partition: *partition, skip: same.len() - rest.len(), count });
                encoded.push(raw);
                rest = later;
            }
        }
        (parts, encoded)
    }
}

fn report(outcome: Outcome, targets: &[u32]) -> Result<Vec<Appended>, AppendError> {
    let Outcome { mut appended, failed } = outcome;
    appended.sort_unstable_by_key(|part| (part.partition, part.first_offset));
    if failed.is_empty() {
        return Ok(appended);
    }
    if appended.is_empty() && failed.iter().all(|(_, cause)| matches!(cause, Cause::Closed)) {
        return Err(AppendError::Closed);
    }
    let failed = failed.into_iter().map(|(Part { partition, skip, count }, cause)| {
        let of_partition = targets.iter().enumerate().filter(|(_, target)| **target == partition);
        let records = of_partition.skip(skip).take(count as usize).map(|(index, _)| index).collect();
        Failed { partition, records, cause }
    });
    Err(AppendError::NotDurable { appended, failed: failed.collect() })
}
