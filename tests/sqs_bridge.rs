//! A queue bridged into the embedded stream: appended before it is deleted, in order per object, nothing lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_sdk_sqs::types::QueueAttributeName;
use millstream_connectors::bridge::{self, Counters, Ended};
use millstream_connectors::sinks::stream::{Append, AppendError, NewRecord};
use millstream_connectors::sources::sqs::SqsOptions;
use millstream_engine::task;
use millstream_log::Topic;
use millstream_tests::generator::DAY_NS;
use millstream_tests::parts::{ElasticMq, Ministack};
use millstream_tests::sqs::stored;
use millstream_tests::{
    Dialect, Event, Generator, Model, Run, Stream, TestBucket, TestQueue, compare, database, dialect, until,
};
use rand::seq::SliceRandom as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const WITHIN: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A bridge that runs in the test.
struct Bridge {
    counters: Arc<Counters>,
    shutdown: CancellationToken,
    ended: JoinHandle<Ended>,
}

impl Bridge {
    async fn start(queue: &TestQueue, options: SqsOptions, stream: Arc<dyn Append>) -> Self {
        let counters = Arc::<Counters>::default();
        let shutdown = CancellationToken::new();
        let queue = queue.open(options).await;
        let run = bridge::run(queue, stream, None, Arc::clone(&counters), shutdown.clone());
        Bridge { counters, shutdown, ended: task::spawn("bridge", run) }
    }

    async fn stop(self) -> Ended {
        self.shutdown.cancel();
        self.ended.await.unwrap()
    }
}

/// Every record of a topic: its partition, key and payload.
fn records(topic: &Topic) -> Vec<(u32, String, Vec<u8>)> {
    let mut records = Vec::new();
    for partition in 0..topic.partitions() {
        let mut next = topic.range(partition).start;
        while next < topic.range(partition).end {
            let read = topic.read(partition, next, 1 << 20).unwrap();
            next = read.next;
            let text = |record: &millstream_log::Record| String::from_utf8(record.key.to_vec()).unwrap();
            records.extend(read.records.iter().map(|record| (partition, text(record), record.payload.to_vec())));
        }
    }
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_object_of_a_bucket_comes_through_the_stream() {
    let Some(ministack) = Ministack::shared().await else { return };
    let queue = TestQueue::new(ministack).await;
    let stream = Stream::default();
    let database = database().await;
    let topic = stream.topic("objects", 4);
    let bridge = Bridge::start(&queue, queue.options(), Arc::new(topic.clone())).await;
    let run = Run::start("objects", &topic, database.options(), Run::limits(2, 500));
    for is_versioned in [false, true] {
        let bucket = TestBucket::new(&queue, is_versioned).await;
        super::sqs_straight::use_bucket(&bucket, is_versioned).await;
        let listed = bucket.list().await;
        until("the tables to have what the store has", WITHIN, || async {
            (stored(&database, &bucket.name).await == listed).then_some(())
        })
        .await;
    }
    queue.emptied(WITHIN).await;
    let counts = bridge.counters.counts();
    assert_eq!((counts.messages, counts.queue.deleted), (counts.queue.received, counts.queue.received), "{counts:?}");
    assert_eq!(bridge.stop().await, Ended::Asked);
    run.stop().await;
    // The test event of each bucket has no object, and so no key.
    let keys: Vec<String> = records(&topic).into_iter().map(|(_, key, _)| key).collect();
    let of_objects = keys.iter().filter(|key| key.contains("/in/") && key.ends_with("+with space/ü%41")).count();
    assert_eq!((of_objects, keys.len() - of_objects), (keys.iter().filter(|key| !key.is_empty()).count(), 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_every_kind_become_records_keyed_by_their_object() {
    for service in [ElasticMq::shared().await, Ministack::shared().await].into_iter().flatten() {
        let queue = TestQueue::new(service).await;
        let stream = Stream::default();
        let database = database().await;
        let topic = stream.topic("objects", 4);
        let mut generator = Generator::new("bridged bodies");
        let events = generator.events(1_000);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (aws, others): (Vec<Event>, Vec<Event>) =
            events.iter().cloned().partition(|event| event.dialect == Dialect::Aws);
        // Several events in a message where the dialect has that, one in the others.
        let mut bodies: Vec<String> = aws.chunks(4).map(|events| text(dialect::notification(events))).collect();
        bodies.extend(others.iter().map(|event| text(event.json())));
        let bad = ["no json at all", "{\"Records\":[{\"eventName\":17}]}", "[1,2]"].map(str::to_owned);
        bodies.extend(bad.clone());
        bodies.shuffle(generator.rng());
        queue.send(&bodies).await;

        let began = Instant::now();
        let bridge =
            Bridge::start(&queue, SqsOptions { receivers_max: 4, ..queue.options() }, Arc::new(topic.clone())).await;
        queue.emptied(WITHIN).await;
        println!("{} messages into the stream in {:?}", bodies.len(), began.elapsed());
        let counts = bridge.counters.counts();
        bridge.stop().await;
        let there = records(&topic);
        assert_eq!((counts.records, counts.messages), (there.len() as u64, bodies.len() as u64), "{counts:?}");
        assert_eq!(there.len(), events.len() + bad.len());
        let entities: BTreeSet<String> = events.iter().map(Event::entity).collect();
        let mut places: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        for (partition, key, _) in there.iter().filter(|(_, key, _)| !key.is_empty()) {
            assert!(entities.contains(key), "{key}");
            places.entry(key).or_default().insert(*partition);
        }
        assert_eq!(places.len(), entities.len());
        assert!(places.values().all(|partitions| partitions.len() == 1), "events of one object stay together");

        let run = Run::start("objects", &topic, database.options(), Run::limits(2, 500));
        run.caught_up(WITHIN).await;
        run.stop().await;
        compare(&database, &Model::of(&events)).await;
        let mut connection = database.connect().await;
        let aside: Vec<(Vec<u8>,)> = sqlx::query_as("SELECT DISTINCT payload FROM millstream.quarantine")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let aside: BTreeSet<String> = aside.into_iter().map(|(payload,)| text(payload)).collect();
        assert_eq!(aside, BTreeSet::from(bad), "what is no event is set aside as it came");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_deleted_before_the_stream_has_it() {
    let Some(service) = ElasticMq::shared().await else { return };
    let dead = TestQueue::new(service).await;
    let arn = dead.attribute(QueueAttributeName::QueueArn).await;
    let policy = serde_json::json!({ "deadLetterTargetArn": arn, "maxReceiveCount": 1 }).to_string();
    let queue = dead.beside(&[(QueueAttributeName::RedrivePolicy, policy)]).await;
    let stream = Stream::default();
    let topic = stream.topic("objects", 2);
    let mut bodies: Vec<String> = (0..30)
        .map(|number| Event::create("b", &format!("in/{number}"), DAY_NS, 1))
        .map(|event| String::from_utf8(event.json()).unwrap())
        .collect();
    bodies.insert(7, "refused for ever".to_owned());
    queue.send(&bodies).await;
    let picky = Arc::new(Picky { topic: topic.clone(), failures: AtomicU32::new(6) });
    let options = SqsOptions { visibility: 2 * SECOND, ..queue.options() };
    let bridge = Bridge::start(&queue, options, Arc::clone(&picky) as Arc<dyn Append>).await;
    until("the stream to have failed", WITHIN, || async {
        let counts = bridge.counters.counts();
        assert!(counts.queue.deleted <= counts.messages, "{counts:?}");
        (counts.errors >= 6).then_some(())
    })
    .await;
    until("the refused one to be a dead letter", WITHIN, || async { (dead.messages().await == (1, 0)).then_some(()) })
        .await;
    queue.emptied(WITHIN).await;
    let counts = bridge.counters.counts();
    assert_eq!((counts.messages, counts.queue.deleted, counts.refused), (30, 30, 1), "{counts:?}");
    bridge.stop().await;
    let keys: BTreeSet<String> = records(&topic).into_iter().map(|(_, key, _)| key).collect();
    assert_eq!(keys, (0..30).map(|number| format!("b/in/{number}")).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_gives_back_what_is_not_appended() {
    let Some(service) = ElasticMq::shared().await else { return };
    let queue = TestQueue::new(service).await;
    let stream = Stream::default();
    let topic = stream.topic("objects", 2);
    let bodies: Vec<String> = (0..20).map(|number| format!("body {number}")).collect();
    queue.send(&bodies).await;
    // Fails for as long as the test lasts; and nothing becomes visible by itself before its end.
    let picky = Arc::new(Picky { topic: topic.clone(), failures: AtomicU32::new(u32::MAX) });
    let options = SqsOptions { visibility: 600 * SECOND, ..queue.options() };
    let bridge = Bridge::start(&queue, options.clone(), picky).await;
    until("all to be received", WITHIN, || async { (bridge.counters.counts().queue.received == 20).then_some(()) })
        .await;
    assert_eq!(bridge.stop().await, Ended::Asked);
    until("all to be visible", WITHIN, || async { (queue.messages().await == (20, 0)).then_some(()) }).await;
    assert_eq!(records(&topic), Vec::new());

    let bridge = Bridge::start(&queue, options, Arc::new(topic.clone())).await;
    queue.emptied(WITHIN).await;
    bridge.stop().await;
    let there: BTreeSet<String> =
        records(&topic).into_iter().map(|(_, _, body)| String::from_utf8(body).unwrap()).collect();
    assert_eq!(there, bodies.into_iter().collect());
}

/// A stream that fails some times, and never takes one kind of record.
#[derive(Debug)]
struct Picky {
    topic: Topic,
    failures: AtomicU32,
}

#[async_trait]
impl Append for Picky {
    async fn append(&self, records: Vec<NewRecord>) -> Result<(), AppendError> {
        if records.iter().any(|record| record.payload.starts_with(b"refused")) {
            return Err(AppendError::Refused("it says so itself".to_owned()));
        }
        let failing = self.failures.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        if failing {
            return Err(AppendError::NotDurable("not yet".to_owned()));
        }
        Append::append(&self.topic, records).await
    }
}
