//! The database is away, or refuses.

use std::time::Duration;

use millstream_postgres::cluster::{Cluster, ClusterOptions};
use millstream_tests::event::lines;
use millstream_tests::{Proxy, Setup, database, until};

use super::{WITHIN, agree, alarming, command, is_over, told_of};
use crate::restored::events;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_the_database_is_frozen() {
    let database = database().await;
    let proxy = Proxy::start(&database).await;
    let setup = Setup::embedded().set(&format!("postgres.url={}", proxy.url())).allow("");
    let running = setup.start().await;
    agree(&setup, &running, "keeping_up", "", "").await;
    // It takes connections, and says nothing.
    proxy.stall();
    assert_eq!(running.post(lines(&events(0, 20))).await.unwrap().status, 202);
    agree(&setup, &running, "database_away", "no answer within 1 s", "millstream doctor --data-dir ").await;
    let metrics = running.get("/metrics").await.text();
    assert!(metrics.lines().any(|line| line.starts_with("millstream_database_reachable 0")), "{metrics}");
    let lag = metrics.lines().find(|line| line.starts_with("millstream_source_lag_seconds{")).unwrap();
    assert!(lag.rsplit(' ').next().unwrap().parse::<f64>().unwrap() > 0.0, "{lag}");
    proxy.resume();
    is_over(&setup, &running, "database_away").await;
    running.finish().await;
}

/// A server of its own, so that it can be stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_the_database_is_stopped() {
    let setup = Setup::embedded();
    let mut options = ClusterOptions::new(setup.scratch().join("server"));
    options.durable = false;
    let server = Cluster::open(&options).await.unwrap();
    let address = server.options();
    let socket = address.get_socket().unwrap().to_str().unwrap().replace('/', "%2F");
    let url = format!("postgres.url=postgres://millstream@{socket}:{}/millstream", address.get_port());
    let setup = setup.set(&url).allow("");
    let running = setup.start().await;
    // Nothing arrives meanwhile: only the probe can tell.
    agree(&setup, &running, "keeping_up", "", "").await;
    server.close().await.unwrap();
    agree(&setup, &running, "database_away", "the database does not answer", "millstream doctor --data-dir ").await;
    assert_eq!(running.post(lines(&events(0, 20))).await.unwrap().status, 202);
    let began = tokio::time::Instant::now();
    until("some tries", WITHIN, || async { (began.elapsed() > Duration::from_secs(10)).then_some(()) }).await;
    assert_eq!(told_of(&running, "database_away"), 1, "{}", running.log());
    let lines = alarming(&running);
    assert!(lines.len() <= 3, "{lines:#?}");
    let server = Cluster::open(&options).await.unwrap();
    is_over(&setup, &running, "database_away").await;
    running.finish().await;
    server.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_grants_were_revoked() {
    let database = database().await;
    let role = database.owner("secret").await;
    let url = format!("postgres.url=postgres://{role}:secret@127.0.0.1:{}/{}", database.port(), database.name);
    let setup = Setup::embedded().set(&url).allow("");
    let running = setup.start().await;
    database
        .execute(&format!(
            "ALTER TABLE millstream.objects OWNER TO CURRENT_USER; REVOKE ALL ON millstream.objects FROM {role}"
        ))
        .await;
    // Before an event meets it.
    let next = "millstream doctor --data-dir ";
    agree(&setup, &running, "braked", "the account lacks a grant: GRANT ", next).await;
    assert_eq!(running.post(lines(&events(0, 20))).await.unwrap().status, 202);
    until("the word of the database", WITHIN, || async {
        let status = running.get("/v1/status").await.json();
        let reason = status["reason"].as_str().unwrap_or_default();
        (status["state"] == "braked" && reason.contains("permission denied for table objects")).then_some(())
    })
    .await;
    assert_eq!(command(&setup, &["status"]).code, 1);
    assert!(!running.log().contains(" at line "), "{}", running.log());
    database
        .execute(&format!("ALTER TABLE millstream.objects OWNER TO {role}; GRANT ALL ON millstream.objects TO {role}"))
        .await;
    is_over(&setup, &running, "braked").await;
    running.finish().await;
}
