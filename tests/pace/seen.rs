//! What is seen of the database, its machine and of other processes.

use std::time::Duration;

use millstream_tests::{Generator, Millstream, Setup, database, until};
use serde_json::Value;
use tokio::time::Instant;

use super::{WITHIN, controller, post};

/// The lines of a recording, as far as they are whole.
fn recorded(setup: &Setup) -> Vec<Value> {
    let text = std::fs::read_to_string(setup.scratch().join("controller.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What the database was heard to say, from a line of the recording on.
fn signals(setup: &Setup, from: usize) -> Vec<Value> {
    let lines = recorded(setup);
    lines.iter().skip(from).filter_map(|line| line["what"].get("signals")).cloned().collect()
}

/// Gives it work until the controller hears something like that; all that it heard meanwhile.
async fn hears(
    running: &Millstream,
    setup: &Setup,
    generator: &mut Generator,
    is_heard: impl Fn(&Value) -> bool,
) -> Vec<Value> {
    let from = recorded(setup).len();
    for _ in 0..120 {
        post(running, &generator.events(50)).await;
        let told = signals(setup, from);
        if told.iter().any(&is_heard) {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("heard only {:?}", signals(setup, from));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_account_may_not_see_is_missing_and_not_zero() {
    let database = database().await;
    let role = database.owner("secret").await;
    let address = format!("postgres.url=postgres://{role}:secret@127.0.0.1:{}/{}", database.port(), database.name);
    let setup = Setup::embedded().set(&address).set("controller.record=controller.jsonl");
    let running = setup.start().await;
    let mut generator = Generator::new("signals");
    post(&running, &generator.events(500)).await;
    until("the database to be asked", WITHIN, || async { (!signals(&setup, 0).is_empty()).then_some(()) }).await;
    let hidden = signals(&setup, 0);
    assert!(hidden.iter().all(|told| told == &serde_json::json!({ "processes": 1 })), "{hidden:?}");

    database.execute(&format!("GRANT pg_monitor TO {role}")).await;
    hears(&running, &setup, &mut generator, |told| told["sessions_running"].is_number()).await;

    // Somebody else's question, which would take longer than the test.
    let mut other = database.connect().await;
    let asked = millstream_engine::task::spawn("question", async move {
        let question = "SET statement_timeout = '60s'; SELECT count(*) FROM generate_series(1, 1000000000)";
        sqlx::raw_sql(question).execute(&mut other).await.map(|_| ())
    });
    let told = hears(&running, &setup, &mut generator, |told| told["sessions_of_others"].as_f64() >= Some(1.0)).await;
    let own = "query LIKE 'SET statement_timeout%' AND datname = current_database()";
    database.execute(&format!("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {own}")).await;
    asked.await.unwrap().unwrap_err();
    assert!(told.iter().all(|told| told.get("replica_lag_ns").is_none()), "there is no replica: {told:?}");

    // Short ones, one after the other: hardly ever one that runs, and always one that ran just now.
    let mut other = database.connect().await;
    let asks = millstream_engine::task::spawn("questions", async move {
        while sqlx::raw_sql("SELECT 1").execute(&mut other).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
    });
    let from = recorded(&setup).len() + 1;
    let began = Instant::now();
    let told = loop {
        post(&running, &generator.events(50)).await;
        let told = signals(&setup, from);
        if told.len() >= 6 {
            break told;
        }
        assert!(began.elapsed() < WITHIN, "heard only {told:?}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    };
    asks.abort();
    let seen = told.iter().filter(|told| told["sessions_of_others"].as_f64() >= Some(1.0)).count();
    assert!(seen * 2 >= told.len(), "{seen} of {told:?}");
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_server_on_this_machine_it_is_known_how_busy_its_processors_are() {
    let database = database().await;
    let setup = Setup::new(&database).set("controller.record=controller.jsonl").set("controller.processors=2");
    let running = setup.start().await;
    let mut generator = Generator::new("processors");
    let known = |told: &Value| {
        let part = |name: &str| told[name].as_f64().is_some_and(|part| (0.0..=1.0).contains(&part));
        part("processors_used") && part("processors_ours") && told["processors_ours"] != 0.0
    };
    hears(&running, &setup, &mut generator, known).await;
    running.finish().await;
}

/// Sessions as `pg_stat_activity` shows them: state, kind and name of the wait, whose, of which kind, changed how long ago.
const SESSIONS: &str = "
    CREATE TEMP TABLE pg_stat_activity AS
    SELECT row_number() OVER ()::int AS pid, s.state, s.wait_event_type, s.wait_event, s.application_name,
           s.backend_type, clock_timestamp() - s.ago::interval AS state_change
    FROM (VALUES
        ('active', NULL, NULL, 'millstream writer', 'client backend', '1s'),
        ('active', NULL, NULL, 'millstream', 'client backend', '1s'),
        ('active', NULL, NULL, 'psql', 'client backend', '1s'),
        ('active', NULL, NULL, '', 'autovacuum worker', '1s'),
        ('active', 'Lock', 'transactionid', 'millstream writer', 'client backend', '1s'),
        ('active', 'Lock', 'extend', 'millstream writer', 'client backend', '1s'),
        ('active', 'IO', 'DataFileRead', 'millstream writer', 'client backend', '1s'),
        ('idle', 'Client', 'ClientRead', 'psql', 'client backend', '-1h'),
        ('idle', 'Client', 'ClientRead', 'psql', 'client backend', '1s'),
        ('idle', 'Client', 'ClientRead', 'millstream', 'client backend', '-1h')
    ) AS s (state, wait_event_type, wait_event, application_name, backend_type, ago)";

#[tokio::test]
async fn sessions_are_told_apart_by_what_they_do_and_whose_they_are() {
    let database = database().await;
    let mut connection = database.connect().await;
    sqlx::raw_sql(SESSIONS).execute(&mut connection).await.unwrap();
    let (running, locked, writing, _, others, processes, _, writers): (
        i64,
        i64,
        i64,
        Option<f64>,
        i64,
        i64,
        i32,
        Vec<i32>,
    ) = sqlx::query_as(include_str!("../../pipeline/app/src/sql/load_select.sql"))
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(running, 4, "all that wait for nothing");
    assert_eq!(locked, 1, "to extend a table is no lock that smaller transactions would avoid");
    assert_eq!(writing, 1);
    assert_eq!(others, 3, "a question of our own, one of somebody else, and one that he asked just now");
    assert_eq!(processes, 0);
    assert_eq!(writers.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_divide_what_they_may_have_together() {
    let database = database().await;
    let start = || async {
        let setup = Setup::new(&database).set("controller.concurrency_max=4").set("pipeline.objects.concurrency.max=4");
        setup.start().await
    };
    let one = start().await;
    let other = start().await;
    let mut generator = Generator::new("processes");
    // Only who writes counts, and only who writes looks.
    let said = async |of: &Millstream, with: &Millstream, processes: u64, most: u64, generator: &mut Generator| {
        let deadline = Instant::now() + WITHIN;
        loop {
            post(of, &generator.events(20)).await;
            post(with, &generator.events(20)).await;
            let now = controller(of).await;
            if now["processes"] == processes && now["concurrency_max"] == most {
                break;
            }
            assert!(Instant::now() < deadline, "not {processes} processes with {most} each: {now}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    said(&one, &other, 2, 2, &mut generator).await;
    said(&other, &one, 2, 2, &mut generator).await;
    other.caught_up(WITHIN).await;
    other.finish().await;
    said(&one, &one, 1, 4, &mut generator).await;
    one.caught_up(WITHIN).await;
    one.finish().await;
}
