//! Records of a stream of Kinesis: every shard from its oldest record on, children after their parents.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use millstream_connectors::sources::kinesis::{KinesisOptions, KinesisSource, is_end};
use millstream_engine::{Partition, Position, Source as _, Want};

use super::{Args, shown_as_asked};
use crate::cli::screen;
use crate::config::Config;
use crate::stream::kinesis_address;

/// How long to wait when no shard has anything new.
const WAIT: Duration = Duration::from_millis(500);
/// Bytes of one read of one shard.
const READ_BYTES: usize = 1 << 20;

pub(super) async fn run(args: &Args, config: &Config, stream: &str) -> anyhow::Result<()> {
    if args.offset != "beginning" || args.partition.is_some() {
        bail!("a stream of Kinesis is shown as a whole and from its beginning: leave -o and -p out");
    }
    let source = KinesisSource::open(KinesisOptions::new(kinesis_address(config, stream))).await?;
    let mut places: BTreeMap<Partition, Position> = BTreeMap::new();
    let mut left = args.count.unwrap_or(u64::MAX);
    loop {
        for partition in source.assignment().borrow().clone() {
            if let Entry::Vacant(place) = places.entry(partition) {
                let start = source.start(place.key(), None, None).await?;
                place.insert(start);
            }
        }
        let batches = source.fetch(&wants(&places), WAIT).await?;
        let quiet = batches.is_empty();
        for batch in batches {
            for record in &batch.records {
                if left == 0 {
                    return Ok(());
                }
                left -= 1;
                screen::print_part(&shown_as_asked(args, batch.partition.as_str(), record));
            }
            if is_end(&batch.next) {
                // Now its children may be read.
                source.start(&batch.partition, Some(&batch.next), None).await?;
            }
            places.insert(batch.partition, batch.next);
        }
        if left == 0 || (args.exit && quiet && is_all_read(&source, &places)) {
            return Ok(());
        }
    }
}

fn wants(places: &BTreeMap<Partition, Position>) -> Vec<Want> {
    let open = places.iter().filter(|(_, place)| !is_end(place));
    let want = |(partition, place): (&Partition, &Position)| Want {
        partition: partition.clone(),
        from: place.clone(),
        bytes_max: READ_BYTES,
    };
    open.map(want).collect()
}

/// Whether every shard that may be read was read to its end, as far as is known.
fn is_all_read(source: &Arc<KinesisSource>, places: &BTreeMap<Partition, Position>) -> bool {
    let assigned = source.assignment().borrow().clone();
    assigned.iter().all(|partition| {
        places.get(partition).is_some_and(|place| is_end(place) || source.lag_records(partition, place) == Some(0))
    })
}
