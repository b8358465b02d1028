//! A directory that was copied file by file while it was written to: it opens, and what the copy lacks is an error for
//! whoever has to read it, never passed over and never replaced.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use millstream_log::{Log, Options, ReadError, Retention, Topic};

use crate::support::{Random, append, directory, files, read_over_holes, record, rounds};

fn options() -> Options {
    let retention = Retention { age: None, bytes: Some(60_000) };
    Options { segment_bytes: Some(3_000), retention, ..Options::default() }
}

fn open(directory: &Path) -> Topic {
    Log::open(directory, options()).unwrap().topic("t", 2).unwrap()
}

fn payload(partition: u32, offset: u64) -> Vec<u8> {
    Random::new(offset * 2 + u64::from(partition)).bytes(50 + offset as usize % 300)
}

/// Copies in any order, each file in pieces, as `cp -a` or `rsync` do. What is gone meanwhile is left out.
fn copy(from: &Path, to: &Path, random: &mut Random) {
    let mut paths: Vec<PathBuf> = files(from).into_iter().filter(|path| !path.ends_with("lock")).collect();
    for index in (1..paths.len()).rev() {
        paths.swap(index, random.below(index as u64 + 1) as usize);
    }
    for path in paths {
        let target = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        let Ok(mut source) = std::fs::File::open(&path) else { continue };
        std::io::copy(&mut source, &mut std::fs::File::create(target).unwrap()).unwrap();
        if random.below(2) == 0 {
            std::thread::sleep(std::time::Duration::from_micros(random.below(3_000)));
        }
    }
}

/// Sets aside whatever keeps from reading to the end; how many records that costs.
fn accept(topic: &Topic, partition: u32) -> u64 {
    let mut lost = 0;
    loop {
        match read_over_holes(topic, partition) {
            Ok(_) => return lost,
            Err(ReadError::Damaged(damage)) => {
                assert!(damage.is_missing, "a copy lacks data, it has no wrong ones: {damage}");
                assert!(damage.to_string().contains("if this directory is a copy"), "{damage}");
                lost += damage.to - damage.from;
                topic.set_aside(partition, damage.from).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn at_any_moment_and_in_any_order() {
    let mut torn = 0;
    let mut whole = 0;
    for seed in 0..rounds(40, 600) {
        let original = directory();
        let copied = directory();
        let mut random = Random::new(seed + 1);
        let topic = open(original.path());
        let stop = AtomicBool::new(false);
        let positions = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for partition in 0..2 {
                let topic = &topic;
                let stop = &stop;
                let positions = &positions;
                scope.spawn(move || {
                    for offset in 0.. {
                        append(topic, vec![record(partition, payload(partition, offset))]).unwrap();
                        let opening = topic.opening_before(partition, offset + 1).unwrap();
                        positions.lock().unwrap().push((partition, offset + 1, opening));
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                });
            }
            std::thread::sleep(std::time::Duration::from_micros(random.below(20_000)));
            copy(original.path(), copied.path(), &mut random);
            // A reader of the original goes on for a while.
            std::thread::sleep(std::time::Duration::from_millis(2));
            stop.store(true, Ordering::Relaxed);
        });
        let positions = positions.into_inner().unwrap();
        drop(topic);
        let topic = open(copied.path());
        for partition in 0..2 {
            let end = topic.range(partition).end;
            append(&topic, (0..200).map(|_| record(partition, "of the copy")).collect()).unwrap();
            let lost = accept(&topic, partition);
            if lost > 0 {
                torn += 1
            } else {
                whole += 1
            }
            let (records, holes) = read_over_holes(&topic, partition).unwrap();
            assert_eq!(holes.iter().map(|(from, to)| to - from).sum::<u64>(), lost, "seed {seed}: {holes:?}");
            for record in &records {
                let expected =
                    if record.offset < end { payload(partition, record.offset) } else { b"of the copy".to_vec() };
                assert_eq!(record.payload, expected, "seed {seed}: {partition}/{}", record.offset);
            }
            // Positions of the original that lie beyond what the copy knows of are told.
            for (_, position, opening) in positions.iter().filter(|(of, _, _)| *of == partition) {
                assert!(
                    *position <= end || !topic.knows(partition, *position, *opening),
                    "seed {seed}: {position} > {end}"
                );
            }
        }
    }
    assert!(torn > 0 && whole > 0, "{torn} torn and {whole} whole: both are to be seen");
}
