//! What each kind of error of PostgreSQL does to a running pipeline, end to end.

use std::time::Duration;

use millstream_engine::{Recovery, Verdict};
use millstream_tests::generator::DAY_NS;
use millstream_tests::stream::append;
use millstream_tests::{Cut, Database, Event, Model, Proxy, Run, Stream, Writer, compare, database, until};

const WITHIN: Duration = Duration::from_secs(30);

fn numbered(range: std::ops::Range<u64>) -> Vec<Event> {
    range.map(|n| Event::create("uploads", &format!("in/{n:03}"), DAY_NS + n, 1)).collect()
}

#[tokio::test]
async fn the_victim_of_a_deadlock_tries_again() {
    let database = database().await;
    let stream = Stream::default();
    let topic = stream.topic("objects", 1);
    let run = Run::start("objects", &topic, database.options(), Run::limits(1, 100));
    let first = numbered(0..10);
    append(&topic, &first, None).await;
    run.caught_up(WITHIN).await;
    // This session takes the last row; the writer takes the others and waits for it; then this one wants the first.
    let mut rival = database.connect().await;
    let take = |key: &str| format!("SELECT FROM millstream.objects WHERE key = '{key}' FOR UPDATE");
    let begin = format!("SET deadlock_timeout = '60s'; BEGIN; {}", take("in/009"));
    sqlx::raw_sql(sqlx::AssertSqlSafe(begin)).execute(&mut rival).await.unwrap();
    let newer: Vec<Event> =
        first.iter().map(|event| Event { at_ns: event.at_ns + 1_000_000_000, ..event.clone() }).collect();
    append(&topic, &newer, None).await;
    until("the writer to wait for a row", WITHIN, || async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'millstream writer' AND wait_event_type = 'Lock'";
        (database.number(waiting).await == 1).then_some(())
    })
    .await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(take("in/000"))).execute(&mut rival).await.unwrap();
    sqlx::raw_sql("COMMIT").execute(&mut rival).await.unwrap();
    run.caught_up(WITHIN).await;
    let counted = run.progress.snapshot();
    assert!(counted.retries >= 1 && counted.quarantined == 0, "{} retries", counted.retries);
    assert!(run.stop().await.drained);
    compare(&database, &Model::of(first.iter().chain(&newer))).await;
}

/// Events that all go to one partition each, named so that the model knows them.
fn of_partition(name: &str, count: u64) -> Vec<Event> {
    (0..count).map(|n| Event::create("uploads", &format!("{name}/{n:03}"), DAY_NS + n, 1)).collect()
}

fn braked_now(run: &Run) -> Option<String> {
    let now = run.progress.snapshot();
    match now.verdict(&now, 1, Duration::ZERO, millstream_engine::clock::now_ms()) {
        Verdict::Braked { reason } => Some(reason),
        _ => None,
    }
}

/// Waits until everything is in the tables but what the key `b/020` of partition 1 holds back.
async fn only_one_waits(run: &Run, database: &Database, others: i64) -> String {
    let landed = format!("SELECT count(*) - {others} FROM millstream.objects WHERE key !~ '^b/0[2-9]'");
    until("the others to land", WITHIN, || async {
        let reason = braked_now(run).filter(|reason| reason.starts_with("partition 1 waits at 20:"));
        reason.filter(|_| run.lag() == Some(20)).filter(|_| run.progress.snapshot().retries >= 10)
    })
    .await;
    assert_eq!(database.number(&landed).await, 0, "all others are there");
    let stored = "SELECT next_position::bigint FROM millstream.lease WHERE partition = '1'";
    assert_eq!(database.number(stored).await, 20, "what comes before it is written, what comes after it waits");
    braked_now(run).unwrap()
}

/// Everything landed, and is accounted for, once.
async fn all_landed(run: Run, database: &Database, events: &[Event]) {
    run.caught_up(WITHIN).await;
    let counted = run.progress.snapshot();
    let accounted = counted.written + counted.filtered.values().sum::<u64>();
    assert_eq!((counted.records, accounted, counted.quarantined), (events.len() as u64, events.len() as u64, 0));
    assert_eq!(counted.freshness.count(), events.len() as u64, "each is counted as fresh once");
    assert_eq!(braked_now(&run), None);
    assert!(run.stop().await.drained);
    compare(database, &Model::of(events)).await;
}

/// A trigger makes one record run into `statement_timeout`, in a lane of three partitions.
async fn one_slow_record(connect: impl AsyncFn(&Database) -> (sqlx::postgres::PgConnectOptions, Option<Proxy>)) -> u64 {
    let database = database().await;
    let stream = Stream::default();
    let slow = format!(
        "CREATE TABLE fault (); INSERT INTO fault DEFAULT VALUES;
         CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF EXISTS (SELECT FROM fault) AND NEW.key = 'b/020' THEN PERFORM pg_sleep(60); END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER fault BEFORE INSERT OR UPDATE ON millstream.objects FOR EACH ROW EXECUTE FUNCTION dawdle();
         ALTER DATABASE {} SET statement_timeout = '150ms'",
        database.name
    );
    database.execute(&slow).await;
    let topic = stream.topic("objects", 3);
    let mut events = Vec::new();
    for (partition, name) in ["a", "b", "c"].into_iter().enumerate() {
        let own = of_partition(name, 40);
        append(&topic, &own, Some(partition as u32)).await;
        events.extend(own);
    }
    let (connect, proxy) = connect(&database).await;
    let run = Run::start("objects", &topic, connect, Run::limits(1, 500));
    let reason = only_one_waits(&run, &database, 100).await;
    assert!(reason.contains("statement timeout"), "{reason}");

    // What comes meanwhile to the other partitions is not held up by it.
    let later = of_partition("d", 30);
    append(&topic, &later, Some(0)).await;
    events.extend(later);
    only_one_waits(&run, &database, 130).await;

    database.execute("DELETE FROM fault").await;
    all_landed(run, &database, &events).await;
    proxy.map_or(0, |proxy| proxy.cuts())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_runs_into_the_statement_timeout_holds_only_what_comes_after_it() {
    one_slow_record(async |database| (database.options(), None)).await;
}

/// A batch that is divided, and no answer to any COMMIT: the stored positions tell of each part that it is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_the_commit_of_every_part_is_lost() {
    let cuts = one_slow_record(async |database| {
        let proxy = Proxy::start(database).await;
        proxy.at_commit(|_| Cut::After);
        (proxy.options(), Some(proxy))
    });
    assert!(cuts.await >= 8, "at least three partitions, and the halves of one of them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_someone_keeps_locked_holds_only_what_comes_after_it() {
    let database = database().await;
    let stream = Stream::default();
    database.execute(&format!("ALTER DATABASE {} SET lock_timeout = '50ms'", database.name)).await;
    let topic = stream.topic("objects", 3);
    let run = Run::start("objects", &topic, database.options(), Run::limits(1, 500));
    let first = [Event::create("uploads", "b/020", DAY_NS, 1)];
    append(&topic, &first, Some(2)).await;
    run.caught_up(WITHIN).await;

    let mut holder = database.connect().await;
    let lock = "BEGIN; SELECT FROM millstream.objects WHERE key = 'b/020' FOR UPDATE";
    sqlx::raw_sql(lock).execute(&mut holder).await.unwrap();
    let mut events = first.to_vec();
    for (partition, name) in ["a", "b", "c"].into_iter().enumerate() {
        let own: Vec<Event> =
            of_partition(name, 40).into_iter().map(|event| Event { at_ns: event.at_ns + 1_000_000, ..event }).collect();
        append(&topic, &own, Some(partition as u32)).await;
        events.extend(own);
    }
    let reason = only_one_waits(&run, &database, 100).await;
    assert!(reason.contains("lock timeout"), "{reason}");
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    all_landed(run, &database, &events).await;
}

/// The numbers by which refused records are remembered mean nothing in a part of the batch.
#[tokio::test]
async fn a_record_that_was_refused_before_its_batch_is_divided_is_the_one_that_is_kept_aside() {
    let database = database().await;
    let settings = format!(
        "ALTER DATABASE {} SET lock_timeout = '50ms';
         ALTER TABLE millstream.objects ADD CONSTRAINT picky CHECK (key <> 'b/002')",
        database.name
    );
    database.execute(&settings).await;
    let mut writer = Writer::new("objects", database.options(), &["0", "1"]).await;
    let payloads = |events: &[Event]| events.iter().map(Event::json).collect::<Vec<_>>();
    let short = of_partition("a", 5);
    let long = of_partition("b", 40);
    let whole = writer.batch(&[("0", payloads(&short)), ("1", payloads(&long))]);

    // Once the bad record is found, something else is too slow.
    let mut holder = database.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE millstream.quarantine").execute(&mut holder).await.unwrap();
    let refused = writer.write(&whole).await.unwrap_err();
    assert_eq!(refused.recovery(), Recovery::Split, "{refused:?}");
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();

    let part = writer.batch_at("1", 0, payloads(&long));
    let outcome = writer.write(&part).await.unwrap();
    assert_eq!((outcome.written, outcome.quarantined), (39, 1));
    assert_eq!(database.number("SELECT position::bigint FROM millstream.quarantine").await, 2);
    let good: Vec<&Event> = long.iter().filter(|event| event.key != "b/002").collect();
    compare(&database, &Model::of(good)).await;
}

/// Only the very same batch can find out whether its COMMIT took effect, so it is not divided before that is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_commit_nobody_answered_is_not_divided() {
    let database = database().await;
    database.execute(&format!("ALTER DATABASE {} SET lock_timeout = '50ms'", database.name)).await;
    let proxy = Proxy::start(&database).await;
    let mut writer = Writer::new("objects", proxy.options(), &["0"]).await;
    let events = numbered(0..10);
    let batch = writer.batch(&[("0", events.iter().map(Event::json).collect())]);
    proxy.at_commit(|_| Cut::After);
    assert!(writer.write(&batch).await.is_err());
    proxy.at_commit(|_| Cut::Never);

    let mut holder = database.connect().await;
    sqlx::raw_sql("BEGIN; SELECT FROM millstream.lease FOR UPDATE").execute(&mut holder).await.unwrap();
    for _ in 0..3 {
        let waits = writer.write(&batch).await.unwrap_err();
        assert_eq!(waits.recovery(), Recovery::Retry, "{waits:?}");
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    assert_eq!(writer.write(&batch).await.unwrap().written, 10);
    compare(&database, &Model::of(&events)).await;
}

/// A COMMIT that PostgreSQL gives up is answered: nothing took effect, and the batch may be divided.
#[tokio::test]
async fn a_commit_that_runs_into_a_lock_leaves_no_doubt() {
    let database = database().await;
    let waits = format!(
        "CREATE TABLE guard ();
         CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN LOCK TABLE guard; RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON millstream.objects DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION wait();
         ALTER DATABASE {} SET lock_timeout = '50ms'",
        database.name
    );
    database.execute(&waits).await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let events = numbered(0..10);
    let batch = writer.batch(&[("0", events.iter().map(Event::json).collect())]);
    let mut holder = database.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE guard").execute(&mut holder).await.unwrap();
    for _ in 0..2 {
        let refused = writer.write(&batch).await.unwrap_err();
        assert_eq!(refused.recovery(), Recovery::Split, "{refused:?}");
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    assert_eq!(writer.write(&batch).await.unwrap().written, 10);
    compare(&database, &Model::of(&events)).await;
}
