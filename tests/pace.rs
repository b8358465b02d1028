//! The pace that the database sets: what was decided and why can be read, and the operator's limits hold.

use std::cell::Cell;
use std::time::Duration;

use hyper::Method;
use millstream_tests::event::lines;
use millstream_tests::{Event, Generator, Millstream, Model, Setup, compare, database, until};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;

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

/// The lines of a recording, as far as they are whole.
fn recorded(setup: &Setup) -> Vec<Value> {
    let text = std::fs::read_to_string(setup.scratch().join("controller.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_is_answered_explained_and_can_be_replayed() {
    let database = database().await;
    let setup = Setup::new(&database)
        .set("controller.record=controller.jsonl")
        .allow("braked")
        .allow("database away")
        .allow("stalled");
    let running = setup.start().await;
    let events = Generator::new("pace").events(3_000);
    post(&running, &events[..1_000]).await;
    running.caught_up(WITHIN).await;

    let mut holder = database.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE millstream.objects IN EXCLUSIVE MODE").execute(&mut holder).await.unwrap();
    post(&running, &events[1_000..]).await;
    let shut = until("nothing new to be begun", WITHIN, || async {
        decisions(&running).await.into_iter().find(|one| one["reason"] == "stall" && one["to"] == 0)
    })
    .await;
    assert_eq!(shut["knob"], "concurrency", "{shut}");
    assert!(shut["at"].as_str().is_some_and(|at| at.ends_with('Z')) && shut["figures"].is_object(), "{shut}");
    let now = controller(&running).await;
    assert_eq!((&now["limited_by"], now["concurrency"].as_u64()), (&Value::from("braked"), Some(0)), "{now}");
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    running.caught_up(WITHIN).await;
    compare(&database, &Model::of(&events)).await;

    let all = decisions(&running).await;
    assert!(all.iter().any(|one| one["reason"] == "stall" && one["from"] == 0), "it goes on: {all:?}");
    let numbers: Vec<u64> = all.iter().map(|one| one["number"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|later, earlier| later > earlier), "the latest first: {numbers:?}");
    let limited = running.get("/v1/decisions?limit=1").await.json();
    assert_eq!(limited["items"].as_array().map(Vec::len), Some(1), "{limited}");
    assert_eq!(running.get("/v1/decisions?limit=0").await.status, 400);
    assert!(running.log().contains("the pace is changed knob=\"concurrency\""), "{}", running.log());

    let metrics = running.get("/metrics").await.text();
    let counted = "millstream_controller_decisions_total{knob=\"concurrency\",reason=\"stall\"}";
    for name in ["millstream_controller_concurrency ", "millstream_controller_records ", counted] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
    let address = running.address().to_string();
    let data = setup.data_dir().to_str().unwrap();
    let shown = crate::config::millstream(setup.scratch(), &[], &["status", "--listen", &address, "--data-dir", data]);
    assert!(shown.out.contains("transactions at a time (may be") && shown.out.contains(", stall"), "{shown:#?}");
    running.finish().await;

    let replay = ["tune", "--replay", "controller.jsonl", "--json"];
    let replayed = crate::config::millstream(setup.scratch(), &[], &replay);
    assert_eq!(replayed.code, 0, "the same controller decides the same: {replayed:#?}");
    let replayed = replayed.json();
    assert_eq!(
        (&replayed["differ"], replayed["decisions"].as_array().map(Vec::len)),
        (&Value::from(0), Some(all.len()))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_rows_are_written_than_the_cap() {
    const CAP: u64 = 400;
    let database = database().await;
    let setup = Setup::new(&database).set(&format!("pipeline.objects.rows_per_second_max={CAP}"));
    let running = setup.start().await;
    let events = Generator::new("cap").events(2_000);
    let began = Instant::now();
    post(&running, &events).await;
    until("the cap to be told", WITHIN, || async {
        (controller(&running).await["limited_by"] == "capped").then_some(())
    })
    .await;
    running.caught_up(WITHIN).await;
    // What may be written at once, a quarter of a second's worth, was written at the beginning.
    let least = Duration::from_secs_f64(events.len() as f64 / CAP as f64 - 0.25);
    assert!(began.elapsed() >= least, "{:?} for {} events", began.elapsed(), events.len());
    compare(&database, &Model::of(&events)).await;
    running.finish().await;
}

/// Records that the tables are past.
const RECORDS: &str = "SELECT coalesce(sum(next_position::bigint), 0) FROM millstream.lease";

/// Sessions that have written to the table and not committed.
async fn writing(connection: &mut PgConnection) -> i64 {
    let locks = "SELECT count(DISTINCT pid) FROM pg_locks WHERE relation = 'millstream.objects'::regclass
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND mode = 'RowExclusiveLock' AND granted";
    sqlx::query_scalar(locks).fetch_one(connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_frozen_stays_and_no_more_write_at_a_time_than_may() {
    let database = database().await;
    // More lanes than turns; small batches, so that all lanes are in use for a while.
    let setup = Setup::new(&database)
        .set("pipeline.objects.freeze=true")
        .set("pipeline.objects.batch_records_max=20")
        .set("pipeline.objects.concurrency.max=6");
    let running = setup.start().await;
    let before = controller(&running).await;
    assert_eq!(before["limited_by"], "frozen", "{before}");
    let mut generator = Generator::new("frozen");
    let mut events = Vec::new();
    let mut connection = database.connect().await;
    let mut most = 0;
    let posted = Cell::new(0);
    let fed = Cell::new(false);
    let spread = || running.lines().iter().any(|line| line.contains("partitions are spread over other lanes"));
    let watching = async {
        while !fed.get() || database.number(RECORDS).await < posted.get() {
            most = most.max(writing(&mut connection).await);
        }
    };
    // There is a backlog until it has lasted for long enough that all lanes are used, however fast the machine is.
    let feeding = async {
        while !spread() && events.len() < 400_000 {
            let more = generator.events(8_000);
            post(&running, &more).await;
            events.extend(more);
            posted.set(events.len() as i64);
            let low = posted.get() - 4_000;
            until("more to be needed", WITHIN, || async {
                (spread() || database.number(RECORDS).await > low).then_some(())
            })
            .await;
        }
        fed.set(true);
    };
    let both = async { tokio::join!(feeding, watching) };
    tokio::time::timeout(WITHIN, both).await.unwrap();
    running.caught_up(WITHIN).await;
    connection.close().await.unwrap();
    let after = controller(&running).await;
    let turns = after["concurrency"].as_i64().unwrap();
    assert!((1..=turns).contains(&most), "{most} wrote at a time, {turns} may");
    assert!(turns < 6, "there are more lanes than turns: {after}");
    for held in ["concurrency", "concurrency_max", "limited_by"] {
        assert_eq!(before[held], after[held], "{held}");
    }
    assert_eq!(decisions(&running).await, Vec::<Value>::new());
    assert!(spread(), "all lanes were in use:\n{}", running.log());
    compare(&database, &Model::of(&events)).await;
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_holds_and_bounds_the_pace_while_it_runs() {
    const RECORDS_MAX: usize = 5;
    let database = database().await;
    let setup = Setup::new(&database).set("pipeline.objects.concurrency.max=6");
    let running = setup.start().await;
    let address = running.address().to_string();
    let data = setup.data_dir().to_str().unwrap();
    let pace = |options: &[&str]| {
        let command = [&["pace", "--listen", &address, "--data-dir", data], options].concat();
        crate::config::millstream(setup.scratch(), &[], &command)
    };
    let events = Generator::new("bounded").events(4_000);
    let before = pace(&["--json"]).json();
    assert_eq!((&before["frozen"], &before["configured"]), (&Value::from(false), &Value::Null), "{before}");

    let said = pace(&["--freeze", "--concurrency-max", "1", "--records-max", &RECORDS_MAX.to_string()]);
    for part in [
        "held where it is by the operator. 1 transactions at a time (may be 1 to 1)",
        "configured are 1 to 6",
        "until the process ends",
    ] {
        assert!(said.code == 0 && said.out.contains(part), "{part}: {said:#?}");
    }
    let now = controller(&running).await;
    assert_eq!(now, running.get("/v1/controller").await.json());
    assert_eq!(now["configured"]["records_max"], before["records_max"], "{now}");
    let changed = decisions(&running).await;
    let limits = ["concurrency", "records"]
        .map(|knob| changed.iter().any(|one| one["knob"] == knob && one["reason"] == "limit"));
    assert_eq!(limits, [true, true], "{changed:?}");

    post(&running, &events[..2_000]).await;
    running.caught_up(WITHIN).await;
    let transactions =
        async || running.get("/v1/status").await.json()["pipelines"][0]["transactions"].as_u64().unwrap();
    let small = transactions().await;
    assert!(small >= 2_000 / RECORDS_MAX as u64, "{small} transactions of at most {RECORDS_MAX} records");

    for (options, reason) in [
        (["--concurrency-max", "7"], "from 1 to 6, the lanes of all pipelines"),
        (["--records-max", "0"], "from 1 to 10000"),
        (["--concurrency-min", "2"], "from 1 to 1, which is concurrency_max; 2 is not"),
    ] {
        let refused = pace(&options);
        assert!(refused.code == 1 && refused.err.contains(reason), "{options:?}: {refused:#?}");
    }
    for (patch, status) in [("[true]", 400), (r#"{"freeze":true}"#, 400), (r#"{"frozen":1}"#, 400)] {
        let json = [("content-type", "application/json")];
        let refused = running.send(Method::PATCH, "/v1/controller", &json, patch).await.unwrap();
        assert_eq!(refused.status, status, "{patch}: {}", refused.text());
    }
    let after = controller(&running).await;
    for held in ["frozen", "concurrency_min", "concurrency_max", "records_max"] {
        assert_eq!(now[held], after[held], "{held}: what is refused changes nothing");
    }

    let back = pace(&["--configured", "--json"]).json();
    for configured in ["frozen", "concurrency_min", "concurrency_max", "records_max", "configured"] {
        assert_eq!(before[configured], back[configured], "{configured}");
    }
    post(&running, &events[2_000..]).await;
    running.caught_up(WITHIN).await;
    let large = transactions().await - small;
    assert!(large < small, "{large} transactions without a bound, {small} with it");
    compare(&database, &Model::of(&events)).await;
    running.finish().await;
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
    ) = sqlx::query_as(include_str!("../pipeline/app/src/sql/load_select.sql"))
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
