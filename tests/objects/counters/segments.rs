//! Segments: up to how many are counted, and how their changes are gathered.

use millstream_tests::generator::DAY_NS;
use millstream_tests::{Event, Model, Setup, Writer, compare, database, tables};

use super::gathered;
use crate::commands::command;

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
        let one = part(0);
        let other = part(4);
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

/// What a transaction has registered is not there once it is rolled back: the next one that needs it registers it again,
/// also where another batch is written in between.
#[tokio::test]
async fn segments_of_a_transaction_that_was_rolled_back_are_registered_again() {
    let database = database().await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let event = Event::create("uploads", "in/key", DAY_NS, 1);
    let batch = writer.batch(&[("0", vec![event.json()])]);
    // The last statement before COMMIT fails.
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$; \
        CREATE TRIGGER refuse BEFORE UPDATE ON millstream.lease EXECUTE FUNCTION refuse()";
    database.execute(refuse).await;
    writer.write(&batch).await.unwrap_err();
    database.execute("DROP TRIGGER refuse ON millstream.lease").await;
    let other = Event::create("uploads", "out/key", DAY_NS, 1);
    let between = writer.batch_at("0", 0, vec![other.json()]);
    writer.write(&between).await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM millstream.segment WHERE segment = 'in/'").await, 0);
    writer.put(std::slice::from_ref(&event)).await;
    assert_eq!(database.number("SELECT count(*) FROM millstream.segment WHERE segment = 'in/'").await, 1);
    compare(&database, &Model::of([&event, &other])).await;
}

/// Of so many segments an object each, written with a size that tells the rounds apart.
fn over_segments(segments: std::ops::Range<u64>, round: u64) -> Vec<Event> {
    let size = 1_000 * round as i64 + 1;
    let object = |number: u64| Event::create("uploads", &format!("s{number}/{round}"), DAY_NS + round, size);
    segments.map(object).collect()
}

/// What is gathered is counted by everyone who reads, and becomes counters when there is enough of it or little else to do.
#[tokio::test]
async fn changes_of_many_segments_are_gathered_and_added_up_later() {
    let database = database().await;
    let here = Setup::embedded();
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let mut events = Vec::new();
    let mut most = 0;
    let mut fell = 0;
    for round in 0..60 {
        let part = over_segments(0..400, round);
        writer.put(&part).await;
        events.extend(part);
        let there = gathered(&database).await;
        fell += i32::from(there < most && there == 0);
        most = most.max(there);
        if [1, 30].contains(&round) {
            compare(&database, &Model::of(&events)).await;
        }
    }
    assert!((20..=30).contains(&most) && fell == 2, "10,000 changes of 400 each at most: {most}, {fell}");
    assert!(gathered(&database).await > 0);
    compare(&database, &Model::of(&events)).await;
    let ran = command(&database, &here, &["counters", "check"]);
    assert_eq!(ran.code, 0, "{ran:#?}");

    database.execute("UPDATE millstream.segment_change SET objects[7] = objects[7] + 5, bytes[9] = 77").await;
    let ran = command(&database, &here, &["counters", "repair"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    compare(&database, &Model::of(&events)).await;

    let few = over_segments(0..3, 1_000);
    writer.put(&few).await;
    events.extend(few);
    assert_eq!(gathered(&database).await, 0, "there is time for it");
    compare(&database, &Model::of(&events)).await;
}

/// A writer that is killed leaves what it has gathered; whoever leases its slot adds it up.
#[tokio::test]
async fn what_a_dead_writer_has_gathered_is_counted_and_added_up_by_the_next_in_its_slot() {
    let database = database().await;
    let mut dead = Writer::new("objects", database.options(), &["0"]).await;
    let mut events = Vec::new();
    for round in 0..3 {
        let part = over_segments(0..400, round);
        dead.put(&part).await;
        events.extend(part);
    }
    // A transaction that was rolled back has gathered nothing.
    let late = dead.batch(&[("0", over_segments(0..400, 9).iter().map(Event::json).collect())]);
    let mut next = Writer::idle("objects", database.options(), 10_000);
    next.acquire(&["0"]).await.unwrap();
    assert!(dead.write(&late).await.is_err(), "its partition is another's");
    drop(dead);
    assert_eq!(gathered(&database).await, 2);
    database.execute("UPDATE millstream.slot SET renewed_at = renewed_at - interval '2 hours'").await;
    let part = over_segments(200..600, 3);
    next.put(&part).await;
    events.extend(part);
    assert_eq!(gathered(&database).await, 0);
    compare(&database, &Model::of(&events)).await;
    assert_eq!(database.number("SELECT count(DISTINCT slot) FROM millstream.segment_count").await, 1);
}
