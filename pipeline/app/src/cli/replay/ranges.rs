//! Ranges of the partitions of a stream as a source of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use millstream_engine::{Checkpoint, Partition, Position, Record, RecordBatch, Source, SourceError, Want};
use millstream_log::ReadError;
use tokio::sync::{Mutex, watch};

use crate::config::Config;
use crate::http::damage::Damaged;
use crate::stream::Visit;

/// How long to wait when no partition has anything to give.
const WAIT: Duration = Duration::from_millis(200);

/// A range of each partition.
#[derive(Debug)]
pub(super) struct Ranges {
    visit: Mutex<Visit>,
    incarnation: String,
    /// The pipeline whose stream it is.
    pipeline: String,
    /// Options to append to suggested commands.
    options: String,
    is_dense: bool,
    ranges: Vec<(u64, u64)>,
    gone: Mutex<BTreeSet<Gone>>,
}

/// Offsets that were skipped because they were set aside: the first, and the one after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Gone {
    pub(super) partition: u32,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// A range that is not at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) partition: Partition,
    pub(super) from: u64,
    /// The offset where it goes on.
    pub(super) next: u64,
    pub(super) to: u64,
}

impl Ranges {
    pub(super) fn new(config: &Config, pipeline: &str, visit: Visit, ranges: Vec<(u64, u64)>) -> Self {
        Ranges {
            incarnation: visit.incarnation().to_owned(),
            pipeline: pipeline.to_owned(),
            options: config.options(),
            is_dense: visit.is_dense(),
            visit: Mutex::new(visit),
            ranges,
            gone: Mutex::default(),
        }
    }

    /// Number of offsets in all ranges.
    pub(super) fn records(&self) -> u64 {
        self.ranges.iter().map(|(from, to)| to.saturating_sub(*from)).sum()
    }

    /// The ranges that are not at their end.
    pub(super) fn left(&self, positions: &BTreeMap<Partition, Position>) -> Vec<Left> {
        let left = |(number, (from, to)): (usize, &(u64, u64))| {
            let partition = Partition::new(number.to_string());
            let next = match positions.get(&partition) {
                Some(Position::Offset(next)) => *next,
                _ => *from,
            };
            (next < *to).then_some(Left { partition, from: *from, next, to: *to })
        };
        self.ranges.iter().enumerate().filter_map(left).collect()
    }

    /// Offsets that were skipped because they were set aside.
    pub(super) async fn gone(&self) -> BTreeSet<Gone> {
        self.gone.lock().await.clone()
    }

    pub(super) fn into_visit(self) -> Visit {
        self.visit.into_inner()
    }

    fn range(&self, partition: &Partition) -> Option<(u32, u64, u64)> {
        let number: u32 = partition.as_str().parse().ok()?;
        let (from, to) = self.ranges.get(usize::try_from(number).ok()?)?;
        Some((number, *from, *to))
    }

    /// Records of a partition from an offset on, and the offset after them.
    async fn read(&self, partition: u32, from: u64) -> Result<(Vec<Record>, u64), SourceError> {
        let visit = self.visit.lock().await;
        match visit.read(partition, from).await {
            Ok(read) => Ok(read),
            Err(error) => Err(self.unreadable(&visit, partition, from, error).await),
        }
    }

    /// Why they cannot be read. If waiting does not help, the partition halts, and the reason says what helps.
    async fn unreadable(&self, visit: &Visit, partition: u32, from: u64, error: anyhow::Error) -> SourceError {
        let met = match error.downcast_ref::<ReadError>() {
            Some(ReadError::Damaged(damage)) => Some(Damaged::from(&**damage)),
            _ => None,
        };
        let damage = match met {
            Some(damage) => Some(damage),
            // A process that reads for us reports this only in words, and remembers it.
            None => visit.damage_at(partition, from).await.ok().flatten(),
        };
        let name = Partition::new(partition.to_string());
        if let Some(damage) = damage {
            let reason = format!(
                "{}; restore the file, or give these records up with `millstream stream set-aside --pipeline {} --partition {partition} --from {}{}`; then run the same replay again, which goes on behind them",
                damage.text, self.pipeline, damage.from, self.options,
            );
            return SourceError::Damaged { partition: name, reason };
        }
        match visit.range(partition).await {
            Ok((start, end)) if !(start..=end).contains(&from) => {
                let reason = format!(
                    "the stream has offsets {start} to {end} by now, not {from}; run the same replay again, which begins with what there is"
                );
                SourceError::Damaged { partition: name, reason }
            }
            _ => match error.downcast::<ReadError>() {
                Ok(error) => SourceError::Broken(Box::new(error)),
                Err(error) => SourceError::Unavailable(error.into()),
            },
        }
    }

    /// Notes the offsets that a read has skipped.
    async fn note_gone(&self, partition: u32, from: u64, records: &[Record], next: u64) {
        let behind = match records.last().map(|last| &last.position) {
            Some(Position::Offset(last)) => last.saturating_add(1),
            _ => from,
        };
        if self.is_dense && behind < next {
            self.gone.lock().await.insert(Gone { partition, from: behind, to: next });
        }
    }
}

#[async_trait]
impl Source for Ranges {
    fn incarnation(&self) -> &str {
        &self.incarnation
    }

    fn assignment(&self) -> watch::Receiver<Vec<Partition>> {
        let mut names: Vec<Partition> =
            (0..self.ranges.len()).map(|number| Partition::new(number.to_string())).collect();
        names.sort();
        watch::Sender::new(names).subscribe()
    }

    async fn confirm(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn revive(&self) {}

    /// Reads there once, so that a partition that cannot go on is halted, and the others are not.
    async fn start(
        &self,
        partition: &Partition,
        stored: Option<&Position>,
        _: Option<i64>,
    ) -> Result<Position, SourceError> {
        let begin = self.range(partition).map_or(0, |(_, from, _)| from);
        let begin = stored.cloned().unwrap_or(Position::Offset(begin));
        if let (Some((number, _, to)), Position::Offset(from)) = (self.range(partition), &begin)
            && *from < to
        {
            self.read(number, *from).await?;
        }
        Ok(begin)
    }

    /// Positions are those of the replay alone.
    fn era(&self, _: &Partition, _: &Position) -> Option<i64> {
        None
    }

    async fn fetch(&self, wants: &[Want], wait: Duration) -> Result<Vec<RecordBatch>, SourceError> {
        let mut batches = Vec::new();
        for want in wants {
            let (Some((number, _, to)), Position::Offset(from)) = (self.range(&want.partition), &want.from) else {
                continue;
            };
            if *from >= to {
                continue;
            }
            let (mut records, next) = self.read(number, *from).await?;
            self.note_gone(number, *from, &records, next.min(to)).await;
            let within = records.iter().take_while(|record| record.position < Position::Offset(to)).count();
            let mut bytes = 0;
            let fits = |record: &&Record| {
                bytes += record.cost_bytes();
                bytes <= want.bytes_max
            };
            let count = records.iter().take(within).take_while(fits).count().max(within.min(1));
            let rest = records.split_off(count);
            let next = rest.first().map_or(Position::Offset(next), |first| first.position.clone());
            let next = next.min(Position::Offset(to));
            if next != want.from {
                batches.push(RecordBatch { partition: want.partition.clone(), records, next });
            }
        }
        if batches.is_empty() {
            tokio::time::sleep(wait.min(WAIT)).await;
        }
        Ok(batches)
    }

    async fn commit(&self, _: &Checkpoint) -> Result<(), SourceError> {
        Ok(())
    }

    async fn close(&self) {}

    fn lag_records(&self, partition: &Partition, next: &Position) -> Option<u64> {
        let ((_, _, to), Position::Offset(next)) = (self.range(partition)?, next) else { return None };
        Some(to.saturating_sub(*next))
    }
}
