//! A position of one history is not taken for one of another, however far the directory has grown since.

use std::path::Path;

use millstream_log::{Log, Options, Retention, Topic};

use crate::support::{Faulty, append, directory, files, read_all, record};

fn open(directory: &Path) -> Topic {
    Log::open(directory, Options::default()).unwrap().topic("t", 2).unwrap()
}

fn grow(topic: &Topic, partition: u32, count: usize) {
    append(topic, (0..count).map(|_| record(partition, "x")).collect()).unwrap();
}

fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(path, target).unwrap();
    }
}

#[test]
fn positions_after_a_copy_are_not_known_to_it() {
    for reopened in [false, true] {
        let original = directory();
        let copied = directory();
        let topic = open(original.path());
        grow(&topic, 0, 100);
        drop(topic);
        copy(original.path(), copied.path());
        // The original goes on, in one opening or another, and a reader with it.
        let topic = open(original.path());
        grow(&topic, 0, if reopened { 20 } else { 50 });
        drop(topic);
        let topic = open(original.path());
        if reopened {
            grow(&topic, 0, 30);
        }
        let positions: Vec<(u64, i64)> =
            (1..=150).map(|offset| (offset, topic.opening_before(0, offset).unwrap())).collect();
        assert!(positions.iter().all(|(offset, opening)| topic.knows(0, *offset, *opening)));
        assert_ne!(positions[99].1, positions[100].1);

        let topic = open(copied.path());
        for grown in [0, 50, 500] {
            grow(&topic, 0, grown);
            for (offset, opening) in &positions {
                assert_eq!(topic.knows(0, *offset, *opening), *offset <= 100, "{offset} after {grown} more");
            }
        }
    }
}

#[test]
fn a_copy_of_an_opening_under_way_goes_on_as_another() {
    let original = directory();
    let copied = directory();
    let topic = open(original.path());
    grow(&topic, 0, 100);
    copy(original.path(), copied.path());
    grow(&topic, 0, 50);
    let opening = topic.opening_before(0, 150).unwrap();
    let copy = open(copied.path());
    grow(&copy, 0, 200);
    let known = |offset| copy.knows(0, offset, opening);
    assert!(known(1) && known(100) && !known(101) && !known(150));
    // And back: what the copy has grown by is not of the original.
    let of_copy = copy.opening_before(0, 101).unwrap();
    assert!(!topic.knows(0, 101, of_copy) && !topic.knows(0, 1, of_copy));
}

#[test]
fn only_openings_that_write_to_a_partition_are_kept() {
    let directory = directory();
    let topic = open(directory.path());
    grow(&topic, 0, 10);
    let first = topic.opening_before(0, 10);
    let before = files(directory.path());
    drop(topic);
    for _ in 0..3 {
        let topic = open(directory.path());
        assert_eq!(read_all(&topic, 0).unwrap().len(), 10);
        assert_eq!((topic.opening_before(0, 10), topic.opening_before(0, 11)), (first, None));
    }
    assert_eq!(files(directory.path()), before, "reading leaves nothing behind");
    let topic = open(directory.path());
    grow(&topic, 0, 5);
    let second = topic.opening_before(0, 11);
    assert!(first.is_some() && second.is_some() && first != second);
    assert_eq!((topic.opening_before(0, 10), topic.opening_before(0, 0)), (first, None));
    assert!(topic.knows(0, 10, first.unwrap()) && !topic.knows(0, 11, first.unwrap()));
    assert!(!directory.path().join("topics/t/0001/openings").exists(), "nothing was written there");
}

#[test]
fn a_topic_from_before_openings_begins_one() {
    let directory = directory();
    let topic = open(directory.path());
    grow(&topic, 0, 10);
    drop(topic);
    std::fs::remove_file(directory.path().join("topics/t/0000/openings")).unwrap();
    let topic = open(directory.path());
    grow(&topic, 0, 10);
    assert_eq!(topic.opening_before(0, 10), None);
    assert!(topic.knows(0, 20, topic.opening_before(0, 20).unwrap()));
    assert_eq!(topic.opening_before(0, 21), None, "no such record");
}

#[test]
fn openings_go_with_the_records_that_retention_removes() {
    let directory = directory();
    let retention = Retention { age: None, bytes: Some(2_000) };
    let options = Options { segment_bytes: Some(500), retention, ..Options::default() };
    let mut openings = Vec::new();
    for _ in 0..60 {
        let topic = Log::open(directory.path(), options.clone()).unwrap().topic("t", 2).unwrap();
        grow(&topic, 0, 1);
        let end = topic.range(0).end;
        openings.push((end, topic.opening_before(0, end).unwrap()));
    }
    // 32 bytes each.
    let kept = std::fs::metadata(directory.path().join("topics/t/0000/openings")).unwrap().len() / 32;
    let topic = Log::open(directory.path(), options).unwrap().topic("t", 2).unwrap();
    let range = topic.range(0);
    assert!(range.start > 20 && kept < 40, "{kept} are kept of 60, records from {}", range.start);
    for (offset, opening) in openings {
        assert!(topic.knows(0, offset, opening) || offset < range.start, "{offset} of {range:?}");
    }
}

#[test]
fn damage_makes_the_older_openings_unknown_and_stops_nothing() {
    let directory = directory();
    let mut openings = Vec::new();
    for _ in 0..3 {
        let topic = open(directory.path());
        grow(&topic, 0, 10);
        openings.push(topic.opening_before(0, topic.range(0).end).unwrap());
    }
    let path = directory.path().join("topics/t/0000/openings");
    let mut content = std::fs::read(&path).unwrap();
    content[40] ^= 1;
    std::fs::write(&path, content).unwrap();
    for more in [0, 5] {
        let topic = open(directory.path());
        grow(&topic, 0, more);
        let before: Vec<_> = [10, 20, 30].into_iter().map(|offset| topic.opening_before(0, offset)).collect();
        assert_eq!(before, [None, None, Some(openings[2])]);
        let known = [10, 20, 30].into_iter().zip(&openings).map(|(offset, opening)| topic.knows(0, offset, *opening));
        assert_eq!(known.collect::<Vec<_>>(), [false, false, true]);
    }
}

#[test]
fn an_opening_that_cannot_be_noted_stores_nothing() {
    let directory = directory();
    let system = Faulty::default();
    let options = Options { mend_delay: Some(std::time::Duration::ZERO), ..Options::default() };
    let topic = system.log(directory.path(), options).topic("t", 2).unwrap();
    // Each step in turn: create, write, sync, rename, sync of the directory.
    for failing in 0..5 {
        let calls = std::sync::atomic::AtomicUsize::new(0);
        system.rule(move |event| {
            let failure = crate::support::Failure { kind: std::io::ErrorKind::StorageFull, bytes_done: 9 };
            (event.is_of_openings() && calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == failing)
                .then_some(failure)
        });
        assert!(append(&topic, vec![record(0, "x")]).is_err(), "step {failing}");
        assert_eq!(topic.range(0).end, 0);
        assert_eq!(topic.opening_before(0, 0), None);
    }
    system.no_rule();
    grow(&topic, 0, 1);
    assert!(topic.opening_before(0, 1).is_some());
}
