//! What is too slow in one piece is divided: what can be written is, in order, and one slow record holds only its own
//! partition. A flood of bad events pauses the pipeline until a person says to go on.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_engine::decode::Columns;
use millstream_engine::{
    Batch, BatchLimits, Checkpoint, Decode, Gap, Gate, Held, Limits, Outcome, Partition, Pipeline, Position, Progress,
    Receipt, Record, RecordBatch, Recovery, Sink, SinkError, Source, SourceError, Summary, Verdict, Want, run,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const PARTITIONS: [&str; 3] = ["0", "1", "2"];

/// So many records in each of three partitions.
#[derive(Debug)]
struct Stream(u64);

#[async_trait]
impl Source for Stream {
    fn incarnation(&self) -> &str {
        "stream"
    }

    fn assignment(&self) -> watch::Receiver<Vec<Partition>> {
        watch::Sender::new(PARTITIONS.iter().map(Partition::new).collect()).subscribe()
    }

    async fn confirm(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn revive(&self) {}

    async fn start(&self, _: &Partition, stored: Option<&Position>, _: Option<i64>) -> Result<Position, SourceError> {
        Ok(stored.cloned().unwrap_or(Position::Offset(0)))
    }

    /// There is only one.
    fn era(&self, _: &Partition, _: &Position) -> Option<i64> {
        None
    }

    async fn fetch(&self, wants: &[Want], wait: Duration) -> Result<Vec<RecordBatch>, SourceError> {
        let mut batches = Vec::new();
        for want in wants {
            let Position::Offset(from) = want.from else { continue };
            let record = |offset| Record {
                position: Position::Offset(offset),
                published_at_ms: 1,
                key: Bytes::new(),
                headers: Vec::new(),
                payload: Bytes::from_static(b"x"),
            };
            let records: Vec<Record> = (from..self.0).map(record).collect();
            let partition = want.partition.clone();
            let next = Position::Offset(self.0);
            batches.extend((from < self.0).then_some(RecordBatch { partition, records, next }));
        }
        if batches.is_empty() {
            tokio::time::sleep(wait).await;
        }
        Ok(batches)
    }

    async fn commit(&self, _: &Checkpoint) -> Result<(), SourceError> {
        Ok(())
    }

    async fn close(&self) {}

    fn lag_records(&self, _: &Partition, next: &Position) -> Option<u64> {
        let Position::Offset(next) = next else { return None };
        Some(self.0 - next)
    }
}

#[derive(Debug)]
struct Count(usize);

impl Columns for Count {
    fn events(&self) -> usize {
        self.0
    }

    fn unpacked_bytes(&self) -> usize {
        0
    }
}

struct One;

impl Decode for One {
    type Columns = Count;

    fn share<'a>(&'a self, _: &'a Record) -> &'a str {
        "all"
    }

    fn decode(&self, records: &[Record], _: &[bool]) -> Count {
        Count(records.len())
    }
}

/// What the sinks of a test share.
#[derive(Debug, Default)]
struct Table {
    /// Next position of each partition.
    next: BTreeMap<Partition, u64>,
    /// Records that no transaction can write in time.
    slow: BTreeSet<(Partition, u64)>,
    /// How often a batch is too slow whatever it holds, and for how long it takes to find that out.
    slow_at_first: u32,
    timeout: Duration,
    /// Records, and partitions, of each batch that was written or not.
    tried: Vec<(usize, usize)>,
    bad: bool,
}

struct Memory(Arc<Mutex<Table>>);

#[async_trait]
impl Sink for Memory {
    type Columns = Count;

    async fn acquire(&mut self, partitions: &[Partition]) -> Result<Vec<Held>, SinkError> {
        let next = &self.0.lock().unwrap().next;
        let held = |partition: &Partition| Held {
            partition: partition.clone(),
            next: next.get(partition).copied().map(Position::Offset),
            era: None,
            halted: None,
        };
        Ok(partitions.iter().map(held).collect())
    }

    async fn write(&mut self, batch: &Batch<Count>) -> Result<Receipt, SinkError> {
        let timeout = self.0.lock().unwrap().timeout;
        tokio::time::sleep(timeout).await;
        let mut table = self.0.lock().unwrap();
        table.tried.push((batch.records().len(), batch.ranges().len()));
        let is_slow = batch.ranges().iter().any(|range| {
            let positions = batch.records()[range.records.clone()].iter().map(|record| &record.position);
            positions.into_iter().any(|position| {
                let Position::Offset(offset) = position else { return false };
                table.slow.contains(&(range.partition.clone(), *offset))
            })
        });
        if is_slow || table.slow_at_first > 0 {
            table.slow_at_first = table.slow_at_first.saturating_sub(1);
            return Err(SinkError::Failed {
                doing: "write",
                recovery: Recovery::Split,
                pressure: None,
                source: "too slow".into(),
            });
        }
        for range in batch.ranges() {
            let (Position::Offset(from), Position::Offset(next)) = (&range.from, &range.next) else { panic!() };
            let stored = table.next.insert(range.partition.clone(), *next).unwrap_or(0);
            assert_eq!(stored, *from, "the ranges of partition {} touch", range.partition);
            assert_eq!(range.records.len() as u64, next - from, "and hold every record");
        }
        let events = batch.records().len() as u64;
        let (written, quarantined) = if table.bad { (0, events) } else { (events, 0) };
        let bad = if table.bad { (0..batch.records().len() as u32).collect() } else { BTreeSet::new() };
        drop(table);
        Ok(batch.receipt(Outcome { written, quarantined, bad, ..Outcome::default() })?)
    }

    async fn confirm(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn record_gap(&mut self, _: &Gap) -> Result<(), SinkError> {
        Ok(())
    }

    async fn go_on(&mut self, _: &Gap, _: &Position, _: Option<i64>) -> Result<(), SinkError> {
        Ok(())
    }
}

struct Running {
    table: Arc<Mutex<Table>>,
    progress: Arc<Progress>,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<Summary>,
}

fn start(records: u64, table: Table) -> Running {
    let table = Arc::new(Mutex::new(table));
    let progress = Arc::new(Progress::new("test", 1));
    let limits =
        Limits { batch: BatchLimits { records_max: 2_000, ..BatchLimits::default() }, writers: 1, ..Limits::default() };
    let pipeline = Pipeline {
        source: Arc::new(Stream(records)),
        decoder: Arc::new(One),
        sinks: vec![Box::new(Memory(Arc::clone(&table))) as Box<dyn Sink<Columns = Count>>],
        gate: Gate::of(&limits),
        limits,
        progress: Arc::clone(&progress),
    };
    let stop = CancellationToken::new();
    let ended = millstream_engine::task::spawn("pipeline", run(pipeline, stop.clone()));
    Running { table, progress, stop, ended }
}

impl Running {
    /// Waits, in the time of the test, until so many records are written.
    async fn written(&self, records: u64) {
        let all = async {
            while self.progress.snapshot().records < records {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(3_600), all).await.unwrap();
    }

    fn verdict(&self) -> Verdict {
        let now = self.progress.snapshot();
        now.verdict(&now, 1, Duration::ZERO, millstream_engine::clock::now_ms())
    }

    async fn end(self) -> (Summary, Table) {
        self.stop.cancel();
        let summary = self.ended.await.unwrap();
        (summary, std::mem::take(&mut *self.table.lock().unwrap()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_too_slow_once_is_not_divided() {
    let running = start(10, Table { slow_at_first: 1, ..Table::default() });
    running.written(30).await;
    let (summary, table) = running.end().await;
    assert!(summary.drained);
    assert_eq!(table.tried, [(30, 3), (30, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_too_slow_again_is_divided_by_partition_and_then_in_halves() {
    let running = start(10, Table { slow_at_first: 4, ..Table::default() });
    running.written(30).await;
    assert!(!matches!(running.verdict(), Verdict::Braked { .. }), "nothing is braked any more");
    let (summary, table) = running.end().await;
    assert!(summary.drained);
    let (whole, parts) = table.tried.split_at(2);
    assert_eq!(whole, [(30, 3), (30, 3)]);
    assert!(parts.iter().all(|(_, partitions)| *partitions == 1), "{parts:?}");
    let mut sizes: Vec<usize> = parts.iter().map(|(records, _)| *records).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [5, 5, 5, 5, 10, 10, 10], "two of the three were too slow once more");
}

/// One record never goes through, for hours; each try takes longer than the watchdog waits.
#[tokio::test(start_paused = true)]
async fn one_slow_record_holds_only_its_own_partition() {
    let stuck = (Partition::new("1"), 77);
    let slow = BTreeSet::from([stuck.clone()]);
    let running = start(1_000, Table { slow, timeout: Duration::from_secs(20), ..Table::default() });
    running.written(2_077).await;
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    let counted = running.progress.snapshot();
    assert_eq!((counted.records, counted.written, counted.quarantined, counted.stalls), (2_077, 2_077, 0, 0));
    let Verdict::Braked { reason } = running.verdict() else { panic!("{:?}", running.verdict()) };
    assert_eq!(reason, "partition 1 waits at 77: write: too slow");
    let tries = running.table.lock().unwrap().tried.len();
    assert!(tries > 100, "{tries} tries in two hours");

    running.table.lock().unwrap().slow.clear();
    running.written(3_000).await;
    let tries = running.table.lock().unwrap().tried.len() - tries;
    assert!(tries <= 15, "{tries} parts once it goes through");
    assert_ne!(running.verdict(), Verdict::Braked { reason });
    let (summary, table) = running.end().await;
    assert!(summary.drained && summary.halted.is_empty(), "{summary:?}");
    assert!(table.next.values().all(|next| *next == 1_000), "{:?}", table.next);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_slow_record() {
    let running = start(10, Table { slow: BTreeSet::from([(Partition::new("2"), 0)]), ..Table::default() });
    running.written(20).await;
    let (summary, table) = tokio::time::timeout(Duration::from_secs(60), running.end()).await.unwrap();
    assert_eq!(summary, Summary { drained: false, halted: Vec::new() });
    assert_eq!(table.next.get(&Partition::new("2")), None);
}

#[tokio::test(start_paused = true)]
async fn a_flood_pauses_until_a_person_says_to_go_on() {
    let running = start(5_000, Table { bad: true, ..Table::default() });
    running.written(1_001).await;
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    let paused = running.progress.snapshot();
    assert!((1_001..=3_000).contains(&paused.quarantined), "{} before the pause", paused.quarantined);
    assert_eq!(paused.stalls, 0, "waiting for a person is no stall");
    let Verdict::Halted { reason } = running.verdict() else { panic!("{:?}", running.verdict()) };
    assert!(reason.contains("went to quarantine") && reason.contains("millstream resume test"), "{reason}");

    assert!(running.progress.resume());
    running.written(15_000).await;
    assert!(!running.progress.resume(), "the flood that was looked at passes");
    let (summary, _) = running.end().await;
    assert!(summary.drained);
}

#[tokio::test(start_paused = true)]
async fn a_paused_pipeline_can_be_stopped() {
    let running = start(5_000, Table { bad: true, ..Table::default() });
    running.written(1_001).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (summary, _) = tokio::time::timeout(Duration::from_secs(60), running.end()).await.unwrap();
    assert_eq!(summary, Summary { drained: false, halted: Vec::new() });
}
