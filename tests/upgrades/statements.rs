//! The statements that an earlier program wrote with, on the schema of the present one: they are refused by the floor of
//! a migration, or they work as they did.

use std::collections::BTreeMap;
use std::path::Path;

use millstream_tests::{Database, Setup, has_program};
use sqlx::{AssertSqlSafe, PgConnection};

use super::{STATEMENTS, as_it_was, kept};
use crate::commands::command;

/// The first program whose migrations carry a floor. Those before it refuse whatever is newer than they know.
const FLOORS_FROM: i32 = 7;

/// What PostgreSQL makes of each statement: the types of its parameters, or why it cannot be run.
async fn prepared(database: &Database, kept: &Path) -> BTreeMap<String, Result<String, String>> {
    let text = std::fs::read_to_string(kept.join(STATEMENTS)).unwrap();
    let mut connection = database.connect().await;
    let mut found = BTreeMap::new();
    for part in text.strip_prefix("-- ").unwrap().split("\n\n-- ").filter(|part| part.contains(".sql\n")) {
        let (name, statement) = part.split_once(".sql\n").unwrap();
        found.insert(name.to_owned(), prepare(&mut connection, name, statement.trim()).await);
    }
    assert!(found.len() >= 34, "only {} statements were found", found.len());
    found
}

async fn prepare(connection: &mut PgConnection, name: &str, statement: &str) -> Result<String, String> {
    let code: Vec<&str> = statement.lines().filter(|line| !line.starts_with("--")).collect();
    let code = code.join("\n");
    let said = |error: sqlx::Error| error.to_string();
    if code.starts_with("BEGIN") {
        // Settings of a transaction.
        sqlx::raw_sql(AssertSqlSafe(format!("{code};ROLLBACK"))).execute(connection).await.map_err(said)?;
        return Ok(String::new());
    }
    if code.starts_with("COPY") {
        let copy = connection.copy_in_raw(&code).await.map_err(said)?;
        copy.abort("only looked at").await.map_err(said)?;
        return Ok(String::new());
    }
    let prepare = format!("PREPARE {name} AS {code}");
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await.map_err(said)?;
    let types = "SELECT parameter_types::text FROM pg_prepared_statements WHERE name = $1";
    sqlx::query_scalar(types).bind(name).fetch_one(connection).await.map_err(said)
}

/// Whether a program that knows migrations up to `known` goes on with this database.
async fn goes_on(database: &Database, known: i32) -> bool {
    // The question of such a program; the floor, where the table has one.
    let mut connection = database.connect().await;
    let applied: Vec<(i32, Option<i32>)> =
        sqlx::query_as("SELECT number, (to_jsonb(m) ->> 'floor')::integer FROM millstream.migration m ORDER BY number")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    applied.iter().all(|(number, floor)| {
        let needed = if known < FLOORS_FROM { *number } else { floor.unwrap_or(*number) };
        needed <= known
    })
}

#[tokio::test]
async fn an_earlier_program_is_refused_by_a_floor_or_its_statements_work() {
    if !has_program("psql") {
        return;
    }
    for (known, kept) in kept() {
        let here = Setup::embedded();
        std::fs::create_dir_all(here.scratch()).unwrap();
        let database = as_it_was(&kept, here.scratch()).await;
        assert!(goes_on(&database, known).await, "its own schema");
        let before = prepared(&database, &kept).await;
        let refused: Vec<_> = before.iter().filter(|(_, types)| types.is_err()).collect();
        assert!(refused.is_empty(), "not even on the schema of {known}: {refused:#?}");

        let ran = command(&database, &here, &["migrate"]);
        assert_eq!(ran.code, 0, "{ran:#?}");
        if goes_on(&database, known).await {
            assert_eq!(prepared(&database, &kept).await, before, "no floor keeps the program of {known} away");
        } else {
            println!("the program of migration {known} is refused: its statements need not work");
        }
    }
}
