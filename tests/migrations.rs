//! The schema and the programs that meet it: who may write, who waits for whom, and what is said.

use std::time::Duration;

use millstream_tests::{Database, Setup, database, until};

use crate::commands::command;

const WITHIN: Duration = Duration::from_secs(30);
const SCHEMAS: &str = "SELECT count(*) FROM pg_namespace WHERE nspname IN ('millstream', 'analytics')";

async fn without_tables() -> Database {
    let database = database().await;
    database.execute("DROP SCHEMA analytics CASCADE; DROP SCHEMA millstream CASCADE").await;
    database
}

/// Puts a step on record that this program does not know.
async fn add_step(database: &Database, floor: &str) {
    let insert = "INSERT INTO millstream.migration (number, name, floor) VALUES (4711, 'of_tomorrow', ";
    database.execute(&format!("{insert}{floor})")).await;
}

#[tokio::test]
async fn a_newer_schema_keeps_out_only_who_is_below_its_floor() {
    let database = database().await;
    add_step(&database, "1").await;
    let setup = Setup::new(&database);
    setup.start().await.finish().await;
    for floor in ["4711", "NULL"] {
        database.execute("DELETE FROM millstream.migration WHERE number = 4711").await;
        add_step(&database, floor).await;
        let mut refused = setup.spawn();
        assert_eq!(refused.wait().await, 1, "{}", refused.log());
        let told = refused.log();
        assert!(told.contains("4711 (of_tomorrow)") && told.contains("start a newer one"), "{told}");
        let refused = command(&database, &setup, &["quarantine", "ls"]);
        assert!(refused.code == 1 && refused.err.contains("start a newer one"), "{refused:#?}");
        // One can still look.
        let psql = command(&database, &setup, &["psql", "--", "-Atc", "SELECT count(*) FROM analytics.objects"]);
        assert_eq!((psql.code, psql.out.as_str()), (0, "0\n"), "{psql:#?}");
    }
}

#[tokio::test]
async fn a_step_of_another_branch_is_refused() {
    let database = database().await;
    database.execute("UPDATE millstream.migration SET checksum = repeat('0', 64) WHERE number = 2").await;
    let refused = command(&database, &Setup::new(&database), &["migrate"]);
    assert!(refused.code == 1 && refused.err.contains("migration 2 (positions)"), "{refused:#?}");
    assert!(refused.err.contains("UPDATE millstream.migration SET checksum"), "{refused:#?}");
}

#[tokio::test]
async fn who_may_not_migrate_lists_the_steps() {
    let database = without_tables().await;
    let setup = Setup::new(&database).set("postgres.migrate=never");
    let mut refused = setup.spawn();
    assert_eq!(refused.wait().await, 1, "{}", refused.log());
    let told = refused.log();
    assert!(told.contains("1 objects, 2 positions") && told.contains("`millstream migrate --data-dir "), "{told}");
    assert_eq!(database.number(SCHEMAS).await, 0);
    let done = command(&database, &Setup::new(&database), &["migrate"]);
    assert_eq!(done.code, 0, "{done:#?}");
    setup.start().await.finish().await;
}

/// Whoever can connect can take an advisory lock: it blocks nobody without a word or without a bound.
#[tokio::test]
async fn a_session_in_the_way_is_named_and_waited_for() {
    let database = without_tables().await;
    let mut holder = database.connect().await;
    let take = "SET application_name = 'long report'; BEGIN; SELECT pg_advisory_xact_lock(x'6d696c6c7374726d'::bigint)";
    sqlx::raw_sql(take).execute(&mut holder).await.unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut holder).await.unwrap();

    let refused = command(&database, &Setup::new(&database), &["migrate", "--wait", "5"]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    let named = format!("session {pid} of millstream (long report, idle in transaction");
    assert!(refused.err.contains(&named) && refused.err.contains("pg_terminate_backend"), "{refused:#?}");
    assert_eq!(database.number(SCHEMAS).await, 0);

    // A process that starts takes events meanwhile, says the same, and goes on by itself.
    let setup = Setup::new(&database).allow("waits for a lock").allow("not ready");
    let mut running = setup.spawn();
    running.ready_for("events").await;
    let event = millstream_tests::Event::create("uploads", "in/k", millstream_tests::generator::DAY_NS, 1);
    assert_eq!(running.post(millstream_tests::event::lines(&[event])).await.unwrap().status, 202);
    running.logged(&named, WITHIN).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    until("the event is in the tables", Duration::from_secs(60), || async {
        let there =
            database.number("SELECT count(*) FROM pg_class WHERE oid = to_regclass('millstream.objects')").await;
        (there == 1 && database.number("SELECT count(*) FROM millstream.objects").await == 1).then_some(())
    })
    .await;
    running.finish().await;
}
