//! No silent stall: a lane that has work and does not move is restarted, says so, and goes on where the tables are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_engine::testing::memory::{self, Decoder, Numbering, Stream, Tables, Words};
use millstream_engine::testing::source::NewRecord;
use millstream_engine::{
    Batch, Checkpoint, Gap, Gate, Held, Limits, Partition, Pipeline, Position, Progress, Receipt, RecordBatch,
    Recovery, Sink, SinkError, Source, SourceError, Want, run,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const RECORDS: u64 = 10;

/// A source whose first fetch never answers, if so asked.
#[derive(Debug)]
struct Hanging {
    stream: Stream,
    fetches: AtomicU64,
    hangs: bool,
}

#[async_trait]
impl Source for Hanging {
    fn incarnation(&self) -> &str {
        self.stream.incarnation()
    }

    fn assignment(&self) -> watch::Receiver<Vec<Partition>> {
        self.stream.assignment()
    }

    async fn confirm(&self) -> Result<(), SourceError> {
        self.stream.confirm().await
    }

    fn revive(&self) {
        self.stream.revive();
    }

    async fn start(
        &self,
        partition: &Partition,
        stored: Option<&Position>,
        era: Option<i64>,
    ) -> Result<Position, SourceError> {
        self.stream.start(partition, stored, era).await
    }

    fn era(&self, partition: &Partition, next: &Position) -> Option<i64> {
        self.stream.era(partition, next)
    }

    async fn fetch(&self, wants: &[Want], wait: Duration) -> Result<Vec<RecordBatch>, SourceError> {
        if self.fetches.fetch_add(1, Relaxed) == 0 && self.hangs {
            std::future::pending::<()>().await;
        }
        self.stream.fetch(wants, wait).await
    }

    async fn commit(&self, checkpoint: &Checkpoint) -> Result<(), SourceError> {
        self.stream.commit(checkpoint).await
    }

    async fn close(&self) {}

    fn lag_records(&self, partition: &Partition, next: &Position) -> Option<u64> {
        self.stream.lag_records(partition, next)
    }
}

/// How long it is waited for.
const AWAY: Duration = Duration::from_secs(3600);

/// A sink that is away for its first writes.
struct Away {
    sink: memory::Sink,
    writes: u32,
}

#[async_trait]
impl Sink for Away {
    type Columns = Words;

    async fn acquire(&mut self, partitions: &[Partition]) -> Result<Vec<Held>, SinkError> {
        self.sink.acquire(partitions).await
    }

    async fn write(&mut self, batch: &Batch<Words>) -> Result<Receipt, SinkError> {
        if self.writes > 0 {
            self.writes -= 1;
            let recovery = Recovery::Retry;
            return Err(SinkError::Failed { doing: "write", recovery, pressure: None, source: "away".into() });
        }
        self.sink.write(batch).await
    }

    async fn confirm(&mut self) -> Result<(), SinkError> {
        self.sink.confirm().await
    }

    async fn record_gap(&mut self, gap: &Gap) -> Result<(), SinkError> {
        self.sink.record_gap(gap).await
    }

    async fn go_on(&mut self, gap: &Gap, to: &Position, era: Option<i64>) -> Result<(), SinkError> {
        self.sink.go_on(gap, to, era).await
    }
}

/// Runs until all records are written; returns how often a lane was restarted.
async fn restarts(hangs: bool, away: u32) -> u64 {
    let stream = Stream::new(1, Numbering::Offsets);
    let tables = Tables::default();
    let partition = Partition::new("0");
    let record = NewRecord { key: Bytes::new(), headers: Vec::new(), payload: Bytes::from_static(b"x") };
    stream.publish(&partition, &vec![record; RECORDS as usize]);
    let progress = Arc::new(Progress::new("test", 1));
    let sink = Away { sink: memory::Sink::new(tables.clone()), writes: away };
    let pipeline = Pipeline {
        source: Arc::new(Hanging { stream, fetches: AtomicU64::new(0), hangs }),
        decoder: Arc::new(Decoder),
        sinks: vec![Box::new(sink) as Box<dyn Sink<Columns = Words>>],
        gate: Gate::of(&Limits { writers: 1, ..Limits::default() }),
        // A wait that the watchdog would take for a stall, if it did not know the reason.
        limits: Limits { writers: 1, retry_base: AWAY, retry_cap: AWAY, ..Limits::default() },
        progress: Arc::clone(&progress),
    };
    let stop = CancellationToken::new();
    let stopper = async {
        while tables.contents().next(&partition) != Some(&Position::Offset(RECORDS)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        stop.cancel();
    };
    let (summary, ()) = tokio::join!(run(pipeline, stop.clone()), stopper);
    assert!(summary.drained && summary.halted.is_empty(), "{summary:?}");
    assert_eq!(tables.contents().written.len() as u64, RECORDS);
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
