//! Partitions come and go while records flow: each is written once, by whoever has it, and what is lost to another is
//! never written late.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_engine::testing::memory::{self, Decoder, Numbering, Stream, Tables, Words};
use millstream_engine::testing::source::NewRecord;
use millstream_engine::{
    Checkpoint, Gate, Limits, Partition, Pipeline, Position, Progress, RecordBatch, Sink, Source, SourceError, Summary,
    Want, run, task,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A stream of which a process reads what it is told.
#[derive(Debug)]
struct Assigned {
    stream: Stream,
    assignment: watch::Sender<Vec<Partition>>,
}

#[async_trait]
impl Source for Assigned {
    fn incarnation(&self) -> &str {
        self.stream.incarnation()
    }

    fn assignment(&self) -> watch::Receiver<Vec<Partition>> {
        self.assignment.subscribe()
    }

    async fn confirm(&self) -> Result<(), SourceError> {
        // Whoever lost a partition hears of that when another takes it: after the change, by the time of a look.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(())
    }

    fn revive(&self) {}

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

/// One process.
struct Process {
    source: Arc<Assigned>,
    progress: Arc<Progress>,
    stop: CancellationToken,
    ended: JoinHandle<Summary>,
}

impl Process {
    fn start(stream: &Stream, tables: &Tables) -> Self {
        let source = Arc::new(Assigned { stream: stream.clone(), assignment: watch::Sender::new(Vec::new()) });
        let limits = Limits { writers: 2, ..Limits::default() };
        let progress = Arc::new(Progress::new("test", limits.writers));
        let sink = |_| Box::new(memory::Sink::new(tables.clone())) as Box<dyn Sink<Columns = Words>>;
        let pipeline = Pipeline {
            source: Arc::clone(&source) as Arc<dyn Source>,
            decoder: Arc::new(Decoder),
            sinks: (0..limits.writers).map(sink).collect(),
            gate: Gate::of(&limits),
            limits,
            progress: Arc::clone(&progress),
        };
        let stop = CancellationToken::new();
        let ended = task::spawn("pipeline", run(pipeline, stop.clone()));
        Process { source, progress, stop, ended }
    }

    fn reads(&self, names: &[usize]) {
        self.source.assignment.send_replace(names.iter().map(|name| Partition::new(name.to_string())).collect());
    }
}

fn publish(stream: &Stream, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let record = NewRecord { key: Bytes::new(), headers: Vec::new(), payload: number.to_string().into() };
        stream.publish(&Partition::new((number % 4).to_string()), &[record]);
    }
}

async fn written(tables: &Tables, count: u64) {
    while (tables.contents().written.len() as u64) < count {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn partitions_that_move_are_written_once_by_whoever_has_them() {
    let stream = Stream::new(4, Numbering::Offsets);
    let tables = Tables::default();
    let one = Process::start(&stream, &tables);
    let other = Process::start(&stream, &tables);
    // The last tells both that partition 2 is theirs, as happens for a moment when members disagree.
    let turns: [(&[usize], &[usize]); 6] = [
        (&[0, 1, 2, 3], &[]),
        (&[0, 1], &[2, 3]),
        (&[], &[0, 1, 2, 3]),
        (&[1, 3], &[0, 2]),
        (&[0], &[1, 2, 3]),
        (&[0, 2], &[1, 2, 3]),
    ];
    for (turn, (ones, others)) in turns.into_iter().enumerate() {
        one.reads(ones);
        other.reads(others);
        let first = turn as u64 * 400;
        publish(&stream, first..first + 400);
        // Each turn makes progress, before the next one begins.
        let all = tokio::time::timeout(Duration::from_secs(60), written(&tables, first + 400)).await;
        assert!(all.is_ok(), "turn {turn}: {} of {}", tables.contents().written.len(), first + 400);
    }
    for process in [&one, &other] {
        assert!(process.progress.snapshot().written > 0, "both had something to do");
        process.stop.cancel();
    }
    for process in [one, other] {
        assert!(process.ended.await.unwrap().halted.is_empty());
    }
    let mut numbers: Vec<u64> =
        tables.contents().written.iter().map(|word| std::str::from_utf8(word).unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..2400).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_process_without_partitions_rests_and_stops_cleanly() {
    let stream = Stream::new(4, Numbering::Offsets);
    let tables = Tables::default();
    let process = Process::start(&stream, &tables);
    publish(&stream, 0..8);
    process.reads(&[0, 1, 2, 3]);
    written(&tables, 8).await;
    process.reads(&[]);
    publish(&stream, 8..16);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let counts = process.progress.snapshot();
    assert_eq!((counts.written, counts.stalls), (8, 0), "what others read is not ours, and resting is no stall");
    assert!(counts.positions.is_empty(), "positions of others are forgotten: {:?}", counts.positions);
    process.stop.cancel();
    assert_eq!(process.ended.await.unwrap(), Summary { drained: true, halted: Vec::new() });
}
