//! A queue straight into the tables: everything once, whatever comes twice, and nothing deleted before it is durable.

mod messages;
mod processes;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use millstream_connectors::sources::sqs::{SqsOptions, SqsSource};
use millstream_engine::{Position, Source};
use millstream_tests::parts::{ElasticMq, Ministack, StandIn};
use millstream_tests::{Database, Event, Generator, Model, Run, TestBucket, TestQueue, dialect};
use rand::seq::SliceRandom as _;

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

/// Begins to read as a lane does.
async fn begin(source: &SqsSource, stored: Option<u64>) -> Position {
    let partition = source.assignment().borrow()[0].clone();
    source.start(&partition, stored.map(Position::Offset).as_ref(), None).await.unwrap()
}
