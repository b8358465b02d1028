//! The log against a plain vector, over appends, segments, reads, seeks, restarts, retention and a jumping clock.

use std::time::Duration;

use bytes::Bytes;
use millstream_log::{Log, NewRecord, Options, ReadError, Record, Retention, Topic};
use proptest::prelude::*;

use crate::support::{Faulty, append, directory, read_all};

const PARTITIONS: u32 = 2;
const AGE_MS: i64 = 1_000;

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(u32, u8, usize)>),
    Read { partition: u32, at: f64, bytes_max: usize },
    Seek { partition: u32, at: f64 },
    Clock(i64),
    Retain,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let appended = prop::collection::vec((0..PARTITIONS, any::<u8>(), 0_usize..400), 1..12);
    prop_oneof![
        6 => appended.prop_map(Step::Append),
        4 => (0..PARTITIONS, 0.0..1.1, 0_usize..3_000).prop_map(|(partition, at, bytes_max)| Step::Read { partition, at, bytes_max }),
        2 => (0..PARTITIONS, -0.1..1.1).prop_map(|(partition, at)| Step::Seek { partition, at }),
        2 => (-300_i64..900).prop_map(Step::Clock),
        1 => Just(Step::Retain),
        1 => Just(Step::Restart),
    ]
}

struct World {
    directory: tempfile::TempDir,
    system: Faulty,
    options: Options,
    open: Option<(Log, Topic)>,
    clock_ms: i64,
    model: Vec<Vec<Record>>,
    starts: Vec<u64>,
}

impl World {
    fn new(segment_bytes: u64, bytes: Option<u64>) -> Self {
        let retention = Retention { age: Some(Duration::from_millis(AGE_MS as u64)), bytes };
        let options =
            Options { segment_bytes: Some(segment_bytes), group_bytes_max: 600, retention, ..Options::default() };
        let mut world = Self {
            directory: directory(),
            system: Faulty::default(),
            options,
            open: None,
            clock_ms: 100_000,
            model: vec![Vec::new(); PARTITIONS as usize],
            starts: vec![0; PARTITIONS as usize],
        };
        world.system.set_clock(world.clock_ms);
        world.restart();
        world
    }

    fn restart(&mut self) {
        self.open = None;
        let log = self.system.log(self.directory.path(), self.options.clone());
        let topic = log.topic("t", PARTITIONS).unwrap();
        self.open = Some((log, topic));
    }

    fn topic(&self) -> &Topic {
        &self.open.as_ref().unwrap().1
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Append(records) => self.append(&records),
            Step::Read { partition, at, bytes_max } => self.read(partition, at, bytes_max),
            Step::Seek { partition, at } => self.seek(partition, at),
            Step::Clock(by_ms) => {
                self.clock_ms += by_ms;
                self.system.set_clock(self.clock_ms);
            }
            Step::Retain => {
                self.open.as_ref().unwrap().0.enforce_retention().unwrap();
            }
            Step::Restart => self.restart(),
        }
        self.check_starts();
    }

    fn append(&mut self, records: &[(u32, u8, usize)]) {
        let new = |(partition, fill, length): &(u32, u8, usize)| NewRecord {
            partition: Some(*partition),
            key: vec![*fill].into(),
            headers: vec![("h".into(), Bytes::from(vec![*fill; *length % 3]))],
            payload: crate::support::Random::new(u64::from(*fill)).bytes(*length).into(),
        };
        let new: Vec<_> = records.iter().map(new).collect();
        append(self.topic(), new.clone()).unwrap();
        for record in new {
            let model = &mut self.model[record.partition.unwrap() as usize];
            // The clock may go back; stored times do not.
            let timestamp_ms = model.last().map_or(self.clock_ms, |last| last.timestamp_ms.max(self.clock_ms));
            let NewRecord { key, headers, payload, .. } = record;
            model.push(Record { offset: model.len() as u64, timestamp_ms, key, headers, payload });
        }
    }

    fn read(&self, partition: u32, at: f64, bytes_max: usize) {
        let model = &self.model[partition as usize];
        let range = self.topic().range(partition);
        assert_eq!(range.end, model.len() as u64);
        let from = (model.len() as f64 * at) as u64;
        match self.topic().read(partition, from, bytes_max) {
            Ok(read) => {
                assert!((range.start..=range.end).contains(&from));
                assert_eq!(read.records.is_empty(), from == range.end, "something is read, unless at the end");
                assert_eq!(read.records, model[from as usize..read.next as usize]);
            }
            Err(ReadError::OutOfRange { start, end, .. }) => {
                assert!(start >= range.start && end == range.end);
                assert!(from < start || from > end);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn seek(&self, partition: u32, at: f64) {
        let topic = self.topic();
        let model = &self.model[partition as usize];
        let (Some(first), Some(last)) = (model.first(), model.last()) else {
            return assert_eq!(topic.offset_at(partition, 0).unwrap(), 0);
        };
        let span = (last.timestamp_ms - first.timestamp_ms) as f64;
        let timestamp_ms = first.timestamp_ms + (span * at) as i64;
        let expected = model.partition_point(|record| record.timestamp_ms < timestamp_ms) as u64;
        // The committer removes segments after it has acknowledged: the start may move meanwhile.
        let before = expected.max(topic.range(partition).start);
        let found = topic.offset_at(partition, timestamp_ms).unwrap();
        let after = expected.max(topic.range(partition).start);
        assert!((before..=after).contains(&found), "{found} is not in {before}..={after}");
    }

    /// Retention removes only what it may, and never gives anything back.
    fn check_starts(&mut self) {
        let bytes_max = self.options.retention.bytes;
        for partition in 0..PARTITIONS {
            let range = self.open.as_ref().unwrap().1.range(partition);
            let known = &mut self.starts[partition as usize];
            assert!(range.start >= *known);
            let removed = &self.model[partition as usize][*known as usize..range.start as usize];
            let young = removed.iter().find(|record| record.timestamp_ms >= self.clock_ms - AGE_MS);
            assert!(young.is_none() || bytes_max.is_some(), "removed too early: {young:?}");
            *known = range.start;
        }
    }

    fn finish(mut self) {
        // Waits for committers that may still remove segments.
        self.open.as_ref().unwrap().0.close().unwrap();
        for restarted in [false, true] {
            if restarted {
                self.restart();
            }
            for partition in 0..PARTITIONS {
                let start = self.topic().range(partition).start;
                assert_eq!(
                    read_all(self.topic(), partition).unwrap(),
                    self.model[partition as usize][start as usize..]
                );
            }
        }
        self.clock_ms += 1_000_000;
        self.system.set_clock(self.clock_ms);
        self.take(Step::Retain);
        for partition in 0..PARTITIONS {
            let range = self.topic().range(partition);
            assert_eq!((range.start, range.end), (range.end, self.model[partition as usize].len() as u64));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::support::rounds(40, 2_000) as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn over_any_history(
        steps in prop::collection::vec(step(), 1..60),
        segment_bytes in 1_u64..4_000,
        bytes in prop::option::of(0_u64..10_000),
    ) {
        let mut world = World::new(segment_bytes, bytes);
        for step in steps {
            world.take(step);
        }
        world.finish();
    }
}

#[test]
fn size_retention_keeps_as_much_as_it_may() {
    let directory = directory();
    let retention = Retention { age: None, bytes: Some(20_000) };
    let options = Options { segment_bytes: Some(2_000), retention, ..Options::default() };
    let topic = Log::open(directory.path(), options).unwrap().topic("t", 1).unwrap();
    let mut random = crate::support::Random::new(1);
    for _ in 0..100 {
        append(&topic, vec![crate::support::record(0, random.bytes(1_000))]).unwrap();
    }
    // The committer removes after it begins a segment, thus possibly after the last acknowledgement: close waits.
    let start_before = topic.range(0).start;
    drop(topic);
    let log = Log::open(directory.path(), Options { retention: Retention::default(), ..Options::default() }).unwrap();
    let topic = log.topic("t", 1).unwrap();
    assert!(topic.range(0).start >= start_before);
    let bytes: u64 = crate::support::segments(directory.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!((16_000..=23_000).contains(&bytes), "{bytes} bytes were kept of about 107,000");
    assert_eq!(topic.backlog_bytes(0, topic.range(0).start), bytes);
    assert_eq!(topic.backlog_bytes(0, 100), 0);
    let half = topic.backlog_bytes(0, (topic.range(0).start + 100) / 2);
    assert!(half.abs_diff(bytes / 2) <= 2_000, "{half} of {bytes}");
}

#[test]
fn keys_always_go_to_the_same_partition() {
    let directory = directory();
    let log = Log::open(directory.path(), Options::default()).unwrap();
    let topic = log.topic("t", 12).unwrap();
    // Part of the format: these must not change between versions.
    let chosen: Vec<u32> =
        ["", "uploads/a.txt", "uploads/b.txt"].iter().map(|key| topic.partition_for(key.as_bytes())).collect();
    assert_eq!(chosen, KNOWN);
    let keys: Vec<String> = (0..100).map(|index| format!("bucket/{index}")).collect();
    let keyed = |key: &String| NewRecord { key: Bytes::from(key.clone()), ..NewRecord::default() };
    let appended = append(&topic, keys.iter().map(keyed).collect()).unwrap();
    assert_eq!(appended.iter().map(|part| part.count).sum::<u32>(), 100);
    for partition in 0..12 {
        let wanted = keys.iter().filter(|key| topic.partition_for(key.as_bytes()) == partition);
        let stored = read_all(&topic, partition).unwrap();
        assert!(
            stored.iter().map(|record| &record.key).eq(wanted.map(String::as_bytes)),
            "in the order they were given"
        );
    }
}

/// XXH3-64 of the empty string is 0x2d06800538d394c2, which leaves 10.
const KNOWN: [u32; 3] = [10, 0, 4];
