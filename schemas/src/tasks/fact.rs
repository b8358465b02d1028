//! Facts: the rows of the routing tables, one struct for each table, with the names of its columns.
//!
//! A row is read from PostgreSQL as `to_jsonb(row)` and written through `jsonb_populate_recordset`, so that this file and
//! the migration are the only two places that list columns. The columns `seq` and `at` are not part of a fact.

use core::net::IpAddr;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The kind of a fact: the name of its table and of its entries in the route log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A task of ECS, a pod of Kubernetes.
    Task,
    /// A host on which tasks share an address.
    Instance,
    /// An EndpointSlice of Kubernetes.
    Slice,
    /// A revision of a service.
    Deploy,
    /// The result of health checks of a port of a task.
    Health,
    /// A name of a service that says which revisions it means.
    Alias,
}

/// The rank of an order: nothing revives what is gone, whatever its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// Present.
    Live = 0,
    /// A task that is being stopped.
    Draining = 1,
    /// Gone for good.
    Gone = 2,
}

/// The place of an event in the order of its entity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Order {
    /// Rises only when the source itself went back to an older state.
    pub epoch: i64,
    /// The number of a [`Rank`].
    pub rank: i16,
    /// The version that the source counts.
    pub version: i64,
}

/// A task: what was told of it. State and address are folded apart, each by its own order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Who emits its events: the name of a configured `task_source`.
    pub source: String,
    /// The last part of the task's ARN, or the uid of the pod.
    pub id: String,

    /// The order of the state.
    pub epoch: i64,
    /// See [`Rank`].
    pub rank: i16,
    /// The version that the source counts.
    pub version: i64,
    /// The ARN of the cluster, or the uid of its namespace `kube-system`.
    pub cluster: Option<String>,
    /// Family and revision of the task definition, as `family:revision`.
    pub definition: Option<String>,
    /// The group, such as `service:digits`.
    pub group: Option<String>,
    /// The namespace of a pod.
    pub namespace: Option<String>,
    /// The name of a pod.
    pub name: Option<String>,
    /// The labels of a pod.
    pub labels: Option<BTreeMap<String, String>>,
    /// `lastStatus` of ECS, the phase of a pod, or `RUNNING` of a plain event.
    pub status: Option<String>,
    /// `desiredStatus` of ECS.
    pub desired_status: Option<String>,
    /// The Ready condition of a pod. Tasks of ECS have none.
    pub ready: Option<bool>,
    /// Why it stopped.
    pub reason: Option<String>,
    /// The exit code of the container that ended first with one that is not 0, else 0.
    pub exit_code: Option<i32>,
    /// When it stopped, in milliseconds since 1970.
    pub stopped_ms: Option<i64>,

    /// When it was created, in milliseconds since 1970: the largest that was told.
    pub created_ms: Option<i64>,
    /// When it started, in milliseconds since 1970: the largest that was told.
    pub started_ms: Option<i64>,

    /// The order of the address; `None` as long as no event carried one.
    pub address_epoch: Option<i64>,
    /// See [`Rank`].
    pub address_rank: Option<i16>,
    /// The version of the event that carried the address.
    pub address_version: Option<i64>,
    /// The network of the addresses: those of different networks are never compared.
    pub network: Option<String>,
    /// Its own addresses, the one to use first; none where it shares those of its instance.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<Port>,
    /// The id of the instance whose address it shares.
    pub instance: Option<String>,
}

/// A port of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Port {
    /// The name of the container.
    pub container: String,
    /// The port inside of it.
    pub container_port: u16,
    /// The port of the instance that leads to it; `None` where the task has an address of its own.
    pub host_port: Option<u16>,
    /// The name of the port, as pods have it.
    pub name: Option<String>,
}

/// A host on which tasks share an address. State and addresses are folded apart, each by its own order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Who emits its events.
    pub source: String,
    /// The last part of the ARN of the container instance.
    pub id: String,
    /// Rises only when the source itself went back.
    pub epoch: i64,
    /// See [`Rank`].
    pub rank: i16,
    /// The version that the source counts.
    pub version: i64,
    /// The ARN of its cluster.
    pub cluster: Option<String>,
    /// `status` of the container instance.
    pub status: Option<String>,
    /// Whether its agent is connected: shown, and without effect on routes.
    pub agent_connected: Option<bool>,
    /// The id of the machine (`i-..`).
    pub machine: Option<String>,

    /// The order of the addresses; `None` as long as no event carried any. Events of ECS never do.
    pub address_epoch: Option<i64>,
    /// See [`Rank`].
    pub address_rank: Option<i16>,
    /// The version of the event that carried them.
    pub address_version: Option<i64>,
    /// Its network.
    pub network: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// An EndpointSlice: the pods that a service of Kubernetes names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// Who emits its events.
    pub source: String,
    /// The uid of the slice.
    pub id: String,
    /// Rises only when the source itself went back.
    pub epoch: i64,
    /// See [`Rank`].
    pub rank: i16,
    /// `resourceVersion`.
    pub version: i64,
    /// The uid of the cluster.
    pub cluster: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
    /// The service (label `kubernetes.io/service-name`).
    pub service: Option<String>,
    /// Its ports, by name.
    pub ports: Vec<Port>,
    /// The uids of its pods that are ready, or that say nothing of it.
    pub ready: Vec<String>,
    /// The uids of its other pods.
    pub unready: Vec<String>,
}

/// Which tasks belong to a deploy. What is absent matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selector {
    /// The source of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The ARN of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// `family:revision`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// The group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The namespace of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels that a pod must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// How the tasks of a deploy are checked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum HealthCheck {
    /// A connection is made.
    Tcp,
    /// A GET of a path is answered with 2xx or 3xx.
    Http {
        /// The path.
        path: String,
    },
}

/// A revision of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// The service.
    pub service: String,
    /// The revision.
    pub revision: String,
    /// Its own generation: the largest wins.
    pub generation: i64,
    /// It takes no more tasks; a later generation may bring it back.
    pub retired: bool,
    /// Its tasks; `None` matches no task.
    pub selector: Option<Selector>,
    /// The container that serves; `None` where a task has one.
    pub container: Option<String>,
    /// The port of the container.
    pub port: Option<u16>,
    /// How its tasks are checked; `None` where they are not.
    pub health: Option<HealthCheck>,
    /// Routable tasks that an alias waits for.
    pub min_ready: i32,
    /// How long a draining task may finish what it has, in milliseconds.
    pub drain_ms: i64,
    /// How long its server keeps an idle connection, in milliseconds, where that is known.
    pub keep_alive_ms: Option<i64>,
    /// Whether any request may be sent again to another task.
    pub replay_post: bool,
    /// The response header in which a task names itself or its revision.
    pub identity: Option<String>,
    /// Requests at a time that a task takes.
    pub concurrency_max: Option<i32>,
}

/// The result of the checks of a port of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The source of the task.
    pub source: String,
    /// The id of the task.
    pub task: String,
    /// The port.
    pub port: i32,
    /// The number of the assignment of the shard of tasks to its checker.
    pub assignment: i64,
    /// Counts within the assignment.
    pub counter: i64,
    /// Whether it answers as it should.
    pub healthy: bool,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
    /// Why it is unhealthy.
    pub reason: Option<String>,
}

/// A share of the requests of an alias.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The revision.
    pub revision: String,
    /// 0 to 1000: a share of the sum of the weights.
    pub weight: u16,
}

/// A name of a service, such as `prod`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// The service.
    pub service: String,
    /// The name.
    pub alias: String,
    /// Grows with each change, over deletion too.
    pub generation: i64,
    /// Whether it is deleted: the row stays for its generation.
    pub deleted: bool,
    /// The revisions; empty means every live revision (`any`).
    pub targets: Vec<Target>,
    /// The request header by whose value requests stay with a target.
    pub sticky: Option<String>,
    /// Whether a new generation is taken after `hold_max_ms` although its targets are not ready.
    pub force: bool,
    /// How long a gateway holds the former generation while the new one is not ready, in milliseconds.
    pub hold_max_ms: Option<i64>,
    /// Whether 502, 503 and 504 of a task are tried on another one.
    pub retry_responses: bool,
    /// Whether a request with an `Idempotency-Key` may be sent again.
    pub retry_keyed: bool,
    /// The most time of a request, in milliseconds.
    pub timeout_ms: Option<i64>,
    /// Identifies the request that made this generation: the same again gives the first answer.
    pub change_id: Option<String>,
}

/// A fact of any kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Fact {
    /// See [`Task`].
    Task(Box<Task>),
    /// See [`Instance`].
    Instance(Box<Instance>),
    /// See [`Slice`].
    Slice(Box<Slice>),
    /// See [`Deploy`].
    Deploy(Box<Deploy>),
    /// See [`Health`].
    Health(Box<Health>),
    /// See [`Alias`].
    Alias(Box<Alias>),
}

impl Kind {
    /// Every kind, in the order in which facts are applied: aliases last.
    pub const ALL: [Kind; 6] = [Kind::Task, Kind::Instance, Kind::Slice, Kind::Deploy, Kind::Health, Kind::Alias];

    /// The name of its table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Task => "task",
            Kind::Instance => "instance",
            Kind::Slice => "slice",
            Kind::Deploy => "deploy",
            Kind::Health => "health",
            Kind::Alias => "alias",
        }
    }
}

/// The kind and the key columns of a fact, in the order of the primary key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The kind.
    pub kind: Kind,
    /// The columns, as text: source and id; service and revision or alias; source, task and port.
    pub columns: Vec<String>,
}

impl Instance {
    /// The same, with the order of the state as that of the addresses, if it has any.
    #[must_use]
    pub fn with_address_order(self) -> Instance {
        let has_addresses = !self.addresses.is_empty();
        Instance {
            address_epoch: has_addresses.then_some(self.epoch),
            address_rank: has_addresses.then_some(self.rank),
            address_version: has_addresses.then_some(self.version),
            ..self
        }
    }
}

impl Fact {
    /// The kind.
    pub fn kind(&self) -> Kind {
        match self {
            Fact::Task(_) => Kind::Task,
            Fact::Instance(_) => Kind::Instance,
            Fact::Slice(_) => Kind::Slice,
            Fact::Deploy(_) => Kind::Deploy,
            Fact::Health(_) => Kind::Health,
            Fact::Alias(_) => Kind::Alias,
        }
    }

    /// The kind and the key columns.
    pub fn key(&self) -> Key {
        let columns = match self {
            Fact::Task(task) => vec![task.source.clone(), task.id.clone()],
            Fact::Instance(instance) => vec![instance.source.clone(), instance.id.clone()],
            Fact::Slice(slice) => vec![slice.source.clone(), slice.id.clone()],
            Fact::Deploy(deploy) => vec![deploy.service.clone(), deploy.revision.clone()],
            Fact::Health(health) => vec![health.source.clone(), health.task.clone(), health.port.to_string()],
            Fact::Alias(alias) => vec![alias.service.clone(), alias.alias.clone()],
        };
        Key { kind: self.kind(), columns }
    }

    /// Reads a row as `to_jsonb` gives it; columns that are no part of a fact are ignored.
    ///
    /// # Errors
    /// When a column is missing or of another type: the table belongs to another version of the schema.
    pub fn read(kind: Kind, row: &str) -> Result<Fact, serde_json::Error> {
        Ok(match kind {
            Kind::Task => Fact::Task(serde_json::from_str(row)?),
            Kind::Instance => Fact::Instance(serde_json::from_str(row)?),
            Kind::Slice => Fact::Slice(serde_json::from_str(row)?),
            Kind::Deploy => Fact::Deploy(serde_json::from_str(row)?),
            Kind::Health => Fact::Health(serde_json::from_str(row)?),
            Kind::Alias => Fact::Alias(serde_json::from_str(row)?),
        })
    }

    /// The row as JSON: always the same bytes for the same fact.
    pub fn to_json(&self) -> String {
        let row = serde_json::to_string(self);
        debug_assert!(row.is_ok(), "a fact has only text for names");
        row.unwrap_or_default()
    }

    /// A hash of kind, key and values. The digest of a set of facts is the XOR of those of its facts.
    pub fn digest(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(format!("{}\0{}", self.kind().as_str(), self.to_json()).as_bytes())
    }
}
