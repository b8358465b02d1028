//! `resolve` once more, by the letter of the rules and without any index.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use millstream_schemas::tasks::{
    Alias, Deploy, Fact, Health, Instance, Pending, Placed, Port, Revision, Selector, Service, Slice, Standing, Task,
};

type Spot = (Option<String>, IpAddr, Option<u16>);

/// All rows, one list for each table.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    tasks: Vec<Task>,
    instances: Vec<Instance>,
    slices: Vec<Slice>,
    deploys: Vec<Deploy>,
    health: Vec<Health>,
    aliases: Vec<Alias>,
}

impl Rows {
    /// The rows of some facts.
    pub(crate) fn new(facts: impl IntoIterator<Item = Fact>) -> Rows {
        let mut rows = Rows::default();
        for fact in facts {
            match fact {
                Fact::Task(row) => rows.tasks.push(*row),
                Fact::Instance(row) => rows.instances.push(*row),
                Fact::Slice(row) => rows.slices.push(*row),
                Fact::Deploy(row) => rows.deploys.push(*row),
                Fact::Health(row) => rows.health.push(*row),
                Fact::Alias(row) => rows.aliases.push(*row),
            }
        }
        rows
    }

    /// A service.
    pub(crate) fn service(&self, name: &str, may_dial: &dyn Fn(&str, SocketAddr) -> bool) -> Service {
        let mut revisions: BTreeMap<Arc<str>, Revision> = BTreeMap::new();
        for deploy in self.deploys.iter().filter(|deploy| deploy.service == name && !deploy.retired) {
            let revision = Revision { deploy: Arc::new(deploy.clone()), tasks: vec![] };
            revisions.insert(deploy.revision.as_str().into(), revision);
        }
        for task in self.tasks.iter().filter(|task| task.rank < 2) {
            if let Some(deploy) = self.deploys_of(task).first().filter(|deploy| deploy.service == name) {
                let deploy = Arc::new(deploy.clone());
                let empty = Revision { deploy: deploy.clone(), tasks: vec![] };
                let revision = revisions.entry(deploy.revision.as_str().into()).or_insert(empty);
                revision.tasks.push(Placed { lost: vec![], ..self.task(task, may_dial) });
            }
        }
        for revision in revisions.values_mut() {
            revision.tasks.sort_by_key(|task| (task.source.clone(), task.id.clone()));
        }
        let aliases = self.aliases.iter().filter(|alias| alias.service == name && !alias.deleted);
        let aliases = aliases.map(|alias| (alias.alias.as_str().into(), Arc::new(alias.clone()))).collect();
        Service { name: name.into(), revisions, aliases }
    }

    /// A task by source and id.
    pub(crate) fn placed(&self, source: &str, id: &str, may_dial: &dyn Fn(&str, SocketAddr) -> bool) -> Option<Placed> {
        let task = self.tasks.iter().find(|task| task.source == source && task.id == id)?;
        Some(self.task(task, may_dial))
    }

    /// R23, R50: the deploys of a task, the best first.
    fn deploys_of(&self, task: &Task) -> Vec<Deploy> {
        let takes = |deploy: &&Deploy| {
            !deploy.retired && deploy.selector.as_ref().is_some_and(|selector| matches(selector, task))
        };
        let mut found: Vec<Deploy> = self.deploys.iter().filter(takes).cloned().collect();
        found.sort_by_key(|deploy| {
            let specificity = deploy.selector.as_ref().map(specificity);
            (specificity, deploy.generation, deploy.revision.clone(), deploy.service.clone())
        });
        found.reverse();
        if let Some((service, revision)) = by_labels(task).filter(|_| found.is_empty()) {
            let told = self.deploys.iter().find(|deploy| deploy.service == service && deploy.revision == revision);
            let default = Deploy { service, revision, min_ready: 1, drain_ms: 30_000, ..Deploy::default() };
            found.extend(match told {
                None => Some(default),
                Some(told) if told.retired || told.selector.is_some() => None,
                Some(told) => Some(told.clone()),
            });
        }
        found
    }

    /// R24: the address of a task, and what it claims there.
    fn address(&self, task: &Task, deploy: &Deploy) -> Result<(Spot, SocketAddr), Pending> {
        let of_container = |port: &&Port| deploy.container.as_ref().is_none_or(|name| *name == port.container);
        let mut ports = task.ports.iter().filter(of_container);
        if let Some(ip) = task.addresses.first().map(IpAddr::to_canonical) {
            let port = deploy.port.or_else(|| ports.next().map(|port| port.container_port)).ok_or(Pending::NoPort)?;
            return Ok(((task.network.clone(), ip, None), SocketAddr::new(ip, port)));
        }
        let id = task.instance.as_ref().ok_or(Pending::NoAddress)?;
        let instance = self.instances.iter().find(|instance| instance.source == task.source && instance.id == *id);
        let instance = instance.ok_or(Pending::NoHostAddress)?;
        let ip = instance.addresses.first().ok_or(Pending::NoHostAddress)?.to_canonical();
        let mut ports = ports.filter(|port| deploy.port.is_none() || deploy.port == Some(port.container_port));
        let port = ports.find_map(|port| port.host_port.filter(|port| *port > 0)).ok_or(Pending::NoPort)?;
        Ok(((instance.network.clone(), ip, Some(port)), SocketAddr::new(ip, port)))
    }

    /// R26: what a task claims.
    fn claims(&self, task: &Task) -> Vec<Spot> {
        let own = task.addresses.iter().map(|ip| (task.network.clone(), ip.to_canonical(), None));
        let mut claims: Vec<Spot> = own.collect();
        let shares = |instance: &&Instance| {
            instance.source == task.source && task.instance.as_ref() == Some(&instance.id) && task.addresses.is_empty()
        };
        for instance in self.instances.iter().filter(shares) {
            for port in task.ports.iter().filter_map(|port| port.host_port.filter(|port| *port > 0)) {
                let claim = |ip: &IpAddr| (instance.network.clone(), ip.to_canonical(), Some(port));
                claims.extend(instance.addresses.iter().map(claim));
            }
        }
        claims
    }

    /// R26: who owns a spot.
    fn owner(&self, spot: &Spot) -> Option<&Task> {
        let meets = |claim: &Spot| {
            (&claim.0, claim.1) == (&spot.0, spot.1) && (claim.2.is_none() || spot.2.is_none() || claim.2 == spot.2)
        };
        let claimants = self.tasks.iter().filter(|task| self.claims(task).iter().any(meets));
        claimants.max_by_key(|task| (task.started_ms.or(task.created_ms), &task.source, &task.id))
    }

    /// R51: whether the slices of a service let a pod in.
    fn is_named(&self, task: &Task, service: &str) -> bool {
        let Some(namespace) = &task.namespace else {
            return true;
        };
        let of_service = |slice: &&Slice| {
            slice.source == task.source
                && slice.namespace.as_ref() == Some(namespace)
                && slice.service.as_ref().is_some_and(|name| format!("{namespace}.{name}") == service)
        };
        let slices: Vec<_> = self.slices.iter().filter(of_service).collect();
        let names =
            |slice: &&Slice| slice.rank == 0 && slice.ready.iter().chain(&slice.unready).any(|id| *id == task.id);
        slices.is_empty() || slices.iter().any(names)
    }

    /// R25: how a task stands.
    fn task(&self, task: &Task, may_dial: &dyn Fn(&str, SocketAddr) -> bool) -> Placed {
        let mut deploys = self.deploys_of(task).into_iter().map(Arc::new);
        let deploy = deploys.next();
        let address = deploy.as_ref().ok_or(Pending::NoDeploy).and_then(|deploy| self.address(task, deploy));
        let owner = address.as_ref().ok().and_then(|(spot, _)| self.owner(spot)).filter(|owner| *owner != task);
        let network = address.as_ref().ok().and_then(|(spot, _)| spot.0.as_deref());
        let may_dial = |address: SocketAddr| owner.is_none() && may_dial(network.unwrap_or_default(), address);
        let running = task.status.as_ref().is_some_and(|status| status.to_uppercase() == "RUNNING");
        let standing = match (&deploy, &address) {
            _ if task.rank == 2 => Standing::Gone,
            _ if task.rank == 1 => Standing::Draining,
            _ if !running => Standing::Pending(Pending::NotRunning),
            (Some(deploy), _) if !self.is_named(task, &deploy.service) => Standing::Pending(Pending::NoDeploy),
            (_, Err(pending)) => Standing::Pending(*pending),
            _ if owner.is_some() => Standing::Pending(Pending::Shadowed),
            (_, Ok((_, address))) if !may_dial(*address) => Standing::Pending(Pending::AddressRefused),
            (deploy, Ok((_, address))) => self.by_health(task, deploy.as_deref(), address.port()),
        };
        let address = address.as_ref().ok().map(|(_, address)| *address);
        Placed {
            source: task.source.as_str().into(),
            id: task.id.as_str().into(),
            network: network.map(Into::into),
            address: address.filter(|address| task.rank != 1 || may_dial(*address)),
            standing,
            started_ms: task.started_ms,
            deploy,
            shadowed_by: owner.map(|owner| (owner.source.as_str().into(), owner.id.as_str().into())),
            lost: deploys.collect(),
        }
    }

    fn by_health(&self, task: &Task, deploy: Option<&Deploy>, port: u16) -> Standing {
        let of_port = |row: &&Health| (&row.source, &row.task, row.port) == (&task.source, &task.id, i32::from(port));
        let healthy = match deploy.and_then(|deploy| deploy.health.as_ref()) {
            Some(_) => self.health.iter().find(of_port).map(|health| health.healthy),
            None if task.namespace.is_none() && task.ready.is_none() => Some(true),
            None => task.ready,
        };
        match healthy {
            Some(true) => Standing::Routable,
            Some(false) => Standing::Pending(Pending::Unhealthy),
            None => Standing::Pending(Pending::UnknownHealth),
        }
    }
}

fn matches(selector: &Selector, task: &Task) -> bool {
    let is = |wanted: &Option<String>, found: Option<&String>| wanted.is_none() || wanted.as_ref() == found;
    is(&selector.source, Some(&task.source))
        && is(&selector.cluster, task.cluster.as_ref())
        && is(&selector.definition, task.definition.as_ref())
        && is(&selector.group, task.group.as_ref())
        && is(&selector.namespace, task.namespace.as_ref())
        && selector.labels.iter().all(|(key, value)| task.labels.as_ref().and_then(|all| all.get(key)) == Some(value))
}

fn specificity(selector: &Selector) -> usize {
    let members = [&selector.source, &selector.cluster, &selector.definition, &selector.group, &selector.namespace];
    members.iter().filter(|member| member.is_some()).count() + selector.labels.len()
}

fn by_labels(task: &Task) -> Option<(String, String)> {
    let labels = task.labels.as_ref()?;
    let service = labels.get("app.kubernetes.io/name").or(labels.get("app"))?;
    let revisions = ["app.kubernetes.io/version", "version", "pod-template-hash"];
    let revision = revisions.iter().find_map(|key| labels.get(*key))?;
    Some((format!("{}.{service}", task.namespace.as_ref()?), revision.clone()))
}
