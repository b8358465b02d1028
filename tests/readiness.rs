//! What probes are told: events are taken without a database, questions are not answered without one, and neither
//! depends on what clients do.

use std::time::Duration;

use hyper::Method;
use millstream_engine::task;
use millstream_tests::client::Http;
use millstream_tests::event::lines;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Event, Millstream, Model, Proxy, Setup, compare, database, until};
use serde_json::Value;
use sqlx::Connection as _;
use tokio::time::Instant;

async fn ready(millstream: &Millstream, purpose: &str) -> (u16, Value) {
    let answer = millstream.get(&format!("/readyz{purpose}")).await;
    (answer.status.as_u16(), answer.json())
}

async fn unreachable(millstream: &Millstream) -> String {
    until("the database to be missed", Duration::from_secs(30), || async {
        let status = millstream.get("/v1/status").await.json();
        (status["postgres"]["reachable"] == false).then(|| status["postgres"]["error"].as_str().unwrap().to_owned())
    })
    .await
}

async fn reachable(millstream: &Millstream) {
    until("the database to be back", Duration::from_secs(30), || async {
        (ready(millstream, "?for=queries").await.0 == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_database_it_takes_events_and_says_which_questions_it_cannot_answer() {
    let database = database().await;
    let proxy = Proxy::start(&database).await;
    let setup = Setup::embedded().set(&format!("postgres.url={}", proxy.url())).allow("");
    let millstream = setup.start().await;
    assert_eq!(ready(&millstream, "?for=events").await.0, 200);
    proxy.stall();
    let error = unreachable(&millstream).await;
    assert!(error.contains("no answer within 1 s"), "{error}");

    let began = Instant::now();
    let (status, health) = ready(&millstream, "").await;
    assert!(began.elapsed() < Duration::from_millis(500), "it asked the database: {:?}", began.elapsed());
    assert_eq!((status, &health["status"], &health["for"]), (200, &"ok".into(), &"events".into()), "{health}");
    assert_eq!(
        (&health["checks"]["database"]["ok"], &health["checks"]["database"]["decides"]),
        (&false.into(), &false.into())
    );
    let (status, health) = ready(&millstream, "?for=queries").await;
    assert_eq!((status, &health["checks"]["database"]["decides"]), (503, &true.into()), "{health}");
    assert_eq!(ready(&millstream, "?for=dinner").await.0, 400);

    let events: Vec<Event> = (0..20).map(|n| Event::create("uploads", &format!("away/{n}"), DAY_NS + n, 1)).collect();
    assert_eq!(millstream.post(lines(&events)).await.unwrap().status, 202);
    proxy.resume();
    reachable(&millstream).await;
    millstream.caught_up(Duration::from_secs(60)).await;
    compare(&database, &Model::of(&events)).await;
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cause_is_told_when_the_database_refuses() {
    let database = database().await;
    let millstream = Setup::new(&database).allow("").start().await;
    // Nobody can shut the database that it is connected to.
    let mut admin = sqlx::PgConnection::connect_with(&database.options().database("postgres")).await.unwrap();
    let refuse = async |allowed: bool, admin: &mut sqlx::PgConnection| {
        let sql = format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {allowed}", database.name);
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *admin).await.unwrap();
        let sql = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'", database.name);
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *admin).await.unwrap();
    };
    refuse(false, &mut admin).await;
    let error = unreachable(&millstream).await;
    assert!(error.contains("is not currently accepting connections"), "{error}");
    assert_eq!(error.matches("not currently accepting").count(), 1, "said once: {error}");
    assert_eq!(ready(&millstream, "").await.0, 200);
    let (status, health) = ready(&millstream, "?for=queries").await;
    assert_eq!(status, 503, "{health}");
    refuse(true, &mut admin).await;
    reachable(&millstream).await;
    // The pipeline goes on, too, before it is asked to drain.
    let event = Event::create("uploads", "after", DAY_NS, 1);
    assert_eq!(millstream.post(lines(std::slice::from_ref(&event))).await.unwrap().status, 202);
    millstream.caught_up(Duration::from_secs(30)).await;
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_fill_the_pool_take_nobody_out_of_rotation() {
    let database = database().await;
    let millstream = Setup::new(&database).allow("").start().await;
    let mut admin = database.connect().await;
    // Every list waits for this lock, up to its own limit of 5 s.
    sqlx::raw_sql("BEGIN; LOCK TABLE millstream.objects IN ACCESS EXCLUSIVE MODE").execute(&mut admin).await.unwrap();
    let address = millstream.address();
    let readers: Vec<_> = (0..20)
        .map(|_| {
            task::spawn("reader", async move {
                Http::default()
                    .send(Method::GET, address, "/v1/buckets/b/objects", &[], "")
                    .await
                    .map(|answer| answer.status)
            })
        })
        .collect();
    until("the pool to be full", Duration::from_secs(60), || async {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        (database.number(waiting).await >= 8).then_some(())
    })
    .await;
    for purpose in ["", "?for=queries"] {
        let began = Instant::now();
        let (status, health) = ready(&millstream, purpose).await;
        assert_eq!(status, 200, "{health}");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    let status = millstream.get("/v1/status").await.json();
    assert_eq!(
        (&status["postgres"]["reachable"], &status["postgres"]["error"]),
        (&true.into(), &Value::Null),
        "{status}"
    );
    sqlx::raw_sql("ROLLBACK").execute(&mut admin).await.unwrap();
    for reader in readers {
        reader.await.unwrap().unwrap();
    }
    millstream.finish().await;
}
