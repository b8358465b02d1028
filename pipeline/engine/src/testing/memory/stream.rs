//! A stream of partitions in memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::clock::now_ms;
use crate::testing::source::NewRecord;
use crate::{Checkpoint, Partition, Position, Record, RecordBatch, Source, SourceError, Want};

static STREAMS: AtomicU64 = AtomicU64::new(0);

/// How positions in a partition are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// As offsets, one by one.
    Offsets,
    /// As 56 digits, like the sequence numbers of Kinesis.
    Sequences,
}

/// A stream in memory. Clones share it; each is a source.
#[derive(Clone, Debug)]
pub struct Stream {
    incarnation: Arc<str>,
    numbering: Numbering,
    names: Vec<Partition>,
    queues: Arc<watch::Sender<Vec<Queue>>>,
}

/// One partition. Places are counted from 0; those without a record are holes.
#[derive(Clone, Debug, Default)]
struct Queue {
    start: u64,
    end: u64,
    records: VecDeque<(u64, Record)>,
}

impl Stream {
    /// A new stream with partitions named from 0.
    pub fn new(partitions: usize, numbering: Numbering) -> Self {
        Stream {
            incarnation: format!("memory-{}", STREAMS.fetch_add(1, Relaxed)).into(),
            numbering,
            names: (0..partitions).map(|number| Partition::new(number.to_string())).collect(),
            queues: Arc::new(watch::Sender::new(vec![Queue::default(); partitions])),
        }
    }

    /// Adds records to the end of a partition.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn publish(&self, partition: &Partition, records: &[NewRecord]) {
        self.change(partition, |queue| {
            for new in records {
                let record = Record {
                    position: self.position(queue.end),
                    published_at_ms: now_ms(),
                    key: new.key.clone(),
                    headers: new.headers.clone(),
                    payload: new.payload.clone(),
                };
                queue.records.push_back((queue.end, record));
                queue.end += 1;
            }
        });
    }

    /// Leaves out places at the end of a partition, as transaction markers and compaction do.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn skip(&self, partition: &Partition, places: u64) {
        self.change(partition, |queue| queue.end += places);
    }

    /// Removes the oldest records of a partition, as retention does.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn expire(&self, partition: &Partition, records: usize) {
        self.change(partition, |queue| {
            queue.records.drain(..records);
            queue.start = queue.records.front().map_or(queue.end, |(at, _)| *at);
        });
    }

    fn change(&self, partition: &Partition, change: impl FnOnce(&mut Queue)) {
        let index = self.index(partition).expect("a partition of this stream");
        self.queues.send_modify(|queues| change(queues.get_mut(index).expect("as many queues as names")));
    }

    fn index(&self, partition: &Partition) -> Result<usize, SourceError> {
        let found = self.names.iter().position(|name| name == partition);
        found.ok_or_else(|| SourceError::Broken(format!("there is no partition {partition}").into()))
    }

    fn position(&self, place: u64) -> Position {
        match self.numbering {
            Numbering::Offsets => Position::Offset(place),
            Numbering::Sequences => Position::Sequence(format!("4959{place:052}").into()),
        }
    }

    fn place(&self, position: &Position) -> Result<u64, SourceError> {
        let place = match position {
            Position::Offset(place) if self.numbering == Numbering::Offsets => Some(*place),
            Position::Sequence(text) => text.strip_prefix("4959").and_then(|digits| digits.parse().ok()),
            Position::Offset(_) => None,
        };
        place.ok_or_else(|| SourceError::Broken(format!("{position} is no position of this stream").into()))
    }

    /// The place of a wanted position in a partition, or the gap.
    fn find(&self, queue: &Queue, partition: &Partition, wanted: &Position) -> Result<u64, SourceError> {
        let place = self.place(wanted)?;
        if (queue.start..=queue.end).contains(&place) {
            return Ok(place);
        }
        Err(SourceError::Gap {
            partition: partition.clone(),
            stored: wanted.clone(),
            start: self.position(queue.start),
            end: self.position(queue.end),
            reason: if place < queue.start { "it was removed" } else { "the stream ends before it" }.into(),
        })
    }

    /// The records from a wanted position; `None` at the end.
    fn read(&self, queue: &Queue, want: &Want) -> Result<Option<RecordBatch>, SourceError> {
        let from = self.find(queue, &want.partition, &want.from)?;
        if from == queue.end {
            return Ok(None);
        }
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut next = queue.end;
        let first = queue.records.partition_point(|(place, _)| *place < from);
        for (place, record) in queue.records.range(first..) {
            bytes += record.cost_bytes();
            if bytes > want.bytes_max && !records.is_empty() {
                next = *place;
                break;
            }
            records.push(record.clone());
        }
        Ok(Some(RecordBatch { partition: want.partition.clone(), records, next: self.position(next) }))
    }
}

#[async_trait]
impl Source for Stream {
    fn incarnation(&self) -> &str {
        &self.incarnation
    }

    fn assignment(&self) -> watch::Receiver<Vec<Partition>> {
        watch::Sender::new(self.names.clone()).subscribe()
    }

    async fn confirm(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn revive(&self) {}

    async fn start(
        &self,
        partition: &Partition,
        stored: Option<&Position>,
        _: Option<i64>,
    ) -> Result<Position, SourceError> {
        let (index, queues) = (self.index(partition)?, self.queues.borrow());
        let Some(queue) = queues.get(index) else { return Ok(self.position(0)) };
        match stored {
            None => Ok(self.position(queue.start)),
            Some(stored) => self.find(queue, partition, stored).map(|place| self.position(place)),
        }
    }

    /// There is only one era.
    fn era(&self, _: &Partition, _: &Position) -> Option<i64> {
        None
    }

    async fn fetch(&self, wants: &[Want], wait: Duration) -> Result<Vec<RecordBatch>, SourceError> {
        let mut changes = self.queues.subscribe();
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let mut batches = Vec::new();
            {
                // Marked as seen and read under one lock, so that nothing published in between is missed.
                let queues = changes.borrow_and_update();
                for want in wants {
                    let Some(queue) = queues.get(self.index(&want.partition)?) else { continue };
                    batches.extend(self.read(queue, want)?);
                }
            }
            if !batches.is_empty() || tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                return Ok(batches);
            }
        }
    }

    async fn commit(&self, _: &Checkpoint) -> Result<(), SourceError> {
        Ok(())
    }

    async fn close(&self) {}

    fn lag_records(&self, partition: &Partition, next: &Position) -> Option<u64> {
        let index = self.index(partition).ok()?;
        let next = self.place(next).ok()?;
        let queues = self.queues.borrow();
        let records = &queues.get(index)?.records;
        Some((records.len() - records.partition_point(|(place, _)| *place < next)) as u64)
    }
}
