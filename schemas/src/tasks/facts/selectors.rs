//! Selectors of deploys, found by what a task carries instead of one after the other.
//!
//! Each selector is filed under one member: definition, group, one of its labels, or namespace, in this order. A task
//! looks only where its own members point, and compares whatever it finds there in full.

use std::collections::BTreeSet;

use super::names::{Name, Names};
use super::row::{Place, TaskRow, keep};
use crate::tasks::fact::Selector;

/// Entries of a label that are counted when the rarest label of a selector is looked for: beyond that all are common.
const COMMON: usize = 64;

/// A selector whose texts are names.
#[derive(Debug)]
pub(in crate::tasks) struct SelectorRow {
    source: Option<Name>,
    cluster: Option<Name>,
    definition: Option<Name>,
    group: Option<Name>,
    namespace: Option<Name>,
    labels: Box<[(Name, Name)]>,
}

/// Under what a selector is filed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::tasks) enum Member {
    Definition(Name),
    Group(Name),
    Label(Name, Name),
    Namespace(Name),
    /// Selectors that name a source or a cluster only, or nothing.
    Rest,
}

impl SelectorRow {
    /// Packs a selector; its texts are kept until [`SelectorRow::names`] are released.
    pub(in crate::tasks) fn pack(selector: &Selector, names: &mut Names) -> SelectorRow {
        let labels = selector.labels.iter().map(|(key, value)| (names.keep(key), names.keep(value)));
        SelectorRow {
            labels: labels.collect(),
            source: keep(names, selector.source.as_ref()),
            cluster: keep(names, selector.cluster.as_ref()),
            definition: keep(names, selector.definition.as_ref()),
            group: keep(names, selector.group.as_ref()),
            namespace: keep(names, selector.namespace.as_ref()),
        }
    }

    /// Every name that this row keeps, as often as it keeps it.
    pub(in crate::tasks) fn names(&self) -> impl Iterator<Item = Name> {
        let labels = self.labels.iter().flat_map(|pair| [pair.0, pair.1]);
        self.members().into_iter().flatten().chain(labels)
    }

    fn members(&self) -> [Option<Name>; 5] {
        [self.source, self.cluster, self.definition, self.group, self.namespace]
    }

    /// Whether a task has every member of this selector.
    pub(in crate::tasks) fn matches(&self, task: &TaskRow) -> bool {
        let carried = [Some(task.source), task.cluster, task.definition, task.group, task.namespace];
        let labels = task.labels.as_deref().unwrap_or_default();
        self.members().iter().zip(carried).all(|(member, carried)| member.is_none() || *member == carried)
            && self.labels.iter().all(|label| labels.binary_search(label).is_ok())
    }

    /// The number of members; each label is one.
    pub(in crate::tasks) fn specificity(&self) -> usize {
        self.members().iter().flatten().count() + self.labels.len()
    }

    /// The namespace of its tasks, if it names one.
    pub(in crate::tasks) fn namespace(&self) -> Option<Name> {
        self.namespace
    }
}

/// All selectors of deploys that take tasks.
#[derive(Debug, Default)]
pub(in crate::tasks) struct Selectors(BTreeSet<(Member, Place)>);

impl Selectors {
    /// Whether there are none.
    #[cfg(test)]
    pub(in crate::tasks) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Files the selector of a deploy, and says under what.
    pub(in crate::tasks) fn insert(&mut self, selector: &SelectorRow, place: Place) -> Member {
        let labels = selector.labels.iter().map(|(key, value)| Member::Label(*key, *value));
        let label = labels.min_by_key(|label| self.under(*label).take(COMMON).count());
        let member = match selector {
            SelectorRow { definition: Some(definition), .. } => Member::Definition(*definition),
            SelectorRow { group: Some(group), .. } => Member::Group(*group),
            SelectorRow { namespace: Some(namespace), .. } => label.unwrap_or(Member::Namespace(*namespace)),
            _ => label.unwrap_or(Member::Rest),
        };
        self.0.insert((member, place));
        member
    }

    /// Removes what was filed.
    pub(in crate::tasks) fn remove(&mut self, member: Member, place: Place) {
        let was_there = self.0.remove(&(member, place));
        debug_assert!(was_there, "a selector is removed as it was filed");
    }

    /// The deploys whose selectors may match a task. Those that are not among them do not.
    pub(in crate::tasks) fn candidates(&self, task: &TaskRow) -> impl Iterator<Item = Place> {
        let definition = task.definition.map(Member::Definition);
        let group = task.group.map(Member::Group);
        let namespace = task.namespace.map(Member::Namespace);
        let labels = task.labels.iter().flatten().map(|(key, value)| Member::Label(*key, *value));
        let members = [definition, group, namespace, Some(Member::Rest)].into_iter().flatten().chain(labels);
        members.flat_map(|member| self.under(member))
    }

    fn under(&self, member: Member) -> impl Iterator<Item = Place> {
        let least = (Name::MIN, Name::MIN);
        let largest = (Name::MAX, Name::MAX);
        self.0.range((member, least)..=(member, largest)).map(|(_, place)| *place)
    }
}
