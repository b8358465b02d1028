//! A producer that stays a backlog ahead of the tables, and keeps every event that the brokers acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use millstream_engine::task;
use millstream_tests::{Event, Generator};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::fleet::Fleet;

/// Events made in one go.
const PART: usize = 500;

pub(super) struct Load {
    stop: Arc<AtomicBool>,
    producer: tokio::task::JoinHandle<Vec<Event>>,
}

impl Load {
    /// Keeps up to `ahead` records more in the topic than in the tables, from now on.
    pub(super) fn start(fleet: &Arc<Fleet>, generator: Generator, ahead: i64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let producer = task::spawn("load", produce(Arc::clone(fleet), generator, ahead, Arc::clone(&stop)));
        Load { stop, producer }
    }

    /// What the topic holds now.
    pub(super) async fn end(self) -> Vec<Event> {
        self.stop.store(true, SeqCst);
        self.producer.await.unwrap()
    }
}

async fn produce(fleet: Arc<Fleet>, mut generator: Generator, ahead: i64, stop: Arc<AtomicBool>) -> Vec<Event> {
    let mut sent = Vec::new();
    let producer = producer(&fleet);
    while !stop.load(SeqCst) {
        if sent.len() as i64 - fleet.committed().await >= ahead {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let events = generator.events(PART);
        send_by(&producer, &fleet.topic, &events).await;
        sent.extend(events);
    }
    sent
}

/// A producer that repeats nothing and loses nothing.
pub(super) fn producer(fleet: &Fleet) -> FutureProducer {
    let mut config = fleet.topics.client();
    config.set("enable.idempotence", "true").set("linger.ms", "5").set("message.timeout.ms", "120000");
    // What a broker that stood still owes an answer to is sent again, before the tests lose their patience.
    config.set("socket.timeout.ms", "10000").set("request.timeout.ms", "8000");
    config.create().unwrap()
}

/// Sends events, each to the partition of its entity; the partition and the offset of each.
pub(super) async fn send(fleet: &Fleet, events: &[Event]) -> Vec<(i32, i64)> {
    send_by(&producer(fleet), &fleet.topic, events).await
}

async fn send_by(producer: &FutureProducer, topic: &str, events: &[Event]) -> Vec<(i32, i64)> {
    let mut waiting = Vec::with_capacity(events.len());
    for event in events {
        let key = event.entity();
        let payload = event.json();
        loop {
            match producer.send_result(FutureRecord::to(topic).key(&key).payload(&payload)) {
                Ok(delivery) => break waiting.push(delivery),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err((error, _)) => panic!("send to {topic}: {error}"),
            }
        }
    }
    let mut sent = Vec::with_capacity(waiting.len());
    for delivery in waiting {
        let delivered = delivery.await.unwrap().map_err(|(error, _)| error);
        let delivered = delivered.unwrap_or_else(|error| panic!("send to {topic}: {error}"));
        sent.push((delivered.partition, delivered.offset));
    }
    sent
}
