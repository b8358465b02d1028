//! R10, R13 to R16, R21, R53 and R57: what a row is after its events, in any order.

use millstream_schemas::tasks::{
    Alias, Deploy, Fact, Health, HealthCheck, Instance, Merged, Port, Selector, Slice, Target, Task, is_below_floor,
};

use crate::support::{
    AsFact, any, deploy, draining, facts, fold, health, instance, permutations, placed, running, slice, stopped,
};

fn merged(stored: impl AsFact, event: impl AsFact) -> Merged {
    Fact::merge(Some(&stored.fact()), event.fact())
}

fn written(stored: impl AsFact, event: impl AsFact) -> Fact {
    match merged(stored, event) {
        Merged::Written(row) => row,
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_5040_orders_of_seven_events_give_one_task() {
    let base = running("t", "10.0.0.1", 100);
    let no_address =
        Task { address_epoch: None, address_rank: None, address_version: None, network: None, ..base.clone() };
    let no_address = Task { addresses: vec![], started_ms: None, ..no_address };
    let at = |version: i64, ip: &str| Task { version, address_version: Some(version), ..running("t", ip, 100) };
    let events = [
        Task { version: 1, status: Some("PENDING".into()), ..no_address },
        at(2, "10.0.0.1"),
        Task { group: None, reason: Some("b".into()), ..at(2, "10.0.0.2") },
        Task { address_rank: Some(1), ..draining(at(3, "10.0.0.2")) },
        Task { reason: Some("a".into()), stopped_ms: Some(5), ..stopped(&base, 4) },
        Task { exit_code: Some(1), ..stopped(&base, 4) },
        Task { started_ms: Some(200), ..at(9, "10.0.0.3") },
    ]
    .map(Task::fact);
    let expected = facts(events.clone());
    let row = expected.get(&events[0].key()).unwrap();
    let Fact::Task(task) = &row else { panic!("{row:?}") };
    assert_eq!((task.rank, task.version, task.exit_code, task.stopped_ms), (2, 4, Some(1), Some(5)));
    assert_eq!(task.addresses, ["10.0.0.2".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(task.started_ms, Some(200));
    let mut count = 0;
    permutations(events.len(), |order| {
        count += 1;
        let found = facts(order.iter().map(|at| events[*at].clone()));
        assert_eq!(found.get(&row.key()).as_ref(), Some(&row), "{order:?}");
        assert_eq!(found.digest(), row.digest());
        assert_eq!(found.task("ecs", "t", &any), expected.task("ecs", "t", &any));
    });
    assert_eq!(count, 5_040);
}

#[test]
fn a_gone_task_is_never_revived() {
    let task = running("t", "10.0.0.1", 100);
    let mut facts = facts([task.clone().fact(), stopped(&task, 5).fact()]);
    assert_eq!(fold(&mut facts, Task { version: 6, ..task.clone() }.fact()), Merged::AfterGone);
    assert_eq!(placed(&facts, "t").standing.as_str(), "gone");
    assert_eq!(fold(&mut facts, Task { version: 9, ..draining(task) }.fact()), Merged::AfterGone);
    let gone = Slice { rank: 1, version: 2, ..slice("s", &[]) };
    assert_eq!(merged(gone, Slice { version: 3, ..slice("s", &["p"]) }), Merged::AfterGone);
    let gone = Instance { rank: 1, version: 2, ..instance("10.0.0.1") };
    assert_eq!(merged(gone, Instance { version: 3, ..instance("10.0.0.1") }), Merged::AfterGone);
}

#[test]
fn a_larger_epoch_revives_what_is_gone() {
    let gone = stopped(&running("t", "10.0.0.1", 100), 5);
    let again = Task { epoch: 1, version: 1, ..running("t", "10.0.0.1", 100) };
    let Fact::Task(row) = written(gone.clone(), again.clone()) else { panic!() };
    assert_eq!((row.epoch, row.rank, row.version), (1, 0, 1));
    assert_eq!(merged(*row, gone), Merged::Stale);
}

#[test]
fn a_stopped_event_without_an_address_keeps_the_address_in_each_order() {
    let task = running("t", "10.0.0.1", 100);
    let gone = stopped(&task, 5);
    for (first, second) in [(task.clone(), gone.clone()), (gone, task.clone())] {
        let Fact::Task(row) = written(first, second) else { panic!() };
        assert_eq!((row.rank, row.version), (2, 5));
        assert_eq!((row.addresses, row.address_version), (task.addresses.clone(), Some(2)));
    }
}

#[test]
fn a_stale_event_still_tells_times_and_an_address_that_are_larger() {
    let task = running("t", "10.0.0.1", 100);
    let stale = Task { version: 1, started_ms: Some(300), address_version: Some(1), ..running("t", "10.0.0.9", 1) };
    let Fact::Task(row) = written(task.clone(), stale) else { panic!() };
    assert_eq!(*row, Task { started_ms: Some(300), ..task });
}

#[test]
fn events_of_equal_order_merge_column_by_column() {
    let one = Task { group: None, status: Some("PENDING".into()), exit_code: Some(3), ..running("t", "10.0.0.1", 100) };
    let other = Task { exit_code: Some(2), ..running("t", "10.0.0.2", 100) };
    let expected = Task { exit_code: Some(3), ..running("t", "10.0.0.2", 100) }.fact();
    assert_eq!(written(one.clone(), other.clone()), expected);
    assert_eq!(written(other, one), expected);
    let retired = Deploy { retired: true, port: None, ..deploy("v1") };
    let expected = Deploy { retired: true, ..deploy("v1") }.fact();
    assert_eq!(written(retired.clone(), deploy("v1")), expected);
    assert_eq!(written(deploy("v1"), retired), expected);
}

#[test]
fn each_event_is_written_a_duplicate_stale_or_after_gone() {
    let task = running("t", "10.0.0.1", 100);
    assert_eq!(Fact::merge(None, task.clone().fact()), Merged::Written(task.clone().fact()));
    assert_eq!(merged(task.clone(), task.clone()), Merged::Duplicate);
    assert_eq!(merged(task.clone(), Task { version: 1, address_version: Some(1), ..task.clone() }), Merged::Stale);
    let gone = stopped(&task, 5);
    assert_eq!(merged(gone.clone(), stopped(&task, 4)), Merged::Stale);
    assert_eq!(merged(gone.clone(), gone.clone()), Merged::Duplicate);
    let Fact::Task(row) = written(task.clone(), gone) else { panic!() };
    assert_eq!(merged(*row, task), Merged::AfterGone);
}

#[test]
fn an_instance_keeps_the_addresses_that_later_events_do_not_carry() {
    let plain = instance("10.0.0.1");
    let ecs = Instance { version: 9, addresses: Vec::new(), address_epoch: None, ..plain.clone() };
    let ecs =
        Instance { address_rank: None, address_version: None, network: None, status: Some("ACTIVE".into()), ..ecs };
    for (first, second) in [(&plain, &ecs), (&ecs, &plain)] {
        let Merged::Written(Fact::Instance(row)) = merged(first.clone(), second.clone()) else { panic!() };
        assert_eq!((&row.addresses, row.version, row.status.as_deref()), (&plain.addresses, 9, Some("ACTIVE")));
    }
}

#[test]
fn a_retired_revision_comes_back_with_a_larger_generation_only() {
    let retired = Deploy { generation: 2, retired: true, ..deploy("v1") };
    assert_eq!(merged(retired.clone(), deploy("v1")), Merged::Stale);
    let back = Deploy { generation: 3, ..deploy("v1") };
    assert_eq!(written(retired, back.clone()), back.fact());
}

#[test]
fn health_is_ordered_by_assignment_before_counter() {
    let up = Health { assignment: 2, counter: 1, ..health("t", true) };
    let down = Health { assignment: 1, counter: 9, ..health("t", false) };
    assert_eq!(merged(up.clone(), down.clone()), Merged::Stale);
    assert_eq!(written(down, up.clone()), up.clone().fact());
    let later = Health { assignment: 2, counter: 2, ..health("t", false) };
    assert_eq!(written(up, later.clone()), later.fact());
}

/// A fact of each kind with a value in each column, and the same key with the least value in each.
fn full() -> Vec<(Fact, Fact)> {
    let rows = [
        (Task { epoch: -1, rank: -1, version: -1, ..Task::default() }.fact(), full_task().fact()),
        (Instance { version: -1, ..Instance::default() }.fact(), full_instance().fact()),
        (Slice { version: -1, ..Slice::default() }.fact(), full_slice().fact()),
        (Deploy { generation: -1, ..Deploy::default() }.fact(), full_deploy().fact()),
        (Health { assignment: -1, ..Health::default() }.fact(), full_health().fact()),
        (Alias { generation: -1, ..Alias::default() }.fact(), full_alias().fact()),
    ];
    rows.into_iter().collect()
}

fn text() -> Option<String> {
    Some("x".into())
}

fn full_task() -> Task {
    let pair = [("k".to_owned(), "v".to_owned())];
    Task {
        epoch: 1,
        rank: 1,
        version: 1,
        cluster: text(),
        definition: text(),
        group: text(),
        namespace: text(),
        name: text(),
        labels: Some(pair.into()),
        status: text(),
        desired_status: text(),
        ready: Some(true),
        reason: text(),
        exit_code: Some(1),
        stopped_ms: Some(1),
        created_ms: Some(1),
        started_ms: Some(1),
        address_epoch: Some(1),
        address_rank: Some(1),
        address_version: Some(1),
        network: text(),
        addresses: vec!["10.0.0.1".parse().unwrap()],
        ports: vec![Port { container: "c".into(), container_port: 1, host_port: Some(2), name: text() }],
        instance: text(),
        ..Task::default()
    }
}

fn full_instance() -> Instance {
    let addresses = vec!["10.0.0.1".parse().unwrap()];
    Instance {
        epoch: 1,
        rank: 1,
        version: 1,
        cluster: text(),
        status: text(),
        agent_connected: Some(true),
        machine: text(),
        network: text(),
        addresses,
        ..Instance::default()
    }
    .with_address_order()
}

fn full_slice() -> Slice {
    Slice {
        epoch: 1,
        rank: 1,
        version: 1,
        cluster: text(),
        namespace: text(),
        service: text(),
        ports: vec![Port::default()],
        ready: vec!["a".into()],
        unready: vec!["b".into()],
        ..Slice::default()
    }
}

fn full_deploy() -> Deploy {
    Deploy {
        generation: 1,
        retired: true,
        selector: Some(Selector { group: text(), ..Selector::default() }),
        container: text(),
        port: Some(1),
        health: Some(HealthCheck::Tcp),
        min_ready: 1,
        drain_ms: 1,
        keep_alive_ms: Some(1),
        replay_post: true,
        identity: text(),
        concurrency_max: Some(1),
        ..Deploy::default()
    }
}

fn full_health() -> Health {
    Health { assignment: 1, counter: 1, healthy: true, since_ms: 1, reason: text(), ..Health::default() }
}

fn full_alias() -> Alias {
    Alias {
        generation: 1,
        deleted: true,
        targets: vec![Target { revision: "r".into(), weight: 1 }],
        sticky: text(),
        force: true,
        hold_max_ms: Some(1),
        retry_responses: true,
        retry_keyed: true,
        timeout_ms: Some(1),
        change_id: text(),
        ..Alias::default()
    }
}

#[test]
fn every_column_is_folded_and_kept() {
    for (least, full) in full() {
        let is_unset = |value: &serde_json::Value| value.is_null() || *value == false || *value == 0 || *value == "";
        let columns: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&full.to_json()).unwrap();
        let keys = ["source", "id", "service", "revision", "alias", "task", "port"];
        let unset: Vec<_> =
            columns.iter().filter(|(name, value)| !keys.contains(&name.as_str()) && is_unset(value)).collect();
        assert!(unset.is_empty(), "a column is not tried: {unset:?}");
        assert_eq!(Fact::merge(Some(&least), full.clone()), Merged::Written(full.clone()));
        assert_eq!(Fact::merge(Some(&full), full.clone()), Merged::Duplicate);
        let mut facts = facts([least]);
        facts.put(full.clone());
        assert_eq!(facts.get(&full.key()), Some(full.clone()));
        assert_eq!((facts.digest(), facts.len()), (full.digest(), 1));
        facts.remove(&full.key());
        assert_eq!((facts.digest(), facts.len(), facts.get(&full.key())), (0, 0, None));
    }
}

#[test]
fn an_unknown_task_below_the_floor_is_filtered_unless_a_list_tells_of_it() {
    let task = running("t", "10.0.0.1", 100);
    let stored = task.clone().fact();
    assert!(is_below_floor(None, &task, Some(96), false));
    assert!(!is_below_floor(None, &task, Some(95), false), "created at the floor");
    assert!(!is_below_floor(None, &task, Some(96), true), "a list tells of it");
    assert!(!is_below_floor(Some(&stored), &task, Some(96), false), "it is known");
    assert!(!is_below_floor(None, &task, None, false), "nothing was purged");
    assert!(is_below_floor(None, &Task { created_ms: None, ..task.clone() }, Some(101), false));
    assert!(!is_below_floor(None, &Task { created_ms: None, started_ms: None, ..task }, Some(101), false));
}
