//! The source of the embedded log, on a log in a directory of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millstream_connectors::sources::log::LogSource;
use millstream_engine::testing::source::{Abilities, Fixture, Lag, NewRecord};
use millstream_engine::{Partition, Source};
use millstream_log::{Log, Options, Retention, Topic};

millstream_engine::source_contract!(EmbeddedLog::new());

const TOPIC: &str = "objects";

/// The embedded stream in a directory of its own.
struct EmbeddedLog {
    directory: tempfile::TempDir,
    log: Option<Log>,
}

impl EmbeddedLog {
    fn new() -> Self {
        EmbeddedLog { directory: millstream_tests::scratch(), log: None }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("stream")
    }

    fn close(&mut self) {
        if let Some(log) = self.log.take() {
            log.close().unwrap();
        }
    }

    fn reopen(&mut self, retention: Retention) -> Topic {
        self.close();
        // Small, so that what the suite publishes fills many frames and several segments.
        let segment_bytes = Some(512 << 10);
        let group_bytes_max = 32 << 10;
        let options = Options { segment_bytes, group_bytes_max, retention, ..Options::default() };
        let log = self.log.insert(Log::open(&self.path(), options).unwrap());
        log.topic(TOPIC, 3).unwrap()
    }
}

#[async_trait]
impl Fixture for EmbeddedLog {
    fn abilities(&self) -> Abilities {
        Abilities {
            dense: true,
            overshoot_bytes: 0,
            headers: true,
            lag: Lag::Exact,
            ordered: true,
            several: true,
            replays: true,
            expires: true,
            skips: false,
            recreates: true,
            patience: Duration::from_secs(20),
            backlog: 20_000,
        }
    }

    async fn open(&mut self) -> Arc<dyn Source> {
        Arc::new(LogSource::new(self.reopen(Retention::default())))
    }

    async fn publish(&mut self, partition: &Partition, records: &[NewRecord]) {
        let topic = self.log.as_ref().unwrap().topic(TOPIC, 3).unwrap();
        let number = partition.as_str().parse().unwrap();
        let new = |record: &NewRecord| millstream_log::NewRecord {
            partition: Some(number),
            key: record.key.clone(),
            headers: record.headers.clone(),
            payload: record.payload.clone(),
        };
        topic.append(records.iter().map(new).collect()).await.unwrap();
    }

    async fn expire(&mut self, _: &Partition) {
        self.reopen(Retention { bytes: Some(1 << 20), age: None });
        self.log.as_ref().unwrap().enforce_retention().unwrap();
    }

    async fn skip(&mut self, _: &Partition) {
        unreachable!("every place of the embedded log has a record");
    }

    async fn recreate(&mut self) {
        self.close();
        std::fs::remove_dir_all(self.path()).unwrap();
    }
}
