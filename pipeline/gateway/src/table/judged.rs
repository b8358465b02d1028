//! Services in which trials reached tasks: handed from those who make trials to the applier.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// See the module. Holds each service once, so it is no larger than the table.
#[derive(Debug, Default)]
pub(super) struct Judged {
    services: Mutex<BTreeSet<Arc<str>>>,
    wake: Notify,
}

impl Judged {
    /// Adds a service, and wakes the applier.
    pub(super) fn add(&self, service: Arc<str>) {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).insert(service);
        self.wake.notify_one();
    }

    /// Takes all of them.
    pub(super) fn take(&self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut *self.services.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Woken with each service.
    pub(super) fn wake(&self) -> &Notify {
        &self.wake
    }
}
