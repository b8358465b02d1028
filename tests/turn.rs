//! The turn: changes have numbers without gaps in the order of their commits, whoever makes them and however long others
//! keep it.

use std::collections::BTreeSet;
use std::time::Duration;

use hyper::Method;
use millstream_connectors::sinks::routing::turn::Turn;
use millstream_engine::{Recovery, task};
use millstream_postgres::Connector;
use millstream_tests::{Database, database, until};
use serde_json::json;

use crate::serving::event::Task;
use crate::serving::follower::{flip, generation, put, told, writer};
use crate::serving::requests::{WITHIN, change, counts, create, is_refused, taken};
use crate::serving::{setup, to};
use crate::tables::tasks::{Told, log_holds, payload};

const ROWS: &str = "SELECT count(*) FROM millstream.task";
const LOCK: &str = "BEGIN; SELECT FROM millstream.route_turn FOR UPDATE";

/// Two pipelines and a person, all at once, over the same tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_and_a_person_leave_no_gap_and_no_wrong_digest() {
    let database = std::sync::Arc::new(database().await);
    let writing = |pipeline: &'static str, versions: [i64; 2]| {
        let database = std::sync::Arc::clone(&database);
        task::spawn("writer of a test", async move {
            let mut writer = writer(&database, pipeline).await;
            for round in 0..60 {
                let events: Vec<Told> = (0..8)
                    .map(|number| told((round * 3 + number) % 40, versions[round % 2] + number as i64 % 2))
                    .collect();
                put(&mut writer, &events).await;
            }
        })
    };
    let writers = [writing("tasks", [1, 3]), writing("others", [2, 4])];
    for number in 1..=40 {
        let edited = flip(&database, if number % 2 == 0 { "blue" } else { "green" }).await;
        assert_eq!(generation(&edited), number);
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(database.number(ROWS).await, 40);
    log_holds(&database).await;
    let commits = "SELECT count(*) FROM (SELECT at <= lag(at) OVER (ORDER BY seq) AS back FROM millstream.route_commit) c \
                   WHERE back";
    assert_eq!(database.number(commits).await, 0, "R42: each commit is later than the one before");
}

/// Whoever stands still with the turn makes others try again, and nothing else: no batch is split, no record is blamed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_keeps_the_turn_makes_others_try_again() {
    let database = database().await;
    let mut writer = writer(&database, "tasks").await;
    put(&mut writer, &[told(1, 1)]).await;
    let mut holder = database.connect().await;
    sqlx::raw_sql(LOCK).execute(&mut holder).await.unwrap();

    let batch = writer.batch(&[("0", (2..12).map(|id| payload(&told(id, 1)).to_vec()).collect())]);
    let refused = writer.write(&batch).await.unwrap_err();
    assert_eq!(refused.recovery(), Recovery::Retry, "R40: never a split: {refused:?}");
    assert_eq!(database.number(ROWS).await, 1);
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    let outcome = writer.write(&batch).await.unwrap();
    assert_eq!((outcome.written, outcome.quarantined), (10, 0), "the same batch as a whole: {outcome:?}");
    log_holds(&database).await;
}

/// The same through a whole process: posts are taken meanwhile, a change of a route is refused, and all goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_waits_for_the_turn_and_blames_nobody() {
    let database = database().await;
    let setup = setup(&database);
    let setup = ["is retried", "retry", "lock timeout", "braked", "stalled", "database away"]
        .iter()
        .fold(setup, |setup, text| setup.allow(text));
    let millstream = setup.start().await;
    create(&millstream, "/v1/deploys/digits/blue", json!({})).await;
    let mut holder = database.connect().await;
    sqlx::raw_sql(LOCK).execute(&mut holder).await.unwrap();
    for number in 0..20 {
        taken(&millstream, "ecs", Task::running(&format!("t{number}"), "127.66.9.1").bridge()).await;
    }
    let path = "/v1/routes/digits/prod";
    let answer = change(&millstream, Method::PUT, path, ("if-none-match", "*"), to("blue")).await;
    is_refused(&answer, 503, "database");
    // The writer has waited once in vain, at least.
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'millstream writer' \
                 AND datname = current_database() AND wait_event_type = 'Lock'";
    until("the writer to wait again", WITHIN, || async { (database.number(waits).await > 0).then_some(()) }).await;
    assert_eq!(database.number(ROWS).await, 0);
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();

    counts(&database, ROWS, 20).await;
    create(&millstream, path, to("blue")).await;
    assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 0);
    log_holds(&database).await;
    millstream.finish().await;
}

/// A session that took the turn as our own code does, and then says nothing, is ended by the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_holder_loses_the_turn() {
    let database = database().await;
    let mut writer = writer(&database, "tasks").await;
    let mut stopped = Connector::from(database.options()).connect().await.unwrap();
    sqlx::raw_sql("BEGIN").execute(&mut *stopped).await.unwrap();
    Turn::take(&mut stopped).await.unwrap();
    let batch = writer.batch(&[("0", vec![payload(&told(1, 1)).to_vec()])]);
    let began = tokio::time::Instant::now();
    let mut refused = 0;
    while let Err(error) = writer.write(&batch).await {
        assert_eq!(error.recovery(), Recovery::Retry, "{error:?}");
        refused += 1;
        assert!(began.elapsed() < Duration::from_secs(20), "nobody ends the one that stands still");
    }
    assert!(refused <= 2, "{refused} waits of 2 s for a time-out of 2 s");
    assert!(sqlx::raw_sql("SELECT 1").execute(&mut *stopped).await.is_err(), "its session was ended");
    log_holds(&database).await;
}

/// A transaction that is open elsewhere, however long, has no say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_elsewhere_changes_nothing() {
    let database = database().await;
    database.execute("CREATE TABLE elsewhere (number integer)").await;
    let mut elsewhere = database.connect().await;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO elsewhere VALUES (1)";
    sqlx::raw_sql(begin).execute(&mut elsewhere).await.unwrap();
    let mut writer = writer(&database, "tasks").await;
    let mut numbers = BTreeSet::new();
    for version in 1..=5 {
        put(&mut writer, &[told("t", version)]).await;
        assert_eq!(generation(&flip(&database, "blue").await), version);
        numbers.insert(last(&database).await);
    }
    assert_eq!(numbers, BTreeSet::from([2, 4, 6, 8, 10]));
    log_holds(&database).await;
    sqlx::raw_sql("COMMIT").execute(&mut elsewhere).await.unwrap();
    log_holds(&database).await;
}

async fn last(database: &Database) -> i64 {
    database.number("SELECT max(seq) FROM millstream.route_commit").await
}
