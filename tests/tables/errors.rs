//! What each kind of error of PostgreSQL does to a running pipeline, end to end.

use std::time::Duration;

use millstream_engine::Verdict;
use millstream_tests::{Database, Proxy, Run, Stream, until};
use sqlx::AssertSqlSafe;

use super::domain::{Domain, append, numbered, run};

const WITHIN: Duration = Duration::from_secs(30);
const QUARANTINED: &str = "SELECT count(*) FROM millstream.quarantine";

/// Makes the database raise an error of this SQLSTATE for every row written, as long as the table `fault` has a row.
async fn raise<D: Domain>(database: &Database, sqlstate: &str) {
    let sql = format!(
        "CREATE TABLE fault (); INSERT INTO fault DEFAULT VALUES;
         CREATE FUNCTION raise_fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF EXISTS (SELECT FROM fault) THEN RAISE EXCEPTION 'planted' USING ERRCODE = '{sqlstate}'; END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER fault BEFORE INSERT OR UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION raise_fault()",
        D::TABLE
    );
    database.execute(&sql).await;
}

async fn braked(run: &Run) -> String {
    until("the pipeline to wait", WITHIN, || async {
        let now = run.progress.snapshot();
        match now.verdict(&now, 1, Duration::ZERO, millstream_engine::clock::now_ms()) {
            Verdict::Braked { reason } if now.retries >= 3 => Some(reason),
            _ => None,
        }
    })
    .await
}

/// Waits for the rest, of which nothing is quarantined, and compares everything.
async fn all_landed<D: Domain>(run: Run, database: &Database, events: &[D::Event]) {
    run.caught_up(WITHIN).await;
    assert_eq!(run.progress.snapshot().quarantined, 0, "it is no record's fault");
    assert!(run.stop().await.drained);
    assert_eq!(database.number(QUARANTINED).await, 0);
    D::holds(database, events).await;
}

/// One fault, met again and again, then gone: nothing is quarantined, nothing halts, everything lands.
async fn waited_out<D: Domain>(sqlstate: &str) {
    let database = D::database().await;
    let stream = Stream::default();
    raise::<D>(&database, sqlstate).await;
    let topic = stream.topic("objects", 1);
    let events = numbered::<D>(0..50);
    append::<D>(&topic, &events).await;
    let run = run::<D>(&topic, database.options(), Run::limits(1, 100));
    let reason = braked(&run).await;
    assert!(reason.contains("planted"), "{sqlstate}: {reason}");
    D::holds(&database, &[]).await;
    database.execute("DELETE FROM fault").await;
    all_landed::<D>(run, &database, &events).await;
}

pub(super) async fn faults_of_the_server_and_of_people_are_waited_out<D: Domain>() {
    // Away, busy, in conflict, out of disk, memory or connections; then what a person must mend, and the unknown.
    for sqlstate in ["08006", "40001", "53100", "53200", "55P03", "57014", "58030", "42501", "0A000", "XX001", "P0001"]
    {
        waited_out::<D>(sqlstate).await;
    }
}

pub(super) async fn faults_of_records_are_kept_aside<D: Domain>() {
    for sqlstate in ["22003", "22P02", "23502", "54000"] {
        let database = D::database().await;
        let stream = Stream::default();
        raise::<D>(&database, sqlstate).await;
        let topic = stream.topic("objects", 1);
        append::<D>(&topic, &numbered::<D>(0..10)).await;
        let run = run::<D>(&topic, database.options(), Run::limits(1, 100));
        run.caught_up(WITHIN).await;
        assert!(run.stop().await.drained);
        let kept = format!("{QUARANTINED} WHERE sqlstate = '{sqlstate}'");
        assert_eq!(database.number(&kept).await, 10, "{sqlstate}");
        D::holds(&database, &[]).await;
    }
}

/// A check without a name is the routing of a partitioned table: a partition that we have not made, no record's fault.
pub(super) async fn a_missing_partition_is_ours<D: Domain>() {
    let database = D::database().await;
    let stream = Stream::default();
    let route = format!(
        "CREATE TABLE routed (key text) PARTITION BY LIST (key);
         CREATE FUNCTION route() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO routed VALUES ('x'); RETURN NEW;
         END $$;
         CREATE TRIGGER route BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION route()",
        D::TABLE
    );
    database.execute(&route).await;
    let topic = stream.topic("objects", 1);
    let events = numbered::<D>(0..5);
    append::<D>(&topic, &events).await;
    let run = run::<D>(&topic, database.options(), Run::limits(1, 100));
    assert!(braked(&run).await.contains("no partition"));
    database.execute("CREATE TABLE routed_all PARTITION OF routed DEFAULT").await;
    all_landed::<D>(run, &database, &events).await;
}

pub(super) async fn a_renamed_column_pauses_with_an_alarm_and_goes_on_once_it_is_back<D: Domain>() {
    let database = D::database().await;
    let stream = Stream::default();
    let table = D::TABLE;
    let column = D::COLUMN;
    let topic = stream.topic("objects", 1);
    let run = run::<D>(&topic, database.options(), Run::limits(1, 100));
    append::<D>(&topic, &numbered::<D>(0..20)).await;
    run.caught_up(WITHIN).await;
    database.execute(&format!("ALTER TABLE {table} RENAME COLUMN {column} TO renamed")).await;
    append::<D>(&topic, &numbered::<D>(10..40)).await;
    let reason = braked(&run).await;
    assert!(reason.contains(column), "{reason}");
    database.execute(&format!("ALTER TABLE {table} RENAME COLUMN renamed TO {column}")).await;
    all_landed::<D>(run, &database, &numbered::<D>(0..40)).await;
}

pub(super) async fn killed_backends_are_replaced<D: Domain>() {
    let database = D::database().await;
    let stream = Stream::default();
    let topic = stream.topic("objects", 2);
    let run = run::<D>(&topic, database.options(), Run::limits(2, 20));
    let events = numbered::<D>(0..600);
    for part in events.chunks(60) {
        append::<D>(&topic, part).await;
        database.end_writers().await;
    }
    run.caught_up(WITHIN).await;
    assert!(run.progress.snapshot().retries > 0, "no writer was ended");
    all_landed::<D>(run, &database, &events).await;
}

pub(super) async fn a_table_that_someone_keeps_locked_is_waited_for_without_harm<D: Domain>() {
    let database = D::database().await;
    let stream = Stream::default();
    let limit = format!("ALTER DATABASE {} SET lock_timeout = '50ms'", database.name);
    database.execute(&limit).await;
    let topic = stream.topic("objects", 1);
    let run = run::<D>(&topic, database.options(), Run::limits(1, 100));
    append::<D>(&topic, &numbered::<D>(0..5)).await;
    run.caught_up(WITHIN).await;
    let mut holder = database.connect().await;
    let lock = format!("BEGIN; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", D::TABLE);
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut holder).await.unwrap();
    append::<D>(&topic, &numbered::<D>(5..10)).await;
    assert!(braked(&run).await.contains("lock timeout"));
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    all_landed::<D>(run, &database, &numbered::<D>(0..10)).await;
}

/// A database that answers nothing for a while is no stall of ours and loses nothing.
pub(super) async fn a_network_that_swallows_everything_for_a_while<D: Domain>() {
    let database = D::database().await;
    let stream = Stream::default();
    let topic = stream.topic("objects", 2);
    let proxy = Proxy::start(&database).await;
    let run = run::<D>(&topic, proxy.options(), Run::limits(2, 20));
    let events = numbered::<D>(0..400);
    append::<D>(&topic, &events[..200]).await;
    run.caught_up(WITHIN).await;
    proxy.stall();
    append::<D>(&topic, &events[200..]).await;
    D::holds(&database, &events[..200]).await;
    proxy.resume();
    all_landed::<D>(run, &database, &events).await;
}
