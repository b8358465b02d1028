//! What all handles of a log share: its topics and the lock of its directory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::error::Fault;
use crate::lock;
use crate::lock_file::Lock;
use crate::options::Options;
use crate::shared::Shared;
use crate::system::System;

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) topics_directory: PathBuf,
    pub(crate) options: Options,
    pub(crate) system: Arc<dyn System>,
    pub(crate) topics: RwLock<BTreeMap<String, Arc<Shared>>>,
    /// One creation at a time.
    pub(crate) creating: Mutex<()>,
    /// `None` once closed.
    pub(crate) lock_file: Mutex<Option<Lock>>,
}

impl Inner {
    pub(crate) fn close(&self) -> Result<(), Fault> {
        let _no_creation = lock(&self.creating);
        let Some(lock_file) = lock(&self.lock_file).take() else { return Ok(()) };
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        let partitions: Vec<_> = topics.values().flat_map(|shared| shared.all()).collect();
        // Close all before joining one: their last groups are synced in parallel.
        partitions.iter().for_each(|partition| partition.close());
        let closed: Vec<_> = partitions.iter().map(|partition| partition.join()).collect();
        topics.values().for_each(|shared| shared.close());
        drop(lock_file);
        closed.into_iter().collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "the log was not closed cleanly; nothing acknowledged is affected");
        }
    }
}
