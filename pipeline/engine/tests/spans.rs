//! With several pipelines in one process each log line of a lane says which of them it is about.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_engine::testing::memory::{self, Decoder, Numbering, Stream, Tables, Words};
use millstream_engine::testing::source::NewRecord;
use millstream_engine::{
    Batch, Gap, Gate, Held, Limits, Partition, Pipeline, Position, Progress, Receipt, Sink, SinkError, run,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// A sink that loses its lease once, logs a line, and then ends the pipeline.
struct Fenced {
    sink: memory::Sink,
    stop: CancellationToken,
    writes: u32,
}

#[async_trait]
impl Sink for Fenced {
    type Columns = Words;

    async fn acquire(&mut self, partitions: &[Partition]) -> Result<Vec<Held>, SinkError> {
        self.sink.acquire(partitions).await
    }

    async fn write(&mut self, batch: &Batch<Words>) -> Result<Receipt, SinkError> {
        self.writes += 1;
        if self.writes == 1 {
            return Err(SinkError::Fenced { partition: Partition::new("0") });
        }
        tracing::warn!("said by the sink");
        self.stop.cancel();
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

/// What is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn run_one(name: &str) {
    let stream = Stream::new(1, Numbering::Offsets);
    let record = NewRecord { key: Bytes::new(), headers: Vec::new(), payload: Bytes::from_static(b"x") };
    stream.publish(&Partition::new("0"), &[record]);
    let limits = Limits { writers: 1, retry_base: Duration::from_millis(1), ..Limits::default() };
    let stop = CancellationToken::new();
    let sink = Fenced { sink: memory::Sink::new(Tables::default()), stop: stop.clone(), writes: 0 };
    let pipeline = Pipeline {
        source: Arc::new(stream),
        decoder: Arc::new(Decoder),
        sinks: vec![Box::new(sink) as Box<dyn Sink<Columns = Words>>],
        gate: Gate::of(&limits),
        limits,
        progress: Arc::new(Progress::new(name, 1)),
    };
    let summary = run(pipeline, stop).await;
    assert!(summary.drained && summary.halted.is_empty(), "{summary:?}");
}

/// Also where only warnings are logged, as commands do.
#[tokio::test(start_paused = true)]
async fn each_line_of_a_lane_names_its_pipeline_and_its_lane() {
    for level in ["info", "warn"] {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(level))
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let captured = tracing::subscriber::set_default(subscriber);
        tokio::join!(run_one("x"), run_one("y"));
        drop(captured);
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        for words in ["leases are taken again", "said by the sink"] {
            for name in ["x", "y"] {
                let span = format!("lane{{pipeline=\"{name}\" number=0}}");
                let own = text.lines().filter(|line| line.contains(words) && line.contains(&span)).count();
                assert_eq!(own, 1, "{level}, {words}, {name}:\n{text}");
            }
        }
    }
}
