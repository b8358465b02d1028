//! Views that were kept change by change are those of a table that was loaded at once.

use millstream_schemas::tasks::{Instance, Pending, Port, Slice};
use rand::Rng as _;

use super::*;

/// What is seen of a service: of each revision its deploy, its members and what waits, and where the aliases lead.
type Seen = (BTreeMap<String, (i64, Vec<String>, BTreeMap<Pending, usize>)>, BTreeMap<String, Vec<(u32, String)>>);

fn seen(table: &Table) -> BTreeMap<String, Seen> {
    let member = |member: &Arc<Member>| {
        format!("{:?} {} {:?}", member.task.key(), member.task.address(), (member.standing, member.is_on_probation()))
    };
    let of_service = |view: Arc<ServiceView>| {
        let revisions = view.revisions.iter().map(|(name, revision)| {
            let members = revision.tasks.members.iter().map(member).collect();
            (name.to_string(), (revision.deploy.generation, members, revision.tasks.pending()))
        });
        let targets = |alias: &AliasView| {
            alias.targets.iter().map(|(weight, revision)| (*weight, revision.revision.to_string())).collect()
        };
        let aliases = view.aliases.iter().map(|(name, alias)| (name.to_string(), targets(alias)));
        (view.service.to_string(), (revisions.collect(), aliases.collect()))
    };
    table.services().map(of_service).collect()
}

fn one_of<T: Clone>(rng: &mut SmallRng, all: &[T]) -> T {
    all[rng.random_range(0..all.len())].clone()
}

fn any_task(rng: &mut SmallRng) -> Task {
    let is_pod = rng.random_bool(0.4);
    let labels = || {
        let revision = one_of(rng, &["blue", "green"]);
        [("app".to_owned(), "digits".to_owned()), ("version".to_owned(), revision.to_owned())].into()
    };
    let labels = is_pod.then(labels);
    let on_instance = rng.random_bool(0.2);
    let port = Port { container: "c".into(), container_port: 80, host_port: Some(one_of(rng, &[80, 81])), name: None };
    let id = rng.random_range(1..=6);
    Task {
        definition: (!is_pod).then(|| one_of(rng, &["blue", "green", "red"]).to_owned()),
        namespace: is_pod.then(|| "ml".to_owned()),
        labels,
        rank: one_of(rng, &[0, 0, 0, 0, 1, 2]),
        version: rng.random_range(1..1_000),
        status: Some(one_of(rng, &["RUNNING", "RUNNING", "RUNNING", "PENDING"]).to_owned()),
        ready: one_of(rng, &[None, Some(true), Some(false)]),
        started_ms: Some(rng.random_range(1..5)),
        addresses: if on_instance { vec![] } else { vec![std::net::IpAddr::from([10, 0, 0, rng.random_range(1..4)])] },
        instance: on_instance.then(|| "i".to_owned()),
        ports: if is_pod || on_instance { vec![port] } else { vec![] },
        ..task(id, "")
    }
}

fn any_fact(rng: &mut SmallRng) -> Fact {
    let revision = one_of(rng, &["blue", "green", "red"]);
    match rng.random_range(0..20) {
        0..=12 => Fact::Task(Box::new(any_task(rng))),
        13 => {
            let addresses = vec![std::net::IpAddr::from([10, 0, 0, rng.random_range(1..4)])];
            let network = Some("vpc".to_owned());
            Fact::Instance(Box::new(Instance {
                source: "ecs".into(),
                id: "i".into(),
                network,
                addresses,
                ..Instance::default()
            }))
        }
        14 => {
            let ready = vec![format!("t{}", rng.random_range(1..=6))];
            Fact::Slice(Box::new(Slice {
                source: "ecs".into(),
                id: "s".into(),
                rank: one_of(rng, &[0, 0, 1]),
                namespace: Some("ml".into()),
                service: Some("digits".into()),
                ready,
                ..Slice::default()
            }))
        }
        15 | 16 => {
            let service = one_of(rng, &["digits", "words", "ml.digits"]);
            let retired = rng.random_bool(0.3);
            let health = rng.random_bool(0.3).then_some(HealthCheck::Tcp);
            has(Deploy { retired, health, ..deploy(service, revision, 1) })
        }
        17 => {
            let health = Health {
                source: "ecs".into(),
                task: format!("t{}", rng.random_range(1..=6)),
                port: 80,
                ..Health::default()
            };
            Fact::Health(Box::new(Health {
                healthy: rng.random_bool(0.5),
                counter: rng.random_range(1..1_000),
                ..health
            }))
        }
        _ => {
            // Every live revision: what is served does not depend on what was served before.
            let service = one_of(rng, &["digits", "words", "ml.digits"]).to_owned();
            is(Alias { service, deleted: rng.random_bool(0.2), ..alias(1, &[]) })
        }
    }
}

#[test]
fn views_kept_change_by_change_are_those_of_a_load() {
    use rand::SeedableRng as _;
    let now = Instant::now();
    for seed in 0..120 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut followed = applier();
        let mut rows: BTreeMap<Key, Fact> = BTreeMap::new();
        for step in 0..40 {
            let commit: Vec<Change> = (0..rng.random_range(1..4))
                .map(|_| match any_fact(&mut rng) {
                    fact if rng.random_bool(0.15) => Change::Remove(fact.key()),
                    fact => Change::Put(fact),
                })
                .collect();
            for change in &commit {
                match change {
                    Change::Put(fact) => drop(rows.insert(fact.key(), fact.clone())),
                    Change::Remove(key) => drop(rows.remove(key)),
                }
            }
            followed.apply(commit.clone(), now);
            let mut loaded = applier();
            loaded.load(rows.values().cloned(), &Former::new(), now);
            assert_eq!(seen(&followed.table), seen(&loaded.table), "seed {seed}, step {step}: {commit:?}");
            let known = |applier: &Applier| applier.known.keys().cloned().collect::<BTreeSet<_>>();
            assert_eq!(known(&followed), known(&loaded), "seed {seed}, step {step}");
        }
    }
}

/// Run by `cargo test --release -p millstream-gateway -- --ignored --nocapture one_change`.
#[test]
#[ignore = "is measured with optimization only"]
fn one_change_in_services_of_a_thousand_and_of_a_hundred_thousand_tasks_is_measured() {
    let now = Instant::now();
    for size in [1_000_u32, 100_000] {
        let mut applier = applier();
        let of = |number: u32, version: i64| {
            let [_, a, b, c] = number.to_be_bytes();
            let id = format!("task-{number:032}");
            let rank = (version % 2) as i16;
            let addresses = vec![std::net::IpAddr::from([10, a, b, c])];
            Fact::Task(Box::new(Task { id, version, rank, addresses, ..task(0, "blue") }))
        };
        let facts = [has(deploy("digits", "blue", 1)), is(alias(1, &[("blue", 100)]))];
        applier.load((0..size).map(|number| of(number, 0)).chain(facts), &Former::new(), now);
        let mut times: Vec<Duration> = (0..1_000)
            .map(|change| {
                let fact = of(change * 7 % size, i64::from(change) + 1);
                let begin = std::time::Instant::now();
                put(&mut applier, [fact], now);
                begin.elapsed()
            })
            .collect();
        times.sort_unstable();
        println!("one change of {size} tasks: p50 {:?}, p99 {:?}", times[500], times[990]);
    }
}
