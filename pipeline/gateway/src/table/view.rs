//! What a request reads: a service as one commit left it. Views are never changed, only replaced.
//!
//! A request that has pinned a revision keeps it. Its later attempts see the tasks that the revision has by then, and
//! none where the revision is gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use millstream_schemas::tasks::{Alias, Deploy, Pending};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::suspects::Suspects;
use super::task::{Member, TaskKey};
use crate::choose::counters::Counters;

/// A service.
#[derive(Debug, Clone, Default)]
pub struct ServiceView {
    /// Its name.
    pub service: Arc<str>,
    /// Its aliases, without deleted ones.
    pub aliases: HashMap<Arc<str>, Arc<AliasView>>,
    /// Its revisions, retired ones too.
    pub revisions: HashMap<Arc<str>, Arc<RevisionView>>,
}

/// An alias as this gateway serves it.
#[derive(Debug, Clone)]
pub struct AliasView {
    /// The generation that is served; where none is (see [`AliasView::is_served`]) the newest.
    pub alias: Arc<Alias>,
    /// The newest generation.
    pub newest: i64,
    /// Why the newest is not served; `None` where it is.
    pub held: Option<Held>,
    /// Whether `alias` is served. A new alias whose targets have no task is not.
    pub is_served: bool,
    /// Revisions with their weights, in their order. Those without weight are left out.
    pub targets: Vec<(u32, Arc<RevisionView>)>,
    pub(crate) counters: Arc<Counters>,
}

/// A generation that is not served yet.
#[derive(Debug, Clone)]
pub struct Held {
    /// The generation.
    pub generation: i64,
    /// Since when.
    pub since: Instant,
    /// What it waits for.
    pub reasons: Vec<Lack>,
}

/// What a revision lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// The revision; empty where an alias means every live revision and there is none.
    pub revision: Arc<str>,
    /// Routable tasks that it has here.
    pub ready: usize,
    /// Routable tasks that it must have; `None` where there is no live deploy that says it.
    pub wanted: Option<usize>,
    /// Its other tasks, by what they wait for.
    pub pending: BTreeMap<Pending, usize>,
}

/// A revision.
#[derive(Debug, Clone)]
pub struct RevisionView {
    /// Its name.
    pub revision: Arc<str>,
    /// How it is served, as this view has it.
    pub deploy: Arc<Deploy>,
    /// Its tasks, as this view has them.
    pub tasks: Arc<Tasks>,
    pub(crate) line: Arc<Line>,
}

/// The tasks of a revision at one time.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    /// Grows with each view of the table.
    pub(crate) number: u64,
    /// Requests at a time that a task takes.
    pub(crate) concurrency_max: Option<usize>,
    /// Those that may be dialled, by source and id.
    pub members: Vec<Arc<Member>>,
    /// Tasks that may not be dialled, by source and id, with what they wait for.
    pub waiting: Vec<(TaskKey, Pending)>,
}

/// What all views of one revision share.
#[derive(Debug)]
pub(crate) struct Line {
    /// The tasks in the last view.
    pub(crate) latest: ArcSwap<Tasks>,
    /// Woken when a task of it can take one more request.
    pub(crate) freed: Notify,
    /// Held while a breaker of it opens.
    opening: Mutex<()>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) suspects: Arc<Suspects>,
}

impl ServiceView {
    /// An alias.
    pub fn alias(&self, name: &str) -> Option<&Arc<AliasView>> {
        self.aliases.get(name)
    }

    /// A task that may be dialled.
    pub(crate) fn member(&self, task: &TaskKey) -> Option<&Arc<Member>> {
        self.revisions.values().find_map(|revision| revision.tasks.member(task))
    }

    /// A revision, for a request that names it.
    pub fn revision(&self, name: &str) -> Option<&Arc<RevisionView>> {
        self.revisions.get(name)
    }
}

impl RevisionView {
    /// The tasks that it has now.
    pub fn current(&self) -> Arc<Tasks> {
        Tasks::newer(&self.tasks, &self.line)
    }

    /// Completes when a task of it can take one more request, for a request refused as saturated. Create it before the
    /// attempt that may be refused, or poll [`tokio::sync::futures::Notified::enable`] first: then no wake is missed.
    pub fn freed(&self) -> &Notify {
        &self.line.freed
    }

    /// How long a draining task of it may finish what it has.
    pub fn drain(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.deploy.drain_ms).unwrap_or(0))
    }
}

impl Tasks {
    /// Tasks that may not be dialled, by what they wait for.
    pub fn pending(&self) -> BTreeMap<Pending, usize> {
        let mut pending = BTreeMap::new();
        for (_, reason) in &self.waiting {
            *pending.entry(*reason).or_default() += 1;
        }
        pending
    }

    /// A task that may be dialled.
    pub(crate) fn member(&self, task: &TaskKey) -> Option<&Arc<Member>> {
        self.members.binary_search_by(|member| member.task.key().cmp(task)).ok().and_then(|at| self.members.get(at))
    }

    /// Whether a task is among these, whether or not it may be dialled.
    pub(super) fn has(&self, task: &TaskKey) -> bool {
        self.member(task).is_some() || self.waiting.binary_search_by(|(key, _)| key.cmp(task)).is_ok()
    }

    /// Takes a task out.
    pub(super) fn remove(&mut self, task: &TaskKey) {
        if let Ok(at) = self.members.binary_search_by(|member| member.task.key().cmp(task)) {
            self.members.remove(at);
        }
        if let Ok(at) = self.waiting.binary_search_by(|(key, _)| key.cmp(task)) {
            self.waiting.remove(at);
        }
    }

    /// Enters a task that may be dialled and is not among these.
    pub(super) fn enter(&mut self, member: Member) {
        let at = self.members.partition_point(|other| other.task.key() < member.task.key());
        self.members.insert(at, Arc::new(member));
    }

    /// Enters a task that may not be dialled and is not among these.
    pub(super) fn wait(&mut self, task: TaskKey, reason: Pending) {
        let at = self.waiting.partition_point(|(other, _)| *other < task);
        self.waiting.insert(at, (task, reason));
    }

    /// Those of a view, or those of the last view.
    ///
    /// A view is published before the line is told, so the first request to read it finds the newer ones in it.
    pub(crate) fn newer(of_view: &Arc<Tasks>, line: &Line) -> Arc<Tasks> {
        let latest = line.latest.load();
        if latest.number > of_view.number { Arc::clone(&latest) } else { Arc::clone(of_view) }
    }
}

impl Line {
    pub(crate) fn new(counters: Arc<Counters>, suspects: Arc<Suspects>) -> Self {
        Self { latest: ArcSwap::default(), freed: Notify::new(), opening: Mutex::default(), counters, suspects }
    }

    pub(crate) fn opening(&self) -> MutexGuard<'_, ()> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Display for Lack {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(wanted) = self.wanted else {
            return match &*self.revision {
                "" => formatter.write_str("there is no live revision"),
                revision => write!(formatter, "revision {revision} has no live deploy"),
            };
        };
        write!(formatter, "revision {} has {} of {wanted} routable tasks", self.revision, self.ready)?;
        for (at, (pending, count)) in self.pending.iter().enumerate() {
            write!(formatter, "{}{count} {}", if at == 0 { "; " } else { ", " }, pending.as_str())?;
        }
        Ok(())
    }
}
