//! Which pods the EndpointSlices of a service name.

use std::collections::{HashMap, HashSet};

use crate::tasks::facts::Facts;
use crate::tasks::facts::names::Name;
use crate::tasks::facts::row::TaskRow;

/// The pods that slices name, looked up once for each source and namespace of a service.
#[derive(Debug, Default)]
pub(super) struct Named(HashMap<(Name, Name), Option<HashSet<Name>>>);

impl Named {
    /// Whether a task needs no slice, or a live slice of its service names it.
    ///
    /// The slices of a service are those whose namespace and service are `namespace.service`. Gone slices make a
    /// service known by slices too: a service of Kubernetes that was deleted takes no requests.
    pub(super) fn allows(&mut self, facts: &Facts, task: &TaskRow, service: &str) -> bool {
        let Some(namespace) = task.namespace else {
            return true;
        };
        let named = self.0.entry((task.source, namespace)).or_insert_with(|| {
            let within = service.strip_prefix(&**facts.text(namespace)).and_then(|rest| rest.strip_prefix('.'));
            facts.named_by_slices(task.source, namespace, within?)
        });
        named.as_ref().is_none_or(|named| named.contains(&task.id))
    }
}
