//! What `resolve` reads: the rows behind a service and behind a task.

use std::collections::HashSet;
use std::ops::Bound;
use std::sync::Arc;

use super::names::Name;
use super::row::{Place, TaskNumber, TaskRow};
use super::tables::InstanceRow;
use super::{Facts, TaskOf};
use crate::tasks::fact::{Alias, Deploy};

/// Names of a service, and of a revision or an alias.
type Pair = (Name, Name);

/// Where the next part of many rows begins.
#[derive(Debug, Clone, Copy)]
pub struct Spot(Pair);

fn part<'a, T>(rows: impl Iterator<Item = (&'a Pair, &'a T)>, max: usize) -> (Vec<&'a T>, Option<Spot>) {
    let mut rows = rows.peekable();
    let mut taken = Vec::new();
    let mut last = None;
    for (pair, row) in rows.by_ref().take(max.max(1)) {
        taken.push(row);
        last = Some(Spot(*pair));
    }
    let is_more = rows.peek().is_some();
    (taken, last.filter(|_| is_more))
}

impl Facts {
    /// Source and id of the tasks, gone ones too, of about `max` numbers from `first` on, in no order, and where the next
    /// part begins; `None` where there is none. A task that is there from the first part to the last is in one of them.
    pub fn task_keys(&self, first: u32, max: u32) -> (Vec<TaskOf>, Option<u32>) {
        let end = self.tasks.end().min(first.saturating_add(max.max(1)));
        let rows = (first..end).filter_map(|number| self.row(number));
        (rows.map(|row| self.key_of(row)).collect(), Some(end).filter(|end| *end < self.tasks.end()))
    }

    /// At most `max` deploys, retired ones too, after a spot and of one service if it is named: in no order, and where the
    /// next part begins; `None` where there is none. A row that is there from the first part to the last is in one of them.
    pub fn deploys(&self, service: Option<&str>, after: Option<Spot>, max: usize) -> (Vec<Arc<Deploy>>, Option<Spot>) {
        let found = self.range(service, after).map(|range| part(self.deploys.range(range), max));
        let (rows, next) = found.unwrap_or_default();
        (rows.into_iter().map(|row| Arc::clone(&row.deploy)).collect(), next)
    }

    /// The same of aliases, deleted ones too.
    pub fn aliases(&self, service: Option<&str>, after: Option<Spot>, max: usize) -> (Vec<Arc<Alias>>, Option<Spot>) {
        let found = self.range(service, after).map(|range| part(self.aliases.range(range), max));
        let (rows, next) = found.unwrap_or_default();
        (rows.into_iter().cloned().collect(), next)
    }

    /// `None` if no row has the name of the service.
    fn range(&self, service: Option<&str>, after: Option<Spot>) -> Option<(Bound<Pair>, Bound<Pair>)> {
        let [first, last] = match service {
            Some(service) => [self.names.find(service)?; 2],
            None => [Name::MIN, Name::MAX],
        };
        let from = after.map_or(Bound::Included((first, Name::MIN)), |Spot(pair)| Bound::Excluded(pair));
        Some((from, Bound::Included((last, Name::MAX))))
    }

    /// The text of a name.
    pub(in crate::tasks) fn text(&self, name: Name) -> &Arc<str> {
        self.names.text(name)
    }

    /// The number of a task.
    pub(in crate::tasks) fn number(&self, source: &str, id: &str) -> Option<TaskNumber> {
        self.tasks.find(self.names.find(source)?, self.names.find(id)?)
    }

    /// The row of a task.
    pub(in crate::tasks) fn row(&self, number: TaskNumber) -> Option<&TaskRow> {
        self.tasks.row(number)
    }

    /// The source and the id of a task.
    pub(in crate::tasks) fn key_of(&self, task: &TaskRow) -> (Arc<str>, Arc<str>) {
        (self.text(task.source).clone(), self.text(task.id).clone())
    }

    /// A deploy, if it was told of.
    pub(in crate::tasks) fn deploy(&self, place: Place) -> Option<&Arc<Deploy>> {
        self.deploys.get(&place).map(|row| &row.deploy)
    }

    /// The deploys of a service that were told of.
    pub(in crate::tasks) fn deploys_of(&self, service: &str) -> impl Iterator<Item = &Arc<Deploy>> {
        let service = self.names.find(service);
        let rows = service.map(|service| self.deploys.range((service, Name::MIN)..=(service, Name::MAX)));
        rows.into_iter().flatten().map(|(_, row)| &row.deploy)
    }

    /// The tasks of a service that are not gone, with the revision to which each belongs.
    pub(in crate::tasks) fn members_of(&self, service: &str) -> impl Iterator<Item = (&Arc<str>, TaskNumber)> {
        let entries = self.names.find(service).map(|service| {
            let first = ((service, Name::MIN), TaskNumber::MIN);
            let last = ((service, Name::MAX), TaskNumber::MAX);
            self.members.range(first..=last)
        });
        entries.into_iter().flatten().map(|(place, number)| (self.text(place.1), *number))
    }

    /// The aliases of a service, deleted ones too.
    pub(in crate::tasks) fn aliases_of(&self, service: &str) -> impl Iterator<Item = (&Arc<str>, &Arc<Alias>)> {
        let service = self.names.find(service);
        let rows = service.map(|service| self.aliases.range((service, Name::MIN)..=(service, Name::MAX)));
        rows.into_iter().flatten().map(|(key, alias)| (self.text(key.1), alias))
    }

    /// An instance by source and id.
    pub(in crate::tasks) fn instance(&self, key: (Name, Name)) -> Option<&InstanceRow> {
        self.instances.get(&key)
    }

    /// The result of the checks of a port of a task.
    pub(in crate::tasks) fn healthy(&self, task: &TaskRow, port: u16) -> Option<bool> {
        self.health.get(&(task.source, task.id, i32::from(port))).map(|row| row.healthy)
    }

    /// The uids that live slices of a service of Kubernetes name; `None` if no slice, not even a gone one, is known.
    pub(in crate::tasks) fn named_by_slices(
        &self,
        source: Name,
        namespace: Name,
        service: &str,
    ) -> Option<HashSet<Name>> {
        let service = (source, namespace, self.names.find(service)?);
        let ids = self.by_kubernetes_service.range((service, Name::MIN)..=(service, Name::MAX)).map(|(_, id)| *id);
        let slices: Vec<_> = ids.filter_map(|id| self.slices.get(&(source, id))).collect();
        let named = slices.iter().filter(|slice| slice.is_live()).flat_map(|slice| slice.pods()).collect();
        (!slices.is_empty()).then_some(named)
    }
}
