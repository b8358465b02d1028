//! Services that may have tasks for trials: on probation, or out because they could not be reached.
//!
//! A table in which every task can be reached has none, so that looking for trials costs nothing. A service may be in it
//! without such a task, and never the other way round: a task is marked first, and its service is added then.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module. Holds each service once, so it is no larger than the table.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    services: Mutex<BTreeSet<Arc<str>>>,
}

impl Suspects {
    /// Adds a service.
    pub(crate) fn add(&self, service: &Arc<str>) {
        let mut services = self.locked();
        if !services.contains(service) {
            services.insert(Arc::clone(service));
        }
    }

    /// Takes all of them. Those that still have such a task MUST be added again.
    pub(super) fn take(&self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut *self.locked())
    }

    /// Adds them again.
    pub(super) fn give_back(&self, still: BTreeSet<Arc<str>>) {
        let mut services = self.locked();
        if services.is_empty() {
            *services = still;
        } else {
            services.extend(still);
        }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeSet<Arc<str>>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
