//! No silent stall: a lane that has work and does not move is restarted, says so, and goes on where the tables are.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_engine::decode::Columns;
use millstream_engine::{
    Batch, Checkpoint, Decode, Gap, Held, Limits, Outcome, Partition, Pipeline, Position, Progress, Receipt, Record,
    RecordBatch, Recovery, Sink, SinkError, Source, SourceError, Want, run,
};
use tokio_util::sync::CancellationToken;

const RECORDS: u64 = 10;

/// Ten records in one partition; the first fetch never answers, if so asked.
#[derive(Debug)]
struct Ten {
    fetches: AtomicU64,
    hangs: bool,
}

#[async_trait]
impl Source for Ten {
    fn incarnation(&self) -> &str {
        "ten"
    }

    fn partitions(&self) -> Vec<Partition> {
        vec![Partition::new("0")]
    }

    async fn start(&self, _: &Partition, stored: Option<&Position>) -> Result<Position, SourceError> {
        Ok(stored.cloned().unwrap_or(Position::Offset(0)))
    }

    async fn fetch(&self, wants: &[Want], wait: Duration) -> Result<Vec<RecordBatch>, SourceError> {
        if self.fetches.fetch_add(1, Relaxed) == 0 && self.hangs {
            std::future::pending::<()>().await;
        }
        let Some(Want { partition, from: Position::Offset(from), .. }) = wants.first().cloned() else {
            return Ok(Vec::new());
        };
        if from >= RECORDS {
            tokio::time::sleep(wait).await;
            return Ok(Vec::new());
        }
        let record = |offset| Record {
            position: Position::Offset(offset),
            published_at_ms: 1,
            key: Bytes::new(),
            headers: Vec::new(),
            payload: Bytes::from_static(b"x"),
        };
        let records = (from..RECORDS).map(record).collect();
        Ok(vec![RecordBatch { partition, records, next: Position::Offset(RECORDS) }])
    }

    async fn commit(&self, _: &Checkpoint) -> Result<(), SourceError> {
        Ok(())
    }

    fn lag_records(&self, _: &Partition, next: &Position) -> Option<u64> {
        let Position::Offset(next) = next else { return None };
        Some(RECORDS - next)
    }
}

#[derive(Debug)]
struct Count(usize);

impl Columns for Count {
    fn events(&self) -> usize {
        self.0
    }
}

struct One;

impl Decode for One {
    type Columns = Count;

    fn decode(&self, records: &[Record]) -> Count {
        Count(records.len())
    }
}

/// Keeps a position, and is away for its first writes.
struct Memory {
    stored: Arc<Mutex<Option<Position>>>,
    away: u32,
}

#[async_trait]
impl Sink for Memory {
    type Columns = Count;

    async fn acquire(&mut self, partitions: &[Partition]) -> Result<Vec<Held>, SinkError> {
        let next = self.stored.lock().unwrap().clone();
        Ok(partitions.iter().map(|partition| Held { partition: partition.clone(), next: next.clone() }).collect())
    }

    async fn write(&mut self, batch: &Batch<Count>) -> Result<Receipt, SinkError> {
        if self.away > 0 {
            self.away -= 1;
            let recovery = Recovery::Retry { after: Some(Duration::from_secs(3600)) };
            return Err(SinkError::Failed { doing: "write", recovery, source: "away".into() });
        }
        *self.stored.lock().unwrap() = batch.ranges().first().map(|range| range.next.clone());
        Ok(batch.receipt(Outcome { written: batch.records().len() as u64, ..Outcome::default() })?)
    }

    async fn record_gap(&mut self, _: &Gap) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Runs until all records are written; returns how often a lane was restarted.
async fn restarts(hangs: bool, away: u32) -> u64 {
    let progress = Arc::new(Progress::new("test", 1));
    let stored = Arc::new(Mutex::new(None));
    let limits = Limits { writers: 1, ..Limits::default() };
    let pipeline = Pipeline {
        source: Arc::new(Ten { fetches: AtomicU64::new(0), hangs }),
        decoder: Arc::new(One),
        sinks: vec![Box::new(Memory { stored: Arc::clone(&stored), away }) as Box<dyn Sink<Columns = Count>>],
        limits,
        progress: Arc::clone(&progress),
    };
    let stop = CancellationToken::new();
    let stopper = async {
        while stored.lock().unwrap().as_ref() != Some(&Position::Offset(RECORDS)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        stop.cancel();
    };
    let (summary, ()) = tokio::join!(run(pipeline, stop.clone()), stopper);
    assert!(summary.drained && summary.halted.is_empty(), "{summary:?}");
    let counts = progress.snapshot();
    assert_eq!((counts.records, counts.written), (RECORDS, RECORDS));
    counts.stalls
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_never_answers_is_given_up_and_all_is_written() {
    assert_eq!(tokio::time::timeout(Duration::from_secs(600), restarts(true, 0)).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn hours_without_a_database_are_no_stall() {
    assert_eq!(restarts(false, 2).await, 0);
}
