//! The source of Kafka, on a topic of its own of a real broker.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millstream_connectors::sources::kafka::{Cluster, KafkaOptions, KafkaSource};
use millstream_engine::testing::source::{Abilities, Fixture, Lag, NewRecord};
use millstream_engine::{Partition, Source};
use millstream_tests::parts::{Kafka, Record, unique};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

millstream_engine::source_contract!(perhaps InKafka::new());

const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(30);

struct InKafka {
    kafka: &'static Kafka,
    topic: String,
    group: String,
    open: Option<Arc<KafkaSource>>,
}

impl InKafka {
    async fn new() -> Option<Self> {
        let kafka = Kafka::shared().await?;
        let topic = unique("contract");
        kafka.topics.create(&topic, PARTITIONS, &[]).await;
        Some(InKafka { kafka, group: unique("group"), topic, open: None })
    }

    async fn close(&mut self) {
        if let Some(source) = self.open.take() {
            source.close().await;
        }
    }
}

#[async_trait]
impl Fixture for InKafka {
    fn abilities(&self) -> Abilities {
        Abilities {
            // Markers of transactions have offsets.
            dense: false,
            overshoot_bytes: 0,
            headers: true,
            lag: Lag::Exact,
            ordered: true,
            several: true,
            replays: true,
            expires: true,
            skips: true,
            recreates: true,
            patience: PATIENCE,
            backlog: 20_000,
        }
    }

    async fn open(&mut self) -> Arc<dyn Source> {
        self.close().await;
        let options = KafkaOptions {
            cluster: Cluster { brokers: self.kafka.bootstrap().to_owned(), ..Cluster::default() },
            topic: self.topic.clone(),
            group: self.group.clone(),
            instance: None,
            session: Duration::from_secs(6),
            memory_bytes: 64 << 20,
        };
        let source = tokio::task::spawn_blocking(move || KafkaSource::open(options).unwrap()).await.unwrap();
        let source = Arc::new(source);
        self.open = Some(Arc::clone(&source));
        source
    }

    async fn publish(&mut self, partition: &Partition, records: &[NewRecord]) {
        let number = partition.as_str().parse().unwrap();
        let headers: Vec<Vec<(&str, Option<&[u8]>)>> = records
            .iter()
            .map(|record| record.headers.iter().map(|(name, value)| (&**name, Some(&**value))).collect())
            .collect();
        let mut sent = Vec::new();
        for (record, headers) in records.iter().zip(&headers) {
            let key = Some(&*record.key);
            let value = Some(&*record.payload);
            sent.push(Record { partition: Some(number), key, value, headers, timestamp: None });
        }
        self.kafka.topics.send(&self.topic, &sent).await;
    }

    async fn expire(&mut self, partition: &Partition) {
        self.close().await;
        self.kafka.topics.delete_records(&self.topic, partition.as_str().parse().unwrap(), 37).await;
    }

    /// A transaction that is aborted: its records and its marker have offsets and are never given out.
    async fn skip(&mut self, partition: &Partition) {
        let topic = self.topic.clone();
        let partition = partition.as_str().parse().unwrap();
        let mut client = self.kafka.topics.client();
        client.set("transactional.id", unique("skip"));
        let abort = move || {
            let producer: BaseProducer = client.create().unwrap();
            producer.init_transactions(PATIENCE).unwrap();
            producer.begin_transaction().unwrap();
            for _ in 0..3 {
                producer.send(BaseRecord::<(), _>::to(&topic).partition(partition).payload("never")).unwrap();
            }
            producer.flush(PATIENCE).unwrap();
            producer.abort_transaction(PATIENCE).unwrap();
        };
        tokio::task::spawn_blocking(abort).await.unwrap();
    }

    async fn recreate(&mut self) {
        self.close().await;
        self.kafka.topics.delete(&self.topic).await;
        let gone = || async { (self.kafka.topics.partitions(&self.topic).await == 0).then_some(()) };
        millstream_tests::until("the topic to be gone", PATIENCE, gone).await;
        self.kafka.topics.create(&self.topic, PARTITIONS, &[]).await;
    }
}
