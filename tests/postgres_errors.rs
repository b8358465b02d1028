//! What each kind of error of PostgreSQL does to a running pipeline, end to end.

use std::time::Duration;

use millstream_engine::Verdict;
use millstream_tests::generator::DAY_NS;
use millstream_tests::stream::append;
use millstream_tests::{Database, Event, Model, Proxy, Run, Stream, compare, database, until};

const WITHIN: Duration = Duration::from_secs(30);

fn numbered(range: std::ops::Range<u64>) -> Vec<Event> {
    range.map(|n| Event::create("uploads", &format!("in/{n:03}"), DAY_NS + n, 1)).collect()
}

/// Makes the database raise an error of this SQLSTATE for every object written, as long as the table `fault` has a row.
async fn raise(database: &Database, sqlstate: &str) {
    let sql = format!(
        "CREATE TABLE fault (); INSERT INTO fault DEFAULT VALUES;
         CREATE FUNCTION raise_fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF EXISTS (SELECT FROM fault) THEN RAISE EXCEPTION 'planted' USING ERRCODE = '{sqlstate}'; END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER fault BEFORE INSERT OR UPDATE ON millstream.objects FOR EACH ROW EXECUTE FUNCTION raise_fault()"
    );
    database.execute(&sql).await;
}

async fn braked(run: &Run) -> String {
    until("the pipeline to wait", WITHIN, || async {
        let now = run.progress.snapshot();
        match now.verdict(&now, 1, Duration::ZERO, millstream_engine::run::now_ms()) {
            Verdict::Braked { reason } if now.retries >= 3 => Some(reason),
            _ => None,
        }
    })
    .await
}

/// One fault, met again and again, then gone: nothing is quarantined, nothing halts, everything lands.
async fn waited_out(sqlstate: &str) {
    let (database, stream) = (database().await, Stream::default());
    raise(&database, sqlstate).await;
    let topic = stream.topic("objects", 1);
    let events = numbered(0..50);
    append(&topic, &events, None).await;
    let run = Run::start("objects", &topic, database.options(), Run::limits(1, 100));
    let reason = braked(&run).await;
    assert!(reason.contains("planted"), "{sqlstate}: {reason}");
    assert_eq!(database.number("SELECT count(*) FROM millstream.objects").await, 0);
    database.execute("DELETE FROM fault").await;
    run.caught_up(WITHIN).await;
    assert_eq!(run.progress.snapshot().quarantined, 0, "{sqlstate} is no record's fault");
    assert!(run.stop().await.drained);
    compare(&database, &Model::of(&events)).await;
}

#[tokio::test]
async fn faults_of_the_server_and_of_people_are_waited_out() {
    // Away, busy, in conflict, out of disk, memory or connections; then what a person must mend, and the unknown.
    for sqlstate in ["08006", "40001", "53100", "53200", "55P03", "57014", "58030", "42501", "0A000", "XX001", "P0001"]
    {
        waited_out(sqlstate).await;
    }
}

#[tokio::test]
async fn faults_of_records_are_kept_aside() {
    for sqlstate in ["22003", "22P02", "23502", "54000"] {
        let (database, stream) = (database().await, Stream::default());
        raise(&database, sqlstate).await;
        let topic = stream.topic("objects", 1);
        append(&topic, &numbered(0..10), None).await;
        let run = Run::start("objects", &topic, database.options(), Run::limits(1, 100));
        run.caught_up(WITHIN).await;
        assert!(run.stop().await.drained);
        let kept = format!("SELECT count(*) FROM millstream.quarantine WHERE sqlstate = '{sqlstate}'");
        assert_eq!(database.number(&kept).await, 10, "{sqlstate}");
        compare(&database, &Model::default()).await;
    }
}

/// A check without a name is the routing of a partitioned table: a partition that we have not made, no record's fault.
#[tokio::test]
async fn a_missing_partition_is_ours() {
    let (database, stream) = (database().await, Stream::default());
    database
        .execute(
            "CREATE TABLE routed (key text) PARTITION BY LIST (key);
             CREATE FUNCTION route() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO routed VALUES ('x'); RETURN NEW;
             END $$;
             CREATE TRIGGER route BEFORE INSERT ON millstream.objects FOR EACH ROW EXECUTE FUNCTION route()",
        )
        .await;
    let topic = stream.topic("objects", 1);
    let events = numbered(0..5);
    append(&topic, &events, None).await;
    let run = Run::start("objects", &topic, database.options(), Run::limits(1, 100));
    assert!(braked(&run).await.contains("no partition"));
    database.execute("CREATE TABLE routed_all PARTITION OF routed DEFAULT").await;
    run.caught_up(WITHIN).await;
    assert!(run.stop().await.drained);
    assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 0);
    compare(&database, &Model::of(&events)).await;
}

#[tokio::test]
async fn a_renamed_column_pauses_with_an_alarm_and_goes_on_once_it_is_back() {
    let (database, stream) = (database().await, Stream::default());
    let topic = stream.topic("objects", 1);
    let run = Run::start("objects", &topic, database.options(), Run::limits(1, 100));
    append(&topic, &numbered(0..20), None).await;
    run.caught_up(WITHIN).await;
    database.execute("ALTER TABLE millstream.objects RENAME COLUMN size TO length").await;
    append(&topic, &numbered(20..40), None).await;
    let reason = braked(&run).await;
    assert!(reason.contains("size"), "{reason}");
    database.execute("ALTER TABLE millstream.objects RENAME COLUMN length TO size").await;
    run.caught_up(WITHIN).await;
    assert_eq!(run.progress.snapshot().quarantined, 0);
    assert!(run.stop().await.drained);
    compare(&database, &Model::of(&numbered(0..40))).await;
}

#[tokio::test]
async fn killed_backends_are_replaced() {
    let (database, stream) = (database().await, Stream::default());
    let topic = stream.topic("objects", 2);
    let run = Run::start("objects", &topic, database.options(), Run::limits(2, 20));
    let events = numbered(0..600);
    for part in events.chunks(60) {
        append(&topic, part, None).await;
        database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'millstream writer'").await;
    }
    run.caught_up(WITHIN).await;
    let counted = run.progress.snapshot();
    assert!(counted.retries > 0 && counted.quarantined == 0, "{counted:?}");
    assert!(run.stop().await.drained);
    compare(&database, &Model::of(&events)).await;
}

#[tokio::test]
async fn a_lock_that_someone_holds_is_waited_for_and_times_out_without_harm() {
    let (database, stream) = (database().await, Stream::default());
    let limit = format!("ALTER DATABASE {} SET lock_timeout = '50ms'", database.name);
    database.execute(&limit).await;
    let topic = stream.topic("objects", 1);
    let run = Run::start("objects", &topic, database.options(), Run::limits(1, 100));
    append(&topic, &numbered(0..5), None).await;
    run.caught_up(WITHIN).await;
    let mut holder = database.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE millstream.objects IN ACCESS EXCLUSIVE MODE").execute(&mut holder).await.unwrap();
    append(&topic, &numbered(5..10), None).await;
    assert!(braked(&run).await.contains("lock timeout"));
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    run.caught_up(WITHIN).await;
    assert_eq!(run.progress.snapshot().quarantined, 0);
    assert!(run.stop().await.drained);
    compare(&database, &Model::of(&numbered(0..10))).await;
}

#[tokio::test]
async fn the_victim_of_a_deadlock_tries_again() {
    let (database, stream) = (database().await, Stream::default());
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

/// A database that answers nothing for a while is no stall of ours and loses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_everything_for_a_while() {
    let (database, stream) = (database().await, Stream::default());
    let topic = stream.topic("objects", 2);
    let proxy = Proxy::start(&database).await;
    let run = Run::start("objects", &topic, proxy.options(), Run::limits(2, 20));
    let events = numbered(0..400);
    append(&topic, &events[..200], None).await;
    run.caught_up(WITHIN).await;
    proxy.stall();
    append(&topic, &events[200..], None).await;
    let held = database.number("SELECT count(*) FROM millstream.objects").await;
    assert_eq!(held, 200);
    proxy.resume();
    run.caught_up(WITHIN).await;
    assert!(run.stop().await.drained);
    compare(&database, &Model::of(&events)).await;
}
