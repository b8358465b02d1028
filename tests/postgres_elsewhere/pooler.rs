//! Through PgBouncer in transaction mode, where no two transactions need meet the same session.

use super::*;
use millstream_tests::{Bouncer, Model, compare, database};

/// Everything at once through two server connections: four writers, eight readers.
async fn behind(pool_size: u32) -> Option<(Database, Bouncer, Setup)> {
    let database = database().await;
    let role = format!("{}_app", database.name);
    let bouncer = Bouncer::start(&database, &role, "pass word", pool_size).await?;
    let setup = setup(&database, &format!("{role}:pass%20word"), bouncer.port(), "")
        .set("postgres.pgbouncer=true")
        // The account is made on the way, by that of the direct address.
        .set(&format!("postgres.migrate_url={}", database.url()))
        .set("stream.partitions=8")
        .set("pipeline.objects.concurrency.max=4")
        .set("limits.retry_seconds_max=1");
    Some((database, bouncer, setup))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_clients_than_server_connections_write_and_read() {
    let Some((database, _bouncer, setup)) = behind(2).await else { return };
    let setup = setup.set("postgres.lock_timeout_ms=1000").set("postgres.statement_timeout_ms=20000");
    let setup = setup.set("controller.record=controller.jsonl");
    // On a busy machine a look at a connection that goes back has met a limit of time.
    let driver = "error occurred while testing the connection";
    let running = setup.clone().allow("braked").allow("database away").allow("stalled").allow(driver).start().await;
    database.execute(&format!("GRANT pg_monitor TO {}_app", database.name)).await;
    let mut generator = Generator::new("pooler");
    let events = generator.events(4_000);
    let shuffled = generator.shuffled(&events, 0.1);
    let reads = async {
        for _ in 0..40 {
            let paths = [
                "/v1/buckets/uploads/count",
                "/v1/buckets/uploads/objects?limit=5",
                "/v1/buckets",
                "/readyz?for=queries",
            ];
            for answer in futures(&running, &paths).await {
                assert!(answer.status.is_success(), "{}", answer.text());
            }
        }
    };
    tokio::join!(post(&running, &shuffled), reads);
    running.caught_up(WITHIN).await;
    compare(&database, &Model::of(&events)).await;
    assert_eq!(database.number(POSITIONS).await, shuffled.len() as i64);

    // No more server connections than the pool has, and their own, of which each client has had several.
    let served = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}_app'", database.name);
    assert!((1..=2).contains(&database.number(&served).await));

    // Limits of time go with each transaction, since no session keeps them.
    let mut holder = database.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE millstream.bucket_count").execute(&mut holder).await.unwrap();
    let late = generator.events(200);
    post(&running, &late).await;
    until("the word of the database", WITHIN, || async {
        let status = running.get("/v1/status").await.json();
        let reason = status["reason"].as_str().unwrap_or_default();
        (status["state"] == "braked" && reason.contains("lock timeout")).then_some(())
    })
    .await;
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    running.caught_up(WITHIN).await;
    compare(&database, &Model::of(events.iter().chain(&late))).await;

    // A look at a busy pooler may get no answer in time; then none is made for ten seconds, or while nothing is written.
    let recording = setup.scratch().join("controller.jsonl");
    let told = async {
        while !std::fs::read_to_string(&recording).unwrap().contains("\"sessions_running\":") {
            post(&running, &generator.events(20)).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(WITHIN, told).await.expect("the controller hears how busy the database is");

    let pooler = doctor(&setup, "pooler");
    assert!(pooler.starts_with("ok: transactions share server connections"), "{pooler}");
    let ran = command(&setup, &["quarantine", "ls"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "nothing is in quarantine\n"), "{ran:#?}");
    running.finish().await;
}

async fn futures(running: &Millstream, paths: &[&str; 4]) -> [millstream_tests::Response; 4] {
    let [one, two, three, four] = paths.map(|path| running.get(path));
    tokio::join!(one, two, three, four).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_is_killed_under_load_loses_and_doubles_nothing() {
    let Some((database, mut bouncer, setup)) = behind(3).await else { return };
    let driver = "error occurred while testing the connection";
    let running = setup
        .allow("braked")
        .allow("database away")
        .allow("stalled")
        .allow("a question was not answered")
        .allow(driver)
        .start()
        .await;
    let mut generator = Generator::new("pooler killed");
    let events = generator.events(3_000);
    let mut there = 0;
    let mut cut = 0;
    for (part, posted) in events.chunks(500).zip((500..).step_by(500)) {
        let ((), at_kill) = tokio::join!(post(&running, part), async {
            there = progress(&database, there).await;
            bouncer.kill();
            database.number(POSITIONS).await
        });
        cut += i64::from(at_kill < posted);
        bouncer.restart().await;
        // What is left of this part is written while there are more kills to come.
        there = if at_kill < posted { progress(&database, at_kill).await } else { at_kill };
    }
    println!("{cut} of 6 kills met records on the way");
    assert!(cut > 0, "no kill met any work");
    running.caught_up(WITHIN).await;
    compare(&database, &Model::of(&events)).await;
    assert_eq!(database.number(POSITIONS).await, events.len() as i64);
    running.finish().await;
}

/// A pooler that nobody announced, and one that stands where a session is needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_was_not_announced_is_refused_with_the_next_step() {
    let database = database().await;
    let role = database.owner("secret").await;
    let Some(bouncer) = Bouncer::start(&database, &role, "secret", 2).await else { return };
    let account = format!("{role}:secret");
    let unannounced = setup(&database, &account, bouncer.port(), "");
    let next = "set postgres.pgbouncer = true, and postgres.migrate_url to the server's own address";

    let ran = command(&unannounced, &["run"]);
    assert_eq!(ran.code, 78, "{ran:#?}");
    assert!(ran.err.contains("postgres.url: 127.0.0.1:") && ran.err.contains(next), "{ran:#?}");
    assert!(!ran.err.contains("prepared statement"), "{ran:#?}");
    assert_eq!(database.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'millstream'").await, 0);
    let found = doctor(&unannounced, "postgres");
    assert!(found.starts_with("FAIL: ") && found.ends_with(next), "{found}");

    // What PgBouncer refuses at once is told the same way.
    let refused = command(&unannounced.clone().set("postgres.lock_timeout_ms=1000"), &["run"]);
    assert!(refused.code == 78 && refused.err.contains(next), "{refused:#?}");

    let direct = format!("postgres.migrate_url=postgres://{account}@127.0.0.1:{}/{}", bouncer.port(), database.name);
    let ran = command(&unannounced.clone().set("postgres.pgbouncer=true").set(&direct), &["run"]);
    assert_eq!(ran.code, 78, "{ran:#?}");
    assert!(ran.err.contains("postgres.migrate_url: ") && ran.err.contains("the server's own address"), "{ran:#?}");

    let ran = command(&unannounced.set("postgres.pgbouncer=true"), &["validate"]);
    assert!(ran.code == 78 && ran.err.contains("postgres.pgbouncer needs postgres.migrate_url"), "{ran:#?}");
    let usual = Setup::embedded().set("postgres.url=postgres://app@127.0.0.1:6432/events");
    let ran = command(&usual, &["validate"]);
    assert!(ran.code == 0 && ran.out.contains(next), "{ran:#?}");
}
