//! R10, R20, R22 and R26 over histories that look random: small worlds in which everything meets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use millstream_schemas::tasks::{Extent, Fact, Facts, Key, Merged, Placed, Service, Task};

use crate::random::{Dice, SERVICES, TASKS, event, task};
use crate::reference::Rows;
use crate::support::{AsFact, facts, fold};

fn may_dial(network: &str, address: SocketAddr) -> bool {
    network == "vpc" || address.port() != 80
}

fn services(facts: &Facts) -> Vec<Service> {
    SERVICES.iter().map(|name| facts.service(name, &may_dial)).collect()
}

fn tasks(facts: &Facts) -> Vec<Option<Placed>> {
    TASKS.iter().map(|(source, id)| facts.task(source, id, &may_dial)).collect()
}

fn rows(facts: &Facts, keys: &BTreeSet<Key>) -> Vec<Fact> {
    keys.iter().filter_map(|key| facts.get(key)).collect()
}

/// What is seen of facts is that of facts made anew from their rows, and that of the rules by the letter.
fn assert_is_function_of_rows(facts: &Facts, rows: &[Fact]) {
    let mut fresh = Facts::default();
    for row in rows.iter().rev() {
        fresh.put(row.clone());
    }
    assert_eq!((facts.digest(), facts.len()), (fresh.digest(), rows.len()));
    assert_eq!(facts.digest(), rows.iter().fold(0, |digest, row| digest ^ row.digest()));
    assert_eq!(services(facts), services(&fresh));
    assert_eq!(tasks(facts), tasks(&fresh));
    assert_eq!(facts.services(), fresh.services());
    let reference = Rows::new(rows.iter().cloned());
    for name in SERVICES {
        assert_eq!(facts.service(name, &may_dial), reference.service(name, &may_dial));
    }
    for (source, id) in TASKS {
        assert_eq!(facts.task(source, id, &may_dial), reference.placed(source, id, &may_dial));
    }
}

/// Puts values into another order.
fn shuffle<T>(dice: &mut Dice, values: &mut [T]) {
    for at in (1..values.len()).rev() {
        values.swap(at, dice.below(at as u64 + 1) as usize);
    }
}

#[test]
fn ten_thousand_histories_give_equal_facts_and_services_in_any_order() {
    let mut standings: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..10_000 {
        let mut dice = Dice(seed);
        let count = 6 + dice.below(16);
        let mut events: Vec<Fact> = (0..count).map(|_| event(&mut dice)).collect();
        let keys: BTreeSet<Key> = events.iter().map(Fact::key).collect();
        let one = facts(events.clone());
        let again: Vec<Fact> = (0..count / 2).map(|_| dice.of(&events)).collect();
        events.extend(again);
        shuffle(&mut dice, &mut events);
        let other = facts(events);
        assert_eq!(rows(&one, &keys), rows(&other, &keys), "seed {seed}");
        assert_eq!(one.digest(), other.digest(), "seed {seed}");
        assert_eq!(services(&one), services(&other), "seed {seed}");
        assert_eq!(tasks(&one), tasks(&other), "seed {seed}");
        if seed % 4 == 0 {
            assert_is_function_of_rows(&one, &rows(&one, &keys));
        }
        for placed in tasks(&one).iter().flatten() {
            *standings.entry(placed.standing.as_str()).or_default() += 1;
        }
    }
    assert_eq!(standings.len(), 12, "every standing was met: {standings:?}");
    assert!(standings.values().all(|count| *count > 20), "and not by chance: {standings:?}");
}

/// A service after a change that touched this much of it, made from the service before.
fn followed(before: &Service, extent: &Extent, facts: &Facts) -> Service {
    let Extent::Tasks(touched) = extent else { return facts.service(&before.name, &may_dial) };
    let mut service = before.clone();
    for task in touched {
        for revision in service.revisions.values_mut() {
            revision.tasks.retain(|placed| (&placed.source, &placed.id) != (&task.0, &task.1));
        }
        let Some((revision, placed)) = facts.task_of(&before.name, task, &may_dial) else { continue };
        // A revision that only labels name comes with its first task, and goes with its last one.
        let Some(revision) = service.revisions.get_mut(&revision) else {
            return facts.service(&before.name, &may_dial);
        };
        let key = |placed: &Placed| (placed.source.clone(), placed.id.clone());
        let at = revision.tasks.partition_point(|other| key(other) < key(&placed));
        revision.tasks.insert(at, placed);
    }
    service.revisions.retain(|_, revision| revision.deploy.generation > 0 || !revision.tasks.is_empty());
    service
}

#[test]
fn what_a_change_touches_is_all_that_changes() {
    let mut needless = 0;
    let mut of_tasks = 0;
    let mut changes = 0;
    for seed in 0..1_000 {
        let mut dice = Dice(1_000_000 + seed);
        let mut facts = Facts::default();
        let mut keys: BTreeSet<Key> = BTreeSet::new();
        for _ in 0..30 {
            let before = services(&facts);
            let known = facts.services();
            let change = event(&mut dice);
            let touched = if dice.below(4) == 0 {
                let key = dice.of(&keys.iter().cloned().chain([change.key()]).collect::<Vec<_>>());
                facts.remove(&key)
            } else {
                keys.insert(change.key());
                facts.put(change)
            };
            let after = services(&facts);
            let changed = before.iter().zip(&after).filter(|(before, after)| before != after);
            let changed: BTreeSet<Arc<str>> = changed.map(|(_, after)| after.name.clone()).collect();
            let services: BTreeSet<Arc<str>> = touched.services().cloned().collect();
            assert!(changed.is_subset(&services), "seed {seed}: {changed:?} of {touched:?}");
            assert!(facts.services().symmetric_difference(&known).all(|name| services.contains(name)));
            for (before, after) in before.iter().zip(&after) {
                let Some(extent) = touched.extent(&before.name) else { continue };
                assert_eq!(followed(before, extent, &facts), *after, "seed {seed}: {extent:?}");
                of_tasks += u32::from(extent != &Extent::Whole);
            }
            changes += changed.len();
            needless += services.len() - changed.len();
        }
        assert_is_function_of_rows(&facts, &rows(&facts, &keys));
    }
    assert!(of_tasks > 3_000, "{of_tasks}");
    assert!(needless < 2 * changes, "{needless} services are resolved in vain, {changes} are not");
}

#[test]
fn any_split_of_a_history_gives_the_same_row() {
    for seed in 0..2_000 {
        let mut dice = Dice(2_000_000 + seed);
        let events: Vec<Fact> = (0..6)
            .map(|_| task(&mut dice))
            .map(|task| Task { source: "a".into(), id: "t".into(), ..task }.fact())
            .collect();
        let whole = facts(events.clone());
        let key = events[0].key();
        let at = 1 + dice.below(5) as usize;
        let mut joined = facts(events[..at].to_vec());
        let right = facts(events[at..].to_vec());
        fold(&mut joined, right.get(&key).unwrap());
        assert_eq!(joined.get(&key), whole.get(&key), "seed {seed}");
        assert!(!matches!(fold(&mut joined, events[at].clone()), Merged::Written(_)), "seed {seed}");
    }
}
