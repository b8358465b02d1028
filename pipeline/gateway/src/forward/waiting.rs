//! Requests that wait because each task of their revision has as many as it takes: bounded in number and time.

use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;
use rand::Rng;
use tokio::time::{Instant, timeout_at};

use crate::choose::{Attempt, Refused};
use crate::server::options::Options;
use crate::table::{RevisionView, TaskKey};

/// How many wait for each revision; those for which none waits are not in it.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    counts: Mutex<HashMap<(String, String), usize>>,
}

/// A place among those that wait; given back when it is dropped.
struct Place<'a> {
    waiting: &'a Waiting,
    key: (String, String),
}

impl Waiting {
    /// Chooses a task, and waits for one where all are full, but not beyond the route's time.
    ///
    /// # Errors
    /// As [`RevisionView::choose`]: `Saturated` after the wait, or at once where too many wait already.
    pub(crate) async fn choose(
        &self,
        revision: &RevisionView,
        tried: &[TaskKey],
        options: &Options,
        over: Option<Instant>,
    ) -> Result<Attempt, Refused> {
        let first = choose(revision, tried);
        if !matches!(first, Err(Refused::Saturated)) {
            return first;
        }
        let Some(_place) = self.enter(revision, options.queue_max) else { return first };
        let until = Instant::now() + options.queue;
        let until = over.map_or(until, |over| until.min(over));
        loop {
            let mut freed = std::pin::pin!(revision.freed().notified());
            freed.as_mut().enable();
            let next = choose(revision, tried);
            if !matches!(next, Err(Refused::Saturated)) || timeout_at(until, freed).await.is_err() {
                return next;
            }
        }
    }

    fn enter(&self, revision: &RevisionView, max: usize) -> Option<Place<'_>> {
        let key = (revision.deploy.service.clone(), revision.revision.to_string());
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&key).copied().unwrap_or(0);
        if count >= max {
            return None;
        }
        counts.insert(key.clone(), count + 1);
        Some(Place { waiting: self, key })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut counts = self.waiting.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.key)),
        }
    }
}

fn choose(revision: &RevisionView, tried: &[TaskKey]) -> Result<Attempt, Refused> {
    revision.choose(tried, Instant::now(), &mut generator())
}

/// A generator of random numbers; not for secrets.
pub(crate) fn generator() -> impl Rng {
    rand::rng()
}
