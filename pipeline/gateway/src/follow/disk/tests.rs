use std::path::PathBuf;

use millstream_schemas::tasks::{Alias, Deploy, Health, Instance, Slice, Task};

use super::*;
use crate::table::Change;

const DAY: Duration = Duration::from_secs(86_400);
const READ_MS: i64 = 1_700_000_000_000;

fn task(number: usize, version: i64) -> Fact {
    let addresses = vec![std::net::IpAddr::from([10, 0, (number / 250) as u8, (number % 250) as u8])];
    let name = Some(format!("a \"name\"\n of {number} \u{e9}"));
    Fact::Task(Box::new(Task {
        source: "ecs".into(),
        id: format!("t{number}"),
        version,
        addresses,
        name,
        ..Task::default()
    }))
}

fn alias(generation: i64) -> Alias {
    Alias { service: "digits".into(), alias: "prod".into(), generation, ..Alias::default() }
}

#[test]
fn what_a_killed_process_left_beside_the_file_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("routes");
    let gone = u32::MAX;
    let alive = std::process::id();
    let names =
        [format!("routes.{gone}.new"), format!("routes.{alive}.new"), "routes.x.new".into(), "other.1.new".into()];
    for name in &names {
        std::fs::write(directory.path().join(name), "torn").unwrap();
    }
    remove_leftovers(&path);
    let left: Vec<bool> = names.iter().map(|name| directory.path().join(name).exists()).collect();
    assert_eq!(left, [false, true, true, true], "only that of a process that is gone");
}

/// A thousand facts of all kinds.
fn facts() -> Vec<Fact> {
    let mut facts: Vec<Fact> = (0..995).map(|number| task(number, 1)).collect();
    facts.push(Fact::Instance(Box::new(Instance { source: "ecs".into(), id: "i".into(), ..Instance::default() })));
    facts.push(Fact::Slice(Box::new(Slice { source: "k".into(), id: "sl".into(), ..Slice::default() })));
    facts.push(Fact::Deploy(Box::new(Deploy { service: "digits".into(), revision: "v1".into(), ..Deploy::default() })));
    facts.push(Fact::Health(Box::new(Health {
        source: "ecs".into(),
        task: "t1".into(),
        port: 80,
        ..Health::default()
    })));
    facts.push(Fact::Alias(Box::new(alias(7))));
    facts
}

fn digest(facts: &[Fact]) -> u64 {
    facts.iter().fold(0, |digest, fact| digest ^ fact.digest())
}

fn told(facts: &[Fact]) -> Told {
    Told { identity: "one".into(), seq: 42, digest: digest(facts), read_ms: READ_MS, facts: facts.len() as u64 }
}

/// A directory, and the path of a file in it that is there.
fn written() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep").join("routes");
    let mut writer = Writer::new(&path).unwrap();
    facts().iter().for_each(|fact| writer.put(fact).unwrap());
    writer.late(&[], &[alias(6)]).unwrap();
    writer.finish(told(&facts())).unwrap();
    (directory, path)
}

fn bad(path: &Path) -> Bad {
    read(path, DAY, READ_MS).unwrap_err()
}

#[test]
fn a_thousand_facts_come_back_as_they_were() {
    let (_directory, path) = written();
    let found = read(&path, DAY, READ_MS + 1_000).unwrap().unwrap();
    assert_eq!(found.facts, facts());
    let header = &found.header;
    assert_eq!((&*header.identity, header.seq, header.digest), ("one", 42, digest(&facts())));
    assert_eq!((header.read_ms, header.facts), (READ_MS, 1_000));
    assert_eq!(found.applied, Former::from([(("digits".into(), "prod".into()), alias(6))]));
    let names: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing is left beside it");
}

#[test]
fn there_may_be_no_file() {
    let directory = tempfile::tempdir().unwrap();
    assert!(read(&directory.path().join("none"), DAY, READ_MS).unwrap().is_none());
    assert!(matches!(bad(directory.path()), Bad::Read(_)), "a directory is none");
}

#[test]
fn what_changed_while_it_was_written_counts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("routes");
    let mut writer = Writer::new(&path).unwrap();
    (0..5).for_each(|number| writer.put(&task(number, 1)).unwrap());
    let late = [Change::Put(task(1, 2)), Change::Remove(task(2, 1).key()), Change::Put(task(9, 1))];
    let late = [&late[..], &[Change::Remove(task(7, 1).key())]].concat();
    writer.late(&late, &[]).unwrap();
    let mut now = vec![task(0, 1), task(3, 1), task(4, 1), task(1, 2), task(9, 1)];
    writer.finish(told(&now)).unwrap();
    let mut found = read(&path, DAY, READ_MS).unwrap().unwrap().facts;
    found.sort_by_key(Fact::key);
    now.sort_by_key(Fact::key);
    assert_eq!(found, now);
}

#[test]
fn a_torn_file_is_not_used() {
    let (_directory, path) = written();
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 8, 9, 511] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(bad(&path), Bad::Format), "{length}");
    }
    for length in [512, 513, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(bad(&path), Bad::Length { .. }), "{length}");
    }
    std::fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    assert!(matches!(bad(&path), Bad::Length { .. }));
    // Zeros where a disk lost a block.
    let mut holed = whole.clone();
    holed[600..1_100].fill(0);
    std::fs::write(&path, holed).unwrap();
    assert!(matches!(bad(&path), Bad::Checksum));
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let (_directory, path) = written();
    let whole = std::fs::read(&path).unwrap();
    let spread = (0..whole.len()).step_by(whole.len() / 400).chain([0, 8, 9, 511, 512, whole.len() - 1]);
    for at in spread {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, flipped).unwrap();
        let bad = bad(&path);
        let is_right = match at {
            // The last character before the header is a space; another one is no number.
            0..=8 => matches!(bad, Bad::Header | Bad::Format),
            9..=511 => matches!(bad, Bad::Header),
            _ => matches!(bad, Bad::Checksum),
        };
        assert!(is_right, "byte {at}: {bad}");
    }
}

/// Changes the header, and gives it its checksum.
fn with_header(path: &Path, change: impl FnOnce(&mut Header)) {
    let mut bytes = std::fs::read(path).unwrap();
    let mut header: Header = serde_json::from_slice(&bytes[CRC_BYTES..HEADER_BYTES]).unwrap();
    change(&mut header);
    bytes.splice(..HEADER_BYTES, header.to_bytes().unwrap());
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn another_version_is_not_used() {
    let (_directory, path) = written();
    with_header(&path, |header| header.version = 2);
    let bad = super::tests::bad(&path);
    assert_eq!(bad.to_string(), "it is of version 2, and this program reads version 1");
    with_header(&path, |header| header.format = "something else".into());
    assert!(matches!(super::tests::bad(&path), Bad::Format));
}

#[test]
fn facts_that_are_too_old_are_refused() {
    let (_directory, path) = written();
    let day_ms = 86_400_000;
    assert!(read(&path, DAY, READ_MS + day_ms).unwrap().is_some());
    let bad = read(&path, DAY, READ_MS + day_ms + 1_000).unwrap_err();
    assert_eq!(bad.to_string(), "it is 86401 s old, and at most 86400 s are allowed");
    assert!(read(&path, DAY, READ_MS - 5).unwrap().is_some(), "a clock that went back");
}

#[test]
fn facts_without_their_digest_or_in_another_number_are_not_used() {
    let (_directory, path) = written();
    with_header(&path, |header| header.digest ^= 1);
    assert!(matches!(bad(&path), Bad::Digest));
    with_header(&path, |header| header.digest ^= 1);
    assert!(read(&path, DAY, READ_MS).is_ok());
    with_header(&path, |header| header.facts += 1);
    assert!(matches!(bad(&path), Bad::Digest));
}

#[test]
fn lines_that_nobody_writes_are_not_read() {
    for line in ["put task {}", "put nothing {}", "gone task [\"a\"]", "more", "applied {}", "put task"] {
        assert!(Body::default().take(format!("{line}\n").as_bytes()).is_none(), "{line}");
    }
    assert!(Body::default().take(b"late").is_none(), "without its end");
}

#[test]
fn a_file_that_is_not_finished_leaves_the_old_one() {
    let (_directory, path) = written();
    let mut writer = Writer::new(&path).unwrap();
    writer.put(&task(1, 1)).unwrap();
    drop(writer);
    assert_eq!(read(&path, DAY, READ_MS).unwrap().unwrap().facts.len(), 1_000);
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}
