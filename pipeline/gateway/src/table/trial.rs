//! Trials: connections without a request, to tasks that nobody has judged or that could not be reached.
//!
//! A task whose health is unknown, or that was loaded from disk, is on probation (R61): a trial that reaches it makes
//! it routable at this gateway. A task that could not be reached is out until a trial, or a request that has no other
//! task, reaches it. At most one try of a task runs at a time, and after a failure the next one waits (1 s, doubling to
//! 30 s). The caller connects, and probes where the deploy says how.

use std::collections::BTreeSet;
use std::sync::Arc;

use millstream_schemas::tasks::Deploy;
use tokio::time::Instant;

use super::Table;
use super::judged::Judged;
use super::task::{Member, TaskState};
use crate::choose::counters::Counters;
use crate::choose::hard::Reach;

/// A try of a task. Dropped without a result, it says nothing and the next one may begin.
#[derive(Debug)]
#[must_use = "a trial that is dropped is not made"]
pub struct Trial {
    service: Arc<str>,
    deploy: Arc<Deploy>,
    task: Arc<TaskState>,
    number: u64,
    judged: Arc<Judged>,
    counters: Arc<Counters>,
}

impl Table {
    /// Trials that are due, `max` at most; to be called when [`Table::trials_due`] wakes, and four times a second.
    ///
    /// Reads the tasks of services in which any is on probation or could not be reached, and no others.
    pub fn trials(&self, max: usize, now: Instant) -> Vec<Trial> {
        let mut found = Vec::new();
        let mut suspects = self.suspects.take();
        suspects.retain(|name| {
            let Some(service) = self.lookup(name) else { return false };
            let mut still = false;
            for revision in service.revisions.values() {
                for member in revision.tasks.members.iter().filter(|member| member.has_trials()) {
                    still = true;
                    if found.len() == max {
                        return true;
                    }
                    if !is_due(member, now) {
                        continue;
                    }
                    let number = member.task.record().hard.try_once(now);
                    found.extend(number.map(|number| Trial {
                        service: Arc::clone(&service.service),
                        deploy: Arc::clone(&revision.deploy),
                        task: Arc::clone(&member.task),
                        number,
                        judged: Arc::clone(&self.judged),
                        counters: Arc::clone(&self.counters),
                    }));
                }
            }
            still
        });
        self.suspects.give_back(suspects);
        found
    }

    /// Services in which trials reached tasks since this was last asked.
    pub(super) fn take_judged(&self) -> BTreeSet<Arc<str>> {
        self.judged.take()
    }
}

/// Whether a trial of it, which has trials, may be due; only [`Hard::try_once`](crate::choose::hard::Hard::try_once) decides.
fn is_due(member: &Member, now: Instant) -> bool {
    member.is_on_probation() || member.task.record().hard.reach(now) == Reach::Due
}

impl Trial {
    /// The task to connect to.
    pub fn task(&self) -> &Arc<TaskState> {
        &self.task
    }

    /// How it is probed, and what its responses must name.
    pub fn deploy(&self) -> &Arc<Deploy> {
        &self.deploy
    }

    /// It was reached, and answered the probe where there is one.
    pub fn passed(self) {
        let mut record = self.task.record();
        if !record.hard.reached(self.number) {
            return;
        }
        self.task.mark(&record);
        drop(record);
        self.task.pass();
        self.judged.add(Arc::clone(&self.service));
    }

    /// It answered, but not that it is well: it can be reached, and is tried again.
    pub(crate) fn unwell(self, now: Instant) {
        let mut record = self.task.record();
        record.hard.unwell(self.number, now);
        self.task.mark(&record);
    }

    /// It was not reached, or did not answer the probe.
    pub fn failed(self, now: Instant) {
        let mut record = self.task.record();
        if record.hard.failed(Some(self.number), now) {
            Counters::add(&self.counters.hard_failures);
        }
        self.task.mark(&record);
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // After a result this number is no longer that of the running try, and nothing happens.
        self.task.record().hard.given_up(self.number);
    }
}
