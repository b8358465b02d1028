//! Accounts of analysts, and locks that they may hold.

use std::time::Duration;

use millstream_tests::{Setup, database};
use serde_json::Value;

use super::command;

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
