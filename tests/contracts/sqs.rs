//! The source of SQS, on a queue of ElasticMQ and on one of ministack.
//!
//! Messages are text and have neither key nor headers, so that what the suite publishes is written into the body, and
//! read from it again.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_connectors::sources::sqs::{SqsOptions, SqsSource};
use millstream_engine::testing::source::{Abilities, Fixture, Lag, NewRecord};
use millstream_engine::{Checkpoint, Partition, Position, RecordBatch, Source, SourceError, Want};
use millstream_tests::TestQueue;
use millstream_tests::parts::StandIn;
use tokio::sync::watch;

mod elasticmq {
    millstream_engine::source_contract!(perhaps async {
        super::InQueue::new(millstream_tests::parts::ElasticMq::shared().await).await
    });
}

mod ministack {
    millstream_engine::source_contract!(perhaps async {
        super::InQueue::new(millstream_tests::parts::Ministack::shared().await).await
    });
}

struct InQueue(TestQueue);

impl InQueue {
    async fn new(stand_in: Option<&'static StandIn>) -> Option<Self> {
        Some(InQueue(TestQueue::new(stand_in?).await))
    }
}

#[async_trait]
impl Fixture for InQueue {
    fn abilities(&self) -> Abilities {
        Abilities {
            dense: true,
            overshoot_bytes: 0,
            headers: true,
            lag: Lag::Rough,
            ordered: false,
            several: false,
            replays: false,
            expires: false,
            skips: false,
            recreates: true,
            // A stand-in on two busy cores, on a slow day.
            patience: Duration::from_secs(120),
            // It looks through all messages for each that is received or kept invisible: with many more, keeping them
            // invisible leaves it no time for anything else.
            backlog: 4_000,
        }
    }

    async fn open(&mut self) -> Arc<dyn Source> {
        let options = SqsOptions { messages_max: 100_000, ..self.0.options() };
        Arc::new(Unwrapped(SqsSource::new(self.0.open(options).await, Arc::default())))
    }

    async fn publish(&mut self, _: &Partition, records: &[NewRecord]) {
        self.0.send(&records.iter().map(wrap).collect::<Vec<_>>()).await;
    }

    async fn expire(&mut self, _: &Partition) {
        unreachable!("a queue removes what is old without a trace");
    }

    async fn skip(&mut self, _: &Partition) {
        unreachable!("every number is a message's");
    }

    async fn recreate(&mut self) {
        self.0.remake().await;
    }
}

fn wrap(record: &NewRecord) -> String {
    let mut body = format!("{}.{}", hex(&record.key), hex(&record.payload));
    for (name, value) in &record.headers {
        write!(body, ".{name}={}", hex(value)).unwrap();
    }
    body
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    bytes.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
    text
}

fn bytes(hex: &str) -> Bytes {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()).collect()
}

/// The source, with what was published taken out of the bodies.
#[derive(Debug)]
struct Unwrapped(Arc<SqsSource>);

#[async_trait]
impl Source for Unwrapped {
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
        let mut batches = self.0.fetch(wants, wait).await?;
        for record in batches.iter_mut().flat_map(|batch| &mut batch.records) {
            let text = String::from_utf8(record.payload.to_vec()).unwrap();
            let mut parts = text.split('.');
            record.key = bytes(parts.next().unwrap());
            record.payload = bytes(parts.next().unwrap());
            let headers = parts.map(|part| part.split_once('=').unwrap());
            record.headers = headers.map(|(name, value)| (name.into(), bytes(value))).collect();
        }
        Ok(batches)
    }

    fn revive(&self) {
        self.0.revive();
    }

    async fn commit(&self, checkpoint: &Checkpoint) -> Result<(), SourceError> {
        self.0.commit(checkpoint).await
    }

    async fn close(&self) {
        Source::close(&*self.0).await;
    }

    fn lag_records(&self, partition: &Partition, next: &Position) -> Option<u64> {
        self.0.lag_records(partition, next)
    }
}
