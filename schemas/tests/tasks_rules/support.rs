//! Facts to begin with, orders to try, and numbers that look random and are the same each time.

use std::net::SocketAddr;

use millstream_schemas::tasks::{
    Deploy, Fact, Facts, Health, Instance, Merged, Pending, Placed, Port, Rank, Selector, Slice, Standing, Task,
};

/// A task of ECS that runs since `started_ms` at an address of its own.
pub(crate) fn running(id: &str, ip: &str, started_ms: i64) -> Task {
    Task {
        source: "ecs".into(),
        id: id.into(),
        version: 2,
        definition: Some("digits:1".into()),
        group: Some("service:digits".into()),
        status: Some("RUNNING".into()),
        created_ms: Some(started_ms - 5),
        started_ms: Some(started_ms),
        address_epoch: Some(0),
        address_rank: Some(0),
        address_version: Some(2),
        network: Some("vpc".into()),
        addresses: vec![ip.parse().unwrap()],
        ..Task::default()
    }
}

/// A task that shares the address of instance `i1` under a host port.
pub(crate) fn hosted(id: &str, host_port: u16, started_ms: i64) -> Task {
    let port = Port { container: "app".into(), container_port: 80, host_port: Some(host_port), name: None };
    Task { addresses: vec![], ports: vec![port], instance: Some("i1".into()), ..running(id, "10.0.0.1", started_ms) }
}

/// The instance whose address hosted tasks share.
pub(crate) fn instance(ip: &str) -> Instance {
    let addresses = vec![ip.parse().unwrap()];
    Instance { source: "ecs".into(), id: "i1".into(), network: Some("vpc".into()), addresses, ..Instance::default() }
        .with_address_order()
}

/// A ready pod of namespace `ml`.
pub(crate) fn pod(id: &str, ip: &str, labels: &[(&str, &str)]) -> Task {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Task {
        source: "cluster".into(),
        definition: None,
        group: None,
        namespace: Some("ml".into()),
        labels: Some(labels),
        status: Some("Running".into()),
        ready: Some(true),
        ports: vec![Port { container: "app".into(), container_port: 80, host_port: None, name: None }],
        ..running(id, ip, 100)
    }
}

/// A slice of the service `digits` of namespace `ml` that names ready pods.
pub(crate) fn slice(id: &str, ready: &[&str]) -> Slice {
    Slice {
        source: "cluster".into(),
        id: id.into(),
        version: 1,
        namespace: Some("ml".into()),
        service: Some("digits".into()),
        ready: ready.iter().map(|&uid| uid.into()).collect(),
        ..Slice::default()
    }
}

/// The deploy of `digits` with definition `digits:1` at port 80.
pub(crate) fn deploy(revision: &str) -> Deploy {
    Deploy {
        service: "digits".into(),
        revision: revision.into(),
        generation: 1,
        selector: Some(Selector { definition: Some("digits:1".into()), ..Selector::default() }),
        port: Some(80),
        min_ready: 1,
        drain_ms: 30_000,
        ..Deploy::default()
    }
}

/// A result of checks of port 80 of a task of ECS.
pub(crate) fn health(task: &str, healthy: bool) -> Health {
    Health { source: "ecs".into(), task: task.into(), port: 80, healthy, ..Health::default() }
}

/// The task, draining, with a later version.
pub(crate) fn draining(task: Task) -> Task {
    Task { rank: Rank::Draining as i16, version: 3, desired_status: Some("STOPPED".into()), ..task }
}

/// The task, gone, as an event without an address.
pub(crate) fn stopped(task: &Task, version: i64) -> Task {
    Task {
        source: task.source.clone(),
        id: task.id.clone(),
        rank: Rank::Gone as i16,
        version,
        status: Some("STOPPED".into()),
        ..Task::default()
    }
}

/// Anything that is a fact.
pub(crate) trait AsFact {
    /// The fact.
    fn fact(self) -> Fact;
}

macro_rules! as_fact {
    ($($kind:ident),+) => { $(impl AsFact for millstream_schemas::tasks::$kind {
        fn fact(self) -> Fact { Fact::$kind(Box::new(self)) }
    })+ };
}
as_fact!(Task, Instance, Slice, Deploy, Health, Alias);

/// Folds an event into the facts as a writer does.
pub(crate) fn fold(facts: &mut Facts, event: Fact) -> Merged {
    let merged = Fact::merge(facts.get(&event.key()).as_ref(), event);
    if let Merged::Written(row) = &merged {
        facts.put(row.clone());
    }
    merged
}

/// The facts of some events.
pub(crate) fn facts(events: impl IntoIterator<Item = Fact>) -> Facts {
    let mut facts = Facts::default();
    for event in events {
        fold(&mut facts, event);
    }
    facts
}

/// Dials everything.
pub(crate) fn any(_: &str, _: SocketAddr) -> bool {
    true
}

/// A task of ECS as it is resolved.
pub(crate) fn placed(facts: &Facts, id: &str) -> Placed {
    facts.task("ecs", id, &any).or_else(|| facts.task("cluster", id, &any)).unwrap()
}

/// What a task waits for.
pub(crate) fn pending(facts: &Facts, id: &str) -> Option<Pending> {
    match placed(facts, id).standing {
        Standing::Pending(pending) => Some(pending),
        Standing::Routable => None,
        other => panic!("{id} is {other:?}"),
    }
}

/// Calls with every order of the numbers below `n`.
pub(crate) fn permutations(n: usize, mut call: impl FnMut(&[usize])) {
    let mut order: Vec<usize> = (0..n).collect();
    let mut counts = vec![0; n];
    call(&order);
    let mut at = 0;
    while at < n {
        if counts[at] < at {
            order.swap(if at % 2 == 0 { 0 } else { counts[at] }, at);
            call(&order);
            counts[at] += 1;
            at = 0;
        } else {
            counts[at] = 0;
            at += 1;
        }
    }
}
