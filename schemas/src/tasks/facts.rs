//! The facts that one follower knows, with the indexes by which a change costs only what it touches.
//!
//! A change names the services whose resolution may have become another one, and the tasks in them, if it is about
//! tasks alone: those and no others are resolved again.
//! What is known is a function of the rows alone: rows that are put in another order, or replaced many times, give
//! the same digest and the same services.

mod change;
pub(super) mod claims;
mod follow;
mod join;
mod look;
pub(super) mod names;
mod page;
pub(super) mod row;
mod selectors;
pub(super) mod tables;
mod touched;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use self::claims::Claims;
use self::names::{Name, Names};
use self::row::{Place, TaskNumber};
use self::selectors::Selectors;
use self::tables::{DeployRow, HealthRow, InstanceRow, SliceRow, Tasks};
use super::fact::{Alias, Fact, Key, Kind};

pub use self::look::Spot;
pub use self::page::Cursor;
pub use self::row::{REVISION_LABELS, SERVICE_LABELS};
pub use self::touched::{Extent, TaskOf, Touched};

/// A set of facts, at most one of each key.
///
/// Texts that repeat are stored once, so rows are made anew whenever they are read back: [`Facts::get`] is for people
/// and for comparing, [`Facts::service`] is what gateways use.
#[derive(Debug, Default)]
pub struct Facts {
    names: Names,
    digest: u64,
    count: usize,

    tasks: Tasks,
    instances: HashMap<(Name, Name), InstanceRow>,
    slices: HashMap<(Name, Name), SliceRow>,
    deploys: BTreeMap<Place, DeployRow>,
    health: BTreeMap<(Name, Name, i32), HealthRow>,
    /// By service and alias.
    aliases: BTreeMap<(Name, Name), Arc<Alias>>,

    claims: Claims,
    selectors: Selectors,
    /// Tasks that are not gone by the deploy to which they belong.
    members: BTreeSet<(Place, TaskNumber)>,
    /// Pods that are not gone by the deploy that their labels name, whether or not they belong to it.
    labelled: BTreeSet<(Place, TaskNumber)>,
    /// Tasks that are not gone.
    by_definition: BTreeSet<(Name, TaskNumber)>,
    /// Tasks that are not gone.
    by_group: BTreeSet<(Name, TaskNumber)>,
    /// Pods that are not gone.
    by_namespace: BTreeSet<(Name, TaskNumber)>,
    /// Tasks, gone ones too, by the instance whose address they share.
    by_instance: BTreeSet<((Name, Name), TaskNumber)>,
    /// Slices by source, namespace and service.
    by_kubernetes_service: BTreeSet<((Name, Name, Name), Name)>,
}

impl Facts {
    /// The fact of a key.
    pub fn get(&self, key: &Key) -> Option<Fact> {
        let name = |at: usize| key.columns.get(at).and_then(|text| self.names.find(text));
        let first = name(0)?;
        let second = name(1)?;
        let pair = (first, second);
        Some(match key.kind {
            Kind::Task => {
                let row = self.tasks.row(self.tasks.find(first, second)?)?;
                Fact::Task(Box::new(row.unpack(&self.names)))
            }
            Kind::Instance => Fact::Instance(Box::new(self.instances.get(&pair)?.instance.clone())),
            Kind::Slice => Fact::Slice(Box::new(self.slices.get(&pair)?.unpack(&self.names))),
            Kind::Deploy => Fact::Deploy(Box::new(self.deploys.get(&pair)?.deploy.as_ref().clone())),
            Kind::Alias => Fact::Alias(Box::new(self.aliases.get(&pair)?.as_ref().clone())),
            Kind::Health => {
                let port = key.columns.get(2)?.parse().ok()?;
                let row = self.health.get(&(first, second, port))?;
                Fact::Health(Box::new(row.unpack(self.names.owned(first), self.names.owned(second), port)))
            }
        })
    }

    /// The XOR of the digests of all facts, to be compared with that of the writer.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The number of facts.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no facts.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The names of all services that a deploy, an alias or a living pod names.
    pub fn services(&self) -> BTreeSet<Arc<str>> {
        let deploys = self.deploys.keys().map(|place| place.0);
        let members = self.members.iter().map(|(place, _)| place.0);
        let mut services: Vec<Name> = deploys.chain(members).chain(self.aliases.keys().map(|key| key.0)).collect();
        services.sort_unstable();
        services.dedup();
        services.into_iter().map(|service| self.names.text(service).clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::fact::{Deploy, Health, Instance, Port, Selector, Slice, Task};

    fn facts_of_all_kinds(version: i64) -> [Fact; 6] {
        let text = |text: &str| Some(text.to_owned());
        let labels: BTreeMap<_, _> = [("app".into(), "x".into()), ("version".into(), format!("v{version}"))].into();
        let key = |service: &str| Alias { service: service.into(), alias: "prod".into(), ..Alias::default() };
        let selector = Selector { namespace: text("ml"), labels: labels.clone(), ..Selector::default() };
        let port = Port { container: "app".into(), container_port: 80, host_port: Some(9_000), name: text("http") };
        let task = Task {
            source: "s".into(),
            id: "t".into(),
            version,
            definition: text("d:1"),
            group: text("g"),
            namespace: text("ml"),
            labels: Some(labels),
            network: text("vpc"),
            ports: vec![port],
            instance: text("i"),
            ..Task::default()
        };
        let addresses = vec!["10.0.0.1".parse().unwrap()];
        let network = text(&format!("vpc-{version}"));
        let instance = Instance { source: "s".into(), id: "i".into(), network, addresses, ..Instance::default() };
        let ready = vec!["t".into(), format!("u{version}")];
        let slice = Slice { source: "s".into(), id: "sl".into(), namespace: text("ml"), ready, ..Slice::default() };
        let slice = Slice { service: text(&format!("x{version}")), ..slice };
        let deploy = Deploy { service: "x".into(), revision: "v1".into(), generation: version, ..Deploy::default() };
        let health = Health { source: "s".into(), task: "t".into(), counter: version, ..Health::default() };
        [
            Fact::Task(Box::new(task)),
            Fact::Instance(Box::new(instance)),
            Fact::Slice(Box::new(slice)),
            Fact::Deploy(Box::new(Deploy { selector: Some(selector), ..deploy })),
            Fact::Health(Box::new(health)),
            Fact::Alias(Box::new(Alias { generation: version, ..key("x") })),
        ]
    }

    #[test]
    fn nothing_is_left_of_facts_that_were_replaced_and_removed() {
        let mut facts = Facts::default();
        for fact in [1, 2, 2, 1, 3].into_iter().flat_map(facts_of_all_kinds) {
            facts.put(fact);
        }
        assert_eq!((facts.len(), facts.members.len(), facts.by_instance.len()), (6, 1, 1));
        for fact in facts_of_all_kinds(3) {
            facts.remove(&fact.key());
        }
        assert_eq!((facts.len(), facts.digest(), facts.names.len()), (0, 0, 0));
        let indexes = [facts.members.len(), facts.labelled.len(), facts.by_namespace.len(), facts.by_instance.len()];
        assert_eq!(indexes, [0; 4]);
        assert_eq!((facts.by_definition.len(), facts.by_group.len(), facts.by_kubernetes_service.len()), (0, 0, 0));
        assert!(facts.claims.is_empty() && facts.selectors.is_empty() && facts.tasks.numbers().next().is_none());
    }
}
