//! SIGKILL at random moments: what was acknowledged over a pipe is there, once, in order, without gaps.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use millstream_log::{Log, Options, Topic};

use crate::support::{Random, read_all, record, rounds};

const DIRECTORY: &str = "MILLSTREAM_LOG_KILL_DIRECTORY";
const ROUND: &str = "MILLSTREAM_LOG_KILL_ROUND";
const PARTITIONS: u32 = 3;

fn open(directory: &std::path::Path) -> Topic {
    let options = Options { segment_bytes: Some(30_000), ..Options::default() };
    Log::open(directory, options).unwrap().topic("t", PARTITIONS).unwrap()
}

/// Not a test of its own: the process that is killed.
#[test]
fn child() {
    let (Some(directory), Ok(round)) = (std::env::var_os(DIRECTORY), std::env::var(ROUND)) else { return };
    let topic = open(directory.as_ref());
    let writer = |writer: u64| {
        let topic = topic.clone();
        let round = round.clone();
        move || {
            let mut random = Random::new(writer);
            for sequence in 0.. {
                let partition = random.below(u64::from(PARTITIONS)) as u32;
                let count = 1 + random.below(8);
                let name = |index: u64| {
                    format!("{round}/{writer}/{sequence}/{index}/{}", "x".repeat(random_length(sequence, index)))
                };
                let records = (0..count).map(|index| record(partition, name(index))).collect();
                for part in crate::support::append(&topic, records).unwrap() {
                    let line = format!(
                        "ack {} {} {} {round}/{writer}/{sequence}/\n",
                        part.partition, part.first_offset, part.count
                    );
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                }
            }
        }
    };
    let writers: Vec<_> = (0..4).map(|index| std::thread::spawn(writer(index))).collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

fn random_length(sequence: u64, index: u64) -> usize {
    (sequence * 31 + index * 7) as usize % 400
}

#[test]
fn at_random_moments() {
    // On a disk: the time a sync takes is when most kills should hit.
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<(u32, u64), String> = BTreeMap::new();
    let mut random = Random::new(u64::from(std::process::id()));
    for round in 0..rounds(10, 50) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killing_loses_nothing::child", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory.path())
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let pid = rustix::process::Pid::from_child(&child);
        let after = Duration::from_millis(random.below(300));
        // Some die while opening, some after a few groups, some after many: the moment is the test.
        let killer = std::thread::spawn(move || {
            std::thread::sleep(after);
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        });
        for line in lines.map_while(Result::ok) {
            // A line cut short by the kill was not an acknowledgement anybody could have used.
            let fields: Vec<&str> = line.strip_prefix("ack ").unwrap_or_default().split(' ').collect();
            if let [partition, first, count, name] = fields[..]
                && name.ends_with('/')
                && name.split('/').count() == 4
            {
                let partition: u32 = partition.parse().unwrap();
                let first: u64 = first.parse().unwrap();
                for index in 0..count.parse().unwrap() {
                    let before = acknowledged.insert((partition, first + index), format!("{name}{index}/"));
                    assert_eq!(before, None, "one offset was acknowledged twice");
                }
            }
        }
        killer.join().unwrap();
        child.wait().unwrap();
        verify(&open(directory.path()), &acknowledged);
    }
    assert!(acknowledged.len() > 100, "only {} records were acknowledged in all rounds", acknowledged.len());
}

fn verify(topic: &Topic, acknowledged: &BTreeMap<(u32, u64), String>) {
    let mut names = BTreeSet::new();
    let mut found = 0;
    for partition in 0..PARTITIONS {
        for record in read_all(topic, partition).unwrap() {
            let payload = String::from_utf8(record.payload.to_vec()).unwrap();
            if let Some(expected) = acknowledged.get(&(partition, record.offset)) {
                assert!(payload.starts_with(expected), "{payload} instead of {expected}");
                found += 1;
            }
            assert!(names.insert(payload.clone()), "{payload} is stored twice");
        }
    }
    assert_eq!(found, acknowledged.len(), "acknowledged records are missing");
}
