//! A PostgreSQL of one's own: behind PgBouncer, over TLS, with passwords that change and accounts that may do little.

use std::time::Duration;

use millstream_tests::event::lines;
use millstream_tests::{Database, Event, Generator, Millstream, Setup, until};

use serde_json::Value;

use crate::config::{Ran, millstream};

mod password;
mod pooler;
mod roles;
mod tls;

const WITHIN: Duration = Duration::from_secs(60);

/// A setup that reaches a database over TCP as somebody; the port is the server's or a pooler's.
fn setup(database: &Database, account: &str, port: u16, more: &str) -> Setup {
    Setup::embedded().set(&format!("postgres.url=postgres://{account}@127.0.0.1:{port}/{}{more}", database.name))
}

/// Posts events in small parts, each acknowledged.
async fn post(running: &Millstream, events: &[Event]) {
    for part in events.chunks(100) {
        let answer = running.post(lines(part)).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
}

/// Posts, and waits until everything is in the tables.
async fn post_and_wait(running: &Millstream, events: &[Event]) {
    post(running, events).await;
    running.caught_up(WITHIN).await;
}

/// Records that the tables are past: each one counts once, however often it was tried.
const POSITIONS: &str = "SELECT coalesce(sum(next_position::bigint), 0) FROM millstream.lease";

/// Waits until some more records are in the tables than at `since`; says how many there are.
async fn progress(database: &Database, since: i64) -> i64 {
    until("progress", WITHIN, || async {
        let now = database.number(POSITIONS).await;
        (now > since).then_some(now)
    })
    .await
}

/// Runs a command with the settings of a setup.
fn command(setup: &Setup, arguments: &[&str]) -> Ran {
    let settings = setup.settings();
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let common = ["--data-dir", setup.data_dir().to_str().unwrap(), "--listen", "127.0.0.1:1"];
    millstream(setup.scratch(), &[], &[arguments, &settings, &common].concat())
}

/// What `doctor` found, by part, in one line with what mends it.
fn checks(setup: &Setup) -> Vec<(String, String)> {
    let report = command(setup, &["doctor", "--json"]).json();
    let line = |check: &Value| {
        let text = |part: &str| check[part].as_str().unwrap_or_default().to_owned();
        (text("name"), format!("{}: {} -> {}", text("state"), text("found"), text("mend")))
    };
    report["checks"].as_array().unwrap().iter().map(line).collect()
}

/// What `doctor` found of one part.
fn doctor(setup: &Setup, name: &str) -> String {
    let checks = checks(setup);
    let found = checks.iter().find(|(part, _)| part == name).unwrap_or_else(|| panic!("no {name}: {checks:#?}"));
    found.1.clone()
}
