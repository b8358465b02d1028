//! A failed write or sync: nothing is acknowledged, nothing is tried again, reading and the other partitions go on.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millstream_log::{AppendError, Appended, Cause, Log, Options, Topic};

use crate::support::{Event, Failure, Faulty, Random, append, directory, read_all, record};

fn fails(result: Result<Vec<Appended>, AppendError>, expected: &[(u32, &[usize])]) -> Vec<Appended> {
    let Err(AppendError::NotDurable { appended, failed }) = result else { panic!("{result:?}") };
    let mut seen: Vec<_> = failed.iter().map(|failed| (failed.partition, failed.records.as_slice())).collect();
    seen.sort_unstable();
    assert_eq!(seen, expected);
    assert!(failed.iter().all(|failed| matches!(failed.cause, Cause::Fault(_))));
    appended
}

/// Fails calls on the segments of partition 1.
fn break_partition_1(
    system: &Faulty,
    kind: ErrorKind,
    bytes_done: usize,
    which: fn(&Event) -> bool,
) -> Arc<AtomicUsize> {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    system.rule(move |event| {
        let (Event::Write(path) | Event::Sync(path) | Event::Create(path) | Event::Cut(path)) = event else {
            return None;
        };
        if !event.is_segment() || !path.parent().unwrap().ends_with("0001") {
            return None;
        }
        counted.fetch_add(1, Ordering::SeqCst);
        which(event).then_some(Failure { kind, bytes_done })
    });
    calls
}

fn contents(topic: &Topic) -> Vec<Vec<String>> {
    let text = |record: &millstream_log::Record| String::from_utf8(record.payload.to_vec()).unwrap();
    (0..2).map(|partition| read_all(topic, partition).unwrap().iter().map(text).collect()).collect()
}

#[test]
fn a_failed_sync_is_never_acknowledged_nor_repeated() {
    let directory = directory();
    let system = Faulty::default();
    let log = system.log(directory.path(), Options { mend_delay: Some(Duration::ZERO), ..Options::default() });
    let topic = log.topic("t", 2).unwrap();
    append(&topic, vec![record(0, "a"), record(1, "b")]).unwrap();

    let calls = break_partition_1(&system, ErrorKind::Other, 0, |event| matches!(event, Event::Sync(_)));
    let appended =
        fails(append(&topic, vec![record(1, "lost"), record(0, "c"), record(1, "lost too")]), &[(1, &[0, 2])]);
    assert_eq!(appended, [Appended { partition: 0, first_offset: 1, count: 1 }], "the other part is durable");
    assert_eq!(calls.swap(0, Ordering::SeqCst), 2, "one write and one sync");

    // Fails fast, even though the disk would work again: an error of the device waits for somebody.
    system.no_rule();
    let calls = break_partition_1(&system, ErrorKind::Other, 0, |_| false);
    fails(append(&topic, vec![record(1, "refused")]), &[(1, &[0])]);
    assert_eq!(calls.load(Ordering::SeqCst), 0, "nothing was touched");
    assert!(matches!(topic.stopped(1), Some(Cause::Fault(_))) && topic.stopped(0).is_none());
    assert_eq!(log.stopped().len(), 1);
    assert_eq!(contents(&topic), [vec!["a", "c"], vec!["b"]], "reading goes on");

    topic.mend(1).unwrap();
    assert!(topic.stopped(1).is_none());
    append(&topic, vec![record(1, "d")]).unwrap();
    assert_eq!(contents(&topic), [vec!["a", "c"], vec!["b", "d"]]);
    assert!(directory.path().join("topics/t/0001/00000000000000000001.segment").exists(), "in a new file");
    drop((log, topic));
    let topic = Log::open(directory.path(), Options::default()).unwrap().topic("t", 2).unwrap();
    assert_eq!(contents(&topic), [vec!["a", "c"], vec!["b", "d"]]);
}

#[test]
fn a_torn_write_is_cut_off_before_appends_go_on() {
    for bytes_done in [0, 1, 30, 56, 100, 1_000_000] {
        let directory = directory();
        let system = Faulty::default();
        // The same file is written again after mending, so a remainder would be seen.
        let log = system.log(directory.path(), Options { mend_delay: Some(Duration::ZERO), ..Options::default() });
        let topic = log.topic("t", 2).unwrap();
        append(&topic, vec![record(1, "a")]).unwrap();
        break_partition_1(&system, ErrorKind::StorageFull, bytes_done, |event| matches!(event, Event::Write(_)));
        fails(append(&topic, vec![record(1, Random::new(1).bytes(500))]), &[(1, &[0])]);
        fails(append(&topic, vec![record(1, Random::new(2).bytes(500))]), &[(1, &[0])]);
        system.no_rule();
        append(&topic, vec![record(1, "b")]).unwrap();
        assert_eq!(contents(&topic)[1], ["a", "b"], "room again, and nobody had to mend");
        drop((log, topic));
        let topic = Log::open(directory.path(), Options::default()).unwrap().topic("t", 2).unwrap();
        assert_eq!(contents(&topic)[1], ["a", "b"]);
    }
}

#[test]
fn a_full_disk_is_not_asked_again_before_the_delay() {
    let directory = directory();
    let system = Faulty::default();
    let log =
        system.log(directory.path(), Options { mend_delay: Some(Duration::from_secs(3600)), ..Options::default() });
    let topic = log.topic("t", 2).unwrap();
    break_partition_1(&system, ErrorKind::StorageFull, 0, |event| matches!(event, Event::Write(_)));
    fails(append(&topic, vec![record(1, "x")]), &[(1, &[0])]);
    let calls = break_partition_1(&system, ErrorKind::StorageFull, 0, |_| false);
    fails(append(&topic, vec![record(1, "x")]), &[(1, &[0])]);
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    topic.mend(1).unwrap();
    append(&topic, vec![record(1, "y")]).unwrap();
    assert_eq!(contents(&topic)[1], ["y"]);
}

#[test]
fn mending_may_fail_and_be_repeated() {
    let directory = directory();
    let system = Faulty::default();
    let log = system.log(directory.path(), Options { segment_bytes: Some(1), ..Options::default() });
    let topic = log.topic("t", 2).unwrap();
    append(&topic, vec![record(1, "a")]).unwrap();
    // Beginning a segment fails as well, after the file was created.
    let in_partition_1 = |event: &Event| matches!(event, Event::SyncDir(path) if path.ends_with("0001"));
    system.rule(move |event| in_partition_1(event).then_some(Failure { kind: ErrorKind::Other, bytes_done: 0 }));
    fails(append(&topic, vec![record(1, "x")]), &[(1, &[0])]);
    system.no_rule();
    topic.mend(1).unwrap();
    append(&topic, vec![record(1, "b")]).unwrap();
    break_partition_1(&system, ErrorKind::Other, 0, |event| matches!(event, Event::Sync(_)));
    fails(append(&topic, vec![record(1, "y")]), &[(1, &[0])]);
    assert!(topic.mend(1).is_err(), "cutting needs a sync");
    assert!(topic.stopped(1).is_some());
    system.no_rule();
    topic.mend(1).unwrap();
    append(&topic, vec![record(1, "c")]).unwrap();
    assert_eq!(contents(&topic)[1], ["a", "b", "c"]);
}

#[test]
fn a_power_cut_after_a_failed_sync_loses_nothing() {
    for seed in 0..20 {
        let directory = directory();
        let system = Faulty::default();
        let log = system.log(directory.path(), Options::default());
        let topic = log.topic("t", 2).unwrap();
        let mut random = Random::new(seed);
        append(&topic, vec![record(1, "a")]).unwrap();
        break_partition_1(&system, ErrorKind::Other, 0, |event| matches!(event, Event::Sync(_)));
        fails(append(&topic, vec![record(1, random.bytes(20_000))]), &[(1, &[0])]);
        system.no_rule();
        topic.mend(1).unwrap();
        append(&topic, vec![record(1, "b")]).unwrap();
        drop((log, topic));
        system.power_cut(&directory.path().join("topics"), &mut random);
        let topic = Log::open(directory.path(), Options::default()).unwrap().topic("t", 2).unwrap();
        assert_eq!(contents(&topic)[1], ["a", "b"]);
    }
}
