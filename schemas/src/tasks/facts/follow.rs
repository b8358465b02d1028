//! Changes of tasks and instances: the indexes follow each task, and the tasks that meet on an address are touched.

use std::collections::BTreeSet;

use super::claims::Claim;
use super::names::Name;
use super::row::{Place, TaskNumber, TaskRow, keep};
use super::tables::InstanceRow;
use super::{Facts, Touched};
use crate::tasks::fact::{Instance, Task};

impl Facts {
    /// Puts a task.
    pub(super) fn put_task(&mut self, task: Task, touched: &mut Touched) {
        let row = TaskRow::pack(task, &mut self.names);
        let known = self.tasks.find(row.source, row.id);
        let before = known.map(|number| self.detach(number, touched)).unwrap_or_default();
        // The names of the former row are released last, so that those that both rows have stay what they are.
        let former: Vec<Name> =
            known.and_then(|number| self.tasks.row(number)).into_iter().flat_map(TaskRow::names).collect();
        let number = self.tasks.insert(row);
        self.attach(number);
        let after = self.claims_of(number);
        self.touch_task(number, touched);
        self.touch_rivals(&before, &after, touched);
        self.names.release_all(former);
    }

    /// Removes a task.
    pub(super) fn remove_task(&mut self, task: &Task, touched: &mut Touched) {
        let key = self.names.find(&task.source).zip(self.names.find(&task.id));
        let Some(number) = key.and_then(|(source, id)| self.tasks.find(source, id)) else {
            return;
        };
        let before = self.detach(number, touched);
        self.touch_rivals(&before, &[], touched);
        if let Some(row) = self.tasks.remove(number) {
            self.names.release_all(row.names());
        }
    }

    /// Takes a task out of all indexes and returns the claims that it had.
    fn detach(&mut self, number: TaskNumber, touched: &mut Touched) -> Vec<Claim> {
        self.touch_task(number, touched);
        let claims = self.claims_of(number);
        claims.iter().for_each(|claim| self.claims.remove(claim));
        let Some(row) = self.tasks.row(number) else {
            return claims;
        };
        withdraw(&mut self.by_instance, row.shared(), number);
        withdraw(&mut self.by_definition, row.definition, number);
        withdraw(&mut self.by_group, row.group, number);
        withdraw(&mut self.by_namespace, row.namespace, number);
        withdraw(&mut self.labelled, row.labelled, number);
        withdraw(&mut self.members, row.place, number);
        claims
    }

    /// Enters a task into all indexes, and finds the deploy to which it belongs.
    fn attach(&mut self, number: TaskNumber) {
        self.claims_of(number).into_iter().for_each(|claim| self.claims.insert(claim));
        let Some(row) = self.tasks.row(number) else {
            return;
        };
        self.by_instance.extend(row.shared().map(|key| (key, number)));
        if row.is_gone() {
            return;
        }
        self.by_definition.extend(row.definition.map(|definition| (definition, number)));
        self.by_group.extend(row.group.map(|group| (group, number)));
        self.by_namespace.extend(row.namespace.map(|namespace| (namespace, number)));
        self.labelled.extend(row.labelled.map(|place| (place, number)));
        self.place(number);
    }

    /// Finds the deploy to which a task belongs anew. Returns the former and the present one if they differ.
    pub(super) fn place(&mut self, number: TaskNumber) -> Option<[Option<Place>; 2]> {
        let row = self.tasks.row(number).filter(|row| !row.is_gone())?;
        let before = row.place;
        let after = self.matching(row).first().copied();
        if before == after {
            return None;
        }
        withdraw(&mut self.members, before, number);
        self.members.extend(after.map(|place| (place, number)));
        self.tasks.row_mut(number)?.place = after;
        Some([before, after])
    }

    /// Touches a task where it belongs.
    pub(super) fn touch_task(&self, number: TaskNumber, touched: &mut Touched) {
        if let Some(place) = self.tasks.row(number).and_then(|row| row.place) {
            self.touch(place, number, touched);
        }
    }

    /// Touches a task in the service of a place.
    pub(super) fn touch(&self, place: Place, number: TaskNumber, touched: &mut Touched) {
        if let Some(row) = self.tasks.row(number) {
            touched.task(self.names.text(place.0).clone(), self.key_of(row));
        }
    }

    /// Touches the tasks for which it matters that one task has other claims than before.
    fn touch_rivals(&self, before: &[Claim], after: &[Claim], touched: &mut Touched) {
        if before.len() == after.len() && before.iter().zip(after).all(|(before, after)| before.weighs_as(after)) {
            return;
        }
        for claim in before.iter().chain(after) {
            self.claims.living(claim.spot).for_each(|number| self.touch_task(number, touched));
        }
    }

    /// Puts an instance: the tasks that share its address move with it.
    pub(super) fn put_instance(&mut self, instance: Instance, touched: &mut Touched) {
        let source = instance.source.clone();
        let id = instance.id.clone();
        self.replace_instance(&source, &id, Some(instance), touched);
    }

    /// Puts an instance, or removes it.
    pub(super) fn replace_instance(
        &mut self,
        source: &str,
        id: &str,
        instance: Option<Instance>,
        touched: &mut Touched,
    ) {
        let key = (self.names.keep(source), self.names.keep(id));
        let sharing = self.by_instance.range((key, TaskNumber::MIN)..=(key, TaskNumber::MAX));
        let sharing: Vec<TaskNumber> = sharing.map(|(_, number)| *number).collect();
        let before: Vec<Vec<Claim>> = sharing.iter().map(|number| self.claims_of(*number)).collect();
        before.iter().flatten().for_each(|claim| self.claims.remove(claim));
        let former = match instance {
            Some(instance) => {
                let network = keep(&mut self.names, instance.network.as_ref());
                self.names.keep(source);
                self.names.keep(id);
                self.instances.insert(key, InstanceRow { instance, network })
            }
            None => self.instances.remove(&key),
        };
        let after: Vec<Vec<Claim>> = sharing.iter().map(|number| self.claims_of(*number)).collect();
        after.iter().flatten().for_each(|claim| self.claims.insert(*claim));
        for (number, (before, after)) in sharing.iter().zip(before.iter().zip(&after)) {
            self.touch_task(*number, touched);
            self.touch_rivals(before, after, touched);
        }
        if let Some(former) = former {
            self.names.release_all([key.0, key.1].into_iter().chain(former.network));
        }
        self.names.release_all([key.0, key.1]);
    }
}

/// Removes a task from an index, if it was entered.
fn withdraw<T: Ord>(index: &mut BTreeSet<(T, TaskNumber)>, entry: Option<T>, number: TaskNumber) {
    if let Some(entry) = entry {
        index.remove(&(entry, number));
    }
}
