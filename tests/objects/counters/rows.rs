//! What each row adds and takes back, also when two writers meet at it.

use millstream_engine::Outcome;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Event, Kind, Model, Setup, Writer, compare, database, tables};

use super::waiting;
use crate::commands::command;

/// Both have looked at the stored row before either of them writes; each must count what it finds under its lock.
#[tokio::test]
async fn two_writers_that_overwrite_one_key_at_the_same_time() {
    let database = database().await;
    let mut one = Writer::new("one", database.options(), &["0"]).await;
    let mut other = Writer::new("other", database.options(), &["0"]).await;
    let event = |second: u64, size| Event::create("uploads", "in/key", DAY_NS + second * 1_000_000_000, size);
    let first = event(1, 10);
    let second = event(2, 200);
    let third = event(3, 3_000);
    one.put(std::slice::from_ref(&first)).await;

    let mut holder = database.connect().await;
    sqlx::raw_sql("BEGIN; SELECT FROM millstream.objects FOR UPDATE").execute(&mut holder).await.unwrap();
    let release = async {
        waiting(&database, 2).await;
        sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    };
    tokio::join!(one.put(std::slice::from_ref(&second)), other.put(std::slice::from_ref(&third)), release);
    compare(&database, &Model::of([&first, &second, &third])).await;
}

/// Both bring the same event, and both have looked before either writes: one writes it, and only under its lock does the
/// other see that nothing is left to write. Tables and totals are the same if both were counted as written.
#[tokio::test]
async fn two_writers_with_one_event_report_it_written_once_and_filtered_once() {
    for version in ["", "v1"] {
        let database = database().await;
        let mut one = Writer::new("one", database.options(), &["0"]).await;
        let mut other = Writer::new("other", database.options(), &["0"]).await;
        let event = |second: u64, size| {
            Event::create("uploads", "in/key", DAY_NS + second * 1_000_000_000, size).version(version)
        };
        let first = event(1, 10);
        let second = event(2, 200);
        one.put(std::slice::from_ref(&first)).await;
        // Its slot must not be leased while it waits.
        other.put(std::slice::from_ref(&first)).await;

        let mut holder = database.connect().await;
        sqlx::raw_sql("BEGIN; SELECT FROM millstream.objects FOR UPDATE").execute(&mut holder).await.unwrap();
        let release = async {
            waiting(&database, 2).await;
            sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
        };
        let twice = std::slice::from_ref(&second);
        let (one, other, ()) = tokio::join!(one.put(twice), other.put(twice), release);
        let filtered = |outcome: &Outcome| outcome.filtered.values().sum::<u64>();
        let mut outcomes = [(one.written, filtered(&one)), (other.written, filtered(&other))];
        outcomes.sort_unstable();
        assert_eq!(outcomes, [(0, 1), (1, 0)], "version {version:?}: {one:?} {other:?}");
        compare(&database, &Model::of([&first, &second])).await;
    }
}

/// A removal of the key and a new version of it, at the same time: whichever comes second finds the other.
#[tokio::test]
async fn a_key_is_removed_while_another_writer_brings_its_first_version() {
    for older in [true, false] {
        let database = database().await;
        let mut one = Writer::new("one", database.options(), &["0"]).await;
        let mut other = Writer::new("other", database.options(), &["0"]).await;
        let event = |second: u64, size| Event::create("uploads", "in/key", DAY_NS + second * 1_000_000_000, size);
        let first = event(1, 10);
        let removal = first.then(Kind::RemoveKey, DAY_NS + 5_000_000_000);
        let version = event(if older { 4 } else { 6 }, 300).version("v1");
        one.put(std::slice::from_ref(&first)).await;
        other.put(std::slice::from_ref(&first)).await;

        let mut holder = database.connect().await;
        sqlx::raw_sql("BEGIN; SELECT FROM millstream.objects FOR UPDATE").execute(&mut holder).await.unwrap();
        let release = async {
            waiting(&database, 2).await;
            sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
        };
        tokio::join!(one.put(std::slice::from_ref(&removal)), other.put(std::slice::from_ref(&version)), release);
        compare(&database, &Model::of([&first, &removal, &version])).await;
        let check = command(&database, &Setup::embedded(), &["counters", "check"]);
        assert_eq!(check.code, 0, "{check:#?}");
    }
}

/// One has inserted and not committed when the other copies the same key in.
#[tokio::test]
async fn two_writers_that_insert_one_key_at_the_same_time() {
    let database = database().await;
    let mut one = Writer::new("one", database.options(), &["0"]).await;
    let mut other = Writer::new("other", database.options(), &["0"]).await;
    // Each has written an hour of its own, so that whoever inserts first waits for its row before it commits.
    let before = [("one", 1), ("other", 2)].map(|(key, size)| Event::create("uploads", key, DAY_NS, size));
    one.put(&before[..1]).await;
    other.put(&before[1..]).await;

    let event = |second: u64, size| Event::create("uploads", "in/key", DAY_NS + second * 1_000_000_000, size);
    let first = event(1, 10);
    let second = event(2, 200);
    let mut holder = database.connect().await;
    sqlx::raw_sql("BEGIN; SELECT FROM millstream.hour_count FOR UPDATE").execute(&mut holder).await.unwrap();
    let release = async {
        waiting(&database, 2).await;
        sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    };
    tokio::join!(one.put(std::slice::from_ref(&first)), other.put(std::slice::from_ref(&second)), release);
    compare(&database, &Model::of([&before[0], &before[1], &first, &second])).await;
}

/// A key gets its first version while another writer waits for its row: `current` moves once.
#[tokio::test]
async fn a_key_gets_its_first_version_while_another_writer_overwrites_it() {
    let database = database().await;
    let mut one = Writer::new("one", database.options(), &["0"]).await;
    let mut other = Writer::new("other", database.options(), &["0"]).await;
    let event = |second: u64, size| Event::create("uploads", "in/key", DAY_NS + second * 1_000_000_000, size);
    let first = event(1, 10);
    let second = event(2, 200);
    let third = event(3, 3_000).version("v1");
    one.put(std::slice::from_ref(&first)).await;

    let mut holder = database.connect().await;
    sqlx::raw_sql("BEGIN; SELECT FROM millstream.objects FOR UPDATE").execute(&mut holder).await.unwrap();
    let release = async {
        waiting(&database, 2).await;
        sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    };
    tokio::join!(one.put(std::slice::from_ref(&second)), other.put(std::slice::from_ref(&third)), release);
    compare(&database, &Model::of([&first, &second, &third])).await;
}

#[tokio::test]
async fn unknown_sizes_are_counted_as_such_until_they_are_known() {
    let database = database().await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let known = Event::create("uploads", "in/key", DAY_NS, 500);
    let unknown = Event { size: None, ..known.clone() };
    let other = Event { size: None, ..Event::create("uploads", "in/other", DAY_NS, 0) };
    let sums = || async {
        let tables = tables(&database).await;
        let sum = tables.buckets.values().copied().next().unwrap_or_default();
        (sum.objects, sum.bytes, sum.unknown_size)
    };
    writer.put(&[unknown.clone(), other.clone()]).await;
    assert_eq!(sums().await, (2, 0, 2));
    // The same event, told by someone who knows the size.
    writer.put(std::slice::from_ref(&known)).await;
    assert_eq!(sums().await, (2, 500, 1));
    writer.put(std::slice::from_ref(&unknown)).await;
    assert_eq!(sums().await, (2, 500, 1), "what is known stays known");
    writer.put(&[other.then(Kind::Delete, DAY_NS + 1)]).await;
    assert_eq!(sums().await, (1, 500, 0));
    compare(&database, &Model::of([&known, &unknown, &other, &other.then(Kind::Delete, DAY_NS + 1)])).await;
}
