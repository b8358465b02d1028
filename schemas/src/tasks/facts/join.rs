//! Which deploy a task belongs to, what it claims, and which tasks a selector may match.

use std::cmp::Reverse;
use std::sync::Arc;

use super::Facts;
use super::claims::{Claim, Spot};
use super::names::Name;
use super::row::{Place, TaskNumber, TaskRow};
use super::selectors::{Member, SelectorRow};

impl Facts {
    /// The deploys to which a task may belong, the one to which it does first.
    ///
    /// The most specific selector wins, among equals the largest (generation, revision, service). A pod that no
    /// selector matches belongs to the deploy that its labels name, unless that is retired or has a selector of its
    /// own; it need not have been told of.
    pub(in crate::tasks) fn matching(&self, task: &TaskRow) -> Vec<Place> {
        let mut found: Vec<(usize, Place)> = Vec::new();
        for place in self.selectors.candidates(task) {
            let selector = self.deploys.get(&place).and_then(|row| row.selector.as_ref());
            if let Some(selector) = selector.filter(|selector| selector.matches(task)) {
                found.push((selector.specificity(), place));
            }
        }
        let rank = |(specificity, place): &(usize, Place)| {
            let generation = self.deploys.get(place).map(|row| row.deploy.generation);
            (*specificity, generation, self.names.text(place.1).clone(), self.names.text(place.0).clone())
        };
        found.sort_by_cached_key(|entry| Reverse(rank(entry)));
        let mut found: Vec<Place> = found.into_iter().map(|(_, place)| place).collect();
        if found.is_empty() {
            found.extend(task.labelled.filter(|place| self.takes_labelled(*place)));
        }
        found
    }

    fn takes_labelled(&self, place: Place) -> bool {
        self.deploys.get(&place).is_none_or(|row| !row.deploy.retired && row.selector.is_none())
    }

    /// The claims of a task: its own addresses, or its ports on each address of its instance.
    pub(super) fn claims_of(&self, number: TaskNumber) -> Vec<Claim> {
        let Some(task) = self.tasks.row(number) else {
            return Vec::new();
        };
        let mut spots: Vec<Spot> = Vec::new();
        if let Some(row) = task.shared().and_then(|key| self.instances.get(&key)) {
            let ports = task.ports.iter().filter_map(|port| port.host_port.filter(|port| *port != 0));
            for port in ports {
                spots.extend(row.instance.addresses.iter().map(|ip| Spot::new(row.network, *ip, Some(port))));
            }
        }
        spots.extend(task.addresses.iter().map(|ip| Spot::new(task.network, *ip, None)));
        spots.sort_unstable();
        spots.dedup();
        let since_ms = task.started_ms.or(task.created_ms).unwrap_or(i64::MIN);
        let is_gone = task.is_gone();
        spots.into_iter().map(|spot| Claim { spot, is_gone, since_ms, task: number }).collect()
    }

    /// The owner of a spot: the largest (time, source, id) of all tasks whose claims meet a claim on it.
    pub(in crate::tasks) fn owner(&self, spot: Spot) -> Option<TaskNumber> {
        let texts = |number: &TaskNumber| -> Option<(&Arc<str>, &Arc<str>)> {
            let task = self.tasks.row(*number)?;
            Some((self.names.text(task.source), self.names.text(task.id)))
        };
        self.claims.latest(spot).into_iter().max_by_key(texts)
    }

    /// The tasks that are not gone and that a selector may match; those that are not among them it does not match.
    pub(super) fn candidates(&self, selector: &SelectorRow, filed: Member) -> Vec<TaskNumber> {
        let below = |name: Name| (name, TaskNumber::MIN)..=(name, TaskNumber::MAX);
        let entries = match (filed, selector.namespace()) {
            (Member::Definition(definition), _) => self.by_definition.range(below(definition)),
            (Member::Group(group), _) => self.by_group.range(below(group)),
            (_, Some(namespace)) => self.by_namespace.range(below(namespace)),
            _ => return self.tasks.numbers().collect(),
        };
        entries.map(|(_, number)| *number).collect()
    }
}
