//! What a pipeline does where records were lost: it halts until a person decides, or begins again by itself.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_engine::testing::memory::{self, Decoder, Numbering, Stream, Tables, Words};
use millstream_engine::testing::source::NewRecord;
use millstream_engine::{
    Batch, Checkpoint, Gap, Gate, Held, Limits, OnGap, Partition, Pipeline, Position, Progress, Receipt, RecordBatch,
    Sink, SinkError, Source, SourceError, Summary, Verdict, Want, run, task,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A stream of which not even the oldest record can be read, as after a topic was made anew beside its reader.
#[derive(Debug)]
struct Unreadable(Stream);

#[async_trait]
impl Source for Unreadable {
    fn incarnation(&self) -> &str {
        self.0.incarnation()
    }

    fn assignment(&self) -> watch::Receiver<Vec<Partition>> {
        self.0.assignment()
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
        Err(SourceError::Gap {
            partition: partition.clone(),
            stored: stored.cloned().unwrap_or(Position::Offset(0)),
            start: Position::Offset(0),
            end: Position::Offset(0),
            reason: "read only after a restart".into(),
        })
    }

    fn era(&self, _: &Partition, _: &Position) -> Option<i64> {
        None
    }

    async fn fetch(&self, wants: &[Want], wait: Duration) -> Result<Vec<RecordBatch>, SourceError> {
        self.0.fetch(wants, wait).await
    }

    async fn commit(&self, _: &Checkpoint) -> Result<(), SourceError> {
        Ok(())
    }

    async fn close(&self) {}

    fn lag_records(&self, partition: &Partition, next: &Position) -> Option<u64> {
        self.0.lag_records(partition, next)
    }
}

/// Tables that were filled from another stream, until somebody goes on.
struct OfAnother {
    sink: memory::Sink,
    gaps: Vec<Gap>,
}

#[async_trait]
impl Sink for OfAnother {
    type Columns = Words;

    async fn acquire(&mut self, partitions: &[Partition]) -> Result<Vec<Held>, SinkError> {
        if self.gaps.is_empty() {
            return self.sink.acquire(partitions).await;
        }
        Err(SinkError::MadeAnew { gaps: self.gaps.clone(), reason: "it was another stream".to_owned() })
    }

    async fn write(&mut self, batch: &Batch<Words>) -> Result<Receipt, SinkError> {
        self.sink.write(batch).await
    }

    async fn confirm(&mut self) -> Result<(), SinkError> {
        self.sink.confirm().await
    }

    async fn record_gap(&mut self, gap: &Gap) -> Result<(), SinkError> {
        self.sink.record_gap(gap).await
    }

    async fn go_on(&mut self, gap: &Gap, to: &Position, era: Option<i64>) -> Result<(), SinkError> {
        self.gaps.retain(|other| other.partition != gap.partition);
        self.sink.go_on(gap, to, era).await
    }
}

struct Running {
    source: Arc<dyn Source>,
    progress: Arc<Progress>,
    stop: CancellationToken,
    ended: JoinHandle<Summary>,
}

fn start(source: Arc<dyn Source>, sink: Box<dyn Sink<Columns = Words>>, on_gap: OnGap) -> Running {
    let limits = Limits { writers: 1, on_gap, ..Limits::default() };
    let progress = Arc::new(Progress::new("test", 1));
    let pipeline = Pipeline {
        source: Arc::clone(&source),
        decoder: Arc::new(Decoder),
        sinks: vec![sink],
        gate: Gate::of(&limits),
        limits,
        progress: Arc::clone(&progress),
    };
    let stop = CancellationToken::new();
    let ended = task::spawn("pipeline", run(pipeline, stop.clone()));
    Running { source, progress, stop, ended }
}

impl Running {
    fn verdict(&self) -> Verdict {
        let now = self.progress.snapshot();
        now.verdict(&now, 0, Duration::from_secs(1), millstream_engine::clock::now_ms())
    }

    /// The partitions that are read to the end.
    fn read_to_end(&self) -> usize {
        self.progress.snapshot().read_to_end(&*self.source).len()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Running) -> bool) {
        let reached = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let said = tokio::time::timeout(Duration::from_secs(600), reached).await;
        assert!(said.is_ok(), "{what}: {:?}", self.verdict());
    }

    async fn end(self) {
        self.stop.cancel();
        self.ended.await.unwrap();
    }
}

fn sink(tables: &Tables) -> Box<dyn Sink<Columns = Words>> {
    Box::new(memory::Sink::new(tables.clone()))
}

fn publish(stream: &Stream, partition: &Partition, numbers: std::ops::Range<u64>) {
    let record = |number: u64| NewRecord { key: Bytes::new(), headers: Vec::new(), payload: number.to_string().into() };
    stream.publish(partition, &numbers.map(record).collect::<Vec<_>>());
}

fn written(tables: &Tables) -> Vec<u64> {
    tables.contents().written.iter().map(|word| std::str::from_utf8(word).unwrap().parse().unwrap()).collect()
}

/// Whether the halt of a partition is on record.
async fn is_halted(tables: &Tables, partition: &Partition) -> bool {
    let held = sink(tables).acquire(std::slice::from_ref(partition)).await.unwrap();
    held[0].halted.is_some()
}

/// A stream with two partitions, of which the first was read up to 5, and has lost the records 5 to 7 since.
async fn with_gap(tables: &Tables) -> (Stream, Partition) {
    let stream = Stream::new(2, Numbering::Offsets);
    let partition = Partition::new("0");
    publish(&stream, &partition, 0..5);
    let running = start(Arc::new(stream.clone()), sink(tables), OnGap::Halt);
    running.until("the first records", |running| running.read_to_end() == 2 && written(tables).len() == 5).await;
    running.end().await;
    publish(&stream, &partition, 5..12);
    stream.expire(&partition, 8);
    (stream, partition)
}

#[tokio::test(start_paused = true)]
async fn a_gap_halts_its_partition_on_record() {
    let tables = Tables::default();
    let (stream, partition) = with_gap(&tables).await;
    let running = start(Arc::new(stream.clone()), sink(&tables), OnGap::Halt);
    running.until("the halt", |running| matches!(running.verdict(), Verdict::Halted { .. })).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(written(&tables).len(), 5);
    assert_eq!(running.read_to_end(), 1, "the halted partition is not");
    assert_eq!(running.progress.snapshot().reconcile_wanted, None);
    running.end().await;
    assert!(is_halted(&tables, &partition).await);
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_may_begins_again_at_the_oldest_record() {
    let tables = Tables::default();
    let (stream, partition) = with_gap(&tables).await;
    let running = start(Arc::new(stream.clone()), sink(&tables), OnGap::GoOn);
    running.until("the rest", |running| running.read_to_end() == 2 && written(&tables).len() == 9).await;
    assert_eq!(written(&tables), [0, 1, 2, 3, 4, 8, 9, 10, 11]);
    let gaps = tables.contents().gaps;
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!((&gaps[0].from, &gaps[0].to), (&Position::Offset(5), &Position::Offset(8)));
    let wanted = running.progress.snapshot().reconcile_wanted.unwrap();
    assert!(wanted.starts_with("partition 0: positions 5 to 8 are lost"), "{wanted}");
    assert_eq!(running.verdict(), Verdict::KeepingUp);

    // While it reads, too: lost before it is read.
    publish(&stream, &partition, 12..20);
    stream.expire(&partition, 8);
    running.until("the rest", |running| running.read_to_end() == 2 && written(&tables).len() == 13).await;
    assert_eq!(written(&tables)[9..], [16, 17, 18, 19]);
    assert_eq!(tables.contents().gaps.len(), 2);

    running.progress.resume();
    assert_eq!(running.progress.snapshot().reconcile_wanted, None);
    running.end().await;
    assert!(!is_halted(&tables, &partition).await, "no halt is on record");
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_may_goes_on_with_a_stream_that_was_made_anew() {
    let stream = Stream::new(2, Numbering::Offsets);
    let partition = Partition::new("0");
    publish(&stream, &partition, 0..5);
    stream.expire(&partition, 2);
    // Of two former streams.
    let gap = |from| Gap {
        partition: partition.clone(),
        from: Position::Offset(from),
        to: Position::Offset(0),
        reason: "the stream was made anew".to_owned(),
    };
    for (on_gap, expected) in [(OnGap::Halt, vec![]), (OnGap::GoOn, vec![2, 3, 4])] {
        let tables = Tables::default();
        let sink = OfAnother { sink: memory::Sink::new(tables.clone()), gaps: vec![gap(7), gap(70)] };
        let running = start(Arc::new(stream.clone()), Box::new(sink), on_gap);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(written(&tables), expected, "{on_gap:?}");
        let is_wanted = running.progress.snapshot().reconcile_wanted.is_some();
        assert_eq!((is_wanted, running.verdict() == Verdict::KeepingUp), (!expected.is_empty(), !expected.is_empty()));
        running.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_from_the_oldest_record_waits_and_is_no_decision() {
    let tables = Tables::default();
    let (stream, partition) = with_gap(&tables).await;
    let running = start(Arc::new(Unreadable(stream.clone())), sink(&tables), OnGap::GoOn);
    running.until("the halt", |running| matches!(running.verdict(), Verdict::Halted { .. })).await;
    let Verdict::Halted { reason } = running.verdict() else { panic!("{:?}", running.verdict()) };
    assert!(reason.contains("read only after a restart"), "{reason}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    running.end().await;
    assert!(!is_halted(&tables, &partition).await);
    // After the restart.
    let running = start(Arc::new(stream), sink(&tables), OnGap::GoOn);
    running.until("the rest", |_| written(&tables).len() == 9).await;
    running.end().await;
}
