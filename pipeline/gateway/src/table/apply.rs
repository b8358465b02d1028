//! The one writer of the table: takes facts, decides what each alias serves, and publishes.
//!
//! A commit is applied as a whole: all its facts are taken before any service is resolved, so an alias never meets
//! tasks older than its own commit. Each touched service is published once. A load replaces everything; what is known
//! of tasks, and what is served or held, outlives it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use millstream_schemas::tasks::{Alias, Extent, Fact, Facts, Key, Placed, Service, Standing, Touched};
use tokio::time::Instant;

use super::Table;
use super::build::{Builder, Known, Revisions};
use super::hold::Hold;
use super::task::{Member, TaskKey, TaskState};
use super::view::{AliasView, Held, Lack, RevisionView, ServiceView, Tasks};
use crate::dial::Dialable;

/// Facts that may change while all of them are copied. More: a copy that hangs holds more of their keys.
const COPY_CHANGES_MAX: usize = 100_000;

/// One change of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A fact is put in the place of the one with its key.
    Put(Fact),
    /// The fact of a key is removed.
    Remove(Key),
}

/// What aliases served before this gateway was started, by service and alias: the generation that it had applied, or
/// the one before the newest.
pub type Former = HashMap<(String, String), Alias>;

/// What may be set.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How long an alias with `force` that says nothing itself holds the former generation; `None` is for ever.
    pub hold_max: Option<Duration>,
}

/// A generation that is held, for reports.
#[derive(Debug, Clone)]
pub struct HeldAlias {
    /// The service.
    pub service: Arc<str>,
    /// The alias.
    pub alias: Arc<str>,
    /// The generation that is served meanwhile, if any.
    pub serving: Option<i64>,
    /// The generation that is held.
    pub newest: i64,
    /// Since when.
    pub since: Instant,
    /// What it waits for.
    pub reasons: Vec<Lack>,
}

/// What this gateway serves of an alias, and what it holds.
#[derive(Debug, Clone)]
pub(crate) struct AliasStanding {
    /// The alias.
    pub(crate) alias: Arc<str>,
    /// The generation that is served, if any.
    pub(crate) serving: Option<i64>,
    /// The generation that is held, and what it waits for.
    pub(crate) held: Option<(i64, Vec<Lack>)>,
}

/// A generation that is served, for reports and for the file that a start reads.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The service.
    pub service: Arc<str>,
    /// The alias.
    pub alias: Arc<str>,
    /// Its row.
    pub row: Arc<Alias>,
}

/// See the module.
#[derive(Debug)]
pub struct Applier {
    table: Arc<Table>,
    dialable: Arc<Dialable>,
    options: Options,
    facts: Facts,
    known: Known,
    /// By service and alias.
    holds: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Hold>>,
    /// Services in which an alias is held.
    waiting: BTreeSet<Arc<str>>,
    /// Services for [`Applier::take_changed`]; each once, so it is no larger than the table.
    unreported: BTreeSet<Arc<str>>,
    is_from_disk: bool,
    number: u64,
    /// Facts that changed since a copy of all of them was begun; `None` where nobody copies.
    changed: Option<BTreeSet<Key>>,
}

impl Applier {
    /// Begins with an empty table.
    pub fn new(table: Arc<Table>, dialable: Arc<Dialable>, options: Options) -> Self {
        Self {
            table,
            dialable,
            options,
            facts: Facts::default(),
            known: Known::default(),
            holds: BTreeMap::new(),
            waiting: BTreeSet::new(),
            unreported: BTreeSet::new(),
            is_from_disk: false,
            number: 0,
            changed: None,
        }
    }

    /// Replaces all facts by those of a snapshot of the database. Aliases go back to lower generations at once.
    pub fn load(&mut self, facts: impl IntoIterator<Item = Fact>, former: &Former, now: Instant) {
        self.is_from_disk = false;
        self.replace(facts, former, now);
    }

    /// Replaces all facts by those of a file: every task is on probation until [`Applier::confirm`] or a load.
    pub fn load_from_disk(&mut self, facts: impl IntoIterator<Item = Fact>, former: &Former, now: Instant) {
        self.is_from_disk = true;
        self.replace(facts, former, now);
    }

    /// The facts of the file were brought up to those of the database, commit by commit: probation for them ends.
    pub fn confirm(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_from_disk) {
            self.publish(self.all(), false, now);
        }
    }

    /// Applies a commit.
    pub fn apply(&mut self, changes: Vec<Change>, now: Instant) {
        let mut touched = Touched::new();
        for change in changes {
            self.note(&change);
            touched.add(match change {
                Change::Put(fact) => self.facts.put(fact),
                Change::Remove(key) => self.facts.remove(&key),
            });
        }
        self.publish(touched, false, now);
    }

    /// Decides again on what is held, and takes account of trials. To be called when [`Table::judged`] wakes, and four
    /// times a second.
    pub fn tick(&mut self, now: Instant) {
        let mut touched = Touched::new();
        self.table.take_judged().into_iter().chain(self.waiting.iter().cloned()).for_each(|name| touched.service(name));
        self.publish(touched, false, now);
    }

    /// The digest of the facts, to be compared with that of the commit.
    pub fn digest(&self) -> u64 {
        self.facts.digest()
    }

    /// The number of facts.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether there are no facts.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// The facts, to be shown or written to a file.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Begins to note which facts change, for the one who copies all of them part by part.
    pub(crate) fn begin_copy(&mut self) {
        self.changed = Some(BTreeSet::new());
    }

    /// The facts that changed since [`Applier::begin_copy`], as they are now; `None` where too much changed.
    pub(crate) fn end_copy(&mut self) -> Option<Vec<Change>> {
        let changed = self.changed.take()?;
        let now = |key: Key| self.facts.get(&key).map_or_else(|| Change::Remove(key), Change::Put);
        Some(changed.into_iter().map(now).collect())
    }

    fn note(&mut self, change: &Change) {
        let Some(changed) = &mut self.changed else { return };
        changed.insert(match change {
            Change::Put(fact) => fact.key(),
            Change::Remove(key) => key.clone(),
        });
        if changed.len() > COPY_CHANGES_MAX {
            self.changed = None;
        }
    }

    /// A service as it follows from the facts, by what this gateway may dial.
    pub fn service(&self, name: &str) -> Service {
        self.facts.service(name, &|network, address| self.dialable.allows(network, address))
    }

    /// A task, gone ones too, by what this gateway may dial.
    pub fn task(&self, source: &str, id: &str) -> Option<Placed> {
        self.facts.task(source, id, &|network, address| self.dialable.allows(network, address))
    }

    /// What is served and held of the aliases of a service.
    pub(crate) fn standing_of(&self, service: &str) -> Vec<AliasStanding> {
        let Some(view) = self.table.lookup(service) else { return Vec::new() };
        let standing = |(name, alias): (&Arc<str>, &Arc<AliasView>)| AliasStanding {
            alias: Arc::clone(name),
            serving: alias.is_served.then_some(alias.alias.generation),
            held: alias.held.as_ref().map(|held| (held.generation, held.reasons.clone())),
        };
        view.aliases.iter().map(standing).collect()
    }

    /// Services that have aliases.
    pub(crate) fn services_with_aliases(&self) -> impl Iterator<Item = Arc<str>> {
        self.holds.keys().cloned()
    }

    /// Services of which an alias is served or held otherwise than when this was last asked.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.unreported)
    }

    /// Generations that are held.
    pub fn held(&self) -> Vec<HeldAlias> {
        let mut found = Vec::new();
        for view in self.waiting.iter().filter_map(|service| self.table.lookup(service)) {
            for (name, alias) in &view.aliases {
                found.extend(alias.held.as_ref().map(|held| HeldAlias {
                    service: Arc::clone(&view.service),
                    alias: Arc::clone(name),
                    serving: alias.is_served.then_some(alias.alias.generation),
                    newest: held.generation,
                    since: held.since,
                    reasons: held.reasons.clone(),
                }));
            }
        }
        found
    }

    /// Generations that are served.
    pub fn applied_aliases(&self) -> Vec<Applied> {
        let mut found = Vec::new();
        for (service, holds) in &self.holds {
            found.extend(holds.iter().filter_map(|(alias, hold)| {
                let row = Arc::clone(hold.served.as_ref()?);
                Some(Applied { service: Arc::clone(service), alias: Arc::clone(alias), row })
            }));
        }
        found
    }

    fn replace(&mut self, facts: impl IntoIterator<Item = Fact>, former: &Former, now: Instant) {
        self.changed = None;
        self.facts = Facts::default();
        for fact in facts {
            self.facts.put(fact);
        }
        for ((service, alias), row) in former {
            let holds = self.holds.entry(service.as_str().into()).or_default();
            let hold = holds.entry(alias.as_str().into()).or_default();
            hold.former = hold.served.is_none().then(|| Arc::new(row.clone()));
        }
        let mut all = self.all();
        self.holds.keys().for_each(|service| all.whole(Arc::clone(service)));
        self.publish(all, true, now);
    }

    /// Every service that has facts or a view.
    fn all(&self) -> Touched {
        let mut all = Touched::new();
        let with_views = self.table.services().map(|view| Arc::clone(&view.service));
        self.facts.services().into_iter().chain(with_views).for_each(|service| all.whole(service));
        all
    }

    /// Builds the views of these services, and then publishes all of them.
    fn publish(&mut self, services: Touched, may_go_back: bool, now: Instant) {
        if services.is_empty() {
            return;
        }
        self.number += 1;
        let mut has_trials = false;
        let mut built = Vec::new();
        for (service, extent) in services {
            let before = self.table.lookup(&service);
            let view = self.build(&service, &extent, before.as_deref(), may_go_back, now);
            if members(&view, &extent).any(|member| member.has_trials()) {
                self.table.suspects.add(&service);
                has_trials = true;
            }
            match view.aliases.values().any(|alias| alias.held.is_some()) {
                true => self.waiting.insert(service),
                false => self.waiting.remove(&service),
            };
            built.push((before, Arc::new(view), extent));
        }
        let is_gone = |view: &ServiceView| view.aliases.is_empty() && view.revisions.is_empty();
        built.iter().filter(|(_, view, _)| is_gone(view)).for_each(|(_, view, _)| self.table.remove(&view.service));
        self.table.put(built.iter().filter(|(_, view, _)| !is_gone(view)).map(|(_, view, _)| Arc::clone(view)));
        for (before, view, extent) in &built {
            if !is_same_standing(before.as_deref(), view) {
                self.unreported.insert(Arc::clone(&view.service));
            }
            self.tell_lines(before.as_deref(), view, extent);
        }
        // After all of them: a task may have moved from one service to another.
        for (before, view, extent) in built {
            self.forget(before.as_deref(), &view, &extent);
        }
        if has_trials {
            self.table.trials_due().notify_one();
        }
    }

    fn build(
        &mut self,
        service: &Arc<str>,
        extent: &Extent,
        before: Option<&ServiceView>,
        may_go_back: bool,
        now: Instant,
    ) -> ServiceView {
        let dialable = Arc::clone(&self.dialable);
        let counters = Arc::clone(self.table.counters());
        let suspects = Arc::clone(&self.table.suspects);
        let mut builder = Builder {
            dialable: &dialable,
            known: &mut self.known,
            counters: &counters,
            suspects: &suspects,
            is_from_disk: self.is_from_disk,
            number: self.number,
            now,
        };
        let followed = match (before, extent) {
            (Some(before), Extent::Tasks(touched)) => builder.followed(before, touched, &self.facts),
            _ => None,
        };
        let revisions = followed.unwrap_or_else(|| {
            let resolved = self.facts.service(service, &|network, address| dialable.allows(network, address));
            builder.revisions(service, &resolved.revisions, before)
        });
        let newest_of = self.facts.live_aliases(service);
        let mut holds = self.holds.remove(service).unwrap_or_default();
        holds.retain(|name, _| newest_of.contains_key(name));
        let mut aliases = hashbrown::HashMap::new();
        for (name, newest) in &newest_of {
            let hold = holds.entry(Arc::clone(name)).or_default();
            hold.step(newest, may_go_back, now, self.options.hold_max, &|alias| builder.sight(alias, &revisions));
            aliases.insert(Arc::clone(name), Arc::new(alias_view(&builder, hold, newest, &revisions)));
        }
        if !holds.is_empty() {
            self.holds.insert(Arc::clone(service), holds);
        }
        ServiceView { service: Arc::clone(service), aliases, revisions }
    }

    /// Tells requests that have pinned a revision which tasks it has now.
    fn tell_lines(&self, before: Option<&ServiceView>, view: &ServiceView, extent: &Extent) {
        for member in members(view, extent) {
            // A draining task keeps no idle connections (R64); it has some again if the database went back.
            match member.standing == Standing::Draining {
                true => member.task.pool.close(),
                false => member.task.pool.open(),
            }
            self.table.draining.seen(member);
        }
        for revision in view.revisions.values() {
            revision.line.latest.store(Arc::clone(&revision.tasks));
            if has_room_for_more(before, revision) {
                revision.line.freed.notify_waiters();
            }
        }
        let gone = before.into_iter().flat_map(|before| &before.revisions);
        for (_, revision) in gone.filter(|(name, _)| !view.revisions.contains_key(*name)) {
            revision.line.latest.store(Arc::new(Tasks { number: self.number, ..Tasks::default() }));
            revision.line.freed.notify_waiters();
        }
    }

    /// Forgets tasks that are in no view any more.
    fn forget(&mut self, before: Option<&ServiceView>, view: &ServiceView, extent: &Extent) {
        let Some(before) = before else { return };
        let is_there = |task: &Arc<TaskState>| view.member(task.key()).is_some_and(|now| Arc::ptr_eq(&now.task, task));
        for task in members(before, extent).map(|member| &member.task).filter(|task| !is_there(task)) {
            let known = self.known.get(task.key());
            match known.filter(|(known, _)| Arc::ptr_eq(known, task)) {
                // It is in the view of another service.
                Some((_, service)) if *service != view.service => continue,
                Some(_) => drop(self.known.remove(task.key())),
                None => {}
            }
            self.table.draining.left(task);
        }
    }
}

/// The tasks of a view that may be dialled, of those that were touched.
fn members<'a>(view: &'a ServiceView, extent: &'a Extent) -> Box<dyn Iterator<Item = &'a Arc<Member>> + 'a> {
    match extent {
        Extent::Whole => Box::new(view.revisions.values().flat_map(|revision| &revision.tasks.members)),
        Extent::Tasks(touched) => Box::new(
            touched
                .iter()
                .filter_map(|(source, id)| view.member(&TaskKey { source: Arc::clone(source), id: Arc::clone(id) })),
        ),
    }
}

/// Whether the same generations of the same aliases are served and held as before.
fn is_same_standing(before: Option<&ServiceView>, view: &ServiceView) -> bool {
    let Some(before) = before else { return view.aliases.is_empty() };
    let standing = |alias: &AliasView| {
        (alias.alias.generation, alias.is_served, alias.held.as_ref().map(|held| (held.generation, held.since)))
    };
    let is_same = |(name, alias): (&Arc<str>, &Arc<AliasView>)| {
        before.alias(name).is_some_and(|before| standing(before) == standing(alias))
    };
    before.aliases.len() == view.aliases.len() && view.aliases.iter().all(is_same)
}

/// Whether requests that wait for a place may find one now, for another reason than one that ended.
fn has_room_for_more(before: Option<&ServiceView>, revision: &RevisionView) -> bool {
    let before = before.and_then(|before| before.revision(&revision.revision));
    revision.tasks.concurrency_max.is_some() || before.is_some_and(|before| before.tasks.concurrency_max.is_some())
}

/// An alias as it is served after a decision.
fn alias_view(builder: &Builder<'_>, hold: &Hold, newest: &Arc<Alias>, revisions: &Revisions) -> AliasView {
    let alias = hold.served.as_ref().unwrap_or(newest);
    let held =
        hold.waiting.map(|(generation, since)| Held { generation, since, reasons: builder.lacks(newest, revisions) });
    AliasView {
        alias: Arc::clone(alias),
        newest: newest.generation.max(alias.generation),
        held,
        is_served: hold.served.is_some(),
        targets: builder.targets(alias, revisions),
        counters: Arc::clone(builder.counters),
    }
}

#[cfg(test)]
mod tests;
