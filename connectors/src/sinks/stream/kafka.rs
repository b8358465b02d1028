//! A topic of Kafka.
//!
//! Idempotent, acknowledged by all replicas in sync: records of one key arrive in order and, within a session of the
//! producer, once. Keys select the partition as in Java's clients (`murmur2_random`), so that other producers of the
//! topic agree with us.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::{Append, AppendError, NewRecord};
use crate::sources::kafka::{Cluster, OpenError};

/// Timeout of a record's acknowledgement.
const DELIVERY_TIMEOUT_MS: u32 = 30_000;
/// Interval of the checks for room in the producer's queue.
const ROOM_WAIT: Duration = Duration::from_millis(5);

/// Timeout of the creation of a topic.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(30);

/// A producer for one topic. Clones share it.
#[derive(Clone)]
pub struct KafkaTopic {
    topic: String,
    producer: FutureProducer<Quiet>,
}

/// Logs errors of the client for debugging only: the failed appends report them.
#[derive(Clone, Copy, Debug)]
struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka producer");
    }
}

impl KafkaTopic {
    /// A producer with at most `memory_bytes` of unacknowledged records. Connects when it is used.
    ///
    /// # Errors
    /// If the client refuses the settings.
    pub fn open(cluster: &Cluster, topic: &str, memory_bytes: usize) -> Result<Self, OpenError> {
        let settings = |error: &dyn fmt::Display| OpenError::Settings(error.to_string());
        let mut config = cluster.client().map_err(|error| settings(&error))?;
        let default = |name: &str| !cluster.settings.contains_key(name);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", DELIVERY_TIMEOUT_MS.to_string())
            .set("queue.buffering.max.kbytes", (memory_bytes / 1024).max(1024).to_string());
        for (name, value) in [("compression.type", "lz4"), ("linger.ms", "5"), ("batch.size", "262144")] {
            if default(name) {
                config.set(name, value);
            }
        }
        let producer = config.create_with_context(Quiet).map_err(|error| settings(&error))?;
        Ok(KafkaTopic { topic: topic.to_owned(), producer })
    }

    /// Hands a record to the producer, waiting for room in its queue.
    async fn send(&self, record: &NewRecord) -> Result<DeliveryFuture, AppendError> {
        let headers = record.headers.iter().fold(OwnedHeaders::new_with_capacity(record.headers.len()), |all, one| {
            all.insert(Header { key: &one.0, value: Some(&one.1[..]) })
        });
        let mut message = FutureRecord::to(&self.topic).payload(&record.payload[..]).headers(headers);
        if !record.key.is_empty() {
            message = message.key(&record.key[..]);
        }
        let began = tokio::time::Instant::now();
        loop {
            match self.producer.send_result(message) {
                Ok(delivery) => return Ok(delivery),
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => message = back,
                Err((error, _)) => return Err(failed(&error)),
            }
            if began.elapsed() > Duration::from_millis(DELIVERY_TIMEOUT_MS.into()) {
                return Err(AppendError::NotDurable(
                    "the brokers take records too slowly: the queue is full".to_owned(),
                ));
            }
            tokio::time::sleep(ROOM_WAIT).await;
        }
    }
}

#[async_trait]
impl Append for KafkaTopic {
    async fn append(&self, records: Vec<NewRecord>) -> Result<(), AppendError> {
        let mut deliveries = Vec::with_capacity(records.len());
        for record in &records {
            deliveries.push(self.send(record).await?);
        }
        drop(records);
        for delivery in deliveries {
            match delivery.await {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => return Err(failed(&error)),
                Err(_) => return Err(AppendError::Closed),
            }
        }
        Ok(())
    }
}

fn failed(error: &KafkaError) -> AppendError {
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::InvalidRecord) => AppendError::Refused(format!("Kafka: {error}")),
        _ => AppendError::NotDurable(format!("Kafka: {error}")),
    }
}

impl fmt::Debug for KafkaTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaTopic").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// Creates a topic with the cluster's defaults for everything but the number of partitions.
///
/// # Errors
/// The brokers' error, also if the topic exists.
pub async fn create_topic(cluster: &Cluster, topic: &str, partitions: u32) -> Result<(), OpenError> {
    let unavailable = |said: String| OpenError::Unavailable { brokers: cluster.brokers.clone(), said };
    let config = cluster.client().map_err(|error| OpenError::Settings(error.to_string()))?;
    let admin: AdminClient<Quiet> =
        config.create_with_context(Quiet).map_err(|error| OpenError::Settings(error.to_string()))?;
    let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
    let new = [NewTopic::new(topic, partitions, TopicReplication::Fixed(-1))];
    let made = admin.create_topics(&new, &AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT))).await;
    for one in made.map_err(|error| unavailable(error.to_string()))? {
        one.map_err(|(topic, code)| unavailable(format!("{topic}: {code}")))?;
    }
    Ok(())
}
