//! Who lost a partition cannot write, however late it wakes; a reset and a database that went back are met alike.

use std::time::Duration;

use millstream_engine::Recovery;

use millstream_tests::generator::DAY_NS;
use millstream_tests::stream::append;
use millstream_tests::{
    Database, Event, Generator, Model, Proxy, Run, Setup, Stream, Writer, compare, database, event, until,
};

/// Every row with the transaction that wrote it: changes when anything is written, also the same again.
async fn traces(database: &Database) -> Vec<String> {
    let mut connection = database.connect().await;
    let mut traces = Vec::new();
    for table in ["objects", "bucket_count", "segment_count", "segment_change", "hour_count", "quarantine"] {
        let state = format!(
            "SELECT coalesce(md5(string_agg(t.ctid::text || t.xmin::text, ',' ORDER BY t.ctid)), '') FROM millstream.{table} t"
        );
        let state = sqlx::query_scalar(sqlx::AssertSqlSafe(state));
        traces.push(state.fetch_one(&mut connection).await.unwrap());
    }
    traces
}

fn numbered(range: std::ops::Range<u64>) -> Vec<Event> {
    range.map(|n| Event::create("uploads", &format!("in/{n}"), DAY_NS + n, 1)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_under_a_live_owner_makes_it_read_again() {
    let mut generator = Generator::new("reset");
    let database = database().await;
    let stream = Stream::default();
    let topic = stream.topic("objects", 2);
    let events = generator.events(1_000);
    let run = Run::start("objects", &topic, database.options(), Run::limits(2, 100));
    append(&topic, &events[..700], None).await;
    run.caught_up(Duration::from_secs(30)).await;
    let before = run.progress.snapshot();
    // What `positions reset --to earliest` does.
    database
        .execute("UPDATE millstream.lease SET epoch = epoch + 1, token = gen_random_uuid(), next_position = NULL")
        .await;
    append(&topic, &events[700..], None).await;
    until("everything to be read again", Duration::from_secs(30), || async {
        (run.progress.snapshot().records >= before.records + 1_000).then_some(())
    })
    .await;
    run.caught_up(Duration::from_secs(30)).await;
    assert!(run.stop().await.drained);
    compare(&database, &Model::of(&events)).await;
}

const TABLES: [&str; 10] = [
    "objects",
    "bucket_count",
    "segment_count",
    "segment_change",
    "hour_count",
    "segment",
    "segment_limit",
    "slot",
    "lease",
    "quarantine",
];

/// The database is restored to an earlier state under a writer that knows better.
async fn goes_back(first: usize) {
    let mut generator = Generator::new("database went back");
    let database = database().await;
    let stream = Stream::default();
    let topic = stream.topic("objects", 2);
    let events = generator.events(1_000);
    let run = Run::start("objects", &topic, database.options(), Run::limits(2, 100));
    append(&topic, &events[..first], None).await;
    until("leases", Duration::from_secs(30), || async {
        (database.number("SELECT count(*) FROM millstream.lease").await == 2).then_some(())
    })
    .await;
    run.caught_up(Duration::from_secs(30)).await;
    let save = TABLES.map(|table| format!("CREATE TABLE saved_{table} AS SELECT * FROM millstream.{table}"));
    database.execute(&save.join("; ")).await;

    append(&topic, &events[first..800], None).await;
    run.caught_up(Duration::from_secs(30)).await;
    let restore = TABLES.map(|table| {
        let into = format!("INSERT INTO millstream.{table} OVERRIDING SYSTEM VALUE");
        format!("DELETE FROM millstream.{table}; {into} SELECT * FROM saved_{table}")
    });
    database.execute(&format!("BEGIN; {}; COMMIT", restore.join("; "))).await;
    append(&topic, &events[800..], None).await;
    until("the tables to be filled again", Duration::from_secs(30), || async {
        let stored = "SELECT coalesce(sum(next_position::bigint), 0) FROM millstream.lease";
        (database.number(stored).await == 1_000).then_some(())
    })
    .await;
    assert!(run.stop().await.drained);
    compare(&database, &Model::of(&events)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_went_back_is_filled_again_from_where_it_is() {
    goes_back(400).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_went_back_to_the_very_beginning_is_filled_again() {
    goes_back(0).await;
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// An owner stands still under load, another takes over its stream, and then the first wakes up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_was_stopped_wakes_after_another_took_over() {
    let mut generator = Generator::new("stopped owner");
    let database = database().await;
    let setup = || {
        let setup = Setup::new(&database)
            .allow("leases are taken again")
            .allow("braked")
            .allow("database away")
            .allow("stalled");
        setup.allow("must be mended").allow("kept leases locked for too long")
    };
    let frozen = setup();
    let second = setup();
    let mut first = frozen.start().await;
    let events = generator.events(20_000);
    let mut sent = 0;
    let mut parts = events.chunks(200);
    // In the middle of its work: something is written, and something is not.
    while database.number("SELECT count(*) FROM millstream.objects").await == 0 || sent < 5_000 {
        let part = parts.next().unwrap();
        assert_eq!(first.post(event::lines(part)).await.unwrap().status, 202);
        sent += part.len();
    }
    first.freeze();

    copy_dir(&frozen.data_dir().join("stream"), &second.data_dir().join("stream"));
    let took_over = second.start().await;
    // If it holds a transaction open, PostgreSQL ends that after ten seconds; in a COPY, the other one does.
    took_over.caught_up(Duration::from_secs(60)).await;
    compare(&database, &Model::of(&events[..sent])).await;
    let before = traces(&database).await;
    first.thaw();
    first.logged("leases are taken again", Duration::from_secs(60)).await;
    first.caught_up(Duration::from_secs(60)).await;
    assert_eq!(traces(&database).await, before, "not one row was touched");
    first.terminate();
    first.wait().await;
    took_over.finish().await;
}

/// The writer's session, if it waits in a COPY for data that does not come.
const WAITS_IN_COPY: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
    AND application_name = 'millstream writer' AND state = 'active' AND wait_event = 'ClientRead' AND query LIKE 'COPY %'";

/// An owner stands still in the middle of a COPY, where no timeout of PostgreSQL reaches it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_was_stopped_inside_a_copy_is_ended_by_whoever_wants_its_partitions() {
    let mut generator = Generator::new("stopped in a copy");
    let database = database().await;
    // PostgreSQL takes rows as they are sent, in no time; a proxy holds them up for as long as it takes to stop their
    // sender.
    let proxy = Proxy::start(&database).await;
    let setup = |setup: Setup| {
        let setup = setup.set("limits.lease_lock_seconds_max=2").allow("leases are taken again");
        setup.allow("braked").allow("database away").allow("stalled").allow("kept leases locked for too long")
    };
    let frozen = setup(Setup::embedded().set(&format!("postgres.url={}", proxy.url())));
    let second = setup(Setup::new(&database));
    let mut first = frozen.start().await;
    let events = generator.events(2_000);
    assert_eq!(first.post(event::lines(&events[..1_000])).await.unwrap().status, 202);
    first.caught_up(Duration::from_secs(60)).await;
    proxy.stall_in_copy();
    assert_eq!(first.post(event::lines(&events[1_000..])).await.unwrap().status, 202);
    until("a COPY to wait for its rows", Duration::from_secs(30), || async {
        (database.number(WAITS_IN_COPY).await > 0).then_some(())
    })
    .await;
    first.freeze();

    copy_dir(&frozen.data_dir().join("stream"), &second.data_dir().join("stream"));
    let took_over = second.start().await;
    took_over.logged("kept leases locked for too long", Duration::from_secs(30)).await;
    took_over.caught_up(Duration::from_secs(60)).await;
    compare(&database, &Model::of(&events)).await;
    let before = traces(&database).await;
    first.thaw();
    proxy.resume();
    first.logged("leases are taken again", Duration::from_secs(60)).await;
    first.caught_up(Duration::from_secs(60)).await;
    assert_eq!(traces(&database).await, before, "not one row was touched");
    first.terminate();
    first.wait().await;
    took_over.finish().await;
}

/// A session that has a lease locked is left alone until its time is up.
#[tokio::test]
async fn a_lease_is_freed_when_its_time_is_up_and_not_before() {
    let database = database().await;
    let mut owner = Writer::new("objects", database.options(), &["0", "1"]).await;
    owner.put(&numbered(0..10)).await;
    let mut copying = database.connect().await;
    let mut innocent = database.connect().await;
    let lock = |partition| format!("BEGIN; SELECT FROM millstream.lease WHERE partition = '{partition}' FOR UPDATE");
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock(1))).execute(&mut innocent).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock(0))).execute(&mut copying).await.unwrap();
    let copy = copying.copy_in_raw("COPY millstream.gap FROM STDIN").await.unwrap();

    // Whoever gives up sooner than the limit ends nobody.
    let hasty = database.options().options([("statement_timeout", "100ms")]);
    let mut hasty = Writer::idle("objects", hasty, 10_000);
    let given_up = hasty.acquire(&["0"]).await.unwrap_err();
    assert_eq!(given_up.recovery(), Recovery::Split, "{given_up:?}");
    let copies = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY %'";
    assert_eq!(database.number(copies).await, 1, "its time is not up");

    let mut next = Writer::idle("objects", database.options(), 10_000);
    assert_eq!(next.acquire(&["0"]).await.unwrap_err().recovery(), Recovery::Split);
    next.acquire(&["0"]).await.unwrap();
    assert!(copy.finish().await.is_err(), "its session was ended");
    next.put(&numbered(10..20)).await;
    sqlx::raw_sql("COMMIT").execute(&mut innocent).await.expect("the lease of another partition was never wanted");
    compare(&database, &Model::of(&numbered(0..20))).await;
}
