//! What a gateway follows is what the tables have: through lost notices, lost connections, a log that was removed and a
//! database that went back.

use std::time::Duration;

use millstream_connectors::sinks::routing::turn::Turn;
use millstream_engine::task;
use millstream_gateway::follow::Options;
use millstream_postgres::Connector;
use millstream_schemas::tasks::Kind;
use millstream_tests::{Database, Generator, Proxy, database, until};
use rand::Rng as _;

use crate::serving::deaf::Deaf;
use crate::serving::follower::{Follower, SESSIONS, flip, generation, put, told, writer};
use crate::serving::requests::WITHIN;

/// So long that no tick helps within a test.
const NEVER: Duration = Duration::from_secs(3_600);

fn ticking(tick: Duration) -> Options {
    Options { tick, ..Options::default() }
}

/// A tick alone, or a notice alone, is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_commit_arrives_by_notice_and_by_tick() {
    let database = database().await;
    let mut random = Generator::new("follower");
    let mut writer = writer(&database, "tasks").await;
    put(&mut writer, &[told("before", 1)]).await;
    let by_notice = Follower::start(database.options(), ticking(NEVER)).await;
    let tick = Options { listen: false, ..ticking(Duration::from_millis(100)) };
    let by_tick = Follower::start(database.options(), tick).await;
    for round in 0..30 {
        let count = random.rng().random_range(1..6);
        let events: Vec<_> =
            (0..count).map(|_| told(random.rng().random_range(0..12), random.rng().random_range(1..8))).collect();
        put(&mut writer, &events).await;
        let wanted = generation(&flip(&database, &format!("r{round}")).await);
        for follower in [&by_notice, &by_tick] {
            follower.in_step(&database).await;
            assert_eq!(follower.alias("digits", "prod"), Some((wanted, format!("r{round}"))));
        }
    }
    assert_eq!((by_notice.counted(), by_tick.counted()), ([0, 0, 0, 1], [0, 0, 0, 1]), "one snapshot, at the start");
    by_notice.end().await;
    by_tick.end().await;
}

/// Every notice is swallowed: each commit costs one tick and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_notice_costs_at_most_a_tick() {
    let database = database().await;
    let deaf = Deaf::start(&database).await;
    let tick = Duration::from_millis(250);
    let follower = Follower::start(deaf.options.clone(), ticking(tick)).await;
    let mut took = Vec::new();
    for round in 0..10 {
        flip(&database, &format!("r{round}")).await;
        let began = tokio::time::Instant::now();
        until("the change", WITHIN, || async {
            follower.alias("digits", "prod").is_some_and(|(_, revision)| revision == format!("r{round}")).then_some(())
        })
        .await;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    // The slowest of a busy machine is nobody's fault; the rule is for most of them.
    assert!(took[7] < tick + Duration::from_millis(250), "{took:?}");
    until("notices to be swallowed", WITHIN, || async { (deaf.swallowed() >= 10).then_some(()) }).await;
    follower.in_step(&database).await;
    assert_eq!(follower.counted(), [0, 0, 0, 1]);
    follower.end().await;
}

/// The session that listens is ended, and another one listens: what was committed between them is not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_listener_listens_again_and_misses_nothing() {
    let database = database().await;
    let follower = Follower::start(database.options(), ticking(NEVER)).await;
    let sessions = |what: &str| {
        format!(
            "SELECT {what} FROM pg_stat_activity WHERE datname = current_database() AND application_name = '{SESSIONS}' \
             AND query LIKE 'LISTEN%'"
        )
    };
    for round in 0..3 {
        until("a session that listens", WITHIN, || async {
            (database.number(&sessions("count(*)")).await == 1).then_some(())
        })
        .await;
        database.execute(&sessions("pg_terminate_backend(pid)")).await;
        flip(&database, &format!("r{round}")).await;
        follower.in_step(&database).await;
    }
    assert_eq!(follower.counted(), [0, 0, 0, 1], "no snapshot was needed");
    follower.end().await;
}

/// All its sessions are ended: it goes on where it stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_goes_on_from_where_it_stopped() {
    let database = database().await;
    let mut writer = writer(&database, "tasks").await;
    let follower = Follower::start(database.options(), ticking(Duration::from_millis(100))).await;
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name = '{SESSIONS}'"
    );
    for version in 1..=5 {
        database.execute(&end).await;
        put(&mut writer, &[told("t", version), told(version, 1)]).await;
        follower.in_step(&database).await;
    }
    assert_eq!(follower.counted(), [0, 0, 0, 1], "the log is enough");
    until("the database to be there again", WITHIN, || async { follower.standing().away.is_none().then_some(()) })
        .await;
    follower.end().await;
}

/// The log was removed before it was read: one snapshot, counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_removed_costs_one_snapshot() {
    let database = database().await;
    let mut writer = writer(&database, "tasks").await;
    put(&mut writer, &[told("t", 1)]).await;
    let proxy = Proxy::start(&database).await;
    let follower = Follower::start(proxy.options(), ticking(Duration::from_millis(50))).await;
    proxy.stall();
    for version in 2..=4 {
        put(&mut writer, &[told("t", version), told(version, 1)]).await;
    }
    database.execute("UPDATE millstream.route_commit SET at = at - interval '10 hours'").await;
    let mut connection = Connector::from(database.options()).connect().await.unwrap();
    let pruned = millstream_connectors::sinks::routing::purge::prune(&mut connection, 5).await;
    let pruned = pruned.unwrap_or_else(|fault| panic!("{:?}", fault.into_sink_error("prune")));
    assert!(pruned.is_some_and(|seq| seq > follower.standing().seq), "{pruned:?}");
    proxy.resume();
    follower.in_step(&database).await;
    assert_eq!(follower.counted(), [0, 0, 1, 2]);
    put(&mut writer, &[told("t", 5)]).await;
    follower.in_step(&database).await;
    assert_eq!(follower.counted(), [0, 0, 1, 2], "once");
    follower.end().await;
}

/// Copies of the tables that a dump would have.
pub(crate) async fn dump(database: &Database) {
    for table in tables() {
        database.execute(&format!("CREATE TABLE dump_{table} AS SELECT * FROM millstream.{table}")).await;
    }
}

/// Puts the dump in the place of what is there, in one transaction.
pub(crate) async fn restore(database: &Database) {
    let one = |table: &String| {
        format!("DELETE FROM millstream.{table}; INSERT INTO millstream.{table} SELECT * FROM dump_{table};")
    };
    let statements: String = tables().iter().map(one).collect();
    database.execute(&format!("BEGIN; {statements} COMMIT")).await;
}

fn tables() -> Vec<String> {
    let facts = Kind::ALL.map(|kind| kind.as_str().to_owned());
    facts.into_iter().chain(["route_log", "route_commit", "alias_history"].map(str::to_owned)).collect()
}

/// The database is at an older state than the follower: it follows it back, counts that once, and aliases go back, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_went_back_is_followed_back() {
    let database = database().await;
    let mut writer = writer(&database, "tasks").await;
    put(&mut writer, &[told("a", 1), told("b", 1)]).await;
    flip(&database, "old").await;
    dump(&database).await;
    let follower = Follower::start(database.options(), ticking(Duration::from_millis(50))).await;
    for version in 2..=4 {
        put(&mut writer, &[told("a", version), told(version, 1)]).await;
    }
    flip(&database, "new").await;
    follower.in_step(&database).await;
    assert_eq!(follower.alias("digits", "prod"), Some((2, "new".to_owned())));

    restore(&database).await;
    until("the follower to go back", WITHIN, || async { (follower.counted()[0] > 0).then_some(()) }).await;
    follower.in_step(&database).await;
    assert_eq!(follower.counted(), [1, 0, 0, 2], "counted once");
    assert_eq!(follower.alias("digits", "prod"), Some((1, "old".to_owned())), "R34: back by R43 alone");
    put(&mut writer, &[told("c", 1)]).await;
    follower.in_step(&database).await;
    assert_eq!(follower.counted(), [1, 0, 0, 2]);
    follower.end().await;
}

/// The database went back and on, past the number that the follower knows: only the digest tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_went_back_and_on_is_noticed_by_its_digest() {
    let database = database().await;
    let mut writer = writer(&database, "tasks").await;
    put(&mut writer, &[told("a", 1), told("b", 1)]).await;
    dump(&database).await;
    let proxy = Proxy::start(&database).await;
    let follower = Follower::start(proxy.options(), ticking(Duration::from_millis(50))).await;
    for number in 0..5 {
        put(&mut writer, &[told(format!("lost{number}"), 1)]).await;
    }
    follower.in_step(&database).await;
    proxy.stall();
    restore(&database).await;
    for number in 0..20 {
        put(&mut writer, &[told(format!("other{number}"), 1)]).await;
    }
    proxy.resume();
    until("the follower to notice", WITHIN, || async {
        let [rewound, digest, ..] = follower.counted();
        (rewound + digest > 0).then_some(())
    })
    .await;
    follower.in_step(&database).await;
    let [rewound, digest, pruned, snapshots] = follower.counted();
    assert_eq!((rewound + digest, pruned, snapshots), (1, 0, 2), "once");
    follower.end().await;
}

/// Another database with the same numbers, as after a failover to one that was made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_identity_is_another_history() {
    let database = database().await;
    let mut writer = writer(&database, "tasks").await;
    put(&mut writer, &[told("a", 1)]).await;
    let follower = Follower::start(database.options(), ticking(Duration::from_millis(50))).await;
    database.execute("UPDATE millstream.route_identity SET identity = gen_random_uuid()").await;
    until("the follower to notice", WITHIN, || async { (follower.counted()[0] == 1).then_some(()) }).await;
    follower.in_step(&database).await;
    assert_eq!(follower.counted(), [1, 0, 0, 2]);
    follower.end().await;
}

/// Who waits for the turn commits after the one that has it, and a transaction elsewhere stays open all the while (R40).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_commits_late_is_not_missed() {
    let database = std::sync::Arc::new(database().await);
    database.execute("CREATE TABLE elsewhere (number integer)").await;
    let mut elsewhere = database.connect().await;
    sqlx::raw_sql("BEGIN; INSERT INTO elsewhere VALUES (1)").execute(&mut elsewhere).await.unwrap();
    let follower = Follower::start(database.options(), ticking(Duration::from_millis(20))).await;
    let mut first = writer(&database, "tasks").await;
    let mut second = writer(&database, "others").await;
    for round in 0..10 {
        // One has the turn, the other waits for it: numbers are given in the order of the commits.
        let mut holder = Connector::from(database.options()).connect().await.unwrap();
        sqlx::raw_sql("BEGIN").execute(&mut *holder).await.unwrap();
        Turn::take(&mut holder).await.unwrap();
        let own = std::sync::Arc::clone(&database);
        let person = task::spawn("a person of a test", async move { flip(&own, &format!("r{round}")).await });
        let events = [told(round, 1), told("t", 1 + round % 5)];
        let writing = async {
            put(&mut first, &events).await;
            put(&mut second, &[told(round + 100, 1)]).await;
        };
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                       AND wait_event_type = 'Lock' AND query LIKE '%route_turn%'";
        let freeing = async {
            until("two to wait for the turn", WITHIN, || async { (database.number(waiting).await >= 2).then_some(()) })
                .await;
            sqlx::raw_sql("COMMIT").execute(&mut *holder).await.unwrap();
        };
        tokio::join!(writing, freeing);
        person.await.unwrap();
    }
    follower.in_step(&database).await;
    assert_eq!(follower.counted(), [0, 0, 0, 1], "nothing was missed, and nothing twice");
    crate::tables::tasks::log_holds(&database).await;
    sqlx::raw_sql("COMMIT").execute(&mut elsewhere).await.unwrap();
    follower.end().await;
}
