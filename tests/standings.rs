//! R20: what `analytics.tasks` says of a task is what `resolve` says, which gateways serve by.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use millstream_schemas::tasks::{Fact, Facts, Key, Kind, Merged, Placed};
use millstream_tests::{database, soak};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::random::{Dice, SERVICES, TASKS, event};

/// Source, id, service, revision, standing, address, and the task that has its address.
type Shown = [Option<String>; 8];

#[tokio::test]
async fn analysts_see_of_each_task_what_gateways_resolve() {
    let database = database().await;
    let mut connection = database.connect().await;
    let mut standings: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..if soak() { 10_000 } else { 1_500 } {
        let mut dice = Dice(3_000_000 + seed);
        let facts: BTreeMap<Key, Fact> = history(&mut dice);
        sqlx::raw_sql("BEGIN").execute(&mut connection).await.unwrap();
        store(&mut connection, facts.values()).await;
        let shown = shown(&mut connection).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();

        let mut resolved = Facts::default();
        facts.into_values().for_each(|fact| drop(resolved.put(fact)));
        let placed = TASKS.iter().filter_map(|(source, id)| resolved.task(source, id, &any));
        let expected: BTreeSet<Shown> = placed.map(|placed| expected(&placed)).collect();
        assert_eq!(shown, expected, "history {seed}: the view (left) is what resolve (right) says");
        assert_eq!(by_service(&shown), of_services(&resolved), "history {seed}");
        for row in shown {
            *standings.entry(row[4].clone().unwrap()).or_default() += 1;
        }
    }
    assert_eq!(standings.len(), 11, "every standing but address_refused was met: {standings:?}");
    assert!(standings.values().all(|count| *count > 5), "and not by chance: {standings:?}");
}

fn any(_: &str, _: SocketAddr) -> bool {
    true
}

/// The rows after some events.
fn history(dice: &mut Dice) -> BTreeMap<Key, Fact> {
    let mut rows: BTreeMap<Key, Fact> = BTreeMap::new();
    for _ in 0..6 + dice.below(16) {
        let event = event(dice);
        let key = event.key();
        if let Merged::Written(row) = Fact::merge(rows.get(&key), event) {
            rows.insert(key, row);
        }
    }
    rows
}

async fn store(connection: &mut PgConnection, facts: impl Iterator<Item = &Fact> + Clone) {
    for kind in Kind::ALL {
        let row = |fact: &Fact| {
            let mut row: Value = serde_json::from_str(&fact.to_json()).unwrap();
            row["seq"] = json!(1);
            row["at"] = json!("2026-12-01T00:00:00Z");
            row
        };
        let rows: Vec<Value> = facts.clone().filter(|fact| fact.kind() == kind).map(row).collect();
        let table = format!("millstream.{}", kind.as_str());
        let insert = format!("INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, $1)");
        sqlx::query(AssertSqlSafe(insert)).bind(Value::from(rows)).execute(&mut *connection).await.unwrap();
    }
}

async fn shown(connection: &mut PgConnection) -> BTreeSet<Shown> {
    let columns = "source, id, service, revision, standing, address, shadowed_by_source, shadowed_by";
    let rows = sqlx::query(AssertSqlSafe(format!("SELECT {columns} FROM analytics.tasks")));
    let rows = rows.fetch_all(connection).await.unwrap();
    rows.iter().map(|row| std::array::from_fn(|at| row.get(at))).collect()
}

fn expected(placed: &Placed) -> Shown {
    let deploy = placed.deploy.as_ref();
    let owner = placed.shadowed_by.as_ref();
    [
        Some(placed.source.to_string()),
        Some(placed.id.to_string()),
        deploy.map(|deploy| deploy.service.clone()),
        deploy.map(|deploy| deploy.revision.clone()),
        Some(placed.standing.as_str().to_owned()),
        placed.address.map(|address| address.to_string()),
        owner.map(|owner| owner.0.to_string()),
        owner.map(|owner| owner.1.to_string()),
    ]
}

/// Service, revision, source, id and standing of the tasks that are not gone.
type Member = (String, String, String, String, String);

fn by_service(shown: &BTreeSet<Shown>) -> BTreeSet<Member> {
    let living = shown.iter().filter(|row| row[4].as_deref() != Some("gone"));
    let member = |row: &Shown| {
        let text = |at: usize| row[at].clone();
        Some((text(2)?, text(3)?, text(0)?, text(1)?, text(4)?))
    };
    living.filter_map(member).collect()
}

fn of_services(facts: &Facts) -> BTreeSet<Member> {
    let mut members = BTreeSet::new();
    for service in SERVICES {
        for (revision, found) in facts.service(service, &any).revisions {
            members.extend(found.tasks.iter().map(|placed| {
                let standing = placed.standing.as_str().to_owned();
                (service.to_owned(), revision.to_string(), placed.source.to_string(), placed.id.to_string(), standing)
            }));
        }
    }
    members
}
