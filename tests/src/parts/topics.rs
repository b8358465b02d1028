//! Topics, records and positions of a Kafka, through a client of the tests' own.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

use crate::until;

/// An answer of brokers on two busy cores, one of which may just have been killed.
const WITHIN: Duration = Duration::from_secs(30);

/// A record to send. Without a partition its key says where it goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// Which partition it goes to.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order; a value of `None` is null.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// Milliseconds since 1970; `None` is the time of sending.
    pub timestamp: Option<i64>,
}

impl<'a> Record<'a> {
    /// With a key and a value.
    pub fn new(key: &'a str, value: &'a str) -> Self {
        Record { key: Some(key.as_bytes()), value: Some(value.as_bytes()), ..Record::default() }
    }

    /// To a partition.
    #[must_use]
    pub fn to(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }
}

/// The topics of a Kafka.
#[derive(Clone, Debug)]
pub struct Topics {
    bootstrap: String,
    replicas: i32,
}

impl Topics {
    /// Those behind a bootstrap address, which are kept once.
    pub fn new(bootstrap: &str) -> Self {
        Topics::with_replicas(bootstrap, 1)
    }

    /// Those behind a bootstrap address; new ones are kept so often.
    pub fn with_replicas(bootstrap: &str, replicas: i32) -> Self {
        Topics { bootstrap: bootstrap.to_owned(), replicas }
    }

    /// The configuration of a client, to be added to.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        // What a killed broker makes a client say is no news to a test.
        config.set("log_level", "0");
        config
    }

    /// Makes a topic, with settings such as `("retention.ms", "1000")`.
    ///
    /// # Panics
    /// If the broker refuses it.
    pub async fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(self.replicas));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let admin = self.admin();
        let made = admin.create_topics([&new], &options()).await.expect("ask for a topic");
        accepted(made, topic);
        let count = usize::try_from(partitions).unwrap_or(1);
        // The controller has it; the brokers hear of it a little later.
        let has_leaders = || {
            let metadata = admin.inner().fetch_metadata(Some(topic), Duration::from_secs(5)).ok()?;
            let led =
                metadata.topics().first()?.partitions().iter().filter(|partition| partition.leader() >= 0).count();
            (led == count).then_some(())
        };
        until("the brokers to know the topic", WITHIN, || async { has_leaders() }).await;
    }

    /// Deletes a topic.
    ///
    /// # Panics
    /// If the broker refuses it.
    pub async fn delete(&self, topic: &str) {
        let deleted = self.admin().delete_topics(&[topic], &options()).await.expect("ask to delete a topic");
        accepted(deleted, topic);
    }

    /// Makes a topic have so many partitions, more than before.
    ///
    /// # Panics
    /// If the broker refuses it.
    pub async fn grow(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let grown = self.admin().create_partitions([&new], &options()).await.expect("ask for partitions");
        accepted(grown, topic);
    }

    /// Deletes the records of a partition before an offset, as retention would.
    ///
    /// # Panics
    /// If the broker refuses it.
    pub async fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("an offset");
        let deleted = self.admin().delete_records(&list, &options()).await.expect("ask to delete records");
        for element in deleted.elements() {
            element.error().expect("delete records");
        }
    }

    /// Sends records; returns the partition and the offset of each when all replicas have them.
    ///
    /// # Panics
    /// If one is not acknowledged.
    pub async fn send(&self, topic: &str, records: &[Record<'_>]) -> Vec<(i32, i64)> {
        self.send_with(topic, records, &[]).await
    }

    /// Sends records, by a producer with more settings, such as `("compression.type", "zstd")`.
    ///
    /// # Panics
    /// If one is not acknowledged.
    pub async fn send_with(&self, topic: &str, records: &[Record<'_>], settings: &[(&str, &str)]) -> Vec<(i32, i64)> {
        let mut config = self.client();
        config.set("enable.idempotence", "true").set("linger.ms", "5").set("message.timeout.ms", "60000");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        let producer: FutureProducer = config.create().expect("make a producer");
        let mut waiting = Vec::with_capacity(records.len());
        for record in records {
            loop {
                match producer.send_result(future_record(topic, record)) {
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
            let delivered = delivery.await.expect("the producer is there").map_err(|(error, _)| error);
            let delivered = delivered.unwrap_or_else(|error| panic!("send to {topic}: {error}"));
            sent.push((delivered.partition, delivered.offset));
        }
        sent
    }

    /// The first offset of a partition, and the one after its last.
    ///
    /// # Panics
    /// If the broker does not say.
    pub async fn watermarks(&self, topic: &str, partition: i32) -> (i64, i64) {
        let config = self.client();
        let topic = topic.to_owned();
        let asked = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = config.create().expect("make a consumer");
            consumer.fetch_watermarks(&topic, partition, WITHIN).expect("ask for the ends of a partition")
        });
        asked.await.expect("ask")
    }

    /// How many partitions a topic has; 0 where there is none.
    ///
    /// # Panics
    /// If the broker does not say.
    pub async fn partitions(&self, topic: &str) -> usize {
        let config = self.client();
        let topic = topic.to_owned();
        let asked = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = config.create().expect("make a consumer");
            let metadata = consumer.fetch_metadata(Some(&topic), WITHIN).expect("ask for a topic");
            metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len())
        });
        asked.await.expect("ask")
    }

    /// The position that a group has committed in each of the first partitions of a topic.
    ///
    /// # Panics
    /// If the broker does not say.
    pub async fn committed(&self, group: &str, topic: &str, partitions: i32) -> Vec<Option<i64>> {
        let mut config = self.client();
        let topic = topic.to_owned();
        config.set("group.id", group);
        let asked = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = config.create().expect("make a consumer");
            let mut list = TopicPartitionList::new();
            list.add_partition_range(&topic, 0, partitions.saturating_sub(1));
            let found = consumer.committed_offsets(list, WITHIN).expect("ask for committed positions");
            found.elements().iter().map(|element| element.offset().to_raw().filter(|raw| *raw >= 0)).collect()
        });
        asked.await.expect("ask")
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("make an admin client")
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(WITHIN)).operation_timeout(Some(WITHIN))
}

fn accepted(results: Vec<rdkafka::admin::TopicResult>, topic: &str) {
    for result in results {
        assert!(result.is_ok(), "{topic}: {result:?}");
    }
}

fn future_record<'a>(topic: &'a str, record: &Record<'a>) -> FutureRecord<'a, [u8], [u8]> {
    let mut headers = OwnedHeaders::new();
    for &(key, value) in record.headers {
        headers = headers.insert(Header { key, value });
    }
    let mut made = FutureRecord::to(topic);
    made.partition = record.partition;
    made.key = record.key;
    made.payload = record.value;
    made.timestamp = record.timestamp;
    made.headers = (!record.headers.is_empty()).then_some(headers);
    made
}
