//! A store that floods bad events locks no other out: it is paused until a person resumes it, its records are kept
//! whole, and every event is accounted for at each step.

mod bounds;
mod paused;
mod redriven;

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::Method;
use millstream_tests::event::lines;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Database, Event, Millstream, Response, Setup, until};
use serde_json::Value;
use sqlx::Row as _;

const WITHIN: Duration = Duration::from_secs(60);

/// What is logged of a flood on purpose, and when a store is resumed between a look and a write.
const EXPECTED: [&str; 3] = ["judge::tell: flooding", "too many bad events", "leases are taken again"];

fn good(store: &str, range: std::ops::Range<u64>) -> Vec<Event> {
    let event = |n| Event { store: store.to_owned(), ..Event::create("uploads", &format!("in/{n}"), DAY_NS + n, 1) };
    range.map(event).collect()
}

/// Events that no pipeline can write: of a size below nothing.
fn bad(store: &str, count: u64) -> Vec<Event> {
    let event = |n| Event { store: store.to_owned(), ..Event::create("uploads", &format!("bad/{n}"), DAY_NS + n, -1) };
    (0..count).map(event).collect()
}

fn setup(database: &Database) -> Setup {
    EXPECTED.iter().fold(Setup::new(database), |setup, text| setup.allow(text))
}

async fn post(millstream: &Millstream, events: &[Event]) -> Response {
    let path = format!("/v1/events?store={}", events[0].store);
    let headers = [("content-type", "application/x-ndjson")];
    millstream.send(Method::POST, &path, &headers, lines(events)).await.unwrap()
}

async fn taken(millstream: &Millstream, events: &[Event]) {
    let answer = post(millstream, events).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["refused"]), (202, &serde_json::json!([])), "{}", answer.text());
}

async fn pipeline(millstream: &Millstream) -> Value {
    millstream.get("/v1/status").await.json()["pipelines"][0].clone()
}

/// What the status says of a store that is paused or being resumed.
async fn paused(millstream: &Millstream, store: &str) -> Option<Value> {
    let stores = pipeline(millstream).await["paused_stores"].clone();
    stores.as_array().unwrap().iter().find(|one| one["store"] == store).cloned()
}

async fn until_paused(millstream: &Millstream, store: &str) -> Value {
    until("the store to be paused", WITHIN, || async { paused(millstream, store).await }).await
}

/// Rows in quarantine by store and reason.
async fn kept(database: &Database) -> BTreeMap<(String, String), i64> {
    let mut connection = database.connect().await;
    let rows = sqlx::query("SELECT store, reason, count(*) FROM millstream.quarantine GROUP BY store, reason");
    let rows = rows.fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect()
}

async fn rows_of(database: &Database, store: &str) -> i64 {
    kept(database).await.iter().filter(|((own, _), _)| own == store).map(|(_, rows)| rows).sum()
}

/// Everything that was accepted is in the tables, filtered or in quarantine, by the counters of the process, and the
/// count of the quarantine that is kept beside it is right.
async fn conserves(millstream: &Millstream, database: &Database) {
    let status = millstream.get("/v1/status").await.json();
    let pipeline = &status["pipelines"][0];
    let count = |name: &str| pipeline[name].as_u64().unwrap();
    let accepted = status["http"]["accepted_events"].as_u64().unwrap();
    let written = count("written");
    let filtered = count("filtered_total");
    let quarantined = count("quarantined");
    assert_eq!(accepted, written + filtered + quarantined, "{written} {filtered} {quarantined}");
    counted(database).await;
}

async fn counted(database: &Database) {
    let mut connection = database.connect().await;
    let sums = "SELECT \
        (SELECT coalesce(json_object_agg(store, n ORDER BY store)::text, '') FROM (SELECT store, json_build_array(count(*), \
            count(*) FILTER (WHERE reason = 'share_paused'), sum(octet_length(payload))) AS n FROM millstream.quarantine GROUP BY store) AS q), \
        (SELECT coalesce(json_object_agg(share, n ORDER BY share)::text, '') FROM (SELECT share, json_build_array(sum(rows_kept), \
            sum(rows_aside), sum(bytes_kept)) AS n FROM millstream.quarantine_change GROUP BY share HAVING sum(rows_kept) <> 0) AS c)";
    let (rows, counters): (String, String) = sqlx::query_as(sums).fetch_one(&mut connection).await.unwrap();
    assert_eq!(rows, counters, "rows of the quarantine, and what is counted of them");
}

fn resume(setup: &Setup, arguments: &[&str]) -> crate::config::Ran {
    let data_dir = setup.data_dir().to_str().unwrap();
    let arguments = [&["resume", "objects", "--data-dir", data_dir], arguments].concat();
    crate::config::millstream(setup.scratch(), &[], &arguments)
}
