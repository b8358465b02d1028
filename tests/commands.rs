//! Commands that look at tables and streams, and those that change them: a dry run changes nothing, a real one keeps
//! every rule that the pipeline keeps.

mod dry_runs;
mod positions;
mod process;
mod quarantine;
mod users;
mod why;

use std::time::Duration;

use millstream_tests::generator::DAY_NS;
use millstream_tests::{Database, Event, Setup, until};

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
