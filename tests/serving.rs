//! Helpers of the tests of tasks and routes: events of tasks, requests with preconditions, a follower inside the test.

pub(crate) mod apart;
pub(crate) mod deaf;
pub(crate) mod event;
pub(crate) mod follower;
pub(crate) mod load;
pub(crate) mod model;
pub(crate) mod requests;

use std::collections::BTreeMap;

use millstream_schemas::tasks::{Fact, Key, Kind};
use millstream_tests::{Database, Setup};
use serde_json::json;

/// Another cluster of the same account, which no source lists unless a test says so.
pub(crate) const FOREIGN: &str = "arn:aws:ecs:eu-central-1:111122223333:cluster/others";

/// The setting of one source, which may speak of these clusters.
pub(crate) fn sources(names: &[&str], clusters: &[&str]) -> String {
    let source = |name: &&str| {
        let clusters: Vec<String> = clusters.iter().map(|cluster| format!("\"{cluster}\"")).collect();
        format!(
            "{{name=\"{name}\", kind=\"ecs\", clusters=[{}], network=\"{name}\", cidrs=[\"127.66.0.0/15\"]}}",
            clusters.join(", ")
        )
    };
    format!("task_source=[{}]", names.iter().map(source).collect::<Vec<_>>().join(", "))
}

/// A process that takes events of tasks of the source `ecs`.
pub(crate) fn setup(database: &Database) -> Setup {
    Setup::new(database).set(&sources(&["ecs"], &[event::CLUSTER]))
}

/// All fact tables, in one snapshot.
pub(crate) async fn facts(database: &Database) -> BTreeMap<Key, Fact> {
    let mut connection = database.connect().await;
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut connection).await.unwrap();
    let mut facts = BTreeMap::new();
    for kind in Kind::ALL {
        let rows = format!("SELECT to_jsonb(row)::text FROM millstream.{} AS row", kind.as_str());
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_all(&mut connection).await.unwrap();
        facts.extend(rows.iter().map(|row| Fact::read(kind, row).unwrap()).map(|fact| (fact.key(), fact)));
    }
    facts
}

/// An alias that means one revision.
pub(crate) fn to(revision: &str) -> serde_json::Value {
    json!({ "targets": [{ "revision": revision, "weight": 100 }] })
}
