//! Damage stops those who have to read it and nobody else, until it is set aside; nothing is removed.

use std::path::{Path, PathBuf};

use millstream_log::{Damage, Log, Options, ReadError, Topic};

use crate::support::{
    Event, Failure, Faulty, Random, append, directory, files, read_all, read_over_holes, record, segments,
};

const RECORDS: u64 = 15;

fn options() -> Options {
    Options { segment_bytes: Some(700), ..Options::default() }
}

fn open(directory: &Path) -> Topic {
    Log::open(directory, options()).unwrap().topic("t", 2).unwrap()
}

fn payload(offset: u64) -> Vec<u8> {
    Random::new(offset + 1).bytes(90)
}

/// A closed log with three segments of five records in partition 0, and one record in partition 1.
fn stored() -> (tempfile::TempDir, Vec<PathBuf>) {
    let directory = directory();
    let topic = open(directory.path());
    (0..RECORDS).for_each(|offset| drop(append(&topic, vec![record(0, payload(offset))]).unwrap()));
    append(&topic, vec![record(1, "other")]).unwrap();
    let paths: Vec<_> =
        segments(directory.path()).into_iter().filter(|path| path.parent().unwrap().ends_with("0000")).collect();
    assert_eq!(paths.len(), 3);
    (directory, paths)
}

fn damage(topic: &Topic, from: u64) -> Damage {
    match topic.read(0, from, 1) {
        Err(ReadError::Damaged(damage)) => *damage,
        other => panic!("{other:?}"),
    }
}

/// Every record but those of a range, each as it was stored.
fn holds_all_but(topic: &Topic, lost: (u64, u64), end: u64) {
    let (records, holes) = read_over_holes(topic, 0).unwrap();
    assert_eq!(holes, [lost]);
    let offsets: Vec<u64> = records.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, (0..lost.0).chain(lost.1..end).collect::<Vec<_>>());
    assert!(records.iter().all(|record| record.payload == payload(record.offset)));
}

#[test]
fn a_flipped_bit_costs_one_frame_wherever_it_is() {
    let (directory, paths) = stored();
    let kept: Vec<_> = files(&directory.path().join("topics"))
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    for (path, at) in paths
        .iter()
        .flat_map(|path| (0..std::fs::metadata(path).unwrap().len() as usize).step_by(11).map(move |at| (path, at)))
    {
        let mut content = std::fs::read(path).unwrap();
        content[at] ^= 0x10;
        std::fs::write(path, &content).unwrap();

        // One that is past it does not notice.
        let base: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let lost = base + at as u64 / (content.len() as u64 / 5);
        let topic = open(directory.path());
        if lost + 1 < RECORDS {
            assert_eq!(topic.read(0, lost + 1, 1).unwrap().records[0].payload, payload(lost + 1));
        }
        // What precedes it is read, the other partition is, and both are appended to.
        let mut next = 0;
        while next < lost {
            next = topic.read(0, next, 1).unwrap().next;
        }
        let found = damage(&topic, lost);
        assert_eq!((&found.file, found.from, found.to, found.is_missing), (path, lost, lost + 1, false));
        assert!((found.byte..found.byte + found.bytes).contains(&(at as u64)));
        assert_eq!(topic.check(0).unwrap(), std::slice::from_ref(&found));
        assert_eq!(topic.check(1).unwrap(), []);
        assert_eq!(read_all(&topic, 1).unwrap().len(), 1);
        let appended = append(&topic, vec![record(0, payload(RECORDS)), record(1, "more")]).unwrap();
        assert_eq!(appended[0].first_offset, RECORDS, "no offset is given twice");

        // Nothing is set aside where nothing is damaged.
        assert!(matches!(topic.set_aside(0, lost + 1), Err(ReadError::NotDamaged { .. })));
        assert_eq!(topic.set_aside(0, lost).unwrap(), found);
        let held = |topic: &Topic| {
            holds_all_but(topic, (lost, lost + 1), RECORDS + 1);
            assert_eq!((topic.damages(0), topic.holes(0)), (vec![], vec![(lost, lost + 1)]));
            assert_eq!(topic.check(0).unwrap(), []);
        };
        held(&topic);
        assert_eq!(std::fs::read(path).unwrap()[at], content[at], "the file stays as it is");
        drop(topic);
        held(&open(directory.path()));

        std::fs::remove_dir_all(directory.path().join("topics")).unwrap();
        for (path, content) in &kept {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
    }
}

#[test]
fn two_damages_of_a_segment_are_set_aside_one_by_one() {
    let (directory, paths) = stored();
    let mut content = std::fs::read(&paths[1]).unwrap();
    let frame = content.len() / 5;
    content[frame + 60] ^= 1;
    content[3 * frame + 9] ^= 1;
    std::fs::write(&paths[1], content).unwrap();
    let topic = open(directory.path());
    let found = topic.check(0).unwrap();
    assert_eq!(found.iter().map(|damage| (damage.from, damage.to)).collect::<Vec<_>>(), [(6, 7), (8, 9)]);
    topic.set_aside(0, 8).unwrap();
    assert_eq!(topic.read(0, 8, 1).unwrap().next, 9);
    assert_eq!(damage(&topic, 6).to, 7);
    topic.set_aside(0, 6).unwrap();
    let (records, holes) = read_over_holes(&topic, 0).unwrap();
    assert_eq!((records.len(), holes), (13, vec![(6, 7), (8, 9)]));
}

#[test]
fn a_sealed_segment_that_is_gone_is_one_hole() {
    let (directory, paths) = stored();
    std::fs::remove_file(&paths[1]).unwrap();
    let topic = open(directory.path());
    let found = damage(&topic, 5);
    assert_eq!((&found.file, found.from, found.to, found.is_missing), (&paths[0], 5, 10, true));
    topic.set_aside(0, 5).unwrap();
    holds_all_but(&topic, (5, 10), RECORDS);
}

#[test]
fn an_end_that_is_missing_is_told_with_both_readings_and_can_be_copied_again() {
    for cut in [0, 1, 30, 200, 600] {
        let (directory, paths) = stored();
        let content = std::fs::read(&paths[2]).unwrap();
        std::fs::write(&paths[2], &content[..cut]).unwrap();
        let left = 10 + cut as u64 / (content.len() as u64 / 5);
        let topic = open(directory.path());
        let found = topic.damages(0);
        assert_eq!((found.len(), found[0].from, found[0].to, found[0].is_missing), (1, left, RECORDS, true));
        let text = found[0].to_string();
        assert!(
            text.contains("if this directory is a copy, copy") && text.contains("else these records are lost"),
            "{text}"
        );
        // The offsets of what is missing stay taken.
        assert_eq!(append(&topic, vec![record(0, payload(RECORDS))]).unwrap()[0].first_offset, RECORDS);
        assert_eq!(damage(&topic, left), found[0]);
        drop(topic);
        // Nothing was written to the file, so that it can be copied again.
        std::fs::write(&paths[2], &content).unwrap();
        let topic = open(directory.path());
        assert_eq!(topic.check(0).unwrap(), []);
        assert_eq!(read_all(&topic, 0).unwrap().len() as u64, RECORDS + 1);
    }
}

#[test]
fn a_hole_is_kept_or_not_made() {
    let (directory, paths) = stored();
    let mut content = std::fs::read(&paths[0]).unwrap();
    content[100] ^= 1;
    std::fs::write(&paths[0], content).unwrap();
    for failing in 0.. {
        let system = Faulty::default();
        let topic = system.log(directory.path(), options()).topic("t", 2).unwrap();
        let calls = std::sync::atomic::AtomicUsize::new(0);
        system.rule(move |event| {
            assert!(!matches!(event, Event::Cut(_)) && !event.is_segment(), "{event:?}");
            let failure = Failure { kind: std::io::ErrorKind::StorageFull, bytes_done: 9 };
            (calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == failing).then_some(failure)
        });
        let done = topic.set_aside(0, 0);
        system.no_rule();
        drop(topic);
        if done.is_ok() {
            assert!(failing > 3, "it takes some steps");
            break;
        }
        let topic = open(directory.path());
        match topic.holes(0).as_slice() {
            // The last step is to make sure of it.
            [(0, 1)] => assert_eq!(topic.read(0, 0, 1).unwrap().next, 1),
            [] => assert_eq!(damage(&topic, 0).to, 1),
            other => panic!("{other:?}"),
        }
        drop(topic);
        std::fs::remove_file(directory.path().join("topics/t/0000/holes")).ok();
    }
    holds_all_but(&open(directory.path()), (0, 1), RECORDS);
}

#[test]
fn damage_from_before_openings_and_marks_with_an_end_is_not_passed_over() {
    // Directories of earlier versions: a mark of 32 bytes without the end, no openings.
    let (directory, paths) = stored();
    let partition = directory.path().join("topics/t/0000");
    std::fs::remove_file(partition.join("openings")).unwrap();
    let mark = std::fs::read(partition.join("mark")).unwrap();
    let mut earlier = mark[..32].to_vec();
    earlier[..4].copy_from_slice(b"MSM1");
    let check = crc32c::crc32c(&earlier[8..]);
    earlier[4..8].copy_from_slice(&check.to_le_bytes());
    std::fs::write(partition.join("mark"), &earlier).unwrap();
    let content = std::fs::read(&paths[2]).unwrap();
    std::fs::write(&paths[2], &content[..content.len() / 5]).unwrap();
    let topic = open(directory.path());
    // How many are missing is not known, but that there are.
    assert_eq!(topic.damages(0)[0].from, 11);
    append(&topic, vec![record(0, "on it goes")]).unwrap();
    assert!(damage(&topic, 11).is_missing);
    drop(topic);
    std::fs::write(&paths[2], &content).unwrap();
    std::fs::write(partition.join("mark"), &earlier).unwrap();
    for path in segments(&partition).iter().filter(|path| !paths.contains(path)) {
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(read_all(&open(directory.path()), 0).unwrap().len() as u64, RECORDS, "a mark of before is still read");
}
