//! A stream or a database that came back from an older copy: what is lost is put on record and halts its partition until
//! a person decides, however far the stream has grown meanwhile, and nothing that was acknowledged is left out silently.

use std::path::{Path, PathBuf};
use std::time::Duration;

use millstream_tests::generator::DAY_NS;
use millstream_tests::{Database, Event, Millstream, Model, Proxy, Setup, compare, database, until};

use crate::commands::command;

const WITHIN: Duration = Duration::from_secs(30);
const HALTED: &str = "SELECT count(*) FROM millstream.lease WHERE halted_at IS NOT NULL";
const GAPS: &str = "SELECT count(*) FROM millstream.gap";

/// Events of objects of their own, from a number on.
pub(crate) fn events(from: u64, count: u64) -> Vec<Event> {
    let event = |number: u64| Event::create("uploads", &format!("in/{number}"), DAY_NS + number * 1_000_000, 1);
    (from..from + count).map(event).collect()
}

async fn post(running: &Millstream, events: &[Event]) {
    if events.is_empty() {
        return;
    }
    let answer = running.post(millstream_tests::event::lines(events)).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// On a database, with everything that a halt says in the log allowed.
fn setup(database: &Database) -> Setup {
    Setup::new(database).set("stream.partitions=2").allow("halted").allow("older copy").allow("ends before it")
}

/// A copy of a directory, as `cp -a` makes it.
fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

/// Runs what comes first, keeps a copy of the stream, runs what comes next, and puts the copy in the stream's place.
pub(crate) async fn go_back(setup: &Setup, first: &[Event], next: &[Event]) {
    let stream = setup.data_dir().join("stream");
    let kept = PathBuf::from(setup.scratch()).join("kept");
    for (events, keep) in [(first, true), (next, false)] {
        let running = setup.start().await;
        post(&running, events).await;
        running.caught_up(WITHIN).await;
        running.finish().await;
        if keep {
            copy(&stream, &kept);
        }
    }
    std::fs::remove_dir_all(&stream).unwrap();
    copy(&kept, &stream);
}

/// Goes on with what is left, while the process runs, and finds everything that the stream has in the tables.
async fn decide(database: &Database, setup: &Setup, running: &Millstream, all: &[Event]) {
    let url = format!("postgres.url={}", database.url());
    let arguments = ["positions", "reset", "--pipeline", "objects", "--to", "earliest", "--set", &url];
    let told = millstream(setup, &arguments);
    assert_eq!(told.code, 0, "{told:#?}");
    until("no halt is left", WITHIN, || async { (database.number(HALTED).await == 0).then_some(()) }).await;
    let objects = "SELECT count(*) FROM millstream.objects";
    until("all that the stream has", WITHIN, || async {
        (database.number(objects).await == all.len() as i64).then_some(())
    })
    .await;
    running.caught_up(WITHIN).await;
    compare(database, &Model::of(all)).await;
}

fn millstream(setup: &Setup, arguments: &[&str]) -> crate::config::Ran {
    let data_dir = ["--data-dir", setup.data_dir().to_str().unwrap(), "--listen", "127.0.0.1:1"];
    crate::config::millstream(setup.scratch(), &[], &[arguments, &data_dir].concat())
}

#[tokio::test]
async fn a_stream_from_an_older_copy_halts_however_far_it_grows() {
    let database = database().await;
    let setup = setup(&database);
    let first = events(0, 40);
    let lost = events(100, 40);
    let later = events(200, 400);
    go_back(&setup, &first, &lost).await;

    let mut running = setup.start().await;
    // At once: the stored position lies beyond the end, and these push the end past it.
    post(&running, &later).await;
    until("both partitions are halted", WITHIN, || async { (database.number(HALTED).await == 2).then_some(()) }).await;
    assert_eq!(database.number(GAPS).await, 2);
    // A halt outlives the process, and looks at it again change nothing.
    running.terminate();
    assert_eq!(running.wait().await, 1);
    running.check_log();
    let running = setup.start().await;
    running.logged("the partition is halted", WITHIN).await;
    let looks = "SELECT min(epoch) FROM millstream.lease";
    let epoch = database.number(looks).await;
    until("a look at the halt", WITHIN, || async { (database.number(looks).await > epoch).then_some(()) }).await;
    let of_later = "SELECT count(*) FROM millstream.objects WHERE substr(key, 4)::int >= 200";
    assert_eq!(database.number(of_later).await, 0, "nothing is read before a person decides");
    let shown = command(&database, &setup, &["positions", "show"]);
    assert!(shown.out.contains("halted until you decide"), "{shown:#?}");

    let all: Vec<Event> = [first, lost, later].concat();
    decide(&database, &setup, &running, &all).await;
    assert_eq!(database.number(GAPS).await, 2, "what was lost stays on record");
    running.terminate();
}

/// A copy that was made while the process ran has the opening in which the tables went on, and not as far.
#[tokio::test]
async fn a_copy_of_a_running_stream_halts_however_far_it_grows() {
    let database = database().await;
    let setup = setup(&database);
    let first = events(0, 40);
    let lost = events(100, 40);
    let later = events(200, 400);
    let stream = setup.data_dir().join("stream");
    let kept = PathBuf::from(setup.scratch()).join("kept");
    let running = setup.start().await;
    post(&running, &first).await;
    running.caught_up(WITHIN).await;
    copy(&stream, &kept);
    post(&running, &lost).await;
    running.caught_up(WITHIN).await;
    running.finish().await;
    std::fs::remove_dir_all(&stream).unwrap();
    copy(&kept, &stream);

    // It grows beyond every stored position before these tables are asked again.
    let other = millstream_tests::database().await;
    let growing = self::setup(&other).at(setup.data_dir()).start().await;
    post(&growing, &later).await;
    growing.caught_up(WITHIN).await;
    growing.finish().await;
    let running = setup.start().await;
    until("both partitions are halted", WITHIN, || async { (database.number(HALTED).await == 2).then_some(()) }).await;
    assert_eq!(database.number(GAPS).await, 2);
    let all: Vec<Event> = [first, lost, later].concat();
    decide(&database, &setup, &running, &all).await;
    running.terminate();
}

/// The database does not answer when the process starts: events are taken in, and the stream has grown past every stored
/// position by the time anybody can compare.
#[tokio::test]
async fn a_database_that_answers_late_is_compared_all_the_same() {
    let database = database().await;
    let proxy = Proxy::start(&database).await;
    let setup = Setup::embedded()
        .set(&format!("postgres.url={}", proxy.url()))
        .set("stream.partitions=2")
        .allow("halted")
        .allow("older copy")
        .allow("ends before it")
        .allow("not ready");
    let first = events(0, 40);
    let lost = events(100, 40);
    let later = events(200, 400);
    go_back(&setup, &first, &lost).await;

    proxy.stall();
    let mut running = setup.spawn();
    running.ready_for("events").await;
    post(&running, &later).await;
    let status = running.get("/v1/status").await.json();
    let verdict = status["pipelines"][0]["verdict"].as_str().unwrap();
    assert!(["braked", "database_away"].contains(&verdict), "{status:#}");
    proxy.resume();
    until("both partitions are halted", WITHIN, || async { (database.number(HALTED).await == 2).then_some(()) }).await;
    let all: Vec<Event> = [first, lost, later].concat();
    decide(&database, &setup, &running, &all).await;
    running.terminate();
}

/// The other way round loses nothing: the stream is read again from where the database is.
#[tokio::test]
async fn a_database_older_than_the_stream_is_filled_from_it() {
    let database = database().await;
    let setup = setup(&database);
    let first = events(0, 40);
    let next = events(100, 40);
    let running = setup.start().await;
    post(&running, &first).await;
    running.caught_up(WITHIN).await;
    running.finish().await;
    let tables = ["objects", "lease", "bucket_count", "segment_count", "segment_change", "hour_count", "slot"];
    for table in tables {
        database.execute(&format!("CREATE TABLE kept_{table} AS SELECT * FROM millstream.{table}")).await;
    }
    let running = setup.start().await;
    post(&running, &next).await;
    running.caught_up(WITHIN).await;
    running.finish().await;
    for table in tables {
        let restore = "OVERRIDING SYSTEM VALUE SELECT";
        database
            .execute(&format!(
                "DELETE FROM millstream.{table}; INSERT INTO millstream.{table} {restore} * FROM kept_{table}"
            ))
            .await;
    }
    let running = setup.start().await;
    running.caught_up(WITHIN).await;
    compare(&database, &Model::of(&[first, next].concat())).await;
    assert_eq!((database.number(HALTED).await, database.number(GAPS).await), (0, 0));
    running.finish().await;
}

/// Both are older, the stream more so than the database.
#[tokio::test]
async fn a_position_from_before_the_copies_part_is_read_on_from() {
    let database = database().await;
    let setup = setup(&database);
    let first = events(0, 40);
    let later = events(200, 40);
    // Nothing was written after the copy: no position lies beyond it.
    go_back(&setup, &first, &[]).await;
    let running = setup.start().await;
    post(&running, &later).await;
    running.caught_up(WITHIN).await;
    compare(&database, &Model::of(&[first, later].concat())).await;
    assert_eq!((database.number(HALTED).await, database.number(GAPS).await), (0, 0));
    running.finish().await;
}

/// What ends a halt is a person's decision: a writer that is fenced, or finds that a position has moved, leaves the mark.
#[tokio::test]
async fn being_fenced_ends_no_halt() {
    let database = database().await;
    let setup = setup(&database);
    let first = events(0, 40);
    let lost = events(100, 40);
    let later = events(200, 400);
    go_back(&setup, &first, &lost).await;
    let running = setup.start().await;
    post(&running, &later).await;
    until("both partitions are halted", WITHIN, || async { (database.number(HALTED).await == 2).then_some(()) }).await;
    database.execute("UPDATE millstream.lease SET epoch = epoch + 1, token = gen_random_uuid()").await;
    let taken = "SELECT count(*) FROM millstream.lease WHERE owner LIKE '%:%'";
    let epochs = database.number("SELECT min(epoch) FROM millstream.lease").await;
    until("the leases are taken again", WITHIN, || async {
        let again = database.number("SELECT min(epoch) FROM millstream.lease").await > epochs;
        (again && database.number(taken).await == 2).then_some(())
    })
    .await;
    assert_eq!(database.number(HALTED).await, 2);
    running.terminate();
}
