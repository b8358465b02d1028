//! Commands that look at tables and streams, and those that change them: a dry run changes nothing, a real one keeps
//! every rule that the pipeline keeps.

use std::path::Path;
use std::time::Duration;

use millstream_tests::generator::DAY_NS;
use millstream_tests::{Database, Event, Millstream, Model, Setup, compare, database, until};
use serde_json::Value;

use crate::config::{Ran, millstream};

const WITHIN: Duration = Duration::from_secs(30);

/// Runs a command on the database and the data directory of a setup.
pub(crate) fn command(database: &Database, setup: &Setup, arguments: &[&str]) -> Ran {
    let url = format!("postgres.url={}", database.url());
    let common = ["--set", &url, "--data-dir", setup.data_dir().to_str().unwrap(), "--listen", "127.0.0.1:1"];
    let (before, after) = match arguments.iter().position(|argument| *argument == "--") {
        Some(at) => arguments.split_at(at),
        None => (arguments, &[][..]),
    };
    millstream(setup.scratch(), &[], &[before, &common, after].concat())
}

/// Every row of every table, as one number for each table.
pub(crate) async fn contents(database: &Database) -> Vec<(String, String)> {
    let mut connection = database.connect().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'millstream' AND c.relkind = 'r' ORDER BY 1",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut contents = Vec::new();
    for table in tables {
        let sum = format!("SELECT coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text)), '') FROM {table} t");
        contents.push((table, sqlx::query_scalar(sqlx::AssertSqlSafe(sum)).fetch_one(&mut connection).await.unwrap()));
    }
    contents
}

fn event(key: &str, second: u64, size: i64) -> Event {
    Event::create("uploads", key, DAY_NS + second * 1_000_000_000, size)
}

fn lines(events: &[Event]) -> Vec<u8> {
    millstream_tests::event::lines(events)
}

async fn quarantined(database: &Database, rows: i64) {
    until("rows in quarantine", WITHIN, || async {
        (database.number("SELECT count(*) FROM millstream.quarantine").await >= rows).then_some(())
    })
    .await;
}

/// A pipeline whose database refuses objects of 666 bytes; they are in quarantine when this returns.
async fn with_refused(database: &Database, setup: &Setup, events: &[Event], refused: i64) {
    database.execute("ALTER TABLE millstream.objects ADD CONSTRAINT devil CHECK (size <> 666)").await;
    let running = setup.clone().allow("record quarantined").start().await;
    // One by one, so that each is judged by itself.
    for event in events {
        assert_eq!(running.post(lines(std::slice::from_ref(event))).await.unwrap().status, 202);
        running.caught_up(WITHIN).await;
    }
    quarantined(database, refused).await;
    running.finish().await;
}

#[tokio::test]
async fn what_was_refused_is_written_again_by_the_same_rules() {
    let database = database().await;
    let here = Setup::embedded();
    let setup = Setup::new(&database);
    let events = [
        event("in/new", 1, 666),
        event("in/overtaken", 1, 666),
        event("in/overtaken", 2, 10),
        event("in/newer", 1, 10),
        event("in/newer", 2, 666),
    ];
    with_refused(&database, &setup, &events, 3).await;
    compare(&database, &Model::of([&events[2], &events[3]])).await;

    // The one that was overtaken has nothing to write, so nothing is refused of it any more; the others stay.
    let again = command(&database, &here, &["quarantine", "redrive", "--all", "--json"]);
    let report = again.json();
    assert_eq!((again.code, &report["removed"], &report["filtered"]["stale"]), (1, &Value::from(1), &Value::from(1)));
    assert_eq!(report["kept"][0]["reason"], "refused_by_database", "{report}");
    assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 2);
    compare(&database, &Model::of([&events[2], &events[3]])).await;

    database.execute("ALTER TABLE millstream.objects DROP CONSTRAINT devil").await;
    let before = contents(&database).await;
    let dry = command(&database, &here, &["quarantine", "redrive", "--all", "--dry-run", "--json"]);
    assert_eq!(contents(&database).await, before);
    let real = command(&database, &here, &["quarantine", "redrive", "--all", "--json"]);
    assert_eq!((real.code, dry.code), (0, 0), "{real:#?}");
    for report in [real.json(), dry.json()] {
        assert_eq!((&report["removed"], &report["written"]), (&Value::from(2), &Value::from(2)), "{report}");
    }
    assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 0);
    compare(&database, &Model::of(&events)).await;
}

/// The good records of a redrive land although a bad one is among them.
#[tokio::test]
async fn one_that_is_still_refused_holds_up_no_other() {
    let database = database().await;
    let here = Setup::embedded();
    let setup = Setup::new(&database);
    let events: Vec<Event> = (0..9).map(|number| event(&format!("in/{number}"), number, 666)).collect();
    with_refused(&database, &setup, &events, 9).await;
    database.execute("ALTER TABLE millstream.objects DROP CONSTRAINT devil; ALTER TABLE millstream.objects ADD CONSTRAINT devil CHECK (key <> 'in/4')").await;
    let ran = command(&database, &here, &["quarantine", "redrive", "--reason", "refused_by_database", "--json"]);
    let report = ran.json();
    assert_eq!((ran.code, &report["removed"], report["kept"].as_array().unwrap().len()), (1, &Value::from(8), 1));
    compare(&database, &Model::of(events.iter().filter(|event| event.key != "in/4"))).await;
}

#[tokio::test]
async fn dry_runs_change_nothing() {
    let database = database().await;
    let setup = Setup::new(&database);
    with_refused(&database, &setup, &[event("in/a", 1, 666), event("in/b", 1, 5)], 1).await;
    let before = contents(&database).await;
    for arguments in [
        &["migrate", "--dry-run"][..],
        &["quarantine", "redrive", "--all", "--dry-run"],
        &["quarantine", "purge", "--all", "--dry-run"],
        &["positions", "reset", "--pipeline", "objects", "--to", "latest", "--dry-run"],
        &["positions", "reset", "--pipeline", "objects", "--to", "earliest", "--dry-run"],
    ] {
        let ran = command(&database, &setup, arguments);
        assert!(ran.code <= 1 && !ran.out.is_empty(), "{ran:#?}");
        assert_eq!(contents(&database).await, before, "{arguments:?} changed something");
    }
    let purged = command(&database, &setup, &["quarantine", "purge", "--all"]);
    assert_eq!((purged.code, purged.out.as_str()), (0, "1 rows removed\n"));
    assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 0);
}

#[tokio::test]
async fn migrate_says_what_it_would_do_and_does_it_once() {
    let database = database().await;
    let here = Setup::embedded();
    database.execute("DROP SCHEMA analytics CASCADE; DROP SCHEMA millstream CASCADE").await;
    let dry = command(&database, &here, &["migrate", "--dry-run"]);
    assert!(dry.code == 0 && dry.out.contains("CREATE TABLE millstream.objects"), "{dry:#?}");
    let refused = command(&database, &here, &["quarantine", "ls"]);
    assert!(refused.code == 1 && refused.err.contains("millstream migrate"), "{refused:#?}");
    assert_eq!(database.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'millstream'").await, 0);
    let done = command(&database, &here, &["migrate"]);
    assert!(done.code == 0 && done.out.contains("applied 1"), "{done:#?}");
    let again = command(&database, &here, &["migrate"]);
    assert_eq!(again.out, "nothing to do: the schema is up to date\n");
}

#[tokio::test]
async fn positions_move_also_under_a_reader_and_fence_it() {
    let database = database().await;
    let setup = Setup::new(&database).set("stream.partitions=1").allow("leases are taken again");
    let events: Vec<Event> = (0..20).map(|number| event(&format!("in/{number}"), number, 1)).collect();
    let running = setup.start().await;
    running.post(lines(&events)).await.unwrap();
    running.caught_up(WITHIN).await;
    let reset = |to: &str| {
        let to = ["--to", to, "--set", "stream.partitions=1"];
        command(&database, &setup, &[&["positions", "reset", "--pipeline", "objects"], &to[..]].concat())
    };
    const EPOCH: &str = "SELECT epoch FROM millstream.lease";
    const NEXT: &str = "SELECT next_position::bigint FROM millstream.lease";
    let tokens = "SELECT count(DISTINCT token) FROM millstream.lease WHERE owner = 'positions reset'";
    let epoch = database.number(EPOCH).await;
    // Of a stream that is open in the process, which reads it again.
    let written = counted(&running, "records").await;
    let moved = reset("earliest");
    assert!(moved.code == 0 && moved.out.contains("20 records are read again"), "{moved:#?}");
    until("the records are read again", WITHIN, || async {
        (counted(&running, "records").await == written + 20).then_some(())
    })
    .await;
    running.finish().await;
    let epoch = database.number(EPOCH).await.max(epoch);
    assert_eq!(reset("earliest").code, 0);
    assert_eq!((database.number(EPOCH).await, database.number(NEXT).await), (epoch + 1, 0));
    assert_eq!(database.number(tokens).await, 1);
    // Read again, written once.
    let running = setup.start().await;
    running.caught_up(WITHIN).await;
    until("the position is back", WITHIN, || async { (database.number(NEXT).await == 20).then_some(()) }).await;
    running.finish().await;
    compare(&database, &Model::of(&events)).await;

    assert_eq!(reset("7").code, 0);
    assert_eq!(database.number("SELECT count(*) FROM millstream.gap").await, 0);
    let skipped = reset("latest");
    assert!(skipped.out.contains("13 records are never read"), "{skipped:#?}");
    let gap = "SELECT count(*) FROM millstream.gap WHERE from_position = '7' AND to_position = '20'";
    assert_eq!(database.number(gap).await, 1);
    for (to, told) in
        [("21", "has offsets 0 to 20, not 21"), ("soon", "write earliest, latest"), ("@soon", "is no time")]
    {
        let refused = reset(to);
        assert!(refused.code == 1 && refused.err.contains(told), "{refused:#?}");
    }
    assert!(reset("@1").out.contains("20 records are read again"));
    assert!(reset("@2099-01-01T00:00Z").out.contains("20 records are never read"));
}

/// What a halt prints says `--to earliest`, also of a queue, of which the oldest that is left comes next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_of_a_queue_goes_on_with_what_is_left() {
    let database = database().await;
    let setup = Setup::new(&database);
    setup.start().await.finish().await;
    let source = "pipeline.objects.source={ kind = \"sqs\", accept_loss_on_restore = true, \
                  queue = \"http://127.0.0.1:1/0/q\", endpoint = \"http://127.0.0.1:1\", region = \"us-east-1\" }";
    let halted = "INSERT INTO millstream.lease
            (pipeline, incarnation, partition, owner, epoch, token, next_position, renewed_at, halted_at, halt_reason)
        VALUES ('objects', 'arn:aws:sqs:us-east-1:0:q', 'a', 'a', 1, gen_random_uuid(), '7', now(), now(), 'lost')
        ON CONFLICT (pipeline, incarnation, partition) DO UPDATE SET halted_at = now(), halt_reason = 'lost'";
    for to in ["earliest", "latest"] {
        database.execute(halted).await;
        let ran =
            command(&database, &setup, &["positions", "reset", "--pipeline", "objects", "--to", to, "--set", source]);
        assert!(ran.code == 0 && ran.out.contains("goes on with what it receives next"), "{ran:#?}");
        assert_eq!(database.number("SELECT count(*) FROM millstream.lease WHERE halted_at IS NOT NULL").await, 0);
    }
}

/// A counter of the only pipeline.
async fn counted(running: &Millstream, name: &str) -> i64 {
    let status = running.get("/v1/status").await.json();
    status["pipelines"][0][name].as_i64().unwrap_or_else(|| panic!("{name}: {status:#}"))
}

/// The stream was lost and begins anew: nothing goes on until a person has said where.
#[tokio::test]
async fn a_stream_made_anew_waits_for_a_position() {
    let database = database().await;
    let setup = Setup::new(&database).set("stream.partitions=2").allow("halted").allow("made anew");
    // Of one key, so of one partition.
    let first = event("in/1", 1, 1);
    let second = event("in/1", 2, 2);
    let running = setup.start().await;
    running.post(lines(std::slice::from_ref(&first))).await.unwrap();
    running.caught_up(WITHIN).await;
    running.finish().await;
    let untouched = database.number("SELECT partition FROM millstream.lease WHERE next_position IS NULL").await;
    std::fs::remove_dir_all(setup.data_dir().join("stream")).unwrap();
    let mut running = setup.start().await;
    running.post(lines(std::slice::from_ref(&second))).await.unwrap();
    until("the halt", WITHIN, || async { running.log().contains("positions reset").then_some(()) }).await;
    running.terminate();
    assert_eq!(running.wait().await, 1);
    compare(&database, &Model::of([&first])).await;

    let reset = |more: &[&str]| {
        let arguments = ["positions", "reset", "--pipeline", "objects", "--to", "earliest"];
        command(&database, &setup, &[&arguments, more].concat())
    };
    // Started again, it waits all the same, also where another partition goes on.
    assert_eq!(reset(&["--partition", &untouched.to_string()]).code, 0);
    let mut running = setup.start().await;
    until("the halt", WITHIN, || async { running.log().contains("positions reset").then_some(()) }).await;
    running.terminate();
    assert_eq!(running.wait().await, 1);
    compare(&database, &Model::of([&first])).await;

    let told = reset(&[]);
    assert_eq!(told.code, 0, "{told:#?}");
    let running = setup.start().await;
    running.caught_up(WITHIN).await;
    running.finish().await;
    compare(&database, &Model::of([&first, &second])).await;
}

#[tokio::test]
async fn why_tells_what_became_of_each_event() {
    let database = database().await;
    let setup = Setup::new(&database);
    let old = event("in/k", 1, 10);
    let new = event("in/k", 3, 30);
    let events = [old.clone(), new.clone(), old.clone(), event("in/k", 5, 666), event("in/other", 9, 9)];
    with_refused(&database, &setup, &events, 1).await;
    let ran = command(&database, &setup, &["why", "uploads", "in/k", "--json"]);
    let told = ran.json();
    assert_eq!(told["rows"].as_array().unwrap().len(), 1, "{told:#}");
    assert_eq!((&told["rows"][0]["size"], &told["rows"][0]["state"]), (&Value::from(30), &Value::from("current")));
    assert_eq!(told["quarantine"].as_array().unwrap().len(), 1);
    let stream = &told["streams"]["objects"];
    let position = |index: usize| stream["scan"]["seen"][index]["position"].to_string();
    let expected = [
        format!("superseded by {}", position(1)),
        "written: what the row shows".to_owned(),
        format!("duplicate of {}", position(0)),
        "quarantined: refused_by_database".to_owned(),
    ];
    assert_eq!(stream["verdicts"], serde_json::json!(expected), "{told:#}");
    let nothing = command(&database, &setup, &["why", "uploads", "in/nothing"]);
    assert!(nothing.out.contains("the tables have no row of it"), "{nothing:#?}");
}

/// A record may hold events of several objects, and is kept under the key of the first.
#[tokio::test]
async fn why_speaks_of_the_object_that_an_event_names() {
    let database = database().await;
    let setup = Setup::new(&database);
    let running = setup.clone().allow("record quarantined").start().await;
    let record = |key: &str, size: i64| {
        serde_json::json!({
            "eventTime": "2026-11-22T10:00:00.000Z", "eventName": "ObjectCreated:Put",
            "s3": { "bucket": { "name": "uploads" }, "object": { "key": key, "size": size, "eTag": "e" } },
        })
    };
    let records = serde_json::json!({ "Records": [record("one", 1), record("two", 2), record("three", -1)] });
    let envelope = serde_json::json!({ "Type": "Notification", "MessageId": "1", "Message": records.to_string() });
    assert_eq!(running.post(envelope.to_string()).await.unwrap().status, 202);
    running.caught_up(WITHIN).await;
    quarantined(&database, 1).await;
    let told = |key: &str| {
        let told = command(&database, &setup, &["why", "uploads", key, "--json"]).json();
        let verdicts = told["streams"]["objects"]["verdicts"].clone();
        (verdicts, told["quarantine"].as_array().unwrap().len(), told["rows"].as_array().unwrap().len())
    };
    let one = |text: &str| serde_json::json!([text]);
    // Asked of the running process first, then of the stream itself.
    for key in ["one", "two"] {
        assert_eq!(told(key), (one("written: what the row shows"), 0, 1), "{key}");
    }
    assert_eq!(told("three"), (one("quarantined: bad_size"), 1, 0));
    running.finish().await;
    for key in ["one", "two"] {
        assert_eq!(told(key), (one("written: what the row shows"), 0, 1), "{key}");
    }
    assert_eq!(told("three"), (one("quarantined: bad_size"), 1, 0));
    assert_eq!(told("four"), (serde_json::json!([]), 0, 0));
}

/// Keys come from strangers.
#[tokio::test]
async fn nothing_of_a_stranger_reaches_the_terminal_raw() {
    let database = database().await;
    let setup = Setup::new(&database);
    let key = "in/\u{1b}[2J\u{9b}31m\r\u{202e}\u{7f}";
    with_refused(&database, &setup, &[event(key, 1, 666), event(key, 2, 1)], 1).await;
    for arguments in [&["quarantine", "ls"][..], &["quarantine", "show", "1"], &["why", "uploads", key]] {
        let ran = command(&database, &setup, arguments);
        assert!(ran.code == 0 && ran.out.contains("\\u{1b}[2J"), "{ran:#?}");
        let raw = |shown: char| (shown.is_control() && shown != '\n') || shown == '\u{202e}';
        assert!(!ran.out.contains(raw) && !ran.err.contains(raw), "{ran:#?}");
    }
}

#[tokio::test]
async fn an_analyst_reads_the_views_and_nothing_else() {
    let database = database().await;
    let here = Setup::embedded();
    let name = format!("ana_{}", std::process::id());
    let added = command(&database, &here, &["user", "add", &name, "--role", "analyst"]);
    assert_eq!(added.code, 0, "{added:#?}");
    let password =
        added.out.lines().find_map(|line| line.strip_prefix("password: ")).unwrap().split(' ').next().unwrap();
    assert!(password.len() >= 24 && added.out.contains("ATTACH") && added.out.contains("Metabase"), "{added:#?}");
    let again = command(&database, &here, &["user", "add", &name, "--role", "analyst"]);
    assert!(again.code == 1 && again.err.contains("already"), "{again:#?}");

    let analyst = database.options().username(&name);
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect_with(&analyst).await.unwrap();
    let mut refused = Vec::new();
    for sql in [
        "SELECT * FROM analytics.objects",
        "SELECT * FROM analytics.quarantine",
        "SELECT millstream.from_time(now())",
        "SELECT * FROM millstream.objects",
        "SELECT payload FROM millstream.quarantine",
        "CREATE TEMP TABLE t (x int)",
        // Read-only is a default that anybody may change for himself; what holds is what was granted.
        "SET default_transaction_read_only = off",
        "DELETE FROM millstream.objects",
        "CREATE TABLE analytics.t (x int)",
        // What everybody may do elsewhere, and what fills a disk.
        "CREATE TEMP TABLE t (x int)",
        "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, 'x')",
        "SET ROLE millstream",
    ] {
        let ran = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await;
        refused.push(ran.err().map(|error| error.as_database_error().unwrap().code().unwrap().into_owned()));
    }
    let denied = Some("42501".to_owned());
    let read_only = Some("25006".to_owned());
    let mut expected = vec![None, None, None, denied.clone(), denied.clone(), read_only, None];
    expected.resize(refused.len(), denied);
    assert_eq!(refused, expected);

    let psql = ["psql", "--role", "analyst", "--", "-XAtc", "SHOW transaction_read_only", "-c", "SELECT session_user"];
    let ran = command(&database, &here, &psql);
    assert_eq!((ran.code, ran.out.as_str()), (0, "on\nmillstream_analyst\n"), "{ran:#?}");
    let ran = command(&database, &here, &["psql", "--role", "analyst", "--", "-XAtc", "SET ROLE millstream"]);
    assert!(ran.code != 0 && ran.err.contains("permission denied to set role"), "{ran:#?}");

    // Listed with what it set for itself; given another password; removed with its session, and nobody else is.
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("ALTER ROLE {name} SET statement_timeout = 0")))
        .execute(&mut connection)
        .await
        .unwrap();
    let listed = command(&database, &here, &["user", "ls", "--json"]).json();
    let listed = listed["users"].as_array().unwrap().iter().find(|user| user["name"] == *name).unwrap().clone();
    assert_eq!((&listed["sessions"], &listed["connections_max"]), (&Value::from(1), &Value::from(8)), "{listed}");
    assert!(listed["settings"].as_array().unwrap().contains(&Value::from("statement_timeout=0")), "{listed}");
    assert!(command(&database, &here, &["user", "ls"]).out.contains(&name));
    let changed = command(&database, &here, &["user", "passwd", &name, "--json"]).json();
    assert_ne!(changed["password"], *password);
    for other in ["nobody_there", "millstream", "Ana"] {
        for what in ["rm", "passwd"] {
            let ran = command(&database, &here, &["user", what, other]);
            assert_eq!(ran.code, 1, "{ran:#?}");
        }
    }
    let removed = command(&database, &here, &["user", "rm", &name, "--json"]).json();
    assert_eq!((&removed["removed"], &removed["sessions_ended"]), (&Value::from(&*name), &Value::from(1)));
    assert!(sqlx::raw_sql("SELECT 1").execute(&mut connection).await.is_err(), "its session goes on");
    assert_eq!(database.number(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{name}'")).await, 0);
}

#[tokio::test]
async fn produce_and_status_talk_to_the_running_process() {
    let database = database().await;
    let setup = Setup::new(&database).set("http.listen=127.0.0.1:0");
    let running = setup.start().await;
    let events: Vec<Event> = (0..2_500).map(|number| event(&format!("in/{number}"), number, 1)).collect();
    let file = setup.scratch().join("events.ndjson");
    std::fs::write(&file, lines(&events)).unwrap();
    // The process is found by its data directory: it took a port of its own choice.
    let sent = command(&database, &setup, &["produce", file.to_str().unwrap()]);
    assert_eq!((sent.code, sent.out.as_str()), (0, "accepted 2,500, refused 0\n"), "{sent:#?}");
    running.caught_up(WITHIN).await;
    compare(&database, &Model::of(&events)).await;

    std::fs::write(&file, [b"{\"x\":1}\n\n".as_slice(), &lines(&events[..1])].concat()).unwrap();
    let sent = command(&database, &setup, &["produce", "--store", "elsewhere", file.to_str().unwrap()]);
    assert_eq!((sent.code, sent.out.as_str()), (1, "accepted 1, refused 1\n"), "{sent:#?}");
    assert!(sent.err.contains("unknown_shape"), "{sent:#?}");
    running.caught_up(WITHIN).await;
    until("the other store", WITHIN, || async {
        let there = "SELECT count(*) FROM millstream.objects WHERE store = 'elsewhere'";
        (database.number(there).await == 1).then_some(())
    })
    .await;

    let status = command(&database, &setup, &["status", "--json"]);
    assert_eq!(status.json()["pipelines"][0]["written"], 2_501, "{status:#?}");
    let shown = command(&database, &setup, &["status"]);
    assert!(shown.out.contains("keeping up") && shown.out.contains("2,501"), "{shown:#?}");

    // The stream is open in that process, so it is asked.
    let why = command(&database, &setup, &["why", "uploads", "in/7", "--json"]);
    let told = why.json();
    assert_eq!(told["streams"]["objects"]["verdicts"], serde_json::json!(["written: what the row shows"]), "{told:#}");
    running.finish().await;
    let gone = command(&database, &setup, &["status"]);
    assert!(gone.code == 1 && gone.err.contains("millstream run"), "{gone:#?}");
}

#[tokio::test]
async fn doctor_names_what_is_wrong_and_what_mends_it() {
    let database = database().await;
    let here = Setup::embedded();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let checks = |arguments: &[&str]| {
        let ran = command(&database, &here, &[&["doctor", "--json"], arguments].concat());
        let checks = ran.json()["checks"].as_array().unwrap().clone();
        let find = move |name: &str| -> (String, String) {
            let check =
                checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}: {checks:#?}"));
            let text = |member: &str| check[member].as_str().unwrap_or_default().to_owned();
            (text("state"), text("mend"))
        };
        (ran.code, find)
    };
    let (code, find) = checks(&[]);
    // The cluster of the tests does without fsync, which is just what must be found.
    assert_eq!(code, 1);
    assert_eq!(find("durability").0, "FAIL");
    assert!(find("durability").1.contains("fsync = on"));
    for good in ["configuration", "free space", "stream", "clock", "schema", "postgres"] {
        assert_eq!(find(good).0, "ok", "{good}");
    }
    database.execute("UPDATE millstream.migration SET number = number + 1000, floor = 1001 WHERE number = 1").await;
    assert_eq!(checks(&[]).1("schema").0, "FAIL");
    database.execute("DELETE FROM millstream.migration WHERE number > 1000").await;
    assert_eq!(checks(&[]).1("schema").0, "note");
    let nowhere = format!("data_dir={}", Path::new("/proc/nothing").display());
    let ran = millstream(here.scratch(), &[], &["doctor", "--json", "--set", &nowhere, "--listen", &listen]);
    let text = ran.out;
    assert!(ran.code == 1 && text.contains("choose an address with --listen") && text.contains("--data-dir"), "{text}");
}

/// Whoever may read can take the lock of migrations, and hold nobody up for longer than is said.
#[tokio::test]
async fn a_lock_of_a_reader_is_waited_for_and_named() {
    let database = database().await;
    let here = Setup::embedded();
    let mut reader = database.connect().await;
    sqlx::raw_sql("SELECT pg_advisory_lock(x'6d696c6c7374726d'::bigint)").execute(&mut reader).await.unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut reader).await.unwrap();
    let began = tokio::time::Instant::now();
    let name = format!("late_{}", std::process::id());
    let added = command(&database, &here, &["user", "add", &name, "--role", "analyst"]);
    assert!(added.code == 1 && began.elapsed() < Duration::from_secs(25), "{:?}: {added:#?}", began.elapsed());
    assert!(added.err.contains(&format!("session {pid} of millstream")), "{added:#?}");
    assert!(added.err.contains(&format!("pg_terminate_backend({pid})")), "{added:#?}");
}
