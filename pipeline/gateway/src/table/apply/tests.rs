mod histories;

use millstream_schemas::tasks::{Deploy, Health, HealthCheck, Selector, Task};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::*;
use crate::choose::{Failure, Refused};

fn task(id: u8, revision: &str) -> Task {
    Task {
        source: "ecs".to_owned(),
        id: format!("t{id}"),
        version: 1,
        definition: Some(revision.to_owned()),
        status: Some("RUNNING".to_owned()),
        network: Some("vpc".to_owned()),
        addresses: vec![std::net::IpAddr::from([10, 0, 0, id])],
        ..Task::default()
    }
}

fn deploy(service: &str, revision: &str, min_ready: i32) -> Deploy {
    Deploy {
        service: service.to_owned(),
        revision: revision.to_owned(),
        generation: 1,
        selector: Some(Selector { definition: Some(revision.to_owned()), ..Selector::default() }),
        port: Some(80),
        min_ready,
        ..Deploy::default()
    }
}

fn alias(generation: i64, targets: &[(&str, u16)]) -> Alias {
    let target = |(revision, weight): &(&str, u16)| millstream_schemas::tasks::Target {
        revision: (*revision).to_owned(),
        weight: *weight,
    };
    Alias {
        service: "digits".to_owned(),
        alias: "prod".to_owned(),
        generation,
        targets: targets.iter().map(target).collect(),
        ..Alias::default()
    }
}

fn tasks(all: impl IntoIterator<Item = Task>) -> Vec<Fact> {
    all.into_iter().map(|task| Fact::Task(Box::new(task))).collect()
}

fn is(alias: Alias) -> Fact {
    Fact::Alias(Box::new(alias))
}

fn has(deploy: Deploy) -> Fact {
    Fact::Deploy(Box::new(deploy))
}

/// Blue has two tasks and green one of the two that it needs; the alias means blue.
fn facts() -> Vec<Fact> {
    let deploys = [has(deploy("digits", "blue", 2)), has(deploy("digits", "green", 2))];
    let mut facts = tasks([task(1, "blue"), task(2, "blue"), task(3, "green")]);
    facts.extend(deploys);
    facts.push(is(alias(1, &[("blue", 100)])));
    facts
}

fn applier() -> Applier {
    let ranges = vec!["10.0.0.0/8".parse().unwrap()];
    let dialable = Dialable::new(BTreeMap::from([("vpc".to_owned(), ranges)]), [], []);
    Applier::new(Arc::default(), Arc::new(dialable), Options::default())
}

fn loaded(now: Instant) -> Applier {
    let mut applier = applier();
    applier.load(facts(), &Former::new(), now);
    applier
}

fn put(applier: &mut Applier, facts: impl IntoIterator<Item = Fact>, now: Instant) {
    applier.apply(facts.into_iter().map(Change::Put).collect(), now);
}

fn prod(applier: &Applier) -> Arc<AliasView> {
    Arc::clone(applier.table.lookup("digits").unwrap().alias("prod").unwrap())
}

/// The generation that is served, and the one that is held.
fn state(applier: &Applier) -> (Option<i64>, Option<i64>) {
    let prod = prod(applier);
    (prod.is_served.then_some(prod.alias.generation), prod.held.as_ref().map(|held| held.generation))
}

fn states(applier: &Applier, revision: &str) -> Vec<Arc<crate::table::TaskState>> {
    let view = applier.table.lookup("digits").unwrap();
    view.revision(revision).unwrap().tasks.members.iter().map(|member| Arc::clone(&member.task)).collect()
}

fn rng() -> SmallRng {
    SmallRng::seed_from_u64(1)
}

#[test]
fn a_flip_is_held_until_its_tasks_are_ready_in_this_view_and_is_applied_with_them() {
    let now = Instant::now();
    let mut applier = loaded(now);
    assert_eq!(state(&applier), (Some(1), None));
    put(&mut applier, [is(alias(2, &[("green", 100)]))], now);
    assert_eq!(state(&applier), (Some(1), Some(2)));
    assert_eq!(&*prod(&applier).targets[0].1.revision, "blue");
    let held = applier.held();
    let reasons: Vec<String> = held[0].reasons.iter().map(ToString::to_string).collect();
    assert_eq!((held.len(), held[0].serving, held[0].newest), (1, Some(1), 2));
    assert_eq!(reasons, ["revision green has 1 of 2 routable tasks"]);
    put(&mut applier, tasks([task(4, "green")]), now);
    assert_eq!((state(&applier), applier.held().len()), ((Some(2), None), 0));
    assert_eq!(&*prod(&applier).targets[0].1.revision, "green");
    assert_eq!(applier.applied_aliases()[0].row.generation, 2);
}

#[test]
fn a_commit_is_applied_as_a_whole_whatever_the_order_of_its_changes() {
    let now = Instant::now();
    let mut applier = loaded(now);
    let flip = is(alias(2, &[("green", 100)]));
    let blue_is_gone =
        [Task { rank: 2, version: 2, ..task(1, "blue") }, Task { rank: 2, version: 2, ..task(2, "blue") }];
    let mut changes = vec![flip];
    changes.extend(tasks(blue_is_gone));
    changes.extend(tasks([task(4, "green")]));
    let pinned = prod(&applier).pin(None, now, &mut rng()).unwrap();
    put(&mut applier, changes, now);
    assert_eq!(state(&applier), (Some(2), None));
    assert_eq!(pinned.revision.choose(&[], now, &mut rng()).unwrap_err(), Refused::NoRoutableTask);
    assert_eq!((pinned.generation, pinned.revision.tasks.members.len()), (1, 2), "what was pinned stays pinned");
}

#[test]
fn an_attempt_sees_the_tasks_that_the_pinned_revision_has_by_then() {
    let now = Instant::now();
    let mut applier = loaded(now);
    let pinned = prod(&applier).pin(None, now, &mut rng()).unwrap();
    put(&mut applier, tasks([task(7, "blue")]), now);
    assert_eq!(pinned.revision.current().members.len(), 3);
    let retired = Deploy { retired: true, generation: 2, ..deploy("digits", "blue", 2) };
    put(&mut applier, [has(retired)], now);
    assert!(pinned.revision.current().members.is_empty());
}

#[test]
fn a_hold_ends_at_a_tick_when_no_task_of_the_former_generation_can_be_reached() {
    let now = Instant::now();
    let mut applier = loaded(now);
    put(&mut applier, [is(alias(2, &[("green", 100)]))], now);
    let pinned = prod(&applier).pin(None, now, &mut rng()).unwrap();
    for _ in 0..2 {
        applier.tick(now);
        assert_eq!(state(&applier), (Some(1), Some(2)));
        pinned.revision.choose(&[], now, &mut rng()).unwrap().failed(now, Failure::Connect);
    }
    applier.tick(now);
    assert_eq!(state(&applier), (Some(2), None));
}

#[test]
fn force_is_applied_by_the_tick_after_its_time() {
    let now = Instant::now();
    let mut applier = loaded(now);
    let forced = Alias { force: true, hold_max_ms: Some(1_000), ..alias(2, &[("green", 1)]) };
    put(&mut applier, [is(forced)], now);
    applier.tick(now + Duration::from_millis(999));
    assert_eq!(state(&applier), (Some(1), Some(2)));
    applier.tick(now + Duration::from_millis(1_000));
    assert_eq!(state(&applier), (Some(2), None));
}

#[test]
fn every_target_with_weight_must_be_ready_and_one_that_nobody_describes_never_is() {
    let now = Instant::now();
    let mut applier = loaded(now);
    put(&mut applier, [is(alias(2, &[("blue", 50), ("black", 50), ("green", 0)]))], now);
    assert_eq!(state(&applier), (Some(1), Some(2)));
    assert_eq!(applier.held()[0].reasons[0].to_string(), "revision black has no live deploy");
    put(&mut applier, [is(alias(3, &[("blue", 50), ("green", 0)]))], now);
    assert_eq!((state(&applier), prod(&applier).targets.len()), ((Some(3), None), 1));
}

#[test]
fn any_means_every_live_revision_with_equal_shares_for_tasks() {
    let now = Instant::now();
    let mut applier = loaded(now);
    put(&mut applier, [is(alias(2, &[]))], now);
    let shares = |applier: &Applier| -> Vec<(String, u32)> {
        prod(applier).targets.iter().map(|(weight, revision)| (revision.revision.to_string(), *weight)).collect()
    };
    assert_eq!(shares(&applier), [("blue".to_owned(), 2), ("green".to_owned(), 1)]);
    put(&mut applier, [has(Deploy { retired: true, generation: 2, ..deploy("digits", "blue", 2) })], now);
    assert_eq!((state(&applier), shares(&applier)), ((Some(2), None), vec![("green".to_owned(), 1)]));
}

#[test]
fn a_load_keeps_what_is_known_of_tasks_and_what_is_held() {
    let now = Instant::now();
    let mut applier = loaded(now);
    put(&mut applier, [is(alias(2, &[("green", 1)]))], now);
    let before = states(&applier, "blue");
    let mut snapshot = facts();
    snapshot.retain(|fact| !matches!(fact, Fact::Alias(_)));
    snapshot.push(is(alias(2, &[("green", 1)])));
    applier.load(snapshot, &Former::new(), now + Duration::from_secs(5));
    assert_eq!(state(&applier), (Some(1), Some(2)));
    assert_eq!(applier.held()[0].since, now);
    let after = states(&applier, "blue");
    assert!(before.iter().zip(&after).all(|(before, after)| Arc::ptr_eq(before, after)));
}

#[test]
fn a_database_that_went_back_takes_the_aliases_with_it() {
    let now = Instant::now();
    let mut applier = loaded(now);
    put(&mut applier, tasks([task(4, "green")]), now);
    put(&mut applier, [is(alias(5, &[("green", 1)]))], now);
    assert_eq!(state(&applier), (Some(5), None));
    put(&mut applier, [is(alias(4, &[("blue", 1)]))], now);
    assert_eq!(state(&applier), (Some(5), None), "never by a commit");
    applier.load(facts(), &Former::new(), now);
    assert_eq!((state(&applier), applier.table.lookup("digits").unwrap().revisions.len()), ((Some(1), None), 2));
    applier.load([], &Former::new(), now);
    assert!(applier.table.lookup("digits").is_none() && applier.known.is_empty() && applier.is_empty());
}

#[test]
fn after_a_start_a_held_flip_is_not_jumped_over() {
    let now = Instant::now();
    let mut applier = applier();
    let mut snapshot = facts();
    snapshot.push(is(alias(2, &[("green", 1)])));
    let former = Former::from([(("digits".to_owned(), "prod".to_owned()), alias(1, &[("blue", 1)]))]);
    applier.load(snapshot, &former, now);
    assert_eq!(state(&applier), (Some(1), Some(2)));
}

#[test]
fn tasks_from_disk_are_on_probation_and_a_held_flip_waits_for_their_trials() {
    let now = Instant::now();
    let mut applier = applier();
    let mut snapshot = facts();
    snapshot.push(is(alias(2, &[("green", 1)])));
    let former = Former::from([(("digits".to_owned(), "prod".to_owned()), alias(1, &[("blue", 1)]))]);
    applier.load_from_disk(snapshot, &former, now);
    let table = Arc::clone(&applier.table);
    let pinned = prod(&applier).pin(None, now, &mut rng()).unwrap();
    assert_eq!(pinned.revision.choose(&[], now, &mut rng()).unwrap_err(), Refused::NoRoutableTask);
    let (green, blue): (Vec<_>, Vec<_>) =
        table.trials(100, now).into_iter().partition(|trial| trial.deploy().revision == "green");
    assert_eq!((green.len(), blue.len(), table.trials(100, now).len()), (1, 2, 0), "one at a time of each");
    green.into_iter().for_each(crate::table::Trial::passed);
    applier.tick(now);
    assert_eq!(state(&applier), (Some(1), Some(2)));
    blue.into_iter().for_each(|trial| trial.failed(now));
    applier.tick(now);
    assert_eq!(state(&applier), (Some(2), None));
    applier.confirm(now);
    assert_eq!(states(&applier, "blue").len(), 2);
    let blue = Arc::clone(table.lookup("digits").unwrap().revision("blue").unwrap());
    assert!(blue.tasks.members.iter().all(|member| !member.is_on_probation() && !member.is_ready(now)));
}

#[test]
fn a_task_of_unknown_health_serves_here_after_a_trial_and_trials_wait_after_failures() {
    let now = Instant::now();
    let mut applier = applier();
    let checked = Deploy { health: Some(HealthCheck::Tcp), ..deploy("digits", "blue", 1) };
    let mut facts = tasks([task(1, "blue"), task(2, "blue")]);
    facts.extend([has(checked), is(alias(1, &[("blue", 1)]))]);
    applier.load(facts, &Former::new(), now);
    assert_eq!(state(&applier), (None, Some(1)));
    assert_eq!(applier.held()[0].reasons[0].to_string(), "revision blue has 0 of 1 routable tasks; 2 unknown_health");
    let table = Arc::clone(&applier.table);
    drop(table.trials(1, now));
    let mut trials = table.trials(9, now);
    assert_eq!(trials.len(), 2);
    trials.remove(0).failed(now);
    trials.remove(0).passed();
    assert!(table.trials(9, now + Duration::from_millis(999)).is_empty());
    applier.tick(now);
    let pinned = prod(&applier).pin(None, now, &mut rng()).unwrap();
    let only = pinned.revision.choose(&[], now, &mut rng()).unwrap().task().key().id.to_string();
    assert_eq!((state(&applier), pinned.revision.choose(&[], now, &mut rng()).is_ok()), ((Some(1), None), true));
    let again = table.trials(9, now + Duration::from_secs(1));
    assert!(again.len() == 1 && *again[0].task().key().id != *only);
    drop(again);
    let port = Health { source: "ecs".to_owned(), task: only, port: 80, healthy: false, ..Health::default() };
    put(&mut applier, [Fact::Health(Box::new(port))], now);
    assert_eq!(prod(&applier).targets[0].1.tasks.members.iter().filter(|member| member.is_ready(now)).count(), 0);
}

#[test]
fn a_task_that_could_not_be_reached_gets_a_trial_and_serves_again() {
    let now = Instant::now();
    let applier = loaded(now);
    let pinned = prod(&applier).pin(None, now, &mut rng()).unwrap();
    pinned.revision.choose(&[], now, &mut rng()).unwrap().failed(now, Failure::Connect);
    let ready = || pinned.revision.current().members.iter().filter(|member| member.is_ready(now)).count();
    assert_eq!((ready(), applier.table.trials(9, now).len()), (1, 0));
    let mut trials = applier.table.trials(9, now + Duration::from_secs(1));
    assert_eq!(trials.len(), 1);
    trials.remove(0).passed();
    assert_eq!(ready(), 2);
}

#[test]
fn a_table_without_tasks_for_trials_looks_at_no_service() {
    let now = Instant::now();
    let mut applier = loaded(now);
    let table = Arc::clone(&applier.table);
    let is_idle = || {
        let suspects = table.suspects.take();
        let is_idle = suspects.is_empty();
        table.suspects.give_back(suspects);
        is_idle
    };
    assert!(is_idle());
    let pinned = prod(&applier).pin(None, now, &mut rng()).unwrap();
    pinned.revision.choose(&[], now, &mut rng()).unwrap().failed(now, Failure::Reset);
    assert!(is_idle(), "it was reached");
    pinned.revision.choose(&[], now, &mut rng()).unwrap().failed(now, Failure::Connect);
    assert!(table.trials(0, now + Duration::from_secs(1)).is_empty() && !is_idle());
    let late = now + Duration::from_secs(1);
    table.trials(9, late).remove(0).failed(late);
    assert!(table.trials(9, late).is_empty() && !is_idle(), "it is not due, and not forgotten");
    let later = late + Duration::from_secs(2);
    table.trials(9, later).remove(0).passed();
    assert!(table.trials(9, later).is_empty() && is_idle());
    put(
        &mut applier,
        [has(Deploy { health: Some(HealthCheck::Tcp), generation: 2, ..deploy("digits", "blue", 2) })],
        now,
    );
    assert!(!is_idle(), "its tasks are of unknown health");
    applier.load([], &Former::new(), now);
    assert!(table.trials(9, later).is_empty() && is_idle(), "it is gone");
}

#[test]
fn a_task_that_moved_before_it_could_not_be_reached_gets_its_trial_in_the_new_service() {
    let now = Instant::now();
    let mut applier = loaded(now);
    let old = Arc::clone(applier.table.lookup("digits").unwrap().revision("green").unwrap());
    let attempt = old.choose(&[], now, &mut rng()).unwrap();
    put(&mut applier, [has(Deploy { generation: 9, ..deploy("animals", "green", 1) })], now);
    attempt.failed(now, Failure::Connect);
    let trials = applier.table.trials(9, now + Duration::from_secs(1));
    assert_eq!(trials.iter().map(|trial| &*trial.deploy().service).collect::<Vec<_>>(), ["animals"]);
}

#[test]
fn a_task_that_could_not_be_reached_gets_its_trial_in_the_service_it_moves_to() {
    let now = Instant::now();
    let mut applier = loaded(now);
    let old = Arc::clone(applier.table.lookup("digits").unwrap().revision("green").unwrap());
    old.choose(&[], now, &mut rng()).unwrap().failed(now, Failure::Connect);
    put(&mut applier, [has(Deploy { generation: 9, ..deploy("animals", "green", 1) })], now);
    assert_eq!(applier.table.trials(9, now + Duration::from_secs(1)).len(), 1);
}

#[test]
fn nothing_is_dialled_that_is_gone_shadowed_or_outside_of_the_ranges() {
    let now = Instant::now();
    let mut applier = loaded(now);
    let outside = Task { addresses: vec!["192.168.0.1".parse().unwrap()], ..task(5, "blue") };
    let draining_outside = Task { rank: 1, addresses: vec!["169.254.169.254".parse().unwrap()], ..task(6, "blue") };
    let elsewhere = Task { network: Some("other".to_owned()), ..task(7, "blue") };
    let steals = Task { started_ms: Some(5), addresses: task(1, "").addresses, ..task(8, "blue") };
    put(&mut applier, tasks([outside, draining_outside, elsewhere, steals]), now);
    put(&mut applier, tasks([Task { rank: 2, version: 2, ..task(2, "blue") }]), now);
    let keys: Vec<String> = states(&applier, "blue").iter().map(|task| task.key().id.to_string()).collect();
    assert_eq!(keys, ["t8"]);
    assert_eq!(applier.known.len(), 2, "the others are forgotten");
}

#[test]
fn what_is_known_of_a_task_ends_with_its_address() {
    let now = Instant::now();
    let mut applier = loaded(now);
    let before = states(&applier, "green");
    put(&mut applier, tasks([Task { version: 2, reason: Some("x".to_owned()), ..task(3, "green") }]), now);
    assert!(Arc::ptr_eq(&before[0], &states(&applier, "green")[0]));
    put(&mut applier, tasks([Task { version: 3, addresses: task(9, "").addresses, ..task(3, "green") }]), now);
    assert!(!Arc::ptr_eq(&before[0], &states(&applier, "green")[0]));
}

#[test]
fn a_deleted_alias_is_gone_at_once_and_draining_tasks_are_reported() {
    let now = Instant::now();
    let mut applier = loaded(now);
    let attempt = prod(&applier).pin(None, now, &mut rng()).unwrap().revision.choose(&[], now, &mut rng()).unwrap();
    let number: u8 = attempt.task().key().id[1..].parse().unwrap();
    put(&mut applier, tasks([Task { rank: 1, version: 2, ..task(number, "blue") }]), now);
    assert_eq!(applier.table.draining(), BTreeMap::from([(attempt.task().key().clone(), 1)]));
    put(&mut applier, [is(Alias { deleted: true, generation: 2, ..Alias { ..alias(1, &[]) } })], now);
    assert!(applier.table.lookup("digits").unwrap().alias("prod").is_none() && applier.applied_aliases().is_empty());
}

#[test]
fn a_task_that_left_its_view_counts_until_its_last_request_has_ended() {
    let now = Instant::now();
    for is_retired in [true, false] {
        let mut applier = loaded(now);
        let attempt = prod(&applier).pin(None, now, &mut rng()).unwrap().revision.choose(&[], now, &mut rng()).unwrap();
        let number: u8 = attempt.task().key().id[1..].parse().unwrap();
        put(&mut applier, tasks([Task { rank: 1, version: 2, ..task(number, "blue") }]), now);
        let leaves = match is_retired {
            true => has(Deploy { retired: true, generation: 2, ..deploy("digits", "blue", 2) }),
            // A later task has its address.
            false => {
                let started_ms = Some(9);
                Fact::Task(Box::new(Task { id: "later".into(), started_ms, ..task(number, "green") }))
            }
        };
        put(&mut applier, [leaves], now);
        assert!(applier.table.lookup("digits").unwrap().member(attempt.task().key()).is_none(), "{is_retired}");
        assert_eq!(applier.table.draining(), BTreeMap::from([(attempt.task().key().clone(), 1)]), "{is_retired}");
        drop(attempt);
        assert!(applier.table.draining().is_empty(), "{is_retired}");
    }
}

#[test]
fn a_task_that_moves_to_another_service_stays_the_same() {
    let now = Instant::now();
    let mut applier = loaded(now);
    let before = states(&applier, "green");
    let moved = Deploy { generation: 9, ..deploy("animals", "green", 1) };
    put(&mut applier, [has(moved)], now);
    assert!(states(&applier, "green").is_empty());
    let view = applier.table.lookup("animals").unwrap();
    assert!(Arc::ptr_eq(&before[0], &view.revision("green").unwrap().tasks.members[0].task));
    assert_eq!(applier.known.len(), 3);
}

#[test]
fn a_lookup_takes_less_than_half_a_microsecond() {
    let table = Table::default();
    for number in 0..10_000 {
        table.put([Arc::new(ServiceView { service: format!("service-{number}").into(), ..ServiceView::default() })]);
    }
    let names: Vec<String> = (0..10_000).map(|number| format!("service-{number}")).collect();
    let best = (0..20).map(|_| {
        let begin = Instant::now();
        let found = names.iter().filter(|name| table.lookup(name).is_some()).count();
        assert_eq!(found, 10_000);
        begin.elapsed() / 10_000
    });
    // Without optimization a lookup takes several times as long.
    let limit = if cfg!(debug_assertions) { 5_000 } else { 500 };
    let best = best.min().unwrap();
    assert!(best < Duration::from_nanos(limit), "{best:?}");
}

/// Bytes that this process has in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1_024
}

/// Run by `cargo test --release -p millstream-gateway -- --ignored --nocapture measured`.
#[test]
#[ignore = "takes gigabytes, and is measured with optimization only"]
fn a_million_services_and_one_of_a_thousand_tasks_are_measured() {
    let now = Instant::now();
    let mut applier = applier();
    let empty = resident();
    let service = |number: u32| {
        let revision = format!("d:{number}");
        let [_, a, b, c] = number.to_be_bytes();
        let ip = std::net::IpAddr::from([10, a, b, c]);
        let task = Task { id: format!("task-{number:032}"), addresses: vec![ip], ..task(0, &revision) };
        let name = format!("service-{number}");
        let target = millstream_schemas::tasks::Target { revision: revision.clone(), weight: 1 };
        let alias = Alias { service: name.clone(), targets: vec![target], ..alias(1, &[]) };
        [Fact::Task(Box::new(task)), has(deploy(&name, &revision, 1)), is(alias)]
    };
    let mut facts: Vec<Fact> = (0..1_000_000).flat_map(service).collect();
    let of_thousand = |number: u32, version: i64| {
        let [_, _, b, c] = number.to_be_bytes();
        let ip = std::net::IpAddr::from([10, 200, b, c]);
        let id = format!("of-thousand-{number}");
        Fact::Task(Box::new(Task { id, version, addresses: vec![ip], ..task(0, "blue") }))
    };
    facts.extend((0..1_000).map(|number| of_thousand(number, 1)));
    facts.extend([has(deploy("digits", "blue", 2)), is(alias(1, &[("blue", 1)]))]);
    let begin = std::time::Instant::now();
    applier.load(facts, &Former::new(), now);
    println!("load of a million services: {:?}, {} MiB", begin.elapsed(), (resident() - empty) >> 20);
    let names: Vec<String> =
        (0..1_000_000_u32).map(|n| format!("service-{}", n.wrapping_mul(7_919) % 1_000_000)).collect();
    let begin = std::time::Instant::now();
    assert_eq!(names.iter().filter(|name| applier.table.lookup(name).is_some()).count(), 1_000_000);
    println!("lookup: {:?}", begin.elapsed() / 1_000_000);
    for (what, fact) in [
        ("a task of a service of a thousand", of_thousand(7, 2)),
        ("a service that is new", has(deploy("new", "v", 1))),
    ] {
        let begin = std::time::Instant::now();
        put(&mut applier, [fact], now);
        println!("{what}: {:?}", begin.elapsed());
    }
    let begin = std::time::Instant::now();
    (2..102).for_each(|version| put(&mut applier, [of_thousand(9, version)], now));
    println!("change in a service of a thousand tasks: {:?}", begin.elapsed() / 100);
    let begin = std::time::Instant::now();
    (0..100).for_each(|_| assert!(applier.table.trials(256, now).is_empty()));
    println!("trials of a table without any: {:?}", begin.elapsed() / 100);
}
