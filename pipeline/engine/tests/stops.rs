//! A stop ends with what is under way, however long the backlog is: the rest is read by who comes next.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_engine::testing::memory::{self, Decoder, Numbering, Stream, Tables, Words};
use millstream_engine::testing::source::NewRecord;
use millstream_engine::{
    Batch, Gap, Gate, Held, Limits, Partition, Pipeline, Position, Progress, Receipt, Sink, SinkError, run,
};
use tokio_util::sync::CancellationToken;

const RECORDS: u64 = 10_000;
const BATCH: usize = 50;

/// A sink that is asked to stop while it writes so many batches, and takes its time.
struct Stopped {
    sink: memory::Sink,
    stop: CancellationToken,
    writes: i32,
}

#[async_trait]
impl Sink for Stopped {
    type Columns = Words;

    async fn acquire(&mut self, partitions: &[Partition]) -> Result<Vec<Held>, SinkError> {
        self.sink.acquire(partitions).await
    }

    async fn write(&mut self, batch: &Batch<Words>) -> Result<Receipt, SinkError> {
        self.writes -= 1;
        if self.writes == 0 {
            self.stop.cancel();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
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

/// Runs until so many batches are begun; gives how many records are in the tables then.
async fn written_until(stream: &Stream, tables: &Tables, writes: i32) -> u64 {
    let mut limits = Limits { writers: 1, ..Limits::default() };
    limits.batch.records_max = BATCH;
    let stop = CancellationToken::new();
    let sink = Stopped { sink: memory::Sink::new(tables.clone()), stop: stop.clone(), writes };
    let pipeline = Pipeline {
        source: Arc::new(stream.clone()),
        decoder: Arc::new(Decoder),
        sinks: vec![Box::new(sink) as Box<dyn Sink<Columns = Words>>],
        gate: Gate::of(&limits),
        limits,
        progress: Arc::new(Progress::new("test", 1)),
    };
    let summary = run(pipeline, stop).await;
    assert!(summary.drained && summary.halted.is_empty(), "{summary:?}");
    tables.contents().written.len() as u64
}

#[tokio::test(start_paused = true)]
async fn a_stop_with_a_backlog_writes_one_batch_more_and_the_rest_is_read_again() {
    let stream = Stream::new(1, Numbering::Offsets);
    let tables = Tables::default();
    let partition = Partition::new("0");
    let record = NewRecord { key: Bytes::new(), headers: Vec::new(), payload: Bytes::from_static(b"x") };
    stream.publish(&partition, &vec![record; RECORDS as usize]);

    let before = written_until(&stream, &tables, 3).await;
    // Some batches are half as large as they may be: what they cost is learnt from the difference.
    assert!((3 * BATCH as u64 / 2..=4 * BATCH as u64).contains(&before), "{before} are written");
    assert_eq!(tables.contents().next(&partition), Some(&Position::Offset(before)));

    let after = written_until(&stream, &tables, 2).await;
    assert!(after > before && after <= before + 3 * BATCH as u64, "{after} are written");
    assert_eq!(tables.contents().next(&partition), Some(&Position::Offset(after)), "each of them once");
}
