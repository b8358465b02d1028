//! Counters are exact: whoever writes, whatever is unknown, however many segments there are.

use std::time::Duration;

use millstream_tests::generator::DAY_NS;
use millstream_tests::{Database, Event, Kind, Model, Writer, compare, database, tables, until};

/// Waits until so many sessions wait for a lock of another.
async fn waiting(database: &Database, sessions: i64) {
    until("sessions that wait for a lock", Duration::from_secs(20), || async {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        (database.number(waiting).await >= sessions).then_some(())
    })
    .await;
}

/// Both have looked at the stored row before either of them writes; each must count what it finds under its lock.
#[tokio::test]
async fn two_writers_that_overwrite_one_key_at_the_same_time() {
    let database = database().await;
    let mut one = Writer::new("one", database.options(), &["0"]).await;
    let mut other = Writer::new("other", database.options(), &["0"]).await;
    let event = |second: u64, size| Event::create("uploads", "in/key", DAY_NS + second * 1_000_000_000, size);
    let (first, second, third) = (event(1, 10), event(2, 200), event(3, 3_000));
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

/// One has inserted and not committed when the other copies the same key in.
#[tokio::test]
async fn two_writers_that_insert_one_key_at_the_same_time() {
    let database = database().await;
    let mut one = Writer::new("one", database.options(), &["0"]).await;
    let mut other = Writer::new("other", database.options(), &["0"]).await;
    // Their slots must be there to be locked.
    let before = Event::create("uploads", "before", DAY_NS, 1);
    one.put(std::slice::from_ref(&before)).await;
    other.put(std::slice::from_ref(&before)).await;

    let event = |second: u64, size| Event::create("uploads", "in/key", DAY_NS + second * 1_000_000_000, size);
    let (first, second) = (event(1, 10), event(2, 200));
    let mut holder = database.connect().await;
    sqlx::raw_sql("BEGIN; SELECT FROM millstream.slot FOR UPDATE").execute(&mut holder).await.unwrap();
    let release = async {
        waiting(&database, 2).await;
        sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    };
    tokio::join!(one.put(std::slice::from_ref(&first)), other.put(std::slice::from_ref(&second)), release);
    compare(&database, &Model::of([&before, &first, &second])).await;
}

/// A key gets its first version while another writer waits for its row: `current` moves once.
#[tokio::test]
async fn a_key_gets_its_first_version_while_another_writer_overwrites_it() {
    let database = database().await;
    let mut one = Writer::new("one", database.options(), &["0"]).await;
    let mut other = Writer::new("other", database.options(), &["0"]).await;
    let event = |second: u64, size| Event::create("uploads", "in/key", DAY_NS + second * 1_000_000_000, size);
    let (first, second, third) = (event(1, 10), event(2, 200), event(3, 3_000).version("v1"));
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

/// All of them find the same slot free, because who takes it has not committed yet.
#[tokio::test]
async fn writers_that_begin_together_never_share_a_slot() {
    let database = database().await;
    let mut holder = database.connect().await;
    sqlx::raw_sql("BEGIN; INSERT INTO millstream.slot VALUES (0, gen_random_uuid(), clock_timestamp())")
        .execute(&mut holder)
        .await
        .unwrap();
    let write = async |number: u32| {
        let mut writer = Writer::new(&format!("pipeline{number}"), database.options(), &["0"]).await;
        writer.put(&[Event::create("uploads", &format!("k{number}"), DAY_NS, 1)]).await;
    };
    let release = async {
        waiting(&database, 4).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    };
    tokio::join!(write(0), write(1), write(2), write(3), release);
    assert_eq!(database.number("SELECT count(DISTINCT slot) FROM millstream.bucket_count").await, 4);
    assert_eq!(database.number("SELECT sum(objects) FROM millstream.bucket_count").await, 4);
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

#[tokio::test]
async fn segments_beyond_the_limit_are_not_counted_and_that_is_said() {
    let database = database().await;
    let mut writers = Vec::new();
    for pipeline in ["one", "other"] {
        let mut writer = Writer::idle(pipeline, database.options(), 5);
        writer.acquire(&["0"]).await.unwrap();
        writers.push(writer);
    }
    let mut events = Vec::new();
    for round in 0..6u64 {
        let part = |writer: u64| -> Vec<Event> {
            let key = |number: u64| format!("segment{}/{number}", (round + number + writer) % 9);
            (0..20).map(|number| Event::create("uploads", &key(number), DAY_NS + round * 100 + number, 7)).collect()
        };
        let (one, other) = (part(0), part(4));
        let [first, second] = &mut writers[..] else { unreachable!() };
        tokio::join!(first.put(&one), second.put(&other));
        events.extend([one, other].concat());
    }
    let expected = Model::of(&events).tables();
    let there = tables(&database).await;
    assert_eq!(there.buckets, expected.buckets, "whole buckets are always exact");
    assert_eq!(there.segments.len(), 5, "{:?}", there.segments.keys());
    for (name, count) in &there.segments {
        assert_eq!(expected.segments.get(name), Some(count), "{name:?}");
    }
    assert_eq!(
        database.number("SELECT count(*) FROM millstream.segment_limit WHERE exceeded AND segments = 5").await,
        1
    );
}
