//! The log: a directory of topics, open in one process at a time.
//!
//! ```text
//! DIRECTORY/lock                       flock; holds the owner's process id
//! DIRECTORY/topics/NAME/meta           written once, at creation
//! DIRECTORY/topics/NAME/meta.copy      the same
//! DIRECTORY/topics/NAME/marks          copies of the marks of all partitions
//! DIRECTORY/topics/NAME/0003/mark      how much of the last segment is durable
//! DIRECTORY/topics/NAME/0003/holes     records that were set aside because they cannot be read
//! DIRECTORY/topics/NAME/0003/lost      where the partition began anew after all its segments were lost
//! DIRECTORY/topics/NAME/0003/openings  which opening of the log wrote from which offset on
//! DIRECTORY/topics/NAME/0003/00000000000000001234.segment
//! ```
//! A topic is built as `~NAME` and renamed into place, so it exists either as a whole or not at all.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::damage::Damage;
use crate::error::{Cause, During, Error};
use crate::inner::Inner;
use crate::lock;
use crate::lock_file::Lock;
use crate::options::Options;
use crate::retention::Removed;
use crate::shared::{self, Shared};
use crate::system::{Os, System};
use crate::topic::Topic;

/// Threads, open files and the work of opening grow with partitions; one machine gains nothing beyond a few dozen.
const PARTITIONS_MAX: u32 = 1024;
/// Leaves room in the 255 bytes of a file name.
const NAME_BYTES_MAX: usize = 200;

/// An open log. Clones share it; it is closed by [`Log::close`] or with the last clone and the last [`Topic`].
#[derive(Debug, Clone)]
pub struct Log(Arc<Inner>);

impl Log {
    /// Opens the log in a directory, creating it if needed. Blocks: it checks the last segment of every partition.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process or handle has it open; [`Error::Corrupt`] if a topic's `meta` and its
    /// copy are both damaged or gone. With other damage it still opens, see [`Log::damages`].
    pub fn open(directory: &Path, options: Options) -> Result<Self, Error> {
        Self::open_on(Arc::new(Os), directory, options)
    }

    /// [`Log::open`] with another [`System`] underneath, so that tests can inject faults.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_on(system: Arc<dyn System>, directory: &Path, options: Options) -> Result<Self, Error> {
        let options = options.clamped();
        let topics_directory = directory.join("topics");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).during("create", directory)?;
        let lock_file = Lock::take(directory)?;
        match system.create_dir(&topics_directory) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            created => created.during("create", &topics_directory)?,
        }
        system.sync_dir(directory).during("sync", directory)?;
        if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            system.sync_dir(parent).during("sync", parent)?;
        }
        let mut topics = BTreeMap::new();
        for name in system.list(&topics_directory).during("list", &topics_directory)? {
            let path = topics_directory.join(&name);
            if name.starts_with('~') {
                // A creation that was interrupted before its rename, and never acknowledged.
                system.remove_dir(&path).during("remove", &path)?;
            } else if is_name(&name) {
                let shared = Shared::open(&system, &path, &name, &options)?;
                topics.insert(name, Arc::new(shared));
            }
        }
        Ok(Self(Arc::new(Inner {
            topics_directory,
            options,
            system,
            topics: RwLock::new(topics),
            creating: Mutex::new(()),
            lock_file: Mutex::new(Some(lock_file)),
        })))
    }

    /// [`Error::Locked`] if another process or handle has the log of a directory open. A directory without a log is
    /// not in use, and nothing is created there.
    #[must_use]
    pub fn in_use(directory: &Path) -> Option<Error> {
        if !directory.join("lock").exists() {
            return None;
        }
        Lock::take(directory).err().filter(|error| matches!(error, Error::Locked { .. }))
    }

    /// Gives the topic, creating it durably if there is none of that name. Blocks.
    ///
    /// # Errors
    /// [`Error::Partitions`] if it exists with another number of partitions.
    pub fn topic(&self, name: &str, partitions: u32) -> Result<Topic, Error> {
        if !is_name(name) {
            return Err(Error::TopicName { name: name.to_owned() });
        }
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(Error::PartitionsRange { topic: name.to_owned(), requested: partitions, max: PARTITIONS_MAX });
        }
        let _one_at_a_time = lock(&self.0.creating);
        if lock(&self.0.lock_file).is_none() {
            return Err(Error::Closed);
        }
        let known = self.read_topics().get(name).map(Arc::clone);
        let shared = match known {
            Some(shared) => shared,
            None => {
                shared::create(self.0.system.as_ref(), &self.0.topics_directory, name, partitions)?;
                let path = self.0.topics_directory.join(name);
                let shared = Arc::new(Shared::open(&self.0.system, &path, name, &self.0.options)?);
                let mut topics = self.0.topics.write().unwrap_or_else(PoisonError::into_inner);
                topics.insert(name.to_owned(), Arc::clone(&shared));
                shared
            }
        };
        if shared.partitions() != partitions {
            let existing = shared.partitions();
            let topic = name.to_owned();
            return Err(Error::Partitions { topic, existing, requested: partitions });
        }
        Ok(Topic::new(shared, Arc::clone(&self.0)))
    }

    /// The topics that exist, by name, with their numbers of partitions.
    #[must_use]
    pub fn topics(&self) -> Vec<(String, u32)> {
        self.read_topics().iter().map(|(name, shared)| (name.clone(), shared.partitions())).collect()
    }

    /// Removes what retention no longer keeps, in every partition. Committers do so too, whenever they begin a
    /// segment; a log that may become idle needs this from time to time. Blocks.
    ///
    /// # Errors
    /// The first failure, after all partitions have had their turn.
    pub fn enforce_retention(&self) -> Result<Removed, Error> {
        let topics: Vec<_> = self.read_topics().values().map(Arc::clone).collect();
        let mut total = Removed::default();
        let mut failure = None;
        for partition in topics.iter().flat_map(|shared| shared.all()) {
            match partition.enforce_retention() {
                Ok(removed) => {
                    total.segments += removed.segments;
                    total.bytes += removed.bytes;
                }
                Err(fault) => failure = failure.or(Some(fault)),
            }
        }
        failure.map_or(Ok(total), |fault| Err(fault.into()))
    }

    /// Partitions that take no appends at the moment: topic, partition, why.
    #[must_use]
    pub fn stopped(&self) -> Vec<(String, u32, Cause)> {
        let topics = self.read_topics();
        let each = topics.iter().flat_map(|(name, shared)| shared.all().iter().map(move |partition| (name, partition)));
        each.filter_map(|(name, partition)| Some((name.clone(), partition.place.partition, partition.stopped()?)))
            .collect()
    }

    /// Acknowledged records that cannot be read, as far as is known: topic and damage. See [`Topic::damages`].
    #[must_use]
    pub fn damages(&self) -> Vec<(String, Damage)> {
        let topics = self.read_topics();
        let each = topics.iter().flat_map(|(name, shared)| shared.all().iter().map(move |partition| (name, partition)));
        each.flat_map(|(name, partition)| partition.damages().into_iter().map(|damage| (name.clone(), damage)))
            .collect()
    }

    /// Refuses new appends, finishes those that wait, and unlocks the directory. Reading still works. Blocks.
    ///
    /// # Errors
    /// The first failure to sync a mark; everything acknowledged is durable all the same.
    pub fn close(&self) -> Result<(), Error> {
        Ok(self.0.close()?)
    }

    fn read_topics(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Shared>>> {
        self.0.topics.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
}
