//! Every flipped bit in acknowledged data is found, named by file and byte, and neither served nor cut off;
//! what a crash tore is told apart from it.

use std::path::{Path, PathBuf};

use millstream_log::{Error, Log, Options, ReadError, Topic};

use crate::support::{Random, append, directory, files, read_all, record, segments};

fn options() -> Options {
    Options { segment_bytes: Some(700), ..Options::default() }
}

/// A closed log of three segments with a few small frames each; what was appended; its files with their content.
struct Stored {
    directory: tempfile::TempDir,
    payloads: Vec<Vec<u8>>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Stored {
    fn new() -> Self {
        let directory = directory();
        let topic = Log::open(directory.path(), options()).unwrap().topic("t", 1).unwrap();
        let mut random = Random::new(3);
        let payloads: Vec<Vec<u8>> = (0..15).map(|_| random.bytes(90)).collect();
        for payload in &payloads {
            append(&topic, vec![record(0, payload.clone())]).unwrap();
        }
        drop(topic);
        let with_content = |path: PathBuf| (path.clone(), std::fs::read(path).unwrap());
        let files = files(&directory.path().join("topics")).into_iter().map(with_content).collect();
        assert_eq!(segments(directory.path()).len(), 3);
        Self { directory, payloads, files }
    }

    fn open(&self) -> Result<Topic, Error> {
        Log::open(self.directory.path(), options())?.topic("t", 1)
    }

    /// Reads as far as possible; whatever is read must be what was stored.
    fn read(&self, topic: &Topic) -> Result<usize, ReadError> {
        let mut next = 0;
        while next < topic.range(0).end {
            let read = topic.read(0, next, 1_000)?;
            for record in &read.records {
                assert_eq!(record.payload, self.payloads[record.offset as usize], "wrong data was served");
            }
            next = read.next;
        }
        Ok(next as usize)
    }

    fn restore(&self) {
        for (path, content) in &self.files {
            if std::fs::read(path).ok().as_ref() != Some(content) {
                std::fs::write(path, content).unwrap();
            }
        }
    }

    fn segments(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.files
            .iter()
            .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "segment"))
            .cloned()
            .collect()
    }

    /// What is found after a change of one file: the damage, or how many records can be read. It opens in any case.
    fn outcome(&self) -> Result<usize, (PathBuf, u64)> {
        let topic = self.open().unwrap_or_else(|error| panic!("{error}"));
        match self.read(&topic) {
            Ok(count) => Ok(count),
            Err(ReadError::Damaged(damage)) => {
                // The rest can still be read, by those who are past it.
                assert!(damage.from < damage.to);
                assert!(damage.to == topic.range(0).end || topic.read(0, damage.to, 1).is_ok());
                assert_eq!(topic.damages(0).first(), Some(&*damage));
                Err((damage.file, damage.byte))
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn flip(path: &Path, content: &[u8], bit: usize) {
    let mut flipped = content.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    std::fs::write(path, flipped).unwrap();
}

/// Where the frames of a segment begin. The payload's length is at byte 20 of a head of 56.
fn frames(content: &[u8]) -> Vec<usize> {
    let mut starts = vec![];
    let mut at = 0;
    while at < content.len() {
        starts.push(at);
        at += 56 + u32::from_le_bytes(content[at + 20..at + 24].try_into().unwrap()) as usize;
    }
    starts
}

#[test]
fn every_flipped_bit_is_found_and_named() {
    let stored = Stored::new();
    for (path, content) in stored.segments() {
        for bit in 0..content.len() * 8 {
            flip(&path, &content, bit);
            let frame = frames(&content).into_iter().rfind(|start| *start <= bit / 8).unwrap() as u64;
            assert_eq!(stored.outcome(), Err((path.clone(), frame)), "bit {bit} of {}", path.display());
            assert_eq!(std::fs::metadata(&path).unwrap().len(), content.len() as u64, "nothing was cut");
            stored.restore();
        }
    }
    assert_eq!(stored.outcome(), Ok(15));
}

#[test]
fn without_the_mark_only_the_last_group_can_be_taken_for_torn() {
    let stored = Stored::new();
    let mark = stored.files.iter().find(|(path, _)| path.ends_with("mark")).unwrap().0.clone();
    let (path, content) = stored.segments().pop().unwrap();
    let last = *frames(&content).last().unwrap();
    let mut taken_for_torn = 0;
    for bit in (0..content.len() * 8).step_by(3) {
        flip(&path, &content, bit);
        std::fs::write(&mark, []).unwrap();
        match stored.outcome() {
            Err((file, _)) => assert_eq!(file, path),
            Ok(count) => {
                assert!(bit / 8 >= last, "bit {bit} is before the last group, at byte {last}");
                assert_eq!(count, 14);
                taken_for_torn += 1;
            }
        }
        stored.restore();
    }
    assert!(taken_for_torn > 0, "this is what the mark is for");
}

#[test]
fn a_damaged_mark_or_meta_serves_nothing_wrong() {
    let stored = Stored::new();
    let is_segment = |path: &Path| path.extension().is_some_and(|extension| extension == "segment");
    for (path, content) in stored.files.iter().filter(|(path, _)| !is_segment(path)) {
        assert!(!content.is_empty());
        for bit in 0..content.len() * 8 {
            flip(path, content, bit);
            assert_eq!(stored.outcome(), Ok(15), "bit {bit} of {}", path.display());
            stored.restore();
        }
    }
}

#[test]
fn acknowledged_bytes_that_are_gone_are_missed() {
    let stored = Stored::new();
    for (path, content) in stored.segments() {
        for length in 0..content.len() {
            std::fs::write(&path, &content[..length]).unwrap();
            let outcome = stored.outcome();
            assert_eq!(outcome.as_ref().map_err(|(file, _)| file), Err(&path), "cut to {length}");
            stored.restore();
        }
        std::fs::remove_file(&path).unwrap();
        let stored_from_later = path.ends_with("00000000000000000000.segment");
        // Whether the oldest was removed by retention cannot be known: then the range says what there is.
        match stored.open() {
            Ok(topic) if stored_from_later => assert!(topic.range(0).start > 0),
            Ok(topic) => assert!(matches!(stored.read(&topic), Err(ReadError::Damaged(_)))),
            Err(error) => panic!("{error}"),
        }
        stored.restore();
    }
}

#[test]
fn a_torn_group_is_cut_off_wherever_it_was_torn() {
    let stored = Stored::new();
    let (path, content) = stored.segments().pop().unwrap();
    let (before, mark_before) = {
        // The state before the last group: what its crash would leave is the group's bytes in any shape.
        let stored_mark = stored.files.iter().find(|(path, _)| path.ends_with("mark")).unwrap();
        (*frames(&content).last().unwrap(), stored_mark.0.clone())
    };
    for length in before..content.len() {
        for shape in 0..3 {
            let mut torn = content[..length].to_vec();
            match shape {
                0 => {}
                // The file grew, the pages did not arrive.
                1 => torn[before..].fill(0),
                _ => torn.resize(content.len() + 100, 0),
            }
            std::fs::write(&path, torn).unwrap();
            std::fs::write(&mark_before, []).unwrap();
            let topic = stored.open().unwrap();
            assert_eq!(stored.read(&topic).unwrap(), 14);
            assert_eq!(std::fs::metadata(&path).unwrap().len(), before as u64);
            append(&topic, vec![record(0, stored.payloads[14].clone())]).unwrap();
            assert_eq!(read_all(&topic, 0).unwrap().len(), 15);
            drop(topic);
            stored.restore();
        }
    }
}

#[test]
fn a_frame_inside_a_payload_is_not_taken_for_one() {
    let stored = Stored::new();
    // A frame of another log, placed where it would bear witness if it were believed: its offset lies ahead, and its
    // durable length between the start of the frame it is in and itself.
    let other = directory();
    let topic = Log::open(other.path(), Options::default()).unwrap().topic("t", 1).unwrap();
    let mut random = Random::new(8);
    (0..40).for_each(|_| drop(append(&topic, vec![record(0, random.bytes(60))]).unwrap()));
    drop(topic);
    let content = std::fs::read(&segments(other.path())[0]).unwrap();
    let foreign = content[*frames(&content).last().unwrap()..].to_vec();
    let payload = [random.bytes(8_000), foreign.clone(), random.bytes(1_000)].concat();
    let topic = stored.open().unwrap();
    append(&topic, vec![record(0, payload)]).unwrap();
    drop(topic);
    let path = segments(stored.directory.path()).pop().unwrap();
    let mark = stored.directory.path().join("topics/t/0000/mark");
    let mut content = std::fs::read(&path).unwrap();
    let last = *frames(&content).last().unwrap();
    assert!(content[last..].windows(foreign.len()).any(|window| window == foreign), "the payload is stored as it is");
    // Torn in its head, and no mark to help.
    content[last + 9] ^= 1;
    std::fs::write(&path, &content).unwrap();
    std::fs::write(&mark, []).unwrap();
    assert_eq!(stored.open().unwrap().range(0).end, 15);
}

#[test]
fn whole_frames_in_the_wrong_place_are_found() {
    let stored = Stored::new();
    for (path, content) in stored.segments() {
        let starts = frames(&content);
        let (first, second) = content[..starts[2]].split_at(starts[1]);
        assert_eq!(first.len(), second.len());
        let swapped = [second, first, &content[starts[2]..]].concat();
        let repeated = [first, first, &content[starts[2]..]].concat();
        for (changed, byte) in [(swapped, 0), (repeated, starts[1] as u64)] {
            std::fs::write(&path, changed).unwrap();
            assert_eq!(stored.outcome(), Err((path.clone(), byte)));
            stored.restore();
        }
    }
}
