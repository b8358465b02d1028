//! The embedded stream as a source.
//!
//! One process locks the log, so all partitions belong to it. The lease rows still fence a former owner whose
//! transaction outlived it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millstream_engine::{Checkpoint, Partition, Position, Record, RecordBatch, Source, SourceError, Want};
use millstream_log::{Damage, Read, ReadError, Topic};
use tokio::sync::watch;

/// Quarters of the requested memory that are read as stored bytes; the rest is for the bookkeeping of records. More:
/// the last frame of a read is often cut and decompressed once more. Fewer: more reads than needed.
const STORED_QUARTERS: usize = 3;

/// A topic of the embedded log.
pub struct LogSource {
    topic: Topic,
    names: Vec<Partition>,
}

impl LogSource {
    /// Reads a topic.
    pub fn new(topic: Topic) -> Self {
        let names = (0..topic.partitions()).map(|number| Partition::new(number.to_string())).collect();
        LogSource { topic, names }
    }

    fn number(&self, partition: &Partition) -> Result<u32, SourceError> {
        partition.as_str().parse().map_err(|error| SourceError::Broken(Box::new(error)))
    }

    /// Reads all wanted partitions once. Blocking, from the page cache in the usual case.
    fn read(topic: &Topic, wants: &[(u32, Want)]) -> Result<Vec<RecordBatch>, SourceError> {
        let mut batches = Vec::new();
        for (number, want) in wants {
            let Position::Offset(from) = want.from else { continue };
            // At the end there is nothing to read; beyond it the read returns an error.
            if topic.range(*number).end == from {
                continue;
            }
            let read =
                topic.read(*number, from, want.bytes_max / 4 * STORED_QUARTERS).map_err(|error| match error {
                    ReadError::OutOfRange { start, end, .. } => {
                        gap(&want.partition, from, (start, end), topic.lost_before(*number))
                    }
                    ReadError::Damaged(damage) => damaged(&want.partition, &damage),
                    error => SourceError::Broken(Box::new(error)),
                })?;
            if read.records.is_empty() && read.next > from {
                return Err(given_up(&want.partition, from, read.next));
            }
            let (records, next) = keep(read, want.bytes_max);
            batches.push(RecordBatch { partition: want.partition.clone(), records, next: Position::Offset(next) });
        }
        Ok(batches)
    }
}

/// The records that fit into `bytes_max`, and the offset after them.
fn keep(read: Read, bytes_max: usize) -> (Vec<Record>, u64) {
    let mut records = Vec::with_capacity(read.records.len());
    let mut bytes = 0;
    let mut next = read.next;
    for record in read.records {
        let offset = record.offset;
        let record = Record {
            position: Position::Offset(offset),
            published_at_ms: record.timestamp_ms,
            key: record.key,
            headers: record.headers,
            payload: record.payload,
        };
        bytes += record.cost_bytes();
        if bytes > bytes_max && !records.is_empty() {
            next = offset;
            break;
        }
        records.push(record);
    }
    (records, next)
}

/// The error of a position out of range. `lost_before` is where the partition began anew, if its files were lost.
fn gap(partition: &Partition, stored: u64, (start, end): (u64, u64), lost_before: Option<u64>) -> SourceError {
    let reason = match (stored < start, lost_before) {
        (true, Some(_)) => "the files with the records in between were lost, but for what retention had removed before",
        // A missing file looks like one that retention removed.
        (true, None) => {
            "the stream does not hold the records in between any more: retention removed them, or their files were lost"
        }
        (false, Some(_)) => "the stream ends before it: files of the partition were lost",
        (false, None) => "the stream ends before it",
    };
    SourceError::Gap {
        partition: partition.clone(),
        stored: Position::Offset(stored),
        start: Position::Offset(start),
        end: Position::Offset(end),
        reason: reason.into(),
    }
}

/// Where reading continues after an offset that was set aside.
fn set_aside(topic: &Topic, number: u32, from: u64) -> Option<u64> {
    topic.holes(number).into_iter().find(|(first, to)| (*first..*to).contains(&from)).map(|(_, to)| to)
}

/// The error of a position in records that were set aside: that moved the positions of one database, but not of others.
fn given_up(partition: &Partition, stored: u64, to: u64) -> SourceError {
    SourceError::Gap {
        partition: partition.clone(),
        stored: Position::Offset(stored),
        start: Position::Offset(to),
        end: Position::Offset(to),
        reason: format!("they could not be read and were set aside; `--to {to}` goes on behind them").into(),
    }
}

fn damaged(partition: &Partition, damage: &Damage) -> SourceError {
    let reason = format!(
        "{damage}; nothing more of this partition is written until the file is restored, or \
         `millstream stream set-aside --partition {partition}` gives these records up"
    );
    SourceError::Damaged { partition: partition.clone(), reason }
}

/// The error of a position of another history, of which this log has only the records before `until`.
fn other_history(partition: &Partition, stored: u64, start: u64, until: u64) -> SourceError {
    SourceError::Gap {
        partition: partition.clone(),
        stored: Position::Offset(stored),
        start: Position::Offset(start),
        end: Position::Offset(until),
        reason:
            "the stream was restored from an older copy, or files were lost, and has grown since: what stands there now are other records"
                .into(),
    }
}

impl fmt::Debug for LogSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSource").field("topic", &self.topic.id()).field("partitions", &self.names.len()).finish()
    }
}

#[async_trait]
impl Source for LogSource {
    fn incarnation(&self) -> &str {
        self.topic.id()
    }

    fn assignment(&self) -> watch::Receiver<Vec<Partition>> {
        watch::Sender::new(self.names.clone()).subscribe()
    }

    async fn confirm(&self) -> Result<(), SourceError> {
        Ok(())
    }

    /// There is no connection to renew.
    fn revive(&self) {}

    async fn start(
        &self,
        partition: &Partition,
        stored: Option<&Position>,
        era: Option<i64>,
    ) -> Result<Position, SourceError> {
        let number = self.number(partition)?;
        let range = self.topic.range(number);
        let lost_before = self.topic.lost_before(number);
        let next = match stored {
            // Nothing was read yet, so all lost records are missing.
            None if lost_before.is_some() => return Err(gap(partition, 0, (range.start, range.end), lost_before)),
            None => range.start,
            Some(Position::Offset(stored)) if (range.start..=range.end).contains(stored) => {
                match era.map(|era| self.topic.reached(number, era)) {
                    // Stored before eras were kept: only what can be seen now was compared.
                    None => *stored,
                    Some(Some(until)) if *stored <= until => *stored,
                    Some(until) => {
                        return Err(other_history(partition, *stored, range.start, until.unwrap_or(range.start)));
                    }
                }
            }
            Some(Position::Offset(stored)) => {
                return Err(gap(partition, *stored, (range.start, range.end), lost_before));
            }
            Some(Position::Sequence(text)) => {
                return Err(SourceError::Broken(format!("the stored position {text} is no offset").into()));
            }
        };
        if let Some(to) = set_aside(&self.topic, number, next) {
            return Err(given_up(partition, next, to));
        }
        let damages = self.topic.damages(number);
        match damages.iter().find(|damage| (damage.from..damage.to).contains(&next)) {
            Some(damage) => Err(damaged(partition, damage)),
            None => Ok(Position::Offset(next)),
        }
    }

    fn era(&self, partition: &Partition, next: &Position) -> Option<i64> {
        let Position::Offset(next) = next else { return None };
        self.topic.opening_before(self.number(partition).ok()?, *next)
    }

    async fn fetch(&self, wants: &[Want], wait: Duration) -> Result<Vec<RecordBatch>, SourceError> {
        let numbered: Result<Vec<(u32, Want)>, SourceError> =
            wants.iter().map(|want| Ok((self.number(&want.partition)?, want.clone()))).collect();
        let numbered = Arc::new(numbered?);
        // Subscribed before looking, so that an append between the look and the wait is not missed.
        let mut appended = self.topic.subscribe();
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            appended.borrow_and_update();
            let ready = numbered.iter().any(
                |(number, want)| matches!(want.from, Position::Offset(from) if self.topic.range(*number).end != from),
            );
            if ready {
                let topic = self.topic.clone();
                let numbered = Arc::clone(&numbered);
                let read = tokio::task::spawn_blocking(move || Self::read(&topic, &numbered)).await;
                return read.map_err(|error| SourceError::Broken(Box::new(error)))?;
            }
            match tokio::time::timeout_at(deadline, appended.changed()).await {
                Ok(Ok(())) => {}
                // The log is closed or nothing came: an empty answer either way.
                Ok(Err(_)) => {
                    tokio::time::sleep_until(deadline).await;
                    return Ok(Vec::new());
                }
                Err(_) => return Ok(Vec::new()),
            }
        }
    }

    async fn commit(&self, _checkpoint: &Checkpoint) -> Result<(), SourceError> {
        Ok(())
    }

    async fn close(&self) {}

    fn lag_records(&self, partition: &Partition, next: &Position) -> Option<u64> {
        let Position::Offset(next) = next else { return None };
        let range = self.topic.range(self.number(partition).ok()?);
        let left = range.end.saturating_sub((*next).max(range.start));
        // Lost records do not wait, but a position before them is not at the end either.
        Some(if *next < range.start { left.max(1) } else { left })
    }
}
