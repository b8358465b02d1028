//! A power cut keeps any subset of the pages and directory entries that were not synced.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_log::{Log, Options, Retention, Topic};

use crate::support::{Event, Failure, Faulty, Random, append, directory, read_all, record, rounds};

const PARTITIONS: u32 = 2;

#[test]
fn whatever_pages_reach_the_disk() {
    let mut torn = 0;
    for seed in 0..rounds(80, 2_000) {
        torn += u64::from(trial(seed));
    }
    // Otherwise the trials would not show what they are for.
    assert!(torn > 10, "only {torn} trials left bytes that had to be cut off");
}

/// Returns whether there was a torn tail.
fn trial(seed: u64) -> bool {
    let directory = directory();
    let system = Faulty::default();
    let retention = Retention { age: None, bytes: Some(60_000) };
    let options = Options { segment_bytes: Some(15_000), retention, ..Options::default() };
    // An earlier opening: the file that keeps openings is replaced, not only begun.
    let earlier = system.log(directory.path(), options.clone()).topic("t", PARTITIONS).unwrap();
    append(&earlier, vec![record(0, "earlier")]).unwrap();
    drop(earlier);
    let log = system.log(directory.path(), options.clone());
    let topic = log.topic("t", PARTITIONS).unwrap();
    let mut random = Random::new(seed + 1);
    cut_after(&system, random.below(60));

    let writer = |writer: u64| {
        let topic = topic.clone();
        move || {
            let mut random = Random::new(seed * 10 + writer);
            let mut acknowledged = BTreeMap::new();
            loop {
                let partition = random.below(u64::from(PARTITIONS)) as u32;
                let length = |random: &mut Random| random.below(5_000) as usize;
                let payloads: Vec<_> = (0..=random.below(3))
                    .map(|_| length(&mut random))
                    .map(|length| Random::new(length as u64 + seed).bytes(length))
                    .collect();
                match append(&topic, payloads.iter().map(|payload| record(partition, payload.clone())).collect()) {
                    Ok(parts) => {
                        let offsets = (parts[0].first_offset..).map(|offset| (partition, offset));
                        acknowledged.extend(offsets.zip(payloads));
                    }
                    Err(_) => return acknowledged,
                }
            }
        }
    };
    let writers: Vec<_> = (0..3).map(|index| std::thread::spawn(writer(index))).collect();
    let acknowledged: BTreeMap<_, _> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    let opening = |topic: &Topic, partition, offset: u64| topic.opening_before(partition, offset + 1);
    let openings: Vec<_> =
        acknowledged.keys().map(|(partition, offset)| opening(&topic, *partition, *offset)).collect();
    assert!(openings.iter().all(Option::is_some));
    drop((topic, log));
    system.power_cut(&directory.path().join("topics"), &mut random);
    let bytes =
        || crate::support::segments(directory.path()).iter().map(|path| path.metadata().unwrap().len()).sum::<u64>();
    let left_bytes = bytes();

    let log = Log::open(directory.path(), options).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let topic = log.topic("t", PARTITIONS).unwrap();
    let kept_bytes = bytes();
    for partition in 0..PARTITIONS {
        let start = topic.range(partition).start;
        let stored = read_all(&topic, partition).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        for ((_, offset), payload) in acknowledged.range((partition, start)..(partition + 1, 0)) {
            let record = stored.get((offset - start) as usize);
            assert!(
                record.is_some_and(|record| record.payload == *payload),
                "seed {seed}: {partition}/{offset} is lost"
            );
        }
        append(&topic, vec![record(partition, "on it goes")]).unwrap();
    }
    for ((partition, offset), expected) in acknowledged.keys().zip(openings) {
        let kept = opening(&topic, *partition, *offset);
        let below = *offset < topic.range(*partition).start;
        assert!(below || kept == expected, "seed {seed}: the opening of {partition}/{offset} is lost");
    }
    kept_bytes < left_bytes
}

/// Fails every call from the `count`th sync on, as if there were no more time.
fn cut_after(system: &Faulty, count: u64) {
    let syncs = Arc::new(AtomicU64::new(0));
    system.rule(move |event| {
        let seen = match event {
            Event::Sync(_) => syncs.fetch_add(1, Ordering::SeqCst),
            _ => syncs.load(Ordering::SeqCst).saturating_sub(1),
        };
        (seen >= count).then_some(Failure { kind: std::io::ErrorKind::Other, bytes_done: 0 })
    });
}
