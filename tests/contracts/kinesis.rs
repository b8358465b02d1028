//! The source of Kinesis, on streams of two stand-ins: one is strict about shards and slow, so that there the records
//! are put as the Kinesis Producer Library does, many in one; the other takes them one by one.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millstream_connectors::sources::kinesis::{KinesisOptions, KinesisSource};
use millstream_engine::testing::source::{Abilities, Fixture, Lag, NewRecord};
use millstream_engine::{Partition, Source};
use millstream_tests::kinesis::{Put, Shards, User, aggregate};
use millstream_tests::parts::{Kinesalite, KinesisLocal, StandIn};

mod many_in_one {
    use super::*;

    millstream_engine::source_contract!(perhaps async { Some(Streamed::new(KinesisLocal::shared().await?, true).await) });
}

mod one_by_one {
    use super::*;

    millstream_engine::source_contract!(perhaps async { Some(Streamed::new(Kinesalite::shared().await?, false).await) });
}

const SHARDS: i32 = 2;
/// Records in one, and their bytes: the producer library keeps to some hundreds and to the megabyte of a record.
const AGGREGATE_RECORDS: usize = 500;
const AGGREGATE_BYTES: usize = 500_000;

struct Streamed {
    shards: Shards,
    aggregated: bool,
}

impl Streamed {
    async fn new(service: &StandIn, aggregated: bool) -> Self {
        Streamed { shards: Shards::new(service, SHARDS).await, aggregated }
    }

    /// As many records in one as are usual.
    fn aggregates(records: &[NewRecord], hash: &str) -> Vec<Put> {
        let mut puts = Vec::new();
        let mut left = records;
        while !left.is_empty() {
            let mut bytes = 0;
            let fits = |record: &&NewRecord| {
                bytes += record.payload.len();
                bytes <= AGGREGATE_BYTES
            };
            let (now, later) = left.split_at(left.iter().take(AGGREGATE_RECORDS).take_while(fits).count().max(1));
            let user = |record: &NewRecord| User {
                key: record.key.to_vec(),
                hash: Some(hash.to_owned()),
                tags: record.headers.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect(),
                data: record.payload.to_vec(),
            };
            let data = aggregate(&now.iter().map(user).collect::<Vec<_>>());
            puts.push(Put { key: "many".to_owned(), hash: Some(hash.to_owned()), data });
            left = later;
        }
        puts
    }
}

#[async_trait]
impl Fixture for Streamed {
    fn abilities(&self) -> Abilities {
        Abilities {
            dense: false,
            overshoot_bytes: 0,
            headers: self.aggregated,
            lag: Lag::Rough,
            ordered: true,
            several: true,
            replays: true,
            expires: false,
            skips: false,
            recreates: true,
            patience: Duration::from_secs(20),
            backlog: 20_000,
        }
    }

    async fn open(&mut self) -> Arc<dyn Source> {
        let options = KinesisOptions {
            list_every: Duration::from_millis(200),
            // No stand-in has a limit.
            reads_per_second: NonZeroU32::new(200).unwrap(),
            ..KinesisOptions::new(self.shards.address().await)
        };
        KinesisSource::open(options).await.unwrap()
    }

    async fn publish(&mut self, partition: &Partition, records: &[NewRecord]) {
        let hash = self.shards.hashes().await.remove(partition.as_str()).unwrap();
        let one = |record: &NewRecord| Put {
            key: String::from_utf8(record.key.to_vec()).unwrap(),
            hash: Some(hash.clone()),
            data: record.payload.to_vec(),
        };
        let puts =
            if self.aggregated { Streamed::aggregates(records, &hash) } else { records.iter().map(one).collect() };
        self.shards.put(&puts).await;
    }

    async fn expire(&mut self, _: &Partition) {
        unreachable!("retention cannot be hurried");
    }

    async fn skip(&mut self, _: &Partition) {
        unreachable!("the stand-ins have no ranges without records");
    }

    async fn recreate(&mut self) {
        self.shards.recreate(SHARDS).await;
    }
}
