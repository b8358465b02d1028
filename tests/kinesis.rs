//! Kinesis: shards that are divided and merged under load, records that are put while some are refused, and what a
//! shard that throttles, forgets or vanishes does to its reader.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use millstream_connectors::kinesis::Address;
use millstream_connectors::sources::kinesis::{KinesisOptions, KinesisSource};
use millstream_engine::{Partition, Position, Record, Source, SourceError, Want};

mod faults;
mod producer;
mod reshard;

/// For what a healthy stand-in does at once.
const WITHIN: Duration = Duration::from_secs(60);

/// Options for stand-ins, which have no limits.
fn options(address: Address) -> KinesisOptions {
    KinesisOptions {
        list_every: Duration::from_millis(300),
        reads_per_second: NonZeroU32::new(100).unwrap(),
        ..KinesisOptions::new(address)
    }
}

async fn open(address: Address) -> Arc<KinesisSource> {
    KinesisSource::open(options(address)).await.unwrap()
}

/// Reads a shard from a position until it has so many records; gives them and where they end.
async fn read(
    source: &KinesisSource,
    partition: &Partition,
    from: Position,
    count: usize,
) -> Result<(Vec<Record>, Position), SourceError> {
    let mut records = Vec::new();
    let mut from = from;
    let deadline = tokio::time::Instant::now() + WITHIN;
    while records.len() < count {
        assert!(tokio::time::Instant::now() < deadline, "{} of {count} records came", records.len());
        let want = Want { partition: partition.clone(), from: from.clone(), bytes_max: 1 << 20 };
        for batch in source.fetch(&[want], Duration::from_secs(1)).await? {
            records.extend(batch.records);
            from = batch.next;
        }
    }
    Ok((records, from))
}

/// Everything in the shards that can be read now, by key, in the order of each shard.
async fn read_all(source: &KinesisSource, count: usize) -> BTreeMap<Vec<u8>, Vec<Record>> {
    let partitions = source.assignment().borrow().clone();
    let mut wants = Vec::new();
    for partition in partitions {
        let from = source.start(&partition, None, None).await.unwrap();
        wants.push(Want { partition, from, bytes_max: 1 << 20 });
    }
    let (mut by_key, mut seen): (BTreeMap<Vec<u8>, Vec<Record>>, usize) = (BTreeMap::new(), 0);
    let deadline = tokio::time::Instant::now() + WITHIN;
    let mut quiet = false;
    // One more look after the last one, which must find nothing.
    while seen < count || !quiet {
        assert!(tokio::time::Instant::now() < deadline, "{seen} of {count} records came");
        let batches = source.fetch(&wants, Duration::from_millis(500)).await.unwrap();
        quiet = batches.iter().all(|batch| batch.records.is_empty());
        for batch in batches {
            let want = wants.iter_mut().find(|want| want.partition == batch.partition).unwrap();
            want.from = batch.next;
            seen += batch.records.len();
            for record in batch.records {
                by_key.entry(record.key.to_vec()).or_default().push(record);
            }
        }
    }
    assert_eq!(seen, count, "no more than were put");
    by_key
}
