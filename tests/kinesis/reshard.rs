//! Shards are divided and merged while a producer writes and two pipelines read, which share them by their leases.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use millstream_connectors::assignment::Timing;
use millstream_connectors::sinks::metadata::Metadata;
use millstream_connectors::sinks::metadata::columns::Columns;
use millstream_connectors::sinks::stream::kinesis::KinesisProducer;
use millstream_connectors::sinks::stream::{Append as _, NewRecord};
use millstream_connectors::sources::kinesis::{KinesisOptions, KinesisSource, Sharing};
use millstream_engine::{Batch, Gap, Held, Limits, Partition, Position, Receipt, Sink, SinkError, Source};
use millstream_tests::generator::DAY_NS;
use millstream_tests::kinesis::Shards;
use millstream_tests::parts::KinesisLocal;
use millstream_tests::{Database, Event, Model, Run, compare, database, stream, until};

use super::{WITHIN, options};

/// When a batch that was committed began, and its records.
type Committed = Arc<Mutex<Vec<(Instant, Vec<Vec<u8>>)>>>;

/// Notes what the tables took, in an order that holds across processes: a batch begins after everything that it waited
/// for was committed.
#[derive(Debug)]
struct Noted {
    sink: Metadata,
    committed: Committed,
}

#[async_trait]
impl Sink for Noted {
    type Columns = Columns;

    async fn acquire(&mut self, partitions: &[Partition]) -> Result<Vec<Held>, SinkError> {
        self.sink.acquire(partitions).await
    }

    async fn write(&mut self, batch: &Batch<Columns>) -> Result<Receipt, SinkError> {
        let began = Instant::now();
        let receipt = self.sink.write(batch).await?;
        let records = batch.records().iter().map(|record| record.payload.to_vec()).collect();
        self.committed.lock().unwrap().push((began, records));
        Ok(receipt)
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

async fn pipeline(
    shards: &Shards,
    database: &Database,
    owner: &str,
    committed: &Committed,
) -> (Arc<KinesisSource>, Run) {
    let sharing = Sharing {
        pipeline: "objects".to_owned(),
        connect: database.options().into(),
        owner: owner.to_owned(),
        timing: Timing { period: Duration::from_millis(200), expiry: Duration::from_secs(5) },
    };
    let options = KinesisOptions { sharing: Some(sharing), ..options(shards.address().await) };
    let source = KinesisSource::open(options).await.unwrap();
    let writer = stream::options("objects", source.incarnation(), database.options());
    // So little memory that a shard is read in many small parts, between which others have their turn.
    let limits = Limits { memory_bytes: 512 << 10, ..Run::limits(2, 50) };
    let sink = |_| {
        Box::new(Noted { sink: stream::metadata(writer.clone()), committed: Arc::clone(committed) })
            as Box<dyn Sink<Columns = Columns>>
    };
    let sinks = (0..limits.writers).map(sink).collect();
    let run = Run::over("objects", Arc::clone(&source) as Arc<dyn Source>, Arc::new(stream::decoder()), sinks, limits);
    (source, run)
}

const KEYS: u64 = 40;

/// The event of a number: those of one key are in order.
fn event(number: u64) -> Event {
    Event::create("uploads", &format!("in/{}", number % KEYS), DAY_NS + number * 1_000, number as i64)
}

fn shard(number: u32) -> String {
    format!("shardId-{number:012}")
}

async fn in_tables(runs: [&Run; 2], count: u64) {
    until("records in the tables", WITHIN, || async {
        let sum: u64 = runs.map(|run| run.progress.snapshot().records).iter().sum();
        (sum >= count).then_some(())
    })
    .await;
}

/// Waits until the four closed shards are finished, and each of the others has one reader.
async fn divided(database: &Database, sources: [&KinesisSource; 2]) {
    let ended = "SELECT count(*) FROM millstream.lease WHERE next_position = 'end'";
    until("the closed shards to be finished", WITHIN, || async { (database.number(ended).await == 4).then_some(()) })
        .await;
    let open: Vec<String> = [4, 5, 6].map(shard).to_vec();
    until("the open shards to be divided", WITHIN, || async {
        let own = sources.map(|source| source.assignment().borrow().clone());
        let mut all: Vec<String> = own.iter().flatten().map(ToString::to_string).collect();
        all.sort();
        (all == open && own.iter().all(|own| !own.is_empty())).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_are_divided_and_merged_under_load_and_nothing_is_lost_doubled_or_out_of_order() {
    let Some(service) = KinesisLocal::shared().await else { return };
    let shards = Shards::new(service, 2).await;
    let database = database().await;
    const PARTS: u64 = 60;
    const EACH: u64 = 40;
    let producer = KinesisProducer::new(shards.address().await);
    let put = async |parts: std::ops::Range<u64>| {
        for part in parts {
            let record = |number| {
                let event = event(number);
                NewRecord { key: event.entity().into(), headers: Vec::new(), payload: event.json().into() }
            };
            producer.append((part * EACH..(part + 1) * EACH).map(record).collect()).await.unwrap();
        }
    };
    // With a backlog in the parents: whoever reads the children at the same time reads keys out of order.
    put(0..15).await;
    // 0 becomes 2 and 3.
    shards.split(&shard(0)).await;
    put(15..30).await;

    let committed = Committed::default();
    let (one, first) = pipeline(&shards, &database, "one", &committed).await;
    let (two, second) = pipeline(&shards, &database, "two", &committed).await;
    let resharded = async {
        // 3 and its neighbour 1 become 4.
        in_tables([&first, &second], 700).await;
        shards.merge(&shard(3), &shard(1)).await;
        // 2 becomes 5 and 6.
        in_tables([&first, &second], 1_400).await;
        shards.split(&shard(2)).await;
    };
    tokio::join!(put(30..PARTS), resharded);

    let total = PARTS * EACH;
    in_tables([&first, &second], total).await;
    divided(&database, [&*one, &*two]).await;

    for run in [first, second] {
        let summary = run.stop().await;
        assert_eq!((summary.drained, summary.halted), (true, Vec::new()));
    }
    one.close().await;
    two.close().await;

    let numbers: HashMap<Vec<u8>, u64> = (0..total).map(|number| (event(number).json(), number)).collect();
    let mut committed = std::mem::take(&mut *committed.lock().unwrap());
    committed.sort_by_key(|(began, _)| *began);
    let mut seen: HashMap<u64, Vec<u64>> = HashMap::new();
    for number in committed.iter().flat_map(|(_, records)| records).map(|record| numbers[record]) {
        seen.entry(number % KEYS).or_default().push(number);
    }
    for key in 0..KEYS {
        let expected: Vec<u64> = (0..total).filter(|number| number % KEYS == key).collect();
        assert_eq!(seen[&key], expected, "key {key}: once each, in order");
    }
    compare(&database, &Model::of(&(0..total).map(event).collect::<Vec<_>>())).await;
    assert_eq!(database.number("SELECT count(*) FROM millstream.gap").await, 0, "no alarm");
}
