//! Builds the view of a service from what follows from the facts and from the view before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;
use millstream_schemas::tasks::{Alias, Deploy, Facts, Pending, Placed, Revision, Standing, TaskOf};
use tokio::time::Instant;

use super::hold::Sight;
use super::suspects::Suspects;
use super::task::{Member, TaskKey, TaskState};
use super::view::{Lack, Line, RevisionView, ServiceView, Tasks};
use crate::choose::counters::Counters;
use crate::dial::Dialable;

/// The tasks that are known, with the service in whose view each was last.
pub(super) type Known = HashMap<TaskKey, (Arc<TaskState>, Arc<str>)>;

/// What every view of one publication has in common.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    pub(super) dialable: &'a Dialable,
    pub(super) known: &'a mut Known,
    pub(super) counters: &'a Arc<Counters>,
    pub(super) suspects: &'a Arc<Suspects>,
    pub(super) is_from_disk: bool,
    pub(super) number: u64,
    pub(super) now: Instant,
}

/// The revisions of a service, while its aliases are decided.
pub(super) type Revisions = HashMap<Arc<str>, Arc<RevisionView>>;

impl Builder<'_> {
    /// The revisions of a service. `before` is its last view.
    pub(super) fn revisions(
        &mut self,
        service: &Arc<str>,
        resolved: &BTreeMap<Arc<str>, Revision>,
        before: Option<&ServiceView>,
    ) -> Revisions {
        let build = |(name, revision): (&Arc<str>, &Revision)| {
            let line = before.and_then(|before| before.revision(name)).map(|before| Arc::clone(&before.line));
            let line = line.unwrap_or_else(|| self.line());
            let tasks = Arc::new(self.tasks(service, revision));
            let view = RevisionView { revision: Arc::clone(name), deploy: Arc::clone(&revision.deploy), tasks, line };
            (Arc::clone(name), Arc::new(view))
        };
        resolved.iter().map(build).collect()
    }

    fn line(&self) -> Arc<Line> {
        Arc::new(Line::new(Arc::clone(self.counters), Arc::clone(self.suspects)))
    }

    /// The revisions of a service after facts about these tasks of it have changed, made from its last view: what was
    /// not touched stays as it is. `None` where that cannot be told: a revision that labels alone name came or may be
    /// gone.
    pub(super) fn followed(
        &mut self,
        before: &ServiceView,
        touched: &BTreeSet<TaskOf>,
        facts: &Facts,
    ) -> Option<Revisions> {
        let mut changed: HashMap<Arc<str>, Tasks> = HashMap::new();
        let dialable = self.dialable;
        for task in touched {
            let key = TaskKey { source: Arc::clone(&task.0), id: Arc::clone(&task.1) };
            let resolved = facts.task_of(&before.service, task, &|network, address| dialable.allows(network, address));
            for (name, revision) in &before.revisions {
                let is_there = resolved.as_ref().is_some_and(|(there, _)| there == name);
                if is_there || revision.tasks.has(&key) {
                    let tasks = changed.entry(Arc::clone(name));
                    let tasks = tasks.or_insert_with(|| Tasks { number: self.number, ..Tasks::clone(&revision.tasks) });
                    tasks.remove(&key);
                }
            }
            if let Some((revision, placed)) = resolved {
                let tasks = changed.get_mut(&revision)?;
                self.enter(tasks, &before.service, &placed);
            }
        }
        let mut revisions = before.revisions.clone();
        for (name, tasks) in changed {
            let view = revisions.get_mut(&name)?;
            *view = Arc::new(RevisionView { tasks: Arc::new(tasks), ..RevisionView::clone(view) });
        }
        let may_be_gone = |revision: &RevisionView| {
            revision.deploy.generation == 0 && revision.tasks.members.is_empty() && revision.tasks.waiting.is_empty()
        };
        (!revisions.values().any(|revision| may_be_gone(revision))).then_some(revisions)
    }

    fn tasks(&mut self, service: &Arc<str>, revision: &Revision) -> Tasks {
        let mut tasks = Tasks {
            number: self.number,
            concurrency_max: revision.deploy.concurrency_max.and_then(|max| usize::try_from(max).ok()),
            ..Tasks::default()
        };
        for placed in &revision.tasks {
            self.enter(&mut tasks, service, placed);
        }
        tasks
    }

    fn enter(&mut self, tasks: &mut Tasks, service: &Arc<str>, placed: &Placed) {
        let key = || TaskKey { source: Arc::clone(&placed.source), id: Arc::clone(&placed.id) };
        match (self.member(service, placed), placed.standing) {
            (Some(member), _) => tasks.enter(member),
            (None, Standing::Pending(pending)) => tasks.wait(key(), pending),
            // The facts allowed an address that this gateway does not.
            (None, Standing::Routable) => tasks.wait(key(), Pending::AddressRefused),
            (None, Standing::Draining | Standing::Gone) => {}
        }
    }

    /// A task that may be dialled, if it is one.
    fn member(&mut self, service: &Arc<str>, placed: &Placed) -> Option<Member> {
        let standing = placed.standing;
        let may = match standing {
            Standing::Routable | Standing::Draining => true,
            Standing::Pending(pending) => matches!(pending, Pending::Unhealthy | Pending::UnknownHealth),
            Standing::Gone => false,
        };
        let network = placed.network.clone().unwrap_or_default();
        let address = placed.address.filter(|address| may && self.dialable.allows(&network, *address))?;
        let key = TaskKey { source: Arc::clone(&placed.source), id: Arc::clone(&placed.id) };
        let known = self.known.get(&key);
        if let Some((task, in_service)) = known
            && in_service == service
            && task.address() == address
            && task.network() == &*network
        {
            let task = Arc::clone(task);
            return Some(Member { task, standing, is_from_disk: self.is_from_disk });
        }
        let is_same = |task: &&Arc<TaskState>| task.address() == address && task.network() == &*network;
        let task = known.map(|(task, _)| task).filter(is_same).cloned();
        let task = task.unwrap_or_else(|| Arc::new(TaskState::new(key.clone(), network, address)));
        // Before the view is published: what fails from here on is found in the service that it is in then.
        task.record().service = Arc::clone(service);
        self.known.insert(key, (Arc::clone(&task), Arc::clone(service)));
        Some(Member { task, standing, is_from_disk: self.is_from_disk })
    }

    /// The targets of a generation that have weight, in order.
    ///
    /// An alias without targets means every live revision. As a load balancer does, it gives each task the same share;
    /// as long as none is routable, each revision.
    pub(super) fn targets(&self, alias: &Alias, revisions: &Revisions) -> Vec<(u32, Arc<RevisionView>)> {
        if !alias.targets.is_empty() {
            let with_weight = alias.targets.iter().filter(|target| target.weight > 0);
            let find = |name: &str| revisions.get(name).cloned().unwrap_or_else(|| self.unknown(&alias.service, name));
            return with_weight.map(|target| (u32::from(target.weight), find(&target.revision))).collect();
        }
        let mut live: Vec<&Arc<RevisionView>> = revisions.values().collect();
        live.sort_by(|a, b| a.revision.cmp(&b.revision));
        let all: Vec<(u32, Arc<RevisionView>)> =
            live.into_iter().map(|revision| (routable(revision), Arc::clone(revision))).collect();
        if all.iter().any(|(weight, _)| *weight > 0) {
            return all.into_iter().filter(|(weight, _)| *weight > 0).collect();
        }
        all.into_iter().map(|(_, revision)| (1, revision)).collect()
    }

    /// A target that no deploy describes and that no task belongs to.
    fn unknown(&self, service: &str, revision: &str) -> Arc<RevisionView> {
        let deploy = Deploy { service: service.to_owned(), revision: revision.to_owned(), ..Deploy::default() };
        Arc::new(RevisionView {
            revision: revision.into(),
            deploy: Arc::new(deploy),
            tasks: Arc::default(),
            line: self.line(),
        })
    }

    /// How the targets of a generation stand here.
    pub(super) fn sight(&self, alias: &Alias, revisions: &Revisions) -> Sight {
        let targets = named(alias, revisions);
        let found = || targets.iter().filter_map(|(_, revision)| *revision);
        let is_ready = |revision: &&Arc<RevisionView>| self.ready(revision) >= wanted(revision);
        Sight {
            is_ready: match alias.targets.is_empty() {
                true => found().any(|revision| is_ready(&revision) && self.ready(revision) > 0),
                false => targets.iter().all(|(_, revision)| revision.as_ref().is_some_and(is_ready)),
            },
            routable: found().map(|revision| self.ready(revision)).sum(),
            untried: found().map(|revision| untried(revision)).sum(),
        }
    }

    /// What the targets of a generation lack here.
    pub(super) fn lacks(&self, alias: &Alias, revisions: &Revisions) -> Vec<Lack> {
        let mut targets = named(alias, revisions);
        if targets.is_empty() {
            targets.push(("", None));
        }
        let lacks = targets.into_iter().filter_map(|(name, revision)| {
            let Some(revision) = revision else {
                return Some(Lack { revision: name.into(), ready: 0, wanted: None, pending: BTreeMap::new() });
            };
            let ready = self.ready(revision);
            let wanted = wanted(revision).max(usize::from(alias.targets.is_empty()));
            (ready < wanted).then(|| Lack {
                revision: Arc::clone(&revision.revision),
                ready,
                wanted: Some(wanted),
                pending: pending(revision),
            })
        });
        lacks.collect()
    }

    /// Tasks that are routable here and can be reached.
    fn ready(&self, revision: &RevisionView) -> usize {
        revision.tasks.members.iter().filter(|member| member.is_ready(self.now)).count()
    }
}

/// The targets of a generation that have weight, with the revisions that are there.
fn named<'a>(alias: &'a Alias, revisions: &'a Revisions) -> Vec<(&'a str, Option<&'a Arc<RevisionView>>)> {
    if alias.targets.is_empty() {
        let mut live: Vec<_> = revisions.iter().map(|(name, revision)| (&**name, Some(revision))).collect();
        live.sort_by_key(|(name, _)| *name);
        return live;
    }
    let with_weight = alias.targets.iter().filter(|target| target.weight > 0);
    with_weight.map(|target| (&*target.revision, revisions.get(&*target.revision))).collect()
}

fn wanted(revision: &RevisionView) -> usize {
    usize::try_from(revision.deploy.min_ready).unwrap_or(0)
}

fn untried(revision: &RevisionView) -> usize {
    let is_untried = |member: &&Arc<Member>| member.is_on_probation() && !member.task.is_marked();
    revision.tasks.members.iter().filter(is_untried).count()
}

/// Tasks that are not routable, by what they wait for.
fn pending(revision: &RevisionView) -> BTreeMap<Pending, usize> {
    let mut pending = revision.tasks.pending();
    for member in &revision.tasks.members {
        match member.standing {
            Standing::Pending(reason) if !member.is_routable() => *pending.entry(reason).or_default() += 1,
            Standing::Routable if member.is_on_probation() => *pending.entry(Pending::UnknownHealth).or_default() += 1,
            _ => {}
        }
    }
    pending
}

/// Tasks of a revision that are routable here.
fn routable(revision: &RevisionView) -> u32 {
    let count = revision.tasks.members.iter().filter(|member| member.is_routable()).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}
