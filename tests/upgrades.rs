//! What an earlier program left behind, tables and stream, is brought up to date and read on from exactly there.
//!
//! Each directory of `tests/upgrades` is named for the newest migration of the program that made it; its README says
//! what is in it and how the next one is made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use millstream_postgres::{Cluster, ClusterOptions};
use millstream_tests::event::lines;
use millstream_tests::{Database, Generator, Model, Setup, archive, compare, database, has_program};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::config::millstream;

mod make;
mod statements;

/// What lies in such a directory.
const DATABASE: &str = "database.sql.gz";
const STREAM: &str = "stream.tar.gz";
/// Events that the tables have.
const EVENTS: &str = "events.ndjson.gz";
/// Events that are in the stream alone, behind the stored positions.
const LATER: &str = "later.ndjson.gz";
const STATEMENTS: &str = "statements.sql";
/// The store of the fixtures of other dialects, whose meaning no model knows.
const FIXTURES: &str = "fixtures";

const WITHIN: Duration = Duration::from_secs(60);

/// The directories of earlier programs, with the number of their newest migration.
fn kept() -> Vec<(i32, PathBuf)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("upgrades");
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse().ok();
    let mut found: Vec<_> = entries.filter_map(|path| Some((number(&path)?, path))).collect();
    found.sort();
    assert!(!found.is_empty(), "no earlier program is kept");
    found
}

/// Loads kept tables into an empty database.
async fn load(database: &Database, kept: &Path, scratch: &Path) {
    let dump = scratch.join("database.sql");
    std::fs::write(&dump, archive::read_text(&kept.join(DATABASE))).unwrap();
    let options = database.options();
    let mut psql = Command::new("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-f"]).arg(&dump);
    psql.arg("-h").arg(options.get_socket().unwrap()).args(["-p", &options.get_port().to_string()]);
    psql.args(["-U", options.get_username(), options.get_database().unwrap()]);
    let output = psql.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Every row of every table, in the columns that `known` names, or in all of them.
async fn rows(database: &Database, known: Option<&BTreeMap<String, Rows>>) -> BTreeMap<String, Rows> {
    let mut connection = database.connect().await;
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text FROM information_schema.columns c
         JOIN information_schema.tables USING (table_schema, table_name)
         WHERE table_schema = 'millstream' AND table_type = 'BASE TABLE' AND table_name <> 'migration'
         ORDER BY table_name, column_name",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (table, column) in columns {
        let is_known =
            |known: &BTreeMap<String, Rows>| known.get(&table).is_some_and(|rows| rows.columns.contains(&column));
        if known.is_none_or(is_known) {
            tables.entry(table).or_default().push(column);
        }
    }
    let mut found = BTreeMap::new();
    for (table, columns) in tables {
        let list: Vec<_> = columns.iter().map(|column| shown(&table, column, known.is_some())).collect();
        let list = list.join(", ");
        let select =
            format!("SELECT row_to_json(t)::text FROM (SELECT {list} FROM millstream.\"{table}\") t ORDER BY 1");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(select)).fetch_all(&mut connection).await.unwrap();
        found.insert(table, Rows { columns, rows });
    }
    found
}

/// What holds now what a column of an earlier program held: metadata that is older than the facts has moved.
fn shown(table: &str, column: &str, is_migrated: bool) -> String {
    if is_migrated && (table, column) == ("objects", "metadata") {
        return "coalesce(metadata, older_metadata) AS metadata".to_owned();
    }
    format!("\"{column}\"")
}

#[derive(Debug, PartialEq)]
struct Rows {
    columns: Vec<String>,
    rows: Vec<String>,
}

/// Takes away what no model knows.
async fn forget_fixtures(database: &Database) {
    let tables = ["objects", "bucket_count", "segment_count", "hour_count"];
    let forget = tables.map(|table| format!("DELETE FROM millstream.{table} WHERE store = '{FIXTURES}'"));
    database.execute(&forget.join("; ")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_and_stream_of_an_earlier_program_are_migrated_and_read_on() {
    if !has_program("psql") {
        return;
    }
    for (number, kept) in kept() {
        // As many partitions as the topic was made with.
        let setup = Setup::embedded().set("stream.partitions=3");
        let options = ClusterOptions { durable: false, ..ClusterOptions::new(setup.data_dir().join("postgres")) };
        let cluster = Cluster::open(&options).await.unwrap();
        let database = Database::private(setup.data_dir());
        load(&database, &kept, setup.scratch()).await;
        let before = rows(&database, None).await;
        assert!(before["objects"].rows.len() > 1_000 && before["quarantine"].rows.len() == 3, "a dump worth the name");

        let migrate = ["migrate", "--data-dir", setup.data_dir().to_str().unwrap()];
        let ran = millstream(setup.scratch(), &[], &migrate);
        assert_eq!(ran.code, 0, "from {number}: {ran:#?}");
        let after = rows(&database, Some(&before)).await;
        for (table, rows) in &before {
            // Said in few words: the rows of a table are thousands.
            let now = after.get(table).unwrap_or_else(|| panic!("migrating from {number} removed table {table}"));
            assert_eq!(now.columns, rows.columns, "migrating from {number} removed columns of {table}");
            let changed = now.rows.iter().zip(&rows.rows).find(|(now, before)| now != before);
            assert!(now.rows.len() == rows.rows.len() && changed.is_none(), "from {number}, {table}: {changed:?}");
        }
        forget_fixtures(&database).await;
        let mut model = Model::of(&archive::read(&kept.join(EVENTS)));
        compare(&database, &model).await;

        archive::unpack(&kept.join(STREAM), setup.data_dir());
        let later = archive::read(&kept.join(LATER));
        let running = setup.start().await;
        running.caught_up(WITHIN).await;
        model.add(&later);
        compare(&database, &model).await;
        let status = running.get("/v1/status").await.json();
        assert_eq!(status["pipelines"][0]["records"], Value::from(later.len()), "from {number}: each once: {status:#}");
        assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 3);

        let fresh = Generator::new("after the upgrade").events(300);
        for part in fresh.chunks(100) {
            assert_eq!(running.post(lines(part)).await.unwrap().status, 202);
        }
        running.caught_up(WITHIN).await;
        model.add(&fresh);
        compare(&database, &model).await;
        running.finish().await;
        cluster.close().await.unwrap();
    }
}

/// A database of the tests' cluster as an earlier program left it.
async fn as_it_was(kept: &Path, scratch: &Path) -> Database {
    let database = database().await;
    database.execute("DROP SCHEMA analytics CASCADE; DROP SCHEMA millstream CASCADE").await;
    load(&database, kept, scratch).await;
    database
}
