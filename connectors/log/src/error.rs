//! The errors of the log, and what still holds after each.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::damage::Damage;

/// Opening a log or a topic failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process, or another [`crate::Log`] in this one, has the directory open.
    #[error("{}", locked(.lock, *.pid, *.lives))]
    Locked {
        /// The lock file.
        lock: PathBuf,
        /// The process that noted its number there when it took the lock.
        pid: Option<u32>,
        /// Whether a process with that number is visible from here.
        lives: bool,
    },
    /// Both files with a topic's description are damaged. Nothing was changed.
    #[error("{}", undescribed(.0))]
    Corrupt(Box<[Corrupt; 2]>),
    /// The operating system refused.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Topic names are 1 to 200 of `a-z A-Z 0-9 . _ -` and do not begin with a dot.
    #[error("{name:?} cannot name a topic: use 1 to 200 letters, digits, '.', '_' or '-', not beginning with '.'")]
    TopicName { name: String },
    /// A topic keeps the number of partitions it was created with, because keys are mapped to partitions by it.
    #[error("topic {topic} has {existing} partitions, not {requested}: choose another name to change the number")]
    Partitions { topic: String, existing: u32, requested: u32 },
    /// A topic has 1 to 1024 partitions.
    #[error("{requested} partitions requested for topic {topic}: from 1 to {max} are possible")]
    PartitionsRange { topic: String, requested: u32, max: u32 },
    /// [`crate::Log::close`] was called.
    #[error("the log is closed")]
    Closed,
}

/// Acknowledged data that differs from what was written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} is damaged at byte {byte}: {reason}", .file.display())]
pub struct Corrupt {
    /// The damaged file.
    pub file: PathBuf,
    /// Where the first invalid frame or other fault begins.
    pub byte: u64,
    /// Which check failed.
    pub reason: &'static str,
    /// The file ends where more is expected.
    pub is_short: bool,
}

/// A refusal by the operating system.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{action} {}", .path.display())]
pub struct Fault {
    /// The action that failed, as a verb.
    pub action: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// The system's error. Shared, because one failed sync fails many appends.
    pub source: Arc<io::Error>,
}

impl Fault {
    pub(crate) fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self { action, path: path.to_owned(), source: Arc::new(source) }
    }

    /// Whether more space would fix it: disk full, over quota, or over the file size limit.
    #[must_use]
    pub fn is_space(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self.source.kind(), StorageFull | QuotaExceeded | FileTooLarge)
    }
}

fn undescribed(both: &[Corrupt; 2]) -> String {
    let [first, second] = both;
    format!("{first}; {second}; restore one of the two files from a backup, the other is written again from it")
}

fn locked(lock: &Path, pid: Option<u32>, lives: bool) -> String {
    let file = lock.display();
    match pid {
        Some(pid) if lives => format!("{file} is held by process {pid}, which has the log open: stop it first"),
        Some(pid) => format!(
            "{file} is held by another process (millstream noted {pid}, which is gone): `fuser {file}` names it; if it \
             names none, another container has this volume"
        ),
        None => format!("{file} is held by another process: `fuser {file}` names it"),
    }
}

/// Names the action and the path of a failed call.
pub(crate) trait During<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, Fault>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, Fault> {
        self.map_err(|error| Fault::new(action, path, error))
    }
}

/// An append that is not durable as a whole.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Nothing was stored.
    #[error("record {index} has {bytes} bytes, over the limit of {bytes_max}")]
    RecordTooLarge { index: usize, bytes: usize, bytes_max: usize },
    /// Nothing was stored.
    #[error("record {index} asks for partition {partition} of {partitions}")]
    NoSuchPartition { index: usize, partition: u32, partitions: u32 },
    /// Nothing was stored.
    #[error("the log is closed")]
    Closed,
    /// Some records are durable and some are not. One that is not durable may still be read later, if the fault
    /// hit between writing and acknowledging; it was never acknowledged.
    #[error("{} of {} parts of the append are not durable: {}", .failed.len(), .failed.len() + .appended.len(), first_cause(.failed))]
    NotDurable { appended: Vec<crate::Appended>, failed: Vec<Failed> },
}

/// The records of one append that are not durable, and why.
#[derive(Debug)]
pub struct Failed {
    /// The partition they were meant for.
    pub partition: u32,
    /// Their indices in the vector that was appended.
    pub records: Vec<usize>,
    /// Why they are not durable.
    pub cause: Cause,
}

/// Why a partition takes no appends.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Cause {
    /// The operating system refused; see [`crate::Topic::mend`].
    #[error("the partition stopped after a failure to {}", .0)]
    Fault(Fault),
    /// The log was closed while the records waited.
    #[error("the log is closed")]
    Closed,
    /// The partition's thread could not be started, or panicked.
    #[error("the partition's writing thread has ended: {0}")]
    Thread(Arc<str>),
}

fn first_cause(failed: &[Failed]) -> String {
    failed.first().map(|failed| format!("partition {}: {}", failed.partition, failed.cause)).unwrap_or_default()
}

/// Why a read returned no records.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset was removed by retention, or does not exist yet.
    #[error("offset {from} is outside of {start}..{end}")]
    OutOfRange { from: u64, start: u64, end: u64 },
    /// The topic has no such partition.
    #[error("partition {partition} of {partitions}")]
    NoSuchPartition { partition: u32, partitions: u32 },
    /// Acknowledged data is damaged or missing, and none of it is served. Once a person gives that range up
    /// ([`crate::Topic::set_aside`]), reads continue after it.
    #[error(transparent)]
    Damaged(Box<Damage>),
    /// No damage begins at this offset.
    #[error("partition {partition} is not damaged at offset {offset}")]
    NotDamaged { partition: u32, offset: u64 },
    /// The operating system refused.
    #[error(transparent)]
    Fault(#[from] Fault),
}
