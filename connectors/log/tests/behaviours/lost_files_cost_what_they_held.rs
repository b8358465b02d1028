//! A file or a directory that is gone costs the records in it and nothing else: the log opens, the other partitions are
//! whole, and whoever had yet to read what is lost is told so, however far the partition grows.

use std::path::{Path, PathBuf};

use millstream_log::{Damage, Error, Log, Options, ReadError, Retention, Topic};

use crate::support::{Event, Failure, Faulty, append, directory, files, read_all, record, segments};

const RECORDS: u64 = 20;

fn open(directory: &Path) -> Topic {
    Log::open(directory, Options::default()).unwrap().topic("t", 3).unwrap()
}

fn grow(topic: &Topic, partition: u32, count: u64) -> u64 {
    let records = (0..count).map(|number| record(partition, format!("{number}"))).collect();
    append(topic, records).unwrap()[0].first_offset
}

/// A closed log with records in partitions 0 and 1 of two openings each, and none in partition 2. Also every position of
/// partition 1 that a reader may have stored, with its opening.
fn stored() -> (tempfile::TempDir, Vec<(u64, i64)>) {
    let directory = directory();
    for _ in 0..2 {
        let topic = open(directory.path());
        grow(&topic, 0, RECORDS / 2);
        grow(&topic, 1, RECORDS / 2);
    }
    let topic = open(directory.path());
    let positions = (1..=RECORDS).map(|offset| (offset, topic.opening_before(1, offset).unwrap())).collect();
    (directory, positions)
}

fn of_topic(directory: &tempfile::TempDir, name: &str) -> PathBuf {
    directory.path().join("topics/t").join(name)
}

/// The loss that a partition tells of.
fn loss(topic: &Topic, partition: u32) -> Damage {
    let found = topic.check(partition).unwrap();
    assert_eq!((found.len(), &topic.damages(partition)), (1, &found));
    assert_eq!((found[0].from, Some(found[0].to)), (0, topic.lost_before(partition)));
    found[0].clone()
}

/// Nothing that a reader may have stored is a place to go on from, and no offset of before is given again.
fn tells_apart(topic: &Topic, positions: &[(u64, i64)]) {
    let start = topic.range(1).start;
    for (position, opening) in positions {
        assert!(*position < start && !topic.knows(1, *position, *opening), "{position} of {start}");
        assert!(matches!(topic.read(1, *position, 1), Err(ReadError::OutOfRange { .. })));
    }
    assert!(start > 0, "one who has read nothing yet is told as well");
}

#[test]
fn either_copy_of_a_description_is_enough() {
    let (directory, _) = stored();
    let id = open(directory.path()).id().to_owned();
    let paths = [of_topic(&directory, "meta"), of_topic(&directory, "meta.copy")];
    let content = std::fs::read(&paths[0]).unwrap();
    for path in &paths {
        let mut changed = content.clone();
        changed[40] = b'X';
        for wrong in [Some(changed), Some(content[..50].to_vec()), Some(Vec::new()), None] {
            match &wrong {
                Some(wrong) => std::fs::write(path, wrong).unwrap(),
                None => std::fs::remove_file(path).unwrap(),
            }
            let topic = open(directory.path());
            assert_eq!(topic.id(), id);
            assert_eq!(read_all(&topic, 1).unwrap().len() as u64, RECORDS);
            assert_eq!(std::fs::read(path).unwrap(), content, "{} is written again", path.display());
        }
    }
    let left: Vec<_> =
        std::fs::read_dir(of_topic(&directory, "")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().all(|path| !path.ends_with("~meta")), "{left:?}");
}

#[test]
fn without_either_both_are_named() {
    let (directory, _) = stored();
    let path = of_topic(&directory, "meta");
    let copy_path = of_topic(&directory, "meta.copy");
    let mut content = std::fs::read(&path).unwrap();
    content[40] = b'X';
    std::fs::write(&path, &content).unwrap();
    std::fs::remove_file(&copy_path).unwrap();
    let error = Log::open(directory.path(), Options::default()).unwrap_err();
    let Error::Corrupt(both) = &error else { panic!("{error}") };
    let found = [&both[0], &both[1]].map(|damage| (damage.file.clone(), damage.byte));
    assert_eq!(found, [(path.clone(), 40), (copy_path.clone(), 0)]);
    let text = error.to_string();
    for part in [&*path.to_string_lossy(), &*copy_path.to_string_lossy(), "byte 40", "restore one of the two files"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(std::fs::read(&path).unwrap() == content && !copy_path.exists(), "nothing was changed");
}

#[test]
fn a_description_that_cannot_be_written_again_stops_nothing() {
    let (directory, _) = stored();
    let path = of_topic(&directory, "meta");
    let content = std::fs::read(&path).unwrap();
    // Each step in turn: create, write, sync, rename, sync of the directory.
    for failing in 0..5 {
        std::fs::write(&path, "torn").unwrap();
        let system = Faulty::default();
        let calls = std::sync::atomic::AtomicUsize::new(0);
        system.rule(move |event| {
            let is_step = match event {
                Event::Create(path) | Event::Write(path) | Event::Sync(path) => path.ends_with("~meta"),
                Event::Rename(path) => path.ends_with("meta"),
                Event::SyncDir(path) => path.ends_with("t"),
                Event::Cut(_) | Event::Remove(_) => false,
            };
            let failure = Failure { kind: std::io::ErrorKind::StorageFull, bytes_done: 9 };
            (is_step && calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == failing).then_some(failure)
        });
        let topic = system.log(directory.path(), Options::default()).topic("t", 3).unwrap();
        grow(&topic, 2, 1);
        drop(topic);
        drop(open(directory.path()));
        assert_eq!(std::fs::read(&path).unwrap(), content, "step {failing}: the next opening writes it");
    }
}

#[test]
fn a_topic_of_an_earlier_version_gets_what_it_lacks() {
    let (directory, positions) = stored();
    for name in ["meta.copy", "marks"] {
        std::fs::remove_file(of_topic(&directory, name)).unwrap();
    }
    drop(open(directory.path()));
    // From now on it can do without the other, and knows how far each partition came.
    std::fs::remove_file(of_topic(&directory, "meta")).unwrap();
    std::fs::remove_dir_all(of_topic(&directory, "0001")).unwrap();
    let topic = open(directory.path());
    assert_eq!(topic.range(1).start, RECORDS + 1);
    tells_apart(&topic, &positions);
}

#[test]
fn a_lost_directory_costs_one_partition() {
    let (directory, positions) = stored();
    std::fs::remove_dir_all(of_topic(&directory, "0001")).unwrap();
    let mut others = RECORDS;
    for grown in [0, 1, 100] {
        let topic = open(directory.path());
        assert_eq!(read_all(&topic, 0).unwrap().len() as u64, others);
        assert_eq!((topic.check(0).unwrap(), topic.lost_before(0)), (vec![], None));
        // One offset is left out: without the openings a position there could not be told from one of before.
        let found = loss(&topic, 1);
        assert_eq!((&found.file, found.to, found.is_missing), (&of_topic(&directory, "0001"), RECORDS + 1, true));
        let text = found.to_string();
        assert!(text.contains("if this directory is a copy, copy it again, else these records are lost"), "{text}");
        tells_apart(&topic, &positions);
        if grown == 0 {
            continue;
        }
        let end = topic.range(1).end;
        assert_eq!((grow(&topic, 1, grown), grow(&topic, 0, 1)), (end, others));
        others += 1;
        tells_apart(&topic, &positions);
        let opening = topic.opening_before(1, end + 1).unwrap();
        assert!(topic.knows(1, end + grown, opening), "positions of now are known");
    }
    assert_eq!(read_all(&open(directory.path()), 1).unwrap().len(), 101);
}

#[test]
fn a_lost_directory_is_lost_again_behind_its_new_records() {
    let (directory, mut positions) = stored();
    for _ in 0..3 {
        std::fs::remove_dir_all(of_topic(&directory, "0001")).unwrap();
        let topic = open(directory.path());
        tells_apart(&topic, &positions);
        let first = grow(&topic, 1, 5);
        positions.extend((first + 1..=first + 5).map(|offset| (offset, topic.opening_before(1, offset).unwrap())));
    }
    assert_eq!(open(directory.path()).range(1).end, RECORDS + 3 * 6);
}

#[test]
fn a_directory_to_which_nothing_was_written_costs_nothing() {
    let (directory, _) = stored();
    std::fs::remove_dir_all(of_topic(&directory, "0002")).unwrap();
    let topic = open(directory.path());
    assert_eq!(
        (topic.range(2).start, topic.range(2).end, topic.damages(2), topic.lost_before(2)),
        (0, 0, vec![], None)
    );
    assert_eq!(grow(&topic, 2, 1), 0);
}

#[test]
fn an_end_that_nobody_knows_is_passed_by_far() {
    let (directory, positions) = stored();
    std::fs::remove_dir_all(of_topic(&directory, "0001")).unwrap();
    std::fs::remove_file(of_topic(&directory, "marks")).unwrap();
    let topic = open(directory.path());
    tells_apart(&topic, &positions);
    assert!(topic.range(1).start > 1 << 49);
    grow(&topic, 1, 100);
    tells_apart(&topic, &positions);
    drop(topic);
    // The files are there, and empty or damaged.
    for path in files(&of_topic(&directory, "0001")) {
        std::fs::write(&path, "?").unwrap();
        if segments(&of_topic(&directory, "0001")).contains(&path) {
            std::fs::remove_file(path).unwrap();
        }
    }
    let topic = open(directory.path());
    tells_apart(&topic, &positions);
    assert!(topic.lost_before(1).is_some());
}

#[test]
fn that_something_is_written_is_noted_for_good_before() {
    let directory = directory();
    let system = Faulty::default();
    let topic = system.log(directory.path(), Options::default()).topic("t", 3).unwrap();
    let before = system.events().len();
    grow(&topic, 1, 1);
    let events = system.events().split_off(before);
    let noted = events.iter().position(|event| matches!(event, Event::Sync(path) if path.ends_with("marks"))).unwrap();
    let written = events.iter().position(|event| event.is_segment() && matches!(event, Event::Write(_))).unwrap();
    assert!(noted < written, "{events:?}");
}

#[test]
fn lost_segments_are_told_until_they_are_given_up() {
    let (directory, positions) = stored();
    segments(&of_topic(&directory, "0001")).into_iter().for_each(|path| std::fs::remove_file(path).unwrap());
    for _ in 0..2 {
        let topic = open(directory.path());
        let found = loss(&topic, 1);
        // The openings are left: one who has read everything goes on.
        assert_eq!((found.to, topic.range(1).start, topic.range(1).end), (RECORDS, RECORDS, RECORDS));
        let (position, opening) = positions[RECORDS as usize - 1];
        assert!(topic.knows(1, position, opening));
        grow(&topic, 0, 1);
        assert_eq!(topic.check(0).unwrap(), []);
    }
    let topic = open(directory.path());
    assert!(matches!(topic.set_aside(1, 1), Err(ReadError::NotDamaged { .. })));
    assert_eq!(topic.set_aside(1, 0).unwrap().to, RECORDS);
    assert_eq!((topic.check(1).unwrap(), topic.lost_before(1)), (vec![], None));
    drop(topic);
    let topic = open(directory.path());
    assert_eq!((topic.check(1).unwrap(), topic.lost_before(1)), (vec![], None));
    assert_eq!(topic.range(1).start, RECORDS, "it stays out of range");
}

#[test]
fn lost_segments_that_are_put_back_are_lost_no_more() {
    let (directory, positions) = stored();
    let partition = of_topic(&directory, "0001");
    let kept: Vec<_> =
        segments(&partition).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    kept.iter().for_each(|(path, _)| std::fs::remove_file(path).unwrap());
    let topic = open(directory.path());
    assert_eq!(grow(&topic, 1, 3), RECORDS);
    drop(topic);
    kept.iter().for_each(|(path, content)| std::fs::write(path, content).unwrap());
    let topic = open(directory.path());
    assert_eq!((topic.check(1).unwrap(), topic.lost_before(1)), (vec![], None));
    assert_eq!(read_all(&topic, 1).unwrap().len() as u64, RECORDS + 3);
    // Openings go with their records: of those that were away, only the last one is left.
    let mut known = positions.iter().skip(RECORDS as usize / 2);
    assert!(known.all(|(position, opening)| topic.knows(1, *position, *opening)));
}

#[test]
fn a_loss_goes_when_retention_would_have_removed_it() {
    let (directory, _) = stored();
    std::fs::remove_dir_all(of_topic(&directory, "0001")).unwrap();
    let retention = Retention { age: None, bytes: Some(1) };
    let options = Options { segment_bytes: Some(100), retention, ..Options::default() };
    let log = Log::open(directory.path(), options).unwrap();
    let topic = log.topic("t", 3).unwrap();
    assert!(topic.lost_before(1).is_some());
    for _ in 0..5 {
        grow(&topic, 1, 50);
    }
    log.enforce_retention().unwrap();
    assert!(topic.range(1).start > RECORDS + 1);
    assert_eq!((topic.check(1).unwrap(), topic.lost_before(1)), (vec![], None));
}
