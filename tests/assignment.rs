//! Processes divide the partitions of a stream by a table: evenly, one at a time, and without a stir when the database
//! was away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use millstream_connectors::assignment::{Assigner, Member, Options, Timing};
use millstream_engine::Partition;
use millstream_postgres::{Connector, Postgres};
use millstream_tests::{Bouncer, Database, Proxy, database, until};
use sqlx::Row as _;

/// Short, so that tests are; long beside what a busy machine takes for a look.
const TIMING: Timing = Timing { period: Duration::from_millis(200), expiry: Duration::from_secs(3) };
/// For what happens in the next few looks.
const SOON: Duration = Duration::from_secs(30);

fn members(count: usize) -> Vec<Member> {
    let member = |number| Member { partition: Partition::new(format!("p{number}")), parents: Vec::new() };
    (0..count).map(member).collect()
}

fn assigner(owner: &str, connect: impl Into<Connector>, timing: Timing, members: Vec<Member>) -> Assigner {
    let options = Options {
        pipeline: "objects".to_owned(),
        incarnation: "stream@1".to_owned(),
        connect: connect.into(),
        owner: owner.to_owned(),
        timing,
        finished: "end",
    };
    Assigner::start(options, members)
}

fn names(assigner: &Assigner) -> BTreeSet<String> {
    assigner.assignment().borrow().iter().map(ToString::to_string).collect()
}

/// Waits until processes have so many partitions each, all of them together, and none twice.
async fn divided(what: &str, assigners: &[&Assigner], counts: &[usize]) {
    until(what, SOON, || async {
        let own: Vec<BTreeSet<String>> = assigners.iter().map(|assigner| names(assigner)).collect();
        let mut sizes: Vec<usize> = own.iter().map(BTreeSet::len).collect();
        sizes.sort_unstable();
        let all: BTreeSet<&String> = own.iter().flatten().collect();
        (sizes == counts && all.len() == counts.iter().sum::<usize>()).then_some(())
    })
    .await;
}

/// Who has each partition, with the number of that decision.
async fn decisions(database: &Database) -> BTreeMap<String, (Option<String>, i64)> {
    let mut connection = database.connect().await;
    let rows = sqlx::query("SELECT partition, owner, number FROM millstream.assignment");
    let rows = rows.fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_divided_evenly_as_processes_come() {
    let database = database().await;
    let first = assigner("first", database.options(), TIMING, members(6));
    divided("the only process to have all", &[&first], &[6]).await;

    let second = assigner("second", database.options(), TIMING, members(6));
    // One at a time: nobody who looks often enough misses a step.
    let sizes = std::cell::RefCell::new(Vec::new());
    until("two shares", SOON, || async {
        let owners = decisions(&database).await;
        let has = owners.values().filter(|(owner, _)| owner.as_deref() == Some("second")).count();
        sizes.borrow_mut().push(has);
        (has == 3).then_some(())
    })
    .await;
    let sizes = sizes.into_inner();
    divided("two equal shares", &[&first, &second], &[3, 3]).await;
    assert!(sizes.windows(2).all(|pair| pair[1] <= pair[0] + 1), "one partition at a time: {sizes:?}");

    let third = assigner("third", database.options(), TIMING, members(6));
    divided("three equal shares", &[&first, &second, &third], &[2, 2, 2]).await;
    // More partitions come, and go.
    for assigner in [&first, &second, &third] {
        assigner.members(members(7));
    }
    divided("one more", &[&first, &second, &third], &[2, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_of_a_dead_process_are_taken_when_its_silence_has_lasted() {
    let database = database().await;
    let dies = assigner("dies", database.options(), TIMING, members(4));
    let lives = assigner("lives", database.options(), TIMING, members(4));
    divided("two equal shares", &[&dies, &lives], &[2, 2]).await;
    let died = Instant::now();
    drop(dies);
    divided("the other to have all", &[&lives], &[4]).await;
    let took = died.elapsed();
    // It showed itself last within a period before.
    assert!(took > TIMING.expiry - TIMING.period * 2, "too early: {took:?}");
    assert!(took < TIMING.expiry * 2, "too late: {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_of_a_process_that_stops_are_taken_at_once() {
    let database = database().await;
    let timing = Timing { expiry: Duration::from_secs(600), ..TIMING };
    let stops = assigner("stops", database.options(), timing, members(4));
    let stays = assigner("stays", database.options(), timing, members(4));
    divided("two equal shares", &[&stops, &stays], &[2, 2]).await;
    stops.stop().await;
    assert_eq!(names(&stops), BTreeSet::new(), "it reads nothing any more");
    // Long before its silence would have lasted.
    divided("the other to have all", &[&stays], &[4]).await;
    let left = database.number("SELECT count(*) FROM millstream.member WHERE name = 'stops'").await;
    assert_eq!(left, 0, "and is not counted any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_moves_when_the_database_was_away() {
    let database = database().await;
    let proxy = Proxy::start(&database).await;
    let assigners: Vec<Assigner> =
        ["one", "two", "three"].map(|name| assigner(name, proxy.options(), TIMING, members(6))).into_iter().collect();
    let all: Vec<&Assigner> = assigners.iter().collect();
    divided("three equal shares", &all, &[2, 2, 2]).await;
    let before = decisions(&database).await;
    for _ in 0..3 {
        proxy.stall();
        let silent = "SELECT count(*) FROM millstream.member WHERE seen_at < clock_timestamp() - interval '3.5 s'";
        until("all to be silent for too long", SOON, || async { (database.number(silent).await == 3).then_some(()) })
            .await;
        assert_eq!(all.iter().map(|one| names(one).len()).sum::<usize>(), 6, "everybody keeps what it has");
        proxy.resume();
        for assigner in &all {
            until("the database to be looked at", SOON, || async { assigner.confirm().await.ok() }).await;
        }
        // Three more looks each, which is longer than the calm that they wait for.
        for _ in 0..3 {
            for assigner in &all {
                assigner.confirm().await.unwrap();
            }
            tokio::time::sleep(TIMING.period).await;
        }
        assert_eq!(decisions(&database).await, before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_are_given_out_when_their_parents_are_finished() {
    let database = database().await;
    let member = |name: &str, parents: &[&str]| Member {
        partition: Partition::new(name),
        parents: parents.iter().map(Partition::new).collect(),
    };
    let family = vec![member("a", &[]), member("b", &[]), member("ab", &["a", "b"]), member("c", &["ab"])];
    let one = assigner("one", database.options(), TIMING, family);
    let store = |partition: &str, position: &str| {
        format!(
            "INSERT INTO millstream.lease VALUES ('objects', 'stream@1', '{partition}', 'w', 1, gen_random_uuid(), '{position}', now())
             ON CONFLICT (pipeline, incarnation, partition) DO UPDATE SET next_position = excluded.next_position"
        )
    };
    let has = |expected: &'static [&'static str]| {
        let one = &one;
        async move {
            until("partitions", SOON, || async {
                one.confirm().await.ok()?;
                let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
                (names(one) == expected).then_some(())
            })
            .await;
        }
    };
    has(&["a", "b"]).await;
    database.execute(&store("a", "end")).await;
    has(&["b"]).await;
    database.execute(&store("b", "after:7")).await;
    one.confirm().await.unwrap();
    has(&["b"]).await;
    database.execute(&store("b", "end")).await;
    has(&["ab"]).await;
    // The stream has lost it unread: somebody has to find out. Its children do not wait for what is lost.
    database.execute(&store("ab", "after:9")).await;
    one.members(vec![member("c", &["ab"])]);
    has(&["ab", "c"]).await;
    database.execute(&store("ab", "end")).await;
    has(&["c"]).await;
    let rows: Vec<String> = decisions(&database).await.into_keys().collect();
    assert_eq!(rows, ["c"], "nothing is kept of what is finished");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_divided_behind_a_pooler_too() {
    let database = database().await;
    let role = database.role("leases", "password").await;
    database.execute(&format!("GRANT USAGE ON SCHEMA millstream TO {role}")).await;
    for table in ["member", "assignment", "lease"] {
        database.execute(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON millstream.{table} TO {role}")).await;
    }
    // One server connection for all of them, so that whatever a session would keep meets another process.
    let Some(bouncer) = Bouncer::start(&database, &role, "password", 1).await else { return };
    let url = format!("postgres://{role}:password@127.0.0.1:{}/{}", bouncer.port(), database.name);
    let migrate_url = Some(database.url().into());
    let settings = Postgres { url: Some(url.into()), migrate_url, pgbouncer: true, ..Postgres::default() };
    let assigners = ["one", "two"].map(|name| assigner(name, settings.connector(), TIMING, members(4)));
    divided("two equal shares", &[&assigners[0], &assigners[1]], &[2, 2]).await;
    assigners[0].stop().await;
    divided("the other to have all", &[&assigners[1]], &[4]).await;
}
