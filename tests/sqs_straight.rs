//! A queue straight into the tables: everything once, whatever comes twice, and nothing deleted before it is durable.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_sdk_sqs::types::QueueAttributeName;
use millstream_connectors::sources::sqs::{Error, Queue, SqsOptions, SqsSource};
use millstream_engine::{Checkpoint, Partition, Position, RecordBatch, Source, SourceError, Want};
use millstream_tests::parts::{ElasticMq, Ministack, StandIn};
use millstream_tests::sqs::stored;
use millstream_tests::{
    Database, Event, Generator, Model, Run, SqsFaults, TestBucket, TestQueue, compare, database, dialect, tables, until,
};
use rand::seq::SliceRandom as _;
use tokio::sync::watch;

const WITHIN: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// Both services, as far as they can be had.
async fn services() -> Vec<(&'static str, &'static StandIn)> {
    let there = [("ElasticMQ", ElasticMq::shared().await), ("ministack", Ministack::shared().await)];
    there.into_iter().filter_map(|(name, service)| Some((name, service?))).collect()
}

async fn open(queue: &TestQueue, options: SqsOptions) -> Arc<SqsSource> {
    SqsSource::new(queue.open(options).await, Arc::default())
}

fn start(source: &Arc<SqsSource>, database: &Database) -> Run {
    Run::read("objects", Arc::clone(source) as Arc<dyn Source>, database.options(), Run::limits(1, 500))
}

/// Waits until nothing is left of the queue, neither there nor here.
async fn drained(queue: &TestQueue, source: &SqsSource) {
    queue.emptied(WITHIN).await;
    assert_eq!(source.held().0, 0, "what is deleted is not held");
}

/// Messages with one event each, some wrapped by SNS, some with several events, some twice, in no order.
fn bodies(generator: &mut Generator, count: usize) -> (Vec<String>, Model) {
    let events = generator.events(count);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let mut bodies: Vec<String> = events.iter().map(|event| text(event.json())).collect();
    let aws: Vec<Event> =
        events.iter().filter(|event| event.dialect == millstream_tests::Dialect::Aws).cloned().collect();
    bodies.extend(aws.chunks(3).map(|events| text(dialect::notification(events))));
    for body in bodies.iter_mut().step_by(3) {
        *body = sns(body);
    }
    let again: Vec<String> = bodies.iter().step_by(5).cloned().collect();
    bodies.extend(again);
    bodies.shuffle(generator.rng());
    (bodies, Model::of(&events))
}

/// As SNS delivers it to a queue without raw delivery.
fn sns(message: &str) -> String {
    serde_json::json!({
        "Type": "Notification", "MessageId": "7a8f0b4e-1f5c-5b0a-9c3d-5e1f7b7c2d1e",
        "TopicArn": "arn:aws:sns:eu-central-1:111122223333:events", "Subject": "Amazon S3 Notification",
        "Message": message, "Timestamp": "2026-03-12T00:00:00.000Z", "SignatureVersion": "1", "Signature": "c2ln",
    })
    .to_string()
}

/// Everything that a bucket can tell, done in it.
pub(crate) async fn use_bucket(bucket: &TestBucket, is_versioned: bool) {
    for number in 0..30 {
        bucket.put(&format!("in/{number}+with space/ü%41"), 100 + number).await;
    }
    for number in 0..10 {
        let key = format!("in/{number}+with space/ü%41");
        let second = bucket.put(&key, 500 + number).await;
        match number % 3 {
            0 => bucket.delete(&key, None).await,
            1 if is_versioned => bucket.delete(&key, Some(&second)).await,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_object_of_a_bucket_is_in_the_tables_as_it_is_in_the_store() {
    let Some(ministack) = Ministack::shared().await else { return };
    let queue = TestQueue::new(ministack).await;
    let database = database().await;
    let source = open(&queue, queue.options()).await;
    let run = start(&source, &database);
    for is_versioned in [false, true] {
        let bucket = TestBucket::new(&queue, is_versioned).await;
        use_bucket(&bucket, is_versioned).await;
        let listed = bucket.list().await;
        assert!(listed.len() >= 26, "{listed:?}");
        until("the tables to have what the store has", WITHIN, || async {
            (stored(&database, &bucket.name).await == listed).then_some(())
        })
        .await;
    }
    drained(&queue, &source).await;
    assert_eq!(run.stop().await.halted, Vec::<String>::new());
    assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_every_kind_in_any_order_and_number_are_applied() {
    for (name, service) in services().await {
        let queue = TestQueue::new(service).await;
        let database = database().await;
        let (bodies, model) = bodies(&mut Generator::new("sqs bodies"), 1_000);
        queue.send(&bodies).await;
        let source = open(&queue, SqsOptions { receivers_max: 4, ..queue.options() }).await;
        let began = Instant::now();
        let run = start(&source, &database);
        drained(&queue, &source).await;
        println!("{name}: {} messages straight into the tables in {:?}", bodies.len(), began.elapsed());
        run.stop().await;
        compare(&database, &model).await;
        let counts = source.counters().counts();
        assert_eq!((counts.received, counts.deleted), (bodies.len() as u64, bodies.len() as u64), "{counts:?}");
        assert_eq!((counts.undeleted, counts.let_go, counts.errors), (0, 0, 0), "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_before_it_writes_loses_nothing() {
    for (_, service) in services().await {
        let queue = TestQueue::new(service).await;
        let database = database().await;
        let (bodies, model) = bodies(&mut Generator::new("sqs died before writing"), 60);
        queue.send(&bodies).await;
        let options = SqsOptions { visibility: 2 * SECOND, ..queue.options() };
        let died = open(&queue, options.clone()).await;
        begin(&died, None).await;
        until("everything in its hands", WITHIN, || async { (died.held().0 == bodies.len()).then_some(()) }).await;
        drop(died);
        let source = open(&queue, options).await;
        let run = start(&source, &database);
        drained(&queue, &source).await;
        run.stop().await;
        compare(&database, &model).await;
        assert_eq!(source.counters().counts().received, bodies.len() as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_before_it_deletes_changes_nothing() {
    for (_, service) in services().await {
        let queue = TestQueue::new(service).await;
        let database = database().await;
        let (bodies, model) = bodies(&mut Generator::new("sqs died before deleting"), 60);
        queue.send(&bodies).await;
        let options = SqsOptions { visibility: 2 * SECOND, ..queue.options() };
        let died = open(&queue, options.clone()).await;
        let forgetful = Arc::new(NeverTold(Arc::clone(&died)));
        let run = Run::read("objects", forgetful as Arc<dyn Source>, database.options(), Run::limits(1, 500));
        let records = bodies.len() as u64;
        until("everything written", WITHIN, || async { (run.progress.snapshot().records >= records).then_some(()) })
            .await;
        run.stop().await;
        assert_eq!(died.counters().counts().deleted, 0);
        drop(died);
        let before = tables(&database).await;
        let position = position(&database).await;
        compare(&database, &model).await;

        let source = open(&queue, options).await;
        let run = start(&source, &database);
        drained(&queue, &source).await;
        run.stop().await;
        assert_eq!(tables(&database).await, before);
        let went_on = self::position(&database).await;
        assert_eq!(went_on - position, source.counters().counts().received - source.counters().counts().again);
        assert!(went_on - position >= bodies.len() as u64, "all of them came again, under new numbers");
    }
}

/// The stored position of the test's consumer.
async fn position(database: &Database) -> u64 {
    database.number("SELECT next_position FROM millstream.lease WHERE partition = 'test'").await as u64
}

/// Begins to read as a lane does.
async fn begin(source: &SqsSource, stored: Option<u64>) -> Position {
    let partition = source.assignment().borrow()[0].clone();
    source.start(&partition, stored.map(Position::Offset).as_ref(), None).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_stay_invisible_while_the_database_is_slow() {
    for (_, service) in services().await {
        let queue = TestQueue::new(service).await;
        let database = database().await;
        let (bodies, model) = bodies(&mut Generator::new("sqs slow"), 40);
        queue.send(&bodies).await;
        let source = open(&queue, SqsOptions { visibility: 2 * SECOND, ..queue.options() }).await;
        let mut blocker = database.connect().await;
        sqlx::raw_sql("BEGIN; LOCK TABLE millstream.objects IN ACCESS EXCLUSIVE MODE")
            .execute(&mut blocker)
            .await
            .unwrap();
        let run = start(&source, &database);
        let count = bodies.len() as u64;
        until("each to be extended three times", WITHIN, || async {
            let counts = source.counters().counts();
            assert_eq!((counts.again, counts.let_go, counts.deleted), (0, 0, 0), "{counts:?}");
            (counts.extended >= 3 * count).then_some(())
        })
        .await;
        assert_eq!(queue.messages().await, (0, count), "nobody else could have received one");
        sqlx::raw_sql("COMMIT").execute(&mut blocker).await.unwrap();
        drained(&queue, &source).await;
        run.stop().await;
        compare(&database, &model).await;
        let counts = source.counters().counts();
        assert_eq!((counts.received, counts.deleted), (count, count), "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_never_committed_goes_to_the_dead_letter_queue() {
    for (_, service) in services().await {
        let dead = TestQueue::new(service).await;
        let arn = dead.attribute(QueueAttributeName::QueueArn).await;
        let policy = serde_json::json!({ "deadLetterTargetArn": arn, "maxReceiveCount": 2 }).to_string();
        let queue = dead.beside(&[(QueueAttributeName::RedrivePolicy, policy)]).await;
        let bodies: Vec<String> = (0..12).map(|number| format!("never committed {number}")).collect();
        queue.send(&bodies).await;
        let options = SqsOptions { visibility: 2 * SECOND, age_max: 2 * SECOND, ..queue.options() };
        let source = open(&queue, options).await;
        begin(&source, None).await;
        until("all of them to be dead letters", WITHIN, || async { (dead.messages().await.0 == 12).then_some(()) })
            .await;
        let counts = source.counters().counts();
        assert_eq!((counts.received, counts.again, counts.deleted), (24, 12, 0), "{counts:?}");
        assert_eq!(source.held().0, 12, "a second receipt is no second record");
        queue.emptied(WITHIN).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_what_is_gone_already_is_no_error() {
    for (_, service) in services().await {
        let queue = TestQueue::new(service).await;
        let database = database().await;
        let (bodies, model) = bodies(&mut Generator::new("sqs gone"), 25);
        queue.send(&bodies).await;
        let source = open(&queue, queue.options()).await;
        begin(&source, None).await;
        until("everything in its hands", WITHIN, || async { (source.held().0 == bodies.len()).then_some(()) }).await;
        queue.sqs.purge_queue().queue_url(&queue.url).send().await.unwrap();
        let run = start(&source, &database);
        until("everything deleted", WITHIN, || async {
            (source.counters().counts().deleted == bodies.len() as u64).then_some(())
        })
        .await;
        run.stop().await;
        compare(&database, &model).await;
        let counts = source.counters().counts();
        assert_eq!((counts.undeleted, counts.errors), (0, 0), "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_a_queue_and_no_position() {
    for (_, service) in services().await {
        let queue = TestQueue::new(service).await;
        let database = database().await;
        let (bodies, model) = bodies(&mut Generator::new("sqs shared"), 800);
        let unnamed = SqsOptions { consumer: None, receivers_max: 2, ..queue.options() };
        let first = open(&queue, unnamed.clone()).await;
        let second = open(&queue, unnamed).await;
        assert_ne!(first.consumer(), second.consumer());
        let runs = [start(&first, &database), start(&second, &database)];
        queue.send(&bodies).await;
        queue.emptied(WITHIN).await;
        for run in runs {
            assert_eq!(run.stop().await.halted, Vec::<String>::new());
        }
        compare(&database, &model).await;
        assert_eq!(database.number("SELECT count(*) FROM millstream.lease").await, 2);
        let received = [&first, &second].map(|source| source.counters().counts().received);
        assert_eq!(received.iter().sum::<u64>(), bodies.len() as u64);
        assert!(received.iter().all(|received| *received > 0), "{received:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_end_gives_back_what_is_not_written() {
    for (_, service) in services().await {
        let queue = TestQueue::new(service).await;
        let (bodies, _) = bodies(&mut Generator::new("sqs end"), 30);
        // Longer than the test may last: only a release makes them visible again.
        let source = open(&queue, SqsOptions { visibility: 600 * SECOND, ..queue.options() }).await;
        begin(&source, None).await;
        queue.send(&bodies).await;
        let left = bodies.len();
        until("the rest in its hands", WITHIN, || async { (source.held().0 == left).then_some(()) }).await;
        source.close(WITHIN).await;
        until("the rest to be visible", WITHIN, || async {
            (queue.messages().await == (left as u64, 0)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_inbox_receives_no_more() {
    for (_, service) in services().await {
        let queue = TestQueue::new(service).await;
        let bodies: Vec<String> = (0..60).map(|number| format!("{number}")).collect();
        queue.send(&bodies).await;
        let options = SqsOptions { messages_max: 25, receivers_max: 8, ..queue.options() };
        let source = open(&queue, options).await;
        let Position::Offset(first) = begin(&source, None).await else { unreachable!() };
        until("a full inbox", WITHIN, || async { (source.held().0 == 25).then_some(()) }).await;
        assert_eq!(queue.messages().await, (35, 25));
        let partition = source.assignment().borrow()[0].clone();
        until("a known lag", WITHIN, || async {
            (source.lag_records(&partition, &Position::Offset(first)) == Some(60)).then_some(())
        })
        .await;
        // What is written makes room for as much.
        let database = database().await;
        let run = start(&source, &database);
        drained(&queue, &source).await;
        run.stop().await;
        assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 60, "none of them is an event");
        assert_eq!(source.counters().counts().received, 60);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_went_back_halts_unless_the_risk_is_accepted() {
    let Some(service) = ElasticMq::shared().await else { return };
    for accept_loss_on_restore in [false, true] {
        let queue = TestQueue::new(service).await;
        let database = database().await;
        let (bodies, _) = bodies(&mut Generator::new("sqs restored"), 40);
        let source = open(&queue, SqsOptions { accept_loss_on_restore, ..queue.options() }).await;
        let run = start(&source, &database);
        queue.send(&bodies[..20]).await;
        drained(&queue, &source).await;
        let position = position(&database).await;
        database.execute(&format!("UPDATE millstream.lease SET next_position = '{}'", position - 7)).await;
        queue.send(&bodies[20..]).await;
        if accept_loss_on_restore {
            drained(&queue, &source).await;
            let later = self::position(&database).await;
            assert_eq!(later - (position - 7), bodies.len() as u64 - 20, "positions go on from the stored one");
        } else {
            until("a gap", WITHIN, || async {
                (database.number("SELECT count(*) FROM millstream.gap").await == 1).then_some(())
            })
            .await;
            let gap = "SELECT to_position::bigint - from_position::bigint FROM millstream.gap";
            assert_eq!(database.number(gap).await, 7);
            let left = bodies.len() - 20;
            until("the rest in hand", WITHIN, || async { (source.held().0 == left).then_some(()) }).await;
            // What `positions reset --to latest` does: the consumer goes on with what it holds.
            let mut connection = database.connect().await;
            sqlx::query(include_str!("../pipeline/app/src/cli/sql/position_reset.sql"))
                .bind("objects")
                .bind(source.incarnation())
                .bind(["test"])
                .bind([None::<String>])
                .bind([None::<i64>])
                .execute(&mut connection)
                .await
                .unwrap();
            drained(&queue, &source).await;
        }
        run.stop().await;
        assert_eq!(database.number("SELECT count(*) FROM millstream.gap").await, i64::from(!accept_loss_on_restore));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_not_there_is_said_so() {
    for (name, service) in services().await {
        let queue = TestQueue::new(service).await;
        let source = open(&queue, queue.options()).await;
        queue.sqs.delete_queue().queue_url(&queue.url).send().await.unwrap();
        let none = Queue::open_with(&queue.config, queue.options()).await;
        assert!(matches!(none, Err(Error::NoSuchQueue { .. })), "{name}: {none:?}");
        let from = begin(&source, None).await;
        let partition = source.assignment().borrow()[0].clone();
        let want = Want { partition, from, bytes_max: 1000 };
        let error =
            until("an error", WITHIN, || async { source.fetch(std::slice::from_ref(&want), SECOND).await.err() }).await;
        assert!(matches!(error, SourceError::Broken(_)), "{name}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_partial_deletions_and_lost_answers_are_waited_out() {
    let Some(service) = ElasticMq::shared().await else { return };
    let queue = TestQueue::new(service).await;
    let database = database().await;
    let faults = SqsFaults::before(service.endpoint()).await;
    let (bodies, model) = bodies(&mut Generator::new("sqs faults"), 200);
    queue.send(&bodies).await;
    let options = SqsOptions { endpoint: Some(faults.endpoint.clone()), ..queue.options() };
    let source = open(&queue, options).await;
    faults.throttled.store(6, Relaxed);
    faults.partly_deleted.store(5, Relaxed);
    faults.unanswered.store(3, Relaxed);
    let run = start(&source, &database);
    drained(&queue, &source).await;
    until("every deletion to be known", WITHIN, || async {
        (source.counters().counts().deleted == bodies.len() as u64).then_some(())
    })
    .await;
    assert_eq!(run.stop().await.halted, Vec::<String>::new());
    compare(&database, &model).await;
    let counts = source.counters().counts();
    assert_eq!((faults.left(), counts.undeleted, counts.received), (0, 0, bodies.len() as u64), "{counts:?}");
    assert!(counts.errors >= 9, "what was throttled or not answered: {counts:?}");
}

/// A source that is never told what is durable, as if its process died before it could delete.
#[derive(Debug)]
struct NeverTold(Arc<SqsSource>);

#[async_trait]
impl Source for NeverTold {
    fn incarnation(&self) -> &str {
        self.0.incarnation()
    }

    fn assignment(&self) -> watch::Receiver<Vec<Partition>> {
        self.0.assignment()
    }

    async fn confirm(&self) -> Result<(), SourceError> {
        self.0.confirm().await
    }

    async fn start(
        &self,
        partition: &Partition,
        stored: Option<&Position>,
        era: Option<i64>,
    ) -> Result<Position, SourceError> {
        self.0.start(partition, stored, era).await
    }

    fn era(&self, partition: &Partition, next: &Position) -> Option<i64> {
        self.0.era(partition, next)
    }

    async fn fetch(&self, wants: &[Want], wait: Duration) -> Result<Vec<RecordBatch>, SourceError> {
        self.0.fetch(wants, wait).await
    }

    fn revive(&self) {
        self.0.revive();
    }

    async fn commit(&self, _: &Checkpoint) -> Result<(), SourceError> {
        Ok(())
    }

    async fn close(&self) {
        Source::close(&*self.0).await;
    }

    fn lag_records(&self, partition: &Partition, next: &Position) -> Option<u64> {
        self.0.lag_records(partition, next)
    }
}
