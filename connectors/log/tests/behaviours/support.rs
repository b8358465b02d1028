//! A [`System`] that records, fails and forgets on demand, and small helpers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use millstream_log::system::{File, Os, System};
use millstream_log::{Log, NewRecord, Options, ReadError, Record, Topic};

/// A call that changes something, before it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Create(PathBuf),
    Write(PathBuf),
    Cut(PathBuf),
    Sync(PathBuf),
    Rename(PathBuf),
    Remove(PathBuf),
    SyncDir(PathBuf),
}

impl Event {
    pub(crate) fn is_segment(&self) -> bool {
        let (Self::Create(path) | Self::Write(path) | Self::Cut(path) | Self::Sync(path)) = self else { return false };
        path.extension().is_some_and(|extension| extension == "segment")
    }

    /// Whether it is a step of noting an opening; the directory's sync counts after the rename only.
    pub(crate) fn is_of_openings(&self) -> bool {
        match self {
            Self::Create(path) | Self::Write(path) | Self::Sync(path) => path.ends_with("~openings"),
            Self::Rename(path) => path.ends_with("openings"),
            Self::SyncDir(path) => path.ends_with("0000"),
            Self::Cut(_) | Self::Remove(_) => false,
        }
    }
}

/// How a call fails; a write may still have done its first bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure {
    pub(crate) kind: io::ErrorKind,
    pub(crate) bytes_done: usize,
}

type Rule = Arc<dyn Fn(&Event) -> Option<Failure> + Send + Sync>;

#[derive(Default)]
struct State {
    events: Vec<Event>,
    rule: Option<Rule>,
    clock_ms: Option<i64>,
    bytes_read: u64,
    /// The content of each file when it was last synced.
    synced: BTreeMap<PathBuf, Vec<u8>>,
    /// Files whose directory was not synced since they were created.
    created: BTreeSet<PathBuf>,
    /// Files whose directory was not synced since they were removed, with their content.
    removed: BTreeMap<PathBuf, Vec<u8>>,
    /// Files whose directory was not synced since another was renamed to them, with what they held before.
    replaced: BTreeMap<PathBuf, Option<Vec<u8>>>,
}

#[derive(Clone, Default)]
pub(crate) struct Faulty(Arc<Mutex<State>>);

impl std::fmt::Debug for Faulty {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Faulty")
    }
}

impl Faulty {
    pub(crate) fn log(&self, directory: &Path, options: Options) -> Log {
        Log::open_on(Arc::new(self.clone()), directory, options).unwrap()
    }

    /// From now on every call is put to the rule first.
    pub(crate) fn rule(&self, rule: impl Fn(&Event) -> Option<Failure> + Send + Sync + 'static) {
        self.0.lock().unwrap().rule = Some(Arc::new(rule));
    }

    pub(crate) fn no_rule(&self) {
        self.0.lock().unwrap().rule = None;
    }

    pub(crate) fn set_clock(&self, clock_ms: i64) {
        self.0.lock().unwrap().clock_ms = Some(clock_ms);
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().events.clone()
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.0.lock().unwrap().bytes_read
    }

    /// Turns the files under `directory` into what a power cut could leave: of everything not synced, any 4 KiB pages,
    /// any length, and any of the directory entries.
    pub(crate) fn power_cut(&self, directory: &Path, random: &mut Random) {
        const PAGE: usize = 4096;
        let state = self.0.lock().unwrap();
        for (path, content) in &state.removed {
            if random.below(2) == 0 {
                std::fs::write(path, content).unwrap();
            }
        }
        for path in files(directory) {
            if let Some(before) = state.replaced.get(&path)
                && random.below(2) == 0
            {
                match before {
                    Some(content) => std::fs::write(&path, content).unwrap(),
                    None => std::fs::remove_file(&path).unwrap(),
                }
                continue;
            }
            if state.created.contains(&path) && random.below(2) == 0 {
                std::fs::remove_file(&path).unwrap();
                continue;
            }
            let empty = Vec::new();
            let old = state.synced.get(&path).unwrap_or(&empty);
            let new = std::fs::read(&path).unwrap();
            let short = old.len().min(new.len());
            let long = old.len().max(new.len());
            let mut left = vec![0; short + random.below((long - short) as u64 + 1) as usize];
            for (index, page) in left.chunks_mut(PAGE).enumerate() {
                let source = if random.below(2) == 0 { old } else { &new };
                let source = source.get(index * PAGE..).unwrap_or_default();
                let length = source.len().min(page.len());
                page[..length].copy_from_slice(&source[..length]);
            }
            std::fs::write(&path, left).unwrap();
        }
    }

    fn happens(&self, event: Event) -> Result<(), Failure> {
        let rule = {
            let mut state = self.0.lock().unwrap();
            state.events.push(event.clone());
            state.rule.clone()
        };
        rule.and_then(|rule| rule(&event)).map_or(Ok(()), Err)
    }

    fn wrap(&self, path: &Path, file: Box<dyn File>) -> Box<dyn File> {
        Box::new(FaultyFile { system: self.clone(), path: path.to_owned(), file })
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        failure.kind.into()
    }
}

impl System for Faulty {
    fn now_ms(&self) -> i64 {
        let clock_ms = self.0.lock().unwrap().clock_ms;
        clock_ms.unwrap_or_else(|| Os.now_ms())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        Os.create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.happens(Event::Create(path.to_owned()))?;
        let file = Os.create(path)?;
        self.0.lock().unwrap().created.insert(path.to_owned());
        Ok(self.wrap(path, file))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Box<dyn File>> {
        Ok(self.wrap(path, Os.open(path, write)?))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        Os.list(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.happens(Event::Rename(to.to_owned()))?;
        let is_file = from.is_file();
        let before = std::fs::read(to).ok();
        Os.rename(from, to)?;
        let mut state = self.0.lock().unwrap();
        let moved = |path: PathBuf| path.strip_prefix(from).map(|rest| to.join(rest)).unwrap_or(path);
        state.synced = std::mem::take(&mut state.synced).into_iter().map(|(path, data)| (moved(path), data)).collect();
        state.created = std::mem::take(&mut state.created).into_iter().map(moved).collect();
        if is_file {
            state.created.remove(to);
            state.replaced.entry(to.to_owned()).or_insert(before);
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.happens(Event::Remove(path.to_owned()))?;
        let content = std::fs::read(path)?;
        Os.remove_file(path)?;
        self.0.lock().unwrap().removed.insert(path.to_owned(), content);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        Os.remove_dir(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.happens(Event::SyncDir(directory.to_owned()))?;
        let mut state = self.0.lock().unwrap();
        state.created.retain(|path| path.parent() != Some(directory));
        state.removed.retain(|path, _| path.parent() != Some(directory));
        state.replaced.retain(|path, _| path.parent() != Some(directory));
        Ok(())
    }
}

#[derive(Debug)]
struct FaultyFile {
    system: Faulty,
    path: PathBuf,
    file: Box<dyn File>,
}

impl File for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let read = self.file.read_at(buffer, at)?;
        self.system.0.lock().unwrap().bytes_read += read as u64;
        Ok(read)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        match self.system.happens(Event::Write(self.path.clone())) {
            Ok(()) => self.file.write_all_at(bytes, at),
            Err(failure) => {
                self.file.write_all_at(&bytes[..failure.bytes_done.min(bytes.len())], at)?;
                Err(failure.into())
            }
        }
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.system.happens(Event::Cut(self.path.clone()))?;
        self.file.set_length(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.system.happens(Event::Sync(self.path.clone()))?;
        let content = std::fs::read(&self.path)?;
        self.system.0.lock().unwrap().synced.insert(self.path.clone(), content);
        Ok(())
    }
}

/// A xorshift generator: the same seed gives the same test.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    /// Bytes that zstd cannot shorten.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 24) as u8).collect()
    }
}

/// Rounds of a random test.
pub(crate) fn rounds(default: u64, soak: u64) -> u64 {
    if std::env::var_os("MILLSTREAM_SOAK").is_some() { soak } else { default }
}

/// A directory in memory where there is one: these tests make many files, and do not need a disk.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(crate) fn record(partition: u32, payload: impl Into<Bytes>) -> NewRecord {
    NewRecord { partition: Some(partition), payload: payload.into(), ..NewRecord::default() }
}

/// Appends without an async runtime of the caller's.
pub(crate) fn append(
    topic: &Topic,
    records: Vec<NewRecord>,
) -> Result<Vec<millstream_log::Appended>, millstream_log::AppendError> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(topic.append(records))
}

/// Reads a partition from its start to its end.
pub(crate) fn read_all(topic: &Topic, partition: u32) -> Result<Vec<Record>, ReadError> {
    let range = topic.range(partition);
    let mut all = Vec::new();
    let mut next = range.start;
    while next < range.end {
        let read = topic.read(partition, next, 1 << 16)?;
        assert!(!read.records.is_empty(), "a read before the end gives something");
        next = read.next;
        all.extend(read.records);
    }
    let offsets: Vec<u64> = all.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, (range.start..range.end).collect::<Vec<_>>(), "offsets follow without gap or duplicate");
    Ok(all)
}

/// First offsets, and those after the last, of what cannot be read.
pub(crate) type Holes = Vec<(u64, u64)>;

/// Reads a partition from its start to its end, over what was set aside. Gives the records, and the ranges passed over.
pub(crate) fn read_over_holes(topic: &Topic, partition: u32) -> Result<(Vec<Record>, Holes), ReadError> {
    let range = topic.range(partition);
    let mut all = Vec::<Record>::new();
    let mut holes = Vec::new();
    let mut next = range.start;
    while next < range.end {
        let read = topic.read(partition, next, 1 << 16)?;
        let reached = read.records.last().map_or(next, |last| last.offset + 1);
        assert!(read.records.first().is_none_or(|first| first.offset == next));
        assert!(read.records.windows(2).all(|two| two[0].offset + 1 == two[1].offset));
        if read.next > reached {
            holes.push((reached, read.next));
        }
        assert!(read.next > next, "it moves on");
        next = read.next;
        all.extend(read.records);
    }
    Ok((all, holes))
}

/// All files below a directory.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

pub(crate) fn segments(directory: &Path) -> Vec<PathBuf> {
    files(directory)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .collect()
}
