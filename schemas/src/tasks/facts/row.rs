//! The row of a task in memory: about a third of the size of a [`Task`], because texts that repeat are names.

use core::net::IpAddr;

use super::names::{Name, Names};
use crate::tasks::fact::{Port, Rank, Task};
use crate::tasks::source::is_name;

/// Labels of a pod that name its service within its namespace, the first present one counts.
pub const SERVICE_LABELS: [&str; 2] = ["app.kubernetes.io/name", "app"];
/// Labels of a pod that name its revision, the first present one counts.
pub const REVISION_LABELS: [&str; 3] = ["app.kubernetes.io/version", "version", "pod-template-hash"];

/// The number of a task while its row is stored.
pub(in crate::tasks) type TaskNumber = u32;

/// A service and a revision of it.
pub(in crate::tasks) type Place = (Name, Name);

/// See [`Port`].
#[derive(Debug)]
pub(in crate::tasks) struct PortRow {
    pub(in crate::tasks) container: Name,
    pub(in crate::tasks) container_port: u16,
    pub(in crate::tasks) host_port: Option<u16>,
    name: Option<Name>,
}

/// Columns that few living tasks of ECS have.
#[derive(Debug)]
struct Rest {
    name: Option<Box<str>>,
    reason: Option<Box<str>>,
    exit_code: Option<i32>,
    stopped_ms: Option<i64>,
}

/// The order of the address, as the row has it.
type AddressOrder = (Option<i64>, Option<i16>, Option<i64>);

/// See [`Task`] for its columns.
#[derive(Debug)]
pub(in crate::tasks) struct TaskRow {
    pub(in crate::tasks) source: Name,
    pub(in crate::tasks) id: Name,
    epoch: i64,
    pub(in crate::tasks) rank: i16,
    version: i64,
    pub(in crate::tasks) cluster: Option<Name>,
    pub(in crate::tasks) definition: Option<Name>,
    pub(in crate::tasks) group: Option<Name>,
    pub(in crate::tasks) namespace: Option<Name>,
    /// Sorted by the numbers of the names.
    pub(in crate::tasks) labels: Option<Box<[(Name, Name)]>>,
    pub(in crate::tasks) status: Option<Name>,
    desired_status: Option<Name>,
    pub(in crate::tasks) ready: Option<bool>,
    rest: Option<Box<Rest>>,
    pub(in crate::tasks) created_ms: Option<i64>,
    pub(in crate::tasks) started_ms: Option<i64>,
    /// `None` where it is the order of the state.
    address_order: Option<Box<AddressOrder>>,
    pub(in crate::tasks) network: Option<Name>,
    pub(in crate::tasks) addresses: Box<[IpAddr]>,
    pub(in crate::tasks) ports: Box<[PortRow]>,
    pub(in crate::tasks) instance: Option<Name>,

    /// The service and the revision that the labels of a pod name.
    pub(in crate::tasks) labelled: Option<Place>,
    /// The service and the revision to which the task belongs, kept up to date by the indexes. A gone task has none.
    pub(in crate::tasks) place: Option<Place>,
}

/// Keeps a text that may be absent.
pub(in crate::tasks) fn keep(names: &mut Names, text: Option<&String>) -> Option<Name> {
    text.map(|text| names.keep(text))
}

impl TaskRow {
    /// Packs a task; its texts are kept until [`TaskRow::names`] are released.
    pub(in crate::tasks) fn pack(task: Task, names: &mut Names) -> TaskRow {
        let labelled = labelled(&task).map(|(service, revision)| (names.keep(&service), names.keep(&revision)));
        let labels = task.labels.as_ref().map(|labels| {
            let mut labels: Box<[_]> = labels.iter().map(|(key, value)| (names.keep(key), names.keep(value))).collect();
            labels.sort_unstable();
            labels
        });
        let ports = task.ports.iter().map(|port| PortRow {
            container: names.keep(&port.container),
            container_port: port.container_port,
            host_port: port.host_port,
            name: keep(names, port.name.as_ref()),
        });
        let has_rest = task.name.is_some() || task.reason.is_some();
        let has_rest = has_rest || task.exit_code.is_some() || task.stopped_ms.is_some();
        let rest = has_rest.then(|| {
            Box::new(Rest {
                name: task.name.map(String::into_boxed_str),
                reason: task.reason.map(String::into_boxed_str),
                exit_code: task.exit_code,
                stopped_ms: task.stopped_ms,
            })
        });
        let state_order = (Some(task.epoch), Some(task.rank), Some(task.version));
        let address_order = (task.address_epoch, task.address_rank, task.address_version);
        TaskRow {
            ports: ports.collect(),
            source: names.keep(&task.source),
            id: names.keep(&task.id),
            epoch: task.epoch,
            rank: task.rank,
            version: task.version,
            cluster: keep(names, task.cluster.as_ref()),
            definition: keep(names, task.definition.as_ref()),
            group: keep(names, task.group.as_ref()),
            namespace: keep(names, task.namespace.as_ref()),
            labels,
            status: keep(names, task.status.as_ref()),
            desired_status: keep(names, task.desired_status.as_ref()),
            ready: task.ready,
            rest,
            created_ms: task.created_ms,
            started_ms: task.started_ms,
            address_order: (address_order != state_order).then(|| Box::new(address_order)),
            network: keep(names, task.network.as_ref()),
            addresses: task.addresses.into(),
            instance: keep(names, task.instance.as_ref()),
            labelled,
            place: None,
        }
    }

    /// The task.
    pub(in crate::tasks) fn unpack(&self, names: &Names) -> Task {
        let text = |name: Option<Name>| name.map(|name| names.owned(name));
        let port = |port: &PortRow| Port {
            container: names.owned(port.container),
            container_port: port.container_port,
            host_port: port.host_port,
            name: text(port.name),
        };
        let labels = self.labels.as_ref();
        let rest = self.rest.as_ref();
        let state_order = (Some(self.epoch), Some(self.rank), Some(self.version));
        let address_order = self.address_order.as_deref().copied().unwrap_or(state_order);
        Task {
            source: names.owned(self.source),
            id: names.owned(self.id),
            epoch: self.epoch,
            rank: self.rank,
            version: self.version,
            cluster: text(self.cluster),
            definition: text(self.definition),
            group: text(self.group),
            namespace: text(self.namespace),
            name: rest.and_then(|rest| rest.name.as_deref()).map(str::to_owned),
            labels: labels.map(|all| all.iter().map(|pair| (names.owned(pair.0), names.owned(pair.1))).collect()),
            status: text(self.status),
            desired_status: text(self.desired_status),
            ready: self.ready,
            reason: rest.and_then(|rest| rest.reason.as_deref()).map(str::to_owned),
            exit_code: rest.and_then(|rest| rest.exit_code),
            stopped_ms: rest.and_then(|rest| rest.stopped_ms),
            created_ms: self.created_ms,
            started_ms: self.started_ms,
            address_epoch: address_order.0,
            address_rank: address_order.1,
            address_version: address_order.2,
            network: text(self.network),
            addresses: self.addresses.to_vec(),
            ports: self.ports.iter().map(port).collect(),
            instance: text(self.instance),
        }
    }

    /// Every name that this row keeps, as often as it keeps it.
    pub(in crate::tasks) fn names(&self) -> impl Iterator<Item = Name> {
        let options = [self.cluster, self.definition, self.group, self.namespace, self.status, self.desired_status];
        let address = [self.network, self.instance];
        let pairs = self.labels.iter().flatten().copied().chain(self.labelled);
        let ports = self.ports.iter().flat_map(|port| [Some(port.container), port.name]).flatten();
        let options = options.into_iter().chain(address).flatten();
        [self.source, self.id].into_iter().chain(options).chain(pairs.flat_map(|pair| [pair.0, pair.1])).chain(ports)
    }

    /// Whether the task is gone for good.
    pub(in crate::tasks) fn is_gone(&self) -> bool {
        self.rank >= Rank::Gone as i16
    }

    /// Whether the task is a pod.
    pub(in crate::tasks) fn is_pod(&self) -> bool {
        self.namespace.is_some()
    }

    /// The key of the instance whose address the task shares; `None` if it has an address of its own.
    pub(in crate::tasks) fn shared(&self) -> Option<(Name, Name)> {
        self.instance.filter(|_| self.addresses.is_empty()).map(|instance| (self.source, instance))
    }
}

/// The service and the revision that the labels of a pod name, if they are names at all.
fn labelled(task: &Task) -> Option<(String, String)> {
    let labels = task.labels.as_ref()?;
    let first = |keys: &[&str]| keys.iter().find_map(|key| labels.get(*key).filter(|value| !value.is_empty()));
    let namespace = task.namespace.as_ref().filter(|namespace| !namespace.contains('.'))?;
    let service = format!("{namespace}.{}", first(&SERVICE_LABELS)?);
    let revision = first(&REVISION_LABELS)?.clone();
    (is_name(&service) && is_name(&revision)).then_some((service, revision))
}
