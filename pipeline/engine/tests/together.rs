//! Two pipelines at one database, with one budget of memory: a backlog of one holds up the fresh records of the other
//! for one transaction only, and is written in the time that is left.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_engine::testing::memory::{self, Decoder, Numbering, Stream, Tables, Words};
use millstream_engine::testing::source::NewRecord;
use millstream_engine::{
    Batch, BatchLimits, Budget, Gap, Gate, Held, Limits, Partition, Pipeline, Position, Progress, Receipt, Sink,
    SinkError, run, task,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A sink whose transactions take this long.
struct Slow {
    sink: memory::Sink,
    takes: Duration,
}

#[async_trait]
impl Sink for Slow {
    type Columns = Words;

    async fn acquire(&mut self, partitions: &[Partition]) -> Result<Vec<Held>, SinkError> {
        self.sink.acquire(partitions).await
    }

    async fn write(&mut self, batch: &Batch<Words>) -> Result<Receipt, SinkError> {
        tokio::time::sleep(self.takes).await;
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

/// A pipeline with its stream and its tables.
struct One {
    stream: Stream,
    tables: Tables,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<millstream_engine::Summary>,
}

impl One {
    fn start(name: &str, gate: &Arc<Gate>, budget: &Arc<Budget>, linger: Duration, takes: Duration) -> One {
        let stream = Stream::new(2, Numbering::Offsets);
        let tables = Tables::default();
        let writers = 2;
        let sink = || Slow { sink: memory::Sink::new(tables.clone()), takes };
        let pipeline = Pipeline {
            source: Arc::new(stream.clone()),
            decoder: Arc::new(Decoder),
            sinks: (0..writers).map(|_| Box::new(sink()) as Box<dyn Sink<Columns = Words>>).collect(),
            limits: Limits {
                writers,
                batch: BatchLimits { records_max: 100, linger, ..BatchLimits::default() },
                budget: Some(Arc::clone(budget)),
                ..Limits::default()
            },
            gate: Arc::clone(gate),
            progress: Arc::new(Progress::new(name, writers)),
        };
        let stop = CancellationToken::new();
        let ended = task::spawn("pipeline", run(pipeline, stop.clone()));
        One { stream, tables, stop, ended }
    }

    fn publish(&self, records: usize) {
        let record = NewRecord { key: Bytes::new(), headers: Vec::new(), payload: Bytes::from_static(b"x") };
        self.stream.publish(&Partition::new("0"), &vec![record.clone(); records]);
        self.stream.publish(&Partition::new("1"), &vec![record; records]);
    }

    fn written(&self) -> usize {
        self.tables.contents().written.len()
    }

    async fn until(&self, records: usize) {
        while self.written() < records {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn fresh_records_wait_for_one_transaction_of_a_backlog_and_both_are_written() {
    // One transaction at a time, and a budget that the backlog alone could fill.
    let gate = Gate::of(&Limits { writers: 1, ..Limits::default() });
    let budget = Budget::new(1 << 20);
    // A goal of 0: every record of the backlog is late. The other has one of 10 ms, of which batching may spend 7.
    let backlog = One::start("backlog", &gate, &budget, Duration::ZERO, Duration::from_millis(100));
    let fresh = One::start("fresh", &gate, &budget, Duration::from_millis(7), Duration::from_millis(5));
    backlog.publish(4_000);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let names: Vec<String> = gate.look().pipelines.iter().map(|joined| joined.name.to_string()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let before = backlog.written();
    let began = Instant::now();
    for round in 1..=50 {
        let published = Instant::now();
        fresh.publish(1);
        fresh.until(round * 2).await;
        // Two lanes: the wait for others, at most one transaction of the backlog, and one of each lane. Between those
        // two the backlog may have another turn.
        assert!(published.elapsed() <= Duration::from_millis(7 + 100 + 5 + 100 + 5 + 10), "{:?}", published.elapsed());
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let turns = (backlog.written() - before) as u128 / 100;
    assert!(turns * 100 >= began.elapsed().as_millis() / 2, "{turns} turns in {:?}", began.elapsed());
    backlog.until(8_000).await;
    for one in [backlog, fresh] {
        one.stop.cancel();
        assert!(one.ended.await.unwrap().drained);
    }
    assert!(gate.look().pipelines.is_empty(), "who has ended has left");
}
