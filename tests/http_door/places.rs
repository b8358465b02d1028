//! When every place is taken.

use std::net::SocketAddr;
use std::time::Duration;

use millstream_engine::task;
use millstream_tests::event::lines;
use millstream_tests::{Database, Event, Millstream, Setup, database, until};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::{connect, connect_from, event, exchange, question};

/// What is expected and told on further connections while four lists hold the four places that there are, three of
/// them those of one peer. `None`: one of the lists has ended meanwhile.
async fn while_every_place_is_busy(database: &Database, to: SocketAddr) -> Option<Vec<(u16, String)>> {
    const WAITING: &str =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut admin = database.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE millstream.objects IN ACCESS EXCLUSIVE MODE").execute(&mut admin).await.unwrap();
    let mut lists = Vec::new();
    for last in [3, 3, 3, 4] {
        let request = question("/v1/buckets/b/objects");
        let asking = async move { exchange(connect_from([127, 0, 0, last], to).await, &request).await };
        lists.push(task::spawn("list", asking));
        // One that has not asked yet would make room for the next.
        until("a list to wait for the lock", Duration::from_secs(60), || async {
            let waits = database.number(WAITING).await == lists.len() as i64;
            (waits || lists.iter().any(|list| list.is_finished())).then_some(())
        })
        .await;
    }
    let mut told = Vec::new();
    for _ in 0..3 {
        // With its share of three in use, the third peer gets no more either.
        for (last, path, status) in
            [(5, "/healthz", 200), (5, "/readyz", 200), (5, "/v1/status", 503), (3, "/v1/status", 503)]
        {
            told.push((status, exchange(connect_from([127, 0, 0, last], to).await, &question(path)).await));
        }
    }
    let were_busy = !lists.iter().any(|list| list.is_finished());
    sqlx::raw_sql("ROLLBACK").execute(&mut admin).await.unwrap();
    for list in lists {
        let answer = list.await.unwrap();
        assert!(!were_busy || answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    were_busy.then_some(told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_are_answered_when_every_place_is_busy() {
    let database = database().await;
    let setup = Setup::new(&database)
        .set("http.connections_max=4")
        .set("http.connections_per_peer_max=3")
        .set("http.connections_kept=1");
    let millstream = setup.allow("connections are short").allow("did not finish and are cut off").start().await;
    let to = millstream.address();
    // A list gives up after five seconds, which a busy machine may need: then everything is asked once more.
    let mut told = None;
    for _ in 0..5 {
        told = while_every_place_is_busy(&database, to).await;
        if told.is_some() {
            break;
        }
    }
    for (status, told) in told.expect("places to stay busy for a moment") {
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {told}");
        assert!(status == 200 || told.contains("urn:millstream:problem:no-place"), "{told}");
    }
    let answer = exchange(connect_from([127, 0, 0, 5], to).await, &question("/v1/status")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_is_one_at_a_time_and_ends_with_its_client() {
    let database = database().await;
    let setup = Setup::new(&database).set("stream.partitions=1").set("limits.quarantine_share_max=1");
    let millstream = setup.start().await;
    let to = millstream.address();
    for part in 0..3 {
        let events: Vec<Event> = (0..10_000).map(|at| event(&format!("{part}/{at}"))).collect();
        assert_eq!(millstream.post(lines(&events)).await.unwrap().status, 202);
    }
    millstream.caught_up(Duration::from_secs(120)).await;
    let path = "/v1/why?pipeline=objects&bucket=uploads&key=0/1&since_seconds=3600";
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let began = Instant::now();
    assert_eq!(millstream.get(path).await.status, 200);
    let scan = began.elapsed();
    let before = cpu_seconds(&millstream).await;
    let mut refused = 0;
    for _ in 0..10 {
        let mut stream = connect(to).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(scan / 20).await;
        drop(stream);
        refused += u64::from(millstream.get(path).await.status == 429);
    }
    until("a scan to be possible again", Duration::from_secs(60), || async {
        (millstream.get(path).await.status == 200).then_some(())
    })
    .await;
    let used = cpu_seconds(&millstream).await - before;
    println!("a scan takes {scan:?}; 10 dropped ones used {used:.2} s, {refused} others had to wait");
    assert!(refused > 0, "a dropped scan gives its place to another before it has ended");
    millstream.finish().await;
}

async fn cpu_seconds(millstream: &Millstream) -> f64 {
    millstream.get("/v1/status").await.json()["process"]["cpu_seconds"].as_f64().unwrap()
}
