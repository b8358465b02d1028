//! A share that floods stops no other: it is paused, or the pipeline pauses where there is no other.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_engine::testing::memory::{Decoder, Numbering, Sink as Memory, Stream, Tables, Words};
use millstream_engine::testing::source::NewRecord;
use millstream_engine::{
    BatchLimits, FloodLimits, Gate, Limits, OnFlood, Partition, Pipeline, Progress, Share, Sink, Source as _, Verdict,
    run, task,
};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(600);

struct Running {
    stream: Stream,
    tables: Tables,
    progress: Arc<Progress>,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<millstream_engine::Summary>,
}

fn limits() -> Limits {
    Limits {
        writers: 2,
        // Some hundred records for each lane: what floods fills it.
        memory_bytes: 1 << 20,
        batch: BatchLimits { records_max: 100, ..BatchLimits::default() },
        flood: FloodLimits { records: 10_000, ..FloodLimits::default() },
        ..Limits::default()
    }
}

fn start(stream: &Stream, tables: &Tables, limits: Limits) -> Running {
    let progress = Arc::new(Progress::new("test", limits.writers));
    let sinks = (0..limits.writers).map(|_| Box::new(Memory::new(tables.clone())) as Box<dyn Sink<Columns = Words>>);
    let pipeline = Pipeline {
        source: Arc::new(stream.clone()),
        decoder: Arc::new(Decoder),
        sinks: sinks.collect(),
        gate: Gate::of(&limits),
        limits,
        progress: Arc::clone(&progress),
    };
    let stop = CancellationToken::new();
    let ended = task::spawn("pipeline", run(pipeline, stop.clone()));
    Running { stream: stream.clone(), tables: tables.clone(), progress, stop, ended }
}

impl Running {
    fn verdict(&self) -> Verdict {
        let now = self.progress.snapshot();
        now.verdict(&now, 0, Duration::from_secs(1), millstream_engine::clock::now_ms())
    }

    async fn until(&self, what: &str, condition: impl Fn(&Running) -> bool) {
        let reached = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let said = tokio::time::timeout(PATIENCE, reached).await;
        assert!(said.is_ok(), "{what}: {:?} {:?}", self.verdict(), self.counts());
    }

    fn lag(&self) -> u64 {
        let positions = self.progress.snapshot().positions;
        let all = self.stream.assignment().borrow().clone();
        let lag = |partition| self.stream.lag_records(partition, positions.get(partition)?);
        all.iter().map(|partition| lag(partition).unwrap_or(u64::MAX / 100)).sum()
    }

    /// Written, quarantined, and kept by share.
    fn counts(&self) -> (usize, usize, BTreeMap<String, u64>) {
        let tables = self.tables.contents();
        let aside = tables.aside.iter().map(|(share, rows)| (share.to_string(), *rows)).collect();
        (tables.written.len(), tables.quarantined.len(), aside)
    }

    async fn end(self) {
        self.stop.cancel();
        assert!(self.ended.await.unwrap().drained);
    }
}

fn records(share: &'static str, word: &'static str, count: usize) -> Vec<NewRecord> {
    let record = || NewRecord {
        key: Bytes::from_static(share.as_bytes()),
        headers: Vec::new(),
        payload: Bytes::from_static(word.as_bytes()),
    };
    std::iter::repeat_with(record).take(count).collect()
}

fn partition(number: usize) -> Partition {
    Partition::new(number.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_share_that_floods_beside_others_is_paused_and_the_others_go_on() {
    let stream = Stream::new(2, Numbering::Offsets);
    let tables = Tables::default();
    stream.publish(&partition(0), &records("b", "good", 1));
    stream.publish(&partition(1), &records("b", "good", 1));
    stream.publish(&partition(0), &records("a", "bad", 2_000));
    stream.publish(&partition(0), &records("b", "good", 500));
    stream.publish(&partition(1), &records("a", "good", 500));
    let running = start(&stream, &tables, limits());
    running.until("all to be read", |running| running.lag() == 0).await;
    let (written, quarantined, aside) = running.counts();
    assert!(written >= 502 && written + quarantined == 3_002, "{written} {quarantined} {aside:?}");
    // Each lane may finish the batch it is at.
    let kept = aside["a"];
    let decoded = quarantined as u64 - kept;
    assert!((101..=400).contains(&decoded) && kept >= 1_700, "{quarantined} {aside:?}");
    let Verdict::Flooding { reason } = running.verdict() else { panic!("{:?}", running.verdict()) };
    assert!(reason.starts_with("a is paused") && reason.contains("millstream resume test --store a"), "{reason}");

    // It is on record: a process that starts later knows, and does not decode a word of it.
    running.end().await;
    let running = start(&stream, &tables, limits());
    stream.publish(&partition(1), &records("a", "good", 50));
    stream.publish(&partition(1), &records("b", "good", 50));
    running.until("all to be read", |running| running.lag() == 0).await;
    assert_eq!(running.counts().2["a"], kept + 50);

    // Another process resumes it: this one hears of it, and writes what comes then.
    tables.resume(&Share::new("a"));
    running.until("the pause to be over", |running| running.progress.standings().is_empty()).await;
    stream.publish(&partition(1), &records("a", "good", 50));
    running.until("all to be read", |running| running.lag() == 0).await;
    assert_eq!((running.counts().0, running.counts().2["a"]), (written + 100, kept + 50));
    assert_eq!(running.verdict(), Verdict::KeepingUp);

    // And floods again.
    stream.publish(&partition(0), &records("a", "bad", 2_000));
    running.until("the second flood", |running| running.counts().2["a"] > kept + 50).await;
    running.until("all to be read", |running| running.lag() == 0).await;
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_share_alone_pauses_the_pipeline_until_another_comes() {
    let stream = Stream::new(2, Numbering::Offsets);
    let tables = Tables::default();
    for number in 0..2 {
        // Far more than memory holds.
        stream.publish(&partition(number), &records("a", "bad", 20_000));
    }
    let running = start(&stream, &tables, limits());
    running.until("the pause", |running| matches!(running.verdict(), Verdict::Halted { .. })).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (_, quarantined, aside) = running.counts();
    assert!((101..=400).contains(&quarantined) && aside.is_empty(), "{quarantined} {aside:?}");
    let Verdict::Halted { reason } = running.verdict() else { panic!("{:?}", running.verdict()) };
    assert!(reason.contains("millstream resume test`"), "{reason}");

    stream.publish(&partition(1), &records("b", "good", 1));
    running.until("all to be read", |running| running.lag() == 0).await;
    let (written, all, aside) = running.counts();
    assert_eq!((written, all), (1, 40_000));
    assert!(aside["a"] >= 39_600, "{aside:?}");
    running.end().await;
}

/// Another process, which has records of others too, pauses the only share of this one: this one hears of it.
#[tokio::test(start_paused = true)]
async fn a_pause_ends_when_another_process_pauses_the_share() {
    let stream = Stream::new(1, Numbering::Offsets);
    let tables = Tables::default();
    stream.publish(&partition(0), &records("a", "bad", 2_000));
    let running = start(&stream, &tables, limits());
    running.until("the pause", |running| matches!(running.verdict(), Verdict::Halted { .. })).await;
    Memory::new(tables.clone()).pause_share(&Share::new("a"), "by another").await.unwrap();
    running.until("all to be read", |running| running.lag() == 0).await;
    let (_, all, aside) = running.counts();
    assert!(all == 2_000 && aside["a"] >= 1_700, "{all} {aside:?}");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_pipeline_pauses_where_the_quarantine_of_a_share_is_full() {
    let stream = Stream::new(1, Numbering::Offsets);
    let tables = Tables::default();
    stream.publish(&partition(0), &records("b", "good", 1));
    stream.publish(&partition(0), &records("a", "bad", 2_000));
    stream.publish(&partition(0), &records("b", "good", 1));
    let full = Limits { flood: FloodLimits { share_rows_max: 500, ..limits().flood }, ..limits() };
    let running = start(&stream, &tables, full);
    running.until("the pause", |running| matches!(running.verdict(), Verdict::Halted { .. })).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (written, quarantined, _) = running.counts();
    assert!(written == 1 && (500..600).contains(&quarantined), "{written} {quarantined}");
    let Verdict::Halted { reason } = running.verdict() else { panic!("{:?}", running.verdict()) };
    assert!(reason.contains("the quarantine of a is full"), "{reason}");
    // What waits behind the pause is left to the next start.
    running.stop.cancel();
    assert!(!running.ended.await.unwrap().drained);
}

/// Good records are never held up: not by the flood, and not by a quarantine that holds all it may.
#[tokio::test(start_paused = true)]
async fn a_pipeline_that_goes_on_only_tells_of_a_flood() {
    for others in [0, 500] {
        let stream = Stream::new(1, Numbering::Offsets);
        let tables = Tables::default();
        stream.publish(&partition(0), &records("b", "good", others));
        stream.publish(&partition(0), &records("a", "bad", 20_000));
        stream.publish(&partition(0), &records("a", "good", 1));
        let flood = FloodLimits { share_rows_max: 500, on_flood: OnFlood::GoOn, ..limits().flood };
        let running = start(&stream, &tables, Limits { flood: flood.clone(), ..limits() });
        running.until("all to be read", |running| running.lag() == 0).await;
        let (written, quarantined, aside) = running.counts();
        assert_eq!((written, quarantined, aside.len()), (others + 1, 20_000, 0));
        assert!(!flood.is_full(&running.progress.standing("a").unwrap()), "nobody is refused because of it");
        let Verdict::Flooding { reason } = running.verdict() else { panic!("{:?}", running.verdict()) };
        assert!(reason.starts_with("a: ") && reason.contains("millstream quarantine ls --store a"), "{reason}");

        // It is told for as long as it takes the window to pass.
        tokio::time::sleep(flood.time + Duration::from_secs(1)).await;
        assert_eq!(running.verdict(), Verdict::KeepingUp);
        running.end().await;
    }
}
