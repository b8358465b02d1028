//! Counters are exact: whoever writes, whatever is unknown, however many segments there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use millstream_connectors::sinks::metadata::Objects;
use millstream_connectors::sinks::metadata::recount::{Counter, Mode, Recount};
use millstream_engine::{Outcome, Recovery, task};
use millstream_tests::generator::DAY_NS;
use millstream_tests::{
    Database, Event, Generator, Kind, Model, Setup, Writer, compare, database, stream, tables, until,
};
use serde_json::{Value, json};

use crate::commands::{command, contents};

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

/// Transactions whose changes of segments are not added up yet.
async fn gathered(database: &Database) -> i64 {
    database.number("SELECT count(*) FROM millstream.segment_change").await
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

/// Every kind of wrong: a number that is off, a row that is gone, a row of something that was never there.
/// The tables are locked in the order in which writers come to them, so that none ends in a deadlock.
const DAMAGE: &str = "
    LOCK TABLE millstream.bucket_count, millstream.segment_count, millstream.hour_count IN EXCLUSIVE MODE;
    UPDATE millstream.bucket_count SET objects = objects + 3, bytes = bytes - 1000, unknown_size = 9 WHERE bucket = 'uploads';
    DELETE FROM millstream.bucket_count WHERE bucket = 'logs.eu';
    INSERT INTO millstream.bucket_count AS c VALUES ('default', 'never', 0, 5, 5, 5)
        ON CONFLICT (store, bucket, slot) DO UPDATE SET objects = c.objects + 5;
    UPDATE millstream.segment_count SET bytes = bytes * 2 + 1 WHERE bucket = 'uploads' AND segment = 'in/';
    DELETE FROM millstream.segment_count WHERE bucket = 'versioned';
    UPDATE millstream.hour_count SET created = created + 1, removed = removed - 1 WHERE bucket = 'uploads' AND hour = '2026-03-12 01:00Z';
    DELETE FROM millstream.hour_count WHERE bucket = 'versioned';
    INSERT INTO millstream.hour_count AS c VALUES ('default', 'logs.eu', '2031-05-01 07:00Z', 3, -1, 2, 12345678901234567890)
        ON CONFLICT (store, bucket, hour, slot) DO UPDATE SET removed = c.removed + 2";

#[tokio::test]
async fn a_check_of_healthy_tables_finds_nothing_and_changes_nothing() {
    let database = database().await;
    let here = Setup::embedded();
    let events = Generator::new("healthy").events(3_000);
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    for batch in events.chunks(500) {
        writer.put(batch).await;
    }
    let before = contents(&database).await;
    for arguments in [&["check", "--json"][..], &["repair", "--dry-run", "--json"], &["repair", "--json"]] {
        let ran = command(&database, &here, &[&["counters"], arguments].concat());
        let report = ran.json();
        assert_eq!((ran.code, &report["buckets"], &report["differences"]), (0, &json!(3), &json!([])), "{ran:#?}");
        assert_eq!(contents(&database).await, before, "{arguments:?} changed something");
    }
    compare(&database, &Model::of(&events)).await;
}

#[tokio::test]
async fn damaged_counters_are_found_and_mended_and_a_dry_run_only_says_so() {
    let database = database().await;
    let here = Setup::embedded();
    let events = Generator::new("damaged").events(3_000);
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    for batch in events.chunks(500) {
        writer.put(batch).await;
    }
    database.execute(DAMAGE).await;
    let before = contents(&database).await;
    let check = command(&database, &here, &["counters", "check", "--json"]);
    let dry = command(&database, &here, &["counters", "repair", "--dry-run", "--json"]);
    assert_eq!((check.code, dry.code), (1, 0), "{check:#?} {dry:#?}");
    assert_eq!(contents(&database).await, before, "nothing is changed by looking");
    let found = check.json();
    let would = dry.json();
    assert_eq!(found["differences"], would["differences"]);
    assert_eq!((&found["buckets_differ"], &found["counters_differ"]["bucket_count"]), (&json!(4), &json!(3)));
    let numbers = |bucket: &str, hour: Value| {
        let one =
            found["differences"].as_array().unwrap().iter().find(|one| one["bucket"] == bucket && one["hour"] == hour);
        let one = one.unwrap_or_else(|| panic!("{bucket} {hour}: {found:#}"));
        (one["counted"].clone(), one["truth"].clone())
    };
    let (counted, truth) = numbers("never", Value::Null);
    assert_eq!(counted, json!({ "objects": 5, "bytes": 5, "unknown_size": 5 }));
    assert_eq!(truth, json!({ "objects": 0, "bytes": 0, "unknown_size": 0 }));
    let (counted, truth) = numbers("logs.eu", json!("2031-05-01T07:00:00.000Z"));
    assert_eq!(counted, json!({ "created": -1, "bytes": "12345678901234567890", "removed": 2 }));
    assert_eq!(truth, json!({ "created": 0, "bytes": 0, "removed": 0 }));

    // One bucket alone is mended alone.
    let one = command(&database, &here, &["counters", "repair", "--bucket", "never"]);
    assert!(one.code == 0 && one.out.contains("objects 5, bytes 5"), "{one:#?}");
    let left = command(&database, &here, &["counters", "check", "--json"]);
    assert_eq!(left.json()["buckets_differ"], 3, "{left:#?}");
    let repair = command(&database, &here, &["counters", "repair", "--json"]);
    assert_eq!((repair.code, repair.json()["buckets_differ"].clone()), (0, json!(3)), "{repair:#?}");
    compare(&database, &Model::of(&events)).await;
    assert_eq!(command(&database, &here, &["counters", "check"]).code, 0);
}

/// Writers that go on writing into the damaged buckets until they are told to stop.
struct Writing {
    stop: Arc<AtomicBool>,
    batches: Arc<AtomicU64>,
    writers: Vec<tokio::task::JoinHandle<Vec<Event>>>,
}

impl Writing {
    fn start(database: &Database, seeds: &mut Generator, writers: u64) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let batches = Arc::<AtomicU64>::default();
        let write = |number: u64| {
            let stop = Arc::clone(&stop);
            let batches = Arc::clone(&batches);
            let options = database.options();
            let events = seeds.events(20_000);
            let writing = async move {
                let mut writer = Writer::new(&format!("pipeline{number}"), options, &["0"]).await;
                let mut written = Vec::new();
                for batch in events.chunks(50).cycle() {
                    if stop.load(SeqCst) {
                        break;
                    }
                    let made = writer.batch(&[("0", batch.iter().map(Event::json).collect())]);
                    // Two writers lock the same rows: as the engine does, write again what lost.
                    while let Err(error) = writer.write(&made).await {
                        let retry = matches!(error.recovery(), Recovery::Retry);
                        assert!(retry, "{error}: {:?}", std::error::Error::source(&error));
                        println!("written again: {:?}", std::error::Error::source(&error));
                    }
                    batches.fetch_add(1, SeqCst);
                    written.extend_from_slice(batch);
                }
                written
            };
            task::spawn("writer", writing)
        };
        let writers = (0..writers).map(write).collect();
        Writing { stop, batches, writers }
    }

    async fn wrote(&self, batches: u64) {
        let aim = self.batches.load(SeqCst) + batches;
        until("batches", Duration::from_secs(60), || async { (self.batches.load(SeqCst) >= aim).then_some(()) }).await;
    }

    async fn end(self) -> Vec<Event> {
        self.stop.store(true, SeqCst);
        let mut events = Vec::new();
        for writer in self.writers {
            events.extend(writer.await.unwrap());
        }
        events
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_repair_is_exact_while_writers_write_the_same_buckets() {
    let database = database().await;
    let here = Setup::embedded();
    let writing = Writing::start(&database, &mut Generator::new("repaired"), 2);
    // On a busy machine a repair may be done before the writers get another turn: four must have been beside them.
    let mut beside = 0;
    for _ in 0..60 {
        writing.wrote(4).await;
        database.execute(DAMAGE).await;
        let before = writing.batches.load(SeqCst);
        let ran = tokio::task::block_in_place(|| command(&database, &here, &["counters", "repair", "--json"]));
        let report = ran.json();
        assert_eq!((ran.code, &report["buckets_differ"]), (0, &json!(4)), "{ran:#?}");
        let during = writing.batches.load(SeqCst) - before;
        println!(
            "{} counters mended while {during} batches were written",
            report["differences"].as_array().unwrap().len()
        );
        beside += u64::from(during > 0);
        // Writers only add to counters, so a check beside them finds none that differs.
        let check = tokio::task::block_in_place(|| command(&database, &here, &["counters", "check", "--json"]));
        assert_eq!((check.code, &check.json()["differences"]), (0, &json!([])));
        if beside == 4 {
            break;
        }
    }
    assert_eq!(beside, 4, "the writers went on during repairs");
    compare(&database, &Model::of(&writing.end().await)).await;
}

/// The transaction of a writer is open, rows and counters written, when the repair looks, adds and commits.
#[tokio::test]
async fn what_is_not_committed_during_a_repair_is_counted_once() {
    let database = database().await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let event = |key: &str, size| Event::create("uploads", key, DAY_NS, size);
    let first = event("in/first", 10);
    let second = event("in/second", 200);
    writer.put(std::slice::from_ref(&first)).await;
    database.execute("UPDATE millstream.bucket_count SET objects = 77; DELETE FROM millstream.segment_count").await;

    // Hours are the last thing that a writer counts before it commits.
    let mut holder = database.connect().await;
    sqlx::raw_sql("BEGIN; SELECT FROM millstream.hour_count FOR UPDATE").execute(&mut holder).await.unwrap();
    let repair = async {
        waiting(&database, 1).await;
        let found = Recount::new(Mode::Repair)
            .bucket(&mut database.connect().await.into(), "default", "uploads")
            .await
            .unwrap();
        let counters: Vec<&Counter> = found.iter().map(|difference| &difference.counter).collect();
        assert_eq!(counters, [&Counter::Bucket, &Counter::Segment("in/".to_owned())]);
        assert_eq!(found[0].truth, [1, 10, 0], "what is not committed is not seen");
        sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    };
    tokio::join!(writer.put(std::slice::from_ref(&second)), repair);
    compare(&database, &Model::of([&first, &second])).await;
}

/// Both would find the same difference, and add it twice.
#[tokio::test]
async fn two_repairs_at_the_same_time_add_the_difference_once() {
    let database = database().await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let event = Event::create("uploads", "in/key", DAY_NS, 10);
    writer.put(std::slice::from_ref(&event)).await;
    database.execute("UPDATE millstream.bucket_count SET objects = 77").await;

    // Reading goes on, adding waits.
    let mut holder = database.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE millstream.bucket_count IN SHARE MODE").execute(&mut holder).await.unwrap();
    let repair = async || {
        Recount::new(Mode::Repair)
            .bucket(&mut database.connect().await.into(), "default", "uploads")
            .await
            .unwrap()
            .len()
    };
    let release = async {
        waiting(&database, 2).await;
        sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    };
    let (one, other, ()) = tokio::join!(repair(), repair(), release);
    assert_eq!(one + other, 1, "the second one finds nothing left");
    compare(&database, &Model::of([&event])).await;
}

#[tokio::test]
async fn segments_that_are_not_counted_stay_so_when_the_others_are_mended() {
    let database = database().await;
    let here = Setup::embedded();
    let mut writer = Writer::idle("objects", database.options(), 5);
    writer.acquire(&["0"]).await.unwrap();
    let make = |number: u64| Event::create("uploads", &format!("segment{}/{number}", number % 9), DAY_NS + number, 7);
    let events: Vec<Event> = (0..90).map(make).collect();
    writer.put(&events).await;
    assert_eq!(command(&database, &here, &["counters", "check"]).code, 0, "uncounted ones are not missed");
    database.execute("UPDATE millstream.segment_count SET objects = -1, bytes = 3").await;
    let repair = command(&database, &here, &["counters", "repair", "--json"]);
    assert_eq!((repair.code, &repair.json()["counters_differ"]["segment_count"]), (0, &json!(5)), "{repair:#?}");
    let there = tables(&database).await;
    let expected = Model::of(&events).tables();
    assert_eq!((there.segments.len(), &there.buckets), (5, &expected.buckets));
    for (name, count) in &there.segments {
        assert_eq!(expected.segments.get(name), Some(count), "{name:?}");
    }

    // With a higher limit later objects of the others are counted from then on; a repair adds those before.
    let mut writer = Writer::idle("objects", database.options(), 100);
    writer.acquire(&["0"]).await.unwrap();
    let more: Vec<Event> = (90..180).map(make).collect();
    writer.put(&more).await;
    let repair = command(&database, &here, &["counters", "repair", "--json"]);
    assert_eq!(repair.json()["counters_differ"], json!({ "bucket_count": 0, "segment_count": 4, "hour_count": 0 }));
    compare(&database, &Model::of(events.iter().chain(&more))).await;
}
