//! Tasks that finish what they have (R48): those that drain in a view, and those that left it with requests in flight
//! (their deploy was retired, or a later task has their address).
//!
//! Kept by the applier, so that nobody has to look through all tasks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_schemas::tasks::Standing;

use super::task::{Member, TaskKey, TaskState};

/// See the module. A task that left is forgotten with its last request, when it is looked at.
#[derive(Debug, Default)]
pub(super) struct Draining {
    /// By where it is in memory: a task may have left at one address, and be there again at another.
    tasks: Mutex<HashMap<usize, Leaving>>,
}

#[derive(Debug)]
struct Leaving {
    task: Arc<TaskState>,
    is_in_view: bool,
}

impl Draining {
    /// Takes account of a task as a new view has it.
    pub(super) fn seen(&self, member: &Member) {
        let mut tasks = self.locked();
        let at = place(&member.task);
        if member.standing == Standing::Draining {
            tasks.insert(at, Leaving { task: Arc::clone(&member.task), is_in_view: true });
        } else {
            tasks.remove(&at);
        }
    }

    /// Takes account of a task that is in no view any more.
    pub(super) fn left(&self, task: &Arc<TaskState>) {
        let mut tasks = self.locked();
        match task.in_flight() {
            0 => drop(tasks.remove(&place(task))),
            _ => drop(tasks.insert(place(task), Leaving { task: Arc::clone(task), is_in_view: false })),
        }
    }

    /// Each of them with its requests in flight.
    pub(super) fn counts(&self) -> BTreeMap<TaskKey, usize> {
        let mut counts = BTreeMap::new();
        let mut tasks = self.locked();
        tasks.retain(|_, leaving| leaving.is_in_view || leaving.task.in_flight() > 0);
        for Leaving { task, .. } in tasks.values() {
            *counts.entry(task.key().clone()).or_default() += task.in_flight();
        }
        counts
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<usize, Leaving>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(task: &Arc<TaskState>) -> usize {
    Arc::as_ptr(task).addr()
}
