//! What changes touch: services, and how much of each must be resolved again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A task by source and id.
pub type TaskOf = (Arc<str>, Arc<str>);

/// How much of a service may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// Everything.
    Whole,
    /// These tasks: each may have come, left, or stand differently. Nothing else has changed.
    Tasks(BTreeSet<TaskOf>),
}

/// The services whose resolution may have changed, with how much of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched(BTreeMap<Arc<str>, Extent>);

impl Touched {
    /// Nothing is touched.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything of a service is touched.
    pub fn whole(&mut self, service: Arc<str>) {
        self.0.insert(service, Extent::Whole);
    }

    /// A task of a service is touched.
    pub fn task(&mut self, service: Arc<str>, task: TaskOf) {
        if let Extent::Tasks(tasks) = self.of(service) {
            tasks.insert(task);
        }
    }

    /// A service is touched, and none of its facts: what a gateway itself knows of it is another.
    pub fn service(&mut self, service: Arc<str>) {
        self.of(service);
    }

    fn of(&mut self, service: Arc<str>) -> &mut Extent {
        self.0.entry(service).or_insert_with(|| Extent::Tasks(BTreeSet::new()))
    }

    /// Adds what another change touches.
    pub fn add(&mut self, other: Touched) {
        for (service, extent) in other {
            match extent {
                Extent::Whole => self.whole(service),
                Extent::Tasks(more) => {
                    if let Extent::Tasks(tasks) = self.of(service) {
                        tasks.extend(more);
                    }
                }
            }
        }
    }

    /// The services.
    pub fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }

    /// How much of a service is touched; `None` if nothing.
    pub fn extent(&self, service: &str) -> Option<&Extent> {
        self.0.get(service)
    }

    /// Whether no service is touched.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Touched {
    type Item = (Arc<str>, Extent);
    type IntoIter = std::collections::btree_map::IntoIter<Arc<str>, Extent>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
