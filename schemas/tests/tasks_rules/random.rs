//! Events that look random and are the same each time, of a small world in which everything meets. The behaviour tests
//! hold the views of analysts to the same worlds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use millstream_schemas::tasks::{
    Alias, Deploy, Fact, Health, HealthCheck, Instance, Port, Selector, Slice, Target, Task,
};

/// The services that the events name.
pub(crate) const SERVICES: [&str; 4] = ["digits", "ml.digits", "ml.words", "words"];
/// Source and id of each task.
pub(crate) const TASKS: [(&str, &str); 3] = [("a", "t1"), ("a", "t2"), ("b", "t3")];

/// Numbers that look random (splitmix64).
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// One of several values.
    pub(crate) fn of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize].clone()
    }
}

fn maybe(dice: &mut Dice, values: &[&str]) -> Option<String> {
    let at = dice.below(values.len() as u64 + 1) as usize;
    values.get(at).map(|&value| value.to_owned())
}

fn labels(dice: &mut Dice) -> BTreeMap<String, String> {
    let app = maybe(dice, &["digits", "words"]).map(|app| ("app".to_owned(), app));
    let version = maybe(dice, &["v1", "v2"]).map(|version| ("version".to_owned(), version));
    app.into_iter().chain(version).collect()
}

fn addresses(dice: &mut Dice) -> Vec<IpAddr> {
    let all = [&["10.0.0.1"][..], &["10.0.0.1"], &["::ffff:10.0.0.1", "10.0.0.2"], &["10.0.0.2", "10.0.0.1"], &[]];
    dice.of(&all).iter().map(|ip| ip.parse().unwrap()).collect()
}

fn ports(dice: &mut Dice) -> Vec<Port> {
    let port = |dice: &mut Dice| Port {
        container: dice.of(&["app", "side"]).into(),
        container_port: dice.of(&[80, 81]),
        host_port: dice.of(&[None, Some(0), Some(9_000), Some(9_001)]),
        name: None,
    };
    (0..dice.below(3)).map(|_| port(dice)).collect()
}

/// An event of a task.
pub(crate) fn task(dice: &mut Dice) -> Task {
    let (source, id) = dice.of(&TASKS);
    let epoch = i64::from(dice.below(12) == 0);
    let rank = dice.of(&[0, 0, 0, 0, 1, 2]);
    let version = dice.below(6) as i64;
    let mut task = Task {
        source: source.into(),
        id: id.into(),
        epoch,
        rank,
        version,
        definition: maybe(dice, &["digits:1", "digits:2"]),
        group: maybe(dice, &["service:digits"]),
        namespace: maybe(dice, &["ml"]),
        labels: (dice.below(3) > 0).then(|| labels(dice)),
        status: dice.of(&[Some("RUNNING"), Some("Running"), Some("RUNNING"), Some("PENDING"), None]).map(Into::into),
        ready: dice.of(&[None, Some(true), Some(true), Some(false)]),
        reason: maybe(dice, &["x", "y"]),
        created_ms: dice.of(&[None, Some(1), Some(2)]),
        started_ms: dice.of(&[None, Some(2), Some(3), Some(4)]),
        ..Task::default()
    };
    if dice.below(4) > 0 {
        task.address_epoch = Some(epoch);
        task.address_rank = Some(rank);
        task.address_version = Some(version);
        task.network = dice.of(&[Some("vpc"), Some("vpc"), Some("other"), None]).map(Into::into);
        task.addresses = addresses(dice);
        task.ports = ports(dice);
        task.instance = maybe(dice, &["i1", "i1", "i2"]);
    }
    task
}

fn deploy(dice: &mut Dice) -> Deploy {
    let selector = Selector {
        source: maybe(dice, &["a"]).filter(|_| dice.below(3) == 0),
        definition: maybe(dice, &["digits:1", "digits:2"]),
        group: maybe(dice, &["service:digits"]).filter(|_| dice.below(2) == 0),
        namespace: maybe(dice, &["ml"]).filter(|_| dice.below(2) == 0),
        labels: if dice.below(2) == 0 { labels(dice) } else { BTreeMap::new() },
        cluster: None,
    };
    Deploy {
        service: dice.of(&SERVICES).into(),
        revision: dice.of(&["v1", "v2"]).into(),
        generation: 1 + dice.below(4) as i64,
        retired: dice.below(4) == 0,
        selector: (dice.below(4) > 0).then_some(selector),
        container: maybe(dice, &["app"]).filter(|_| dice.below(3) == 0),
        port: dice.of(&[None, Some(80), Some(81)]),
        health: dice.of(&[None, Some(HealthCheck::Tcp)]),
        ..Deploy::default()
    }
}

fn slice(dice: &mut Dice) -> Slice {
    let uids = |dice: &mut Dice| maybe(dice, &["t1", "t2", "t3"]).into_iter().collect();
    Slice {
        source: dice.of(&["a", "b"]).into(),
        id: dice.of(&["s1", "s2"]).into(),
        rank: dice.of(&[0, 0, 0, 1]),
        version: dice.below(4) as i64,
        namespace: dice.of(&[Some("ml"), Some("ml"), Some("x"), None]).map(Into::into),
        service: maybe(dice, &["digits", "words"]),
        ready: uids(dice),
        unready: uids(dice),
        ..Slice::default()
    }
}

fn instance(dice: &mut Dice) -> Instance {
    Instance {
        source: "a".into(),
        id: dice.of(&["i1", "i2"]).into(),
        rank: dice.of(&[0, 0, 1]),
        version: dice.below(4) as i64,
        network: dice.of(&[Some("vpc"), None]).map(Into::into),
        addresses: addresses(dice),
        ..Instance::default()
    }
    .with_address_order()
}

fn health(dice: &mut Dice) -> Health {
    let (source, task) = dice.of(&TASKS);
    let port = dice.of(&[80, 81, 9_000]);
    let healthy = dice.below(2) == 0;
    let assignment = dice.below(2) as i64;
    let counter = dice.below(3) as i64;
    Health { source: source.into(), task: task.into(), port, assignment, counter, healthy, ..Health::default() }
}

fn alias(dice: &mut Dice) -> Alias {
    Alias {
        service: dice.of(&SERVICES).into(),
        alias: dice.of(&["prod", "next"]).into(),
        generation: 1 + dice.below(4) as i64,
        deleted: dice.below(4) == 0,
        targets: vec![Target { revision: dice.of(&["v1", "v2"]).into(), weight: 1 }],
        ..Alias::default()
    }
}

/// An event of any kind, as a row of its own.
pub(crate) fn event(dice: &mut Dice) -> Fact {
    match dice.below(12) {
        0..5 => Fact::Task(Box::new(task(dice))),
        5..8 => Fact::Deploy(Box::new(deploy(dice))),
        8 => Fact::Slice(Box::new(slice(dice))),
        9 => Fact::Instance(Box::new(instance(dice))),
        10 => Fact::Health(Box::new(health(dice))),
        _ => Fact::Alias(Box::new(alias(dice))),
    }
}
