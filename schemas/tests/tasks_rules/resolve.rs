//! R24 to R26: where a task is reached, whose an address is, and what a task waits for.

use millstream_schemas::tasks::{Deploy, Fact, HealthCheck, Pending, Port, Standing, Task};

use crate::support::{
    AsFact, any, deploy, draining, facts, fold, health, hosted, instance, pending, permutations, placed, pod, running,
    slice, stopped,
};

#[test]
fn a_task_waits_for_one_thing_after_the_other_in_the_order_of_the_rules() {
    let mut facts = facts([]);
    let mut waits = Vec::new();
    let unknown = Task { status: Some("PROVISIONING".into()), instance: None, ports: vec![], ..hosted("t", 0, 100) };
    let nowhere = Task { status: Some("RUNNING".into()), ..unknown.clone() };
    let mapped = Port { container: "app".into(), container_port: 80, host_port: Some(32_768), name: None };
    let steps = [
        unknown.fact(),
        nowhere.fact(),
        deploy("v1").fact(),
        Task { ports: vec![], ..hosted("t", 0, 100) }.fact(),
        instance("10.0.0.1").fact(),
        Task { ports: vec![mapped], ..hosted("t", 0, 100) }.fact(),
    ];
    for fact in steps {
        facts.put(fact);
        waits.push(facts.task("ecs", "t", &any).unwrap().standing.as_str());
    }
    assert_eq!(waits, ["not_running", "no_deploy", "no_address", "no_host_address", "no_port", "routable"]);
    facts.put(hosted("thief", 32_768, 200).fact());
    assert_eq!(pending(&facts, "t"), Some(Pending::Shadowed));
    let refused = facts.task("ecs", "thief", &|network, address| network != "vpc" || address.port() != 32_768);
    assert_eq!(refused.unwrap().standing, Standing::Pending(Pending::AddressRefused));
    let names: Vec<_> = Pending::ALL.iter().map(|pending| pending.as_str()).collect();
    let expected = ["not_running", "no_deploy", "no_address", "no_host_address", "no_port", "shadowed"];
    assert_eq!(names[..6], expected);
    assert_eq!(names[6..], ["address_refused", "unhealthy", "unknown_health"]);
    assert!(Pending::ALL.is_sorted());
}

#[test]
fn health_matters_only_where_a_deploy_has_a_check_or_the_task_is_a_pod() {
    let checked = Deploy { health: Some(HealthCheck::Tcp), ..deploy("v1") };
    let mut facts = facts([running("t", "10.0.0.1", 100).fact(), health("t", false).fact(), deploy("v1").fact()]);
    assert_eq!(pending(&facts, "t"), None, "the deploy has no check");
    facts.put(checked.fact());
    assert_eq!(pending(&facts, "t"), Some(Pending::Unhealthy));
    facts.put(health("t", true).fact());
    assert_eq!(pending(&facts, "t"), None);
    facts.remove(&health("t", true).fact().key());
    assert_eq!(pending(&facts, "t"), Some(Pending::UnknownHealth));
    let labels = [("app", "digits"), ("version", "v1")];
    for (ready, expected) in
        [(Some(true), None), (Some(false), Some(Pending::Unhealthy)), (None, Some(Pending::UnknownHealth))]
    {
        facts.put(Task { ready, ..pod("p", "10.0.0.2", &labels) }.fact());
        assert_eq!(pending(&facts, "p"), expected);
    }
}

#[test]
fn an_address_of_its_own_comes_before_that_of_the_instance() {
    let both =
        Task { addresses: vec!["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()], ..hosted("t", 9_000, 100) };
    let mut facts =
        facts([both.fact(), instance("10.0.0.1").fact(), deploy("v1").fact(), hosted("u", 9_001, 100).fact()]);
    assert_eq!(placed(&facts, "t").address.unwrap().to_string(), "10.0.0.7:80");
    assert_eq!(placed(&facts, "u").address.unwrap().to_string(), "10.0.0.1:9001");
    facts.put(instance("10.0.0.2").fact());
    assert_eq!(placed(&facts, "u").address.unwrap().to_string(), "10.0.0.2:9001", "the instance has moved");
    facts.put(Deploy { port: None, container: Some("side".into()), ..deploy("v1") }.fact());
    assert_eq!(pending(&facts, "t"), Some(Pending::NoPort), "no port of that container is known");
    facts.put(Deploy { port: Some(81), ..deploy("v1") }.fact());
    assert_eq!(pending(&facts, "u"), Some(Pending::NoPort), "no host port leads to 81");
}

#[test]
fn the_owner_of_an_address_is_the_latest_of_all_claims() {
    let mut facts = facts([deploy("v1").fact(), running("a", "10.0.0.1", 100).fact()]);
    facts.put(running("b", "10.0.0.1", 200).fact());
    facts.put(Task { network: Some("other".into()), ..running("c", "10.0.0.1", 50) }.fact());
    assert_eq!(placed(&facts, "a").shadowed_by, Some(("ecs".into(), "b".into())));
    assert_eq!(pending(&facts, "a"), Some(Pending::Shadowed));
    assert_eq!(pending(&facts, "b"), None);
    assert_eq!(pending(&facts, "c"), None, "networks are never compared");
    let equal = Task { started_ms: None, created_ms: Some(200), ..running("d", "::ffff:10.0.0.1", 200) };
    facts.put(equal.fact());
    assert_eq!(pending(&facts, "d"), None, "equal times, larger id; created counts while it has not started");
    assert_eq!(placed(&facts, "b").shadowed_by, Some(("ecs".into(), "d".into())));
}

#[test]
fn claims_on_a_shared_host_meet_by_port_and_a_claim_on_the_whole_address_meets_all() {
    let mut facts = facts([deploy("v1").fact(), instance("10.0.0.1").fact()]);
    facts.put(hosted("a", 9_000, 100).fact());
    facts.put(hosted("b", 9_001, 50).fact());
    assert_eq!((pending(&facts, "a"), pending(&facts, "b")), (None, None));
    facts.put(running("whole", "10.0.0.1", 70).fact());
    assert_eq!(placed(&facts, "whole").shadowed_by, Some(("ecs".into(), "a".into())));
    assert_eq!(placed(&facts, "b").shadowed_by, Some(("ecs".into(), "whole".into())));
    assert_eq!(pending(&facts, "a"), None);
}

#[test]
fn a_stolen_address_never_comes_back_in_any_order() {
    let first = running("a", "10.0.0.1", 100);
    let thief = running("b", "10.0.0.1", 200);
    let events = [
        first.clone().fact(),
        Task { version: 7, reason: Some("late".into()), ..first }.fact(),
        thief.clone().fact(),
        stopped(&thief, 9).fact(),
        deploy("v1").fact(),
        Deploy { generation: 2, ..deploy("v1") }.fact(),
    ];
    permutations(events.len(), |order| {
        let mut facts = facts([]);
        let mut is_stolen = false;
        for at in order {
            fold(&mut facts, events[*at].clone());
            is_stolen |= *at == 2;
            let standing = facts.task("ecs", "a", &any).map(|placed| placed.standing);
            assert!(!is_stolen || standing != Some(Standing::Routable), "{order:?}");
        }
        assert_eq!(pending(&facts, "a"), Some(Pending::Shadowed));
    });
}

#[test]
fn a_draining_task_has_an_address_only_if_it_may_be_dialled() {
    let mut facts = facts([draining(running("t", "10.0.0.1", 100)).fact(), deploy("v1").fact()]);
    assert_eq!(placed(&facts, "t").standing, Standing::Draining);
    assert!(placed(&facts, "t").address.is_some());
    assert_eq!(facts.task("ecs", "t", &|_, _| false).unwrap().address, None);
    facts.put(running("thief", "10.0.0.1", 200).fact());
    assert_eq!(placed(&facts, "t").standing, Standing::Draining);
    assert_eq!(placed(&facts, "t").address, None);
}

#[test]
fn gone_tasks_are_told_of_but_are_in_no_service() {
    let task = running("t", "10.0.0.1", 100);
    let facts = facts([deploy("v1").fact(), task.clone().fact(), stopped(&task, 9).fact()]);
    assert_eq!(placed(&facts, "t").standing, Standing::Gone);
    assert!(facts.service("digits", &any).revisions["v1"].tasks.is_empty());
}

#[test]
fn five_facts_in_any_order_give_one_service_and_each_alone_is_kept() {
    let labels = [("app", "digits"), ("version", "v1")];
    let deploy = Deploy { service: "ml.digits".into(), selector: None, health: Some(HealthCheck::Tcp), ..deploy("v1") };
    let health = millstream_schemas::tasks::Health { source: "cluster".into(), ..health("p", true) };
    let alias =
        millstream_schemas::tasks::Alias { service: "ml.digits".into(), alias: "prod".into(), ..Default::default() };
    let events: [Fact; 5] =
        [pod("p", "10.0.0.1", &labels).fact(), slice("s", &["p"]).fact(), deploy.fact(), health.fact(), alias.fact()];
    let expected = facts(events.clone()).service("ml.digits", &any);
    assert_eq!(expected.revisions["v1"].tasks[0].standing, Standing::Routable);
    assert!(expected.aliases.contains_key("prod"));
    permutations(events.len(), |order| {
        let found = facts(order.iter().map(|at| events[*at].clone()));
        assert_eq!(found.len(), 5);
        assert_eq!(found.service("ml.digits", &any), expected, "{order:?}");
    });
    for event in events {
        assert_eq!(facts([event.clone()]).get(&event.key()), Some(event));
    }
}
