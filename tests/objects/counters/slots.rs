//! Each writer counts in a slot of its own.

use std::time::Duration;

use millstream_connectors::sinks::metadata::Objects;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Event, Model, Writer, compare, database, stream};

use super::waiting;

/// The slot costs nothing while it is young; where it was lost meanwhile, a writer goes on in another one.
#[tokio::test]
async fn a_slot_is_renewed_when_that_is_due_and_left_when_another_has_it() {
    let database = database().await;
    let event = |number: u64| Event::create("uploads", &format!("in/{number}"), DAY_NS + number, 1);
    let slots = async || {
        let slots = "SELECT slot, xmin::text FROM millstream.slot ORDER BY slot";
        sqlx::query_as::<_, (i16, String)>(slots).fetch_all(&mut database.connect().await).await.unwrap()
    };
    let mut young = Writer::new("young", database.options(), &["0"]).await;
    young.put(&[event(1)]).await;
    let before = slots().await;
    young.put(&[event(2)]).await;
    assert_eq!(slots().await, before, "no transaction writes the row of a slot");
    drop(young);
    database.execute("DELETE FROM millstream.slot").await;

    let rows = Objects::new(10_000).renewing_slots_every(Duration::ZERO);
    let options = stream::options("old", "test-stream", database.options());
    let mut old = Writer::over(options, rows, stream::decoder());
    old.acquire(&["0"]).await.unwrap();
    old.put(&[event(3)]).await;
    let before = slots().await;
    old.put(&[event(4)]).await;
    let renewed = slots().await;
    assert!(renewed[0].0 == before[0].0 && renewed != before, "{before:?}, then {renewed:?}");

    // Another writer has it, and the next one has what its dead writer had gathered.
    database.execute("UPDATE millstream.slot SET token = gen_random_uuid()").await;
    let left = "INSERT INTO millstream.segment_change (slot, store, bucket, segment, objects, bytes, unknown_size)
                SELECT max(slot) + 1, '{default}', '{uploads}', '{in/}', '{0}', '{0}', '{0}' FROM millstream.slot";
    database.execute(left).await;
    old.put(&[event(5)]).await;
    assert_eq!(database.number("SELECT count(*) FROM millstream.segment_change").await, 0, "it is added up");
    let [other, new] = &slots().await[..] else { panic!("{:?}", slots().await) };
    assert_eq!((other.0, new.0), (before[0].0, before[0].0 + 1));
    let taken = format!("SELECT sum(objects)::bigint FROM millstream.bucket_count WHERE slot = {}", new.0);
    assert_eq!(database.number(&taken).await, 1, "what comes now is counted in the new one");
    compare(&database, &Model::of(&[event(1), event(2), event(3), event(4), event(5)])).await;
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
