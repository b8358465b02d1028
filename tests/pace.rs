//! The pace that the database sets: what was decided and why can be read, and the operator's limits hold.

mod decided;
mod held;
mod seen;

use std::time::Duration;

use millstream_tests::event::lines;
use millstream_tests::{Event, Millstream};
use serde_json::Value;
use sqlx::PgConnection;

const WITHIN: Duration = Duration::from_secs(90);

async fn post(running: &Millstream, events: &[Event]) {
    for part in events.chunks(1_000) {
        let answer = running.post(lines(part)).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
}

async fn decisions(running: &Millstream) -> Vec<Value> {
    let answer = running.get("/v1/decisions?limit=1000").await.json();
    answer["items"].as_array().unwrap().clone()
}

async fn controller(running: &Millstream) -> Value {
    running.get("/v1/status").await.json()["controller"].clone()
}

/// Sessions that have written to the table and not committed.
async fn writing(connection: &mut PgConnection) -> i64 {
    let locks = "SELECT count(DISTINCT pid) FROM pg_locks WHERE relation = 'millstream.objects'::regclass
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND mode = 'RowExclusiveLock' AND granted";
    sqlx::query_scalar(locks).fetch_one(connection).await.unwrap()
}
