//! A graceful stop is a crash, only faster: nothing lost, nothing read twice, within its deadline.

use std::time::Duration;

use millstream_engine::task;
use millstream_tests::client::Http;
use millstream_tests::event::lines;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Event, Millstream, Model, Proxy, Setup, compare, database, until};
use tokio::time::Instant;

/// Posts until it is refused or the other side is gone; returns what was acknowledged, and perhaps one part more.
async fn post_until_refused(address: std::net::SocketAddr) -> (Vec<Event>, Vec<Event>) {
    let http = Http::default();
    let mut acknowledged = Vec::new();
    for part in 0.. {
        let event = |n: u64| Event::create("uploads", &format!("in/{part}/{n}"), DAY_NS + part * 1_000 + n, 1);
        let events: Vec<Event> = (0..100).map(event).collect();
        let header = [("content-type", "application/x-ndjson")];
        match http.send(hyper::Method::POST, address, "/v1/events", &header, lines(&events)).await {
            Ok(answer) if answer.status == 202 => acknowledged.extend(events),
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text());
                return (acknowledged, Vec::new());
            }
            Err(_) => return (acknowledged, events),
        }
    }
    unreachable!("the loop has no end")
}

/// The number after `records=` in the line that says so at the end.
fn records(millstream: &Millstream) -> u64 {
    let lines = millstream.lines();
    let line = lines.iter().find(|line| line.contains("records=")).expect("a summary line");
    line.split_once("records=").unwrap().1.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_loses_nothing_and_reads_nothing_twice() {
    let database = database().await;
    let setup = Setup::new(&database);
    let mut first = setup.start().await;
    let posts = task::spawn("posts", post_until_refused(first.address()));
    until("some work to be done", Duration::from_secs(30), || async {
        (database.number("SELECT count(*) FROM millstream.objects").await > 500).then_some(())
    })
    .await;
    let began = Instant::now();
    first.terminate();
    assert_eq!(first.wait().await, 0, "{}", first.log());
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    first.check_log();
    let (acknowledged, unknown) = posts.await.unwrap();
    let positions = "SELECT coalesce(sum(next_position::bigint), 0) FROM millstream.lease";
    assert_eq!(database.number(positions).await as u64, records(&first), "all that was taken in is committed");

    let mut second = setup.start().await;
    second.caught_up(Duration::from_secs(60)).await;
    second.terminate();
    assert_eq!(second.wait().await, 0);
    let stored = database.number(positions).await as u64;
    assert_eq!(records(&first) + records(&second), stored, "each record was read once");
    let all = database.number("SELECT count(*) FROM millstream.objects").await as usize;
    let mut told = acknowledged.clone();
    if all > acknowledged.len() {
        told.extend(unknown);
    }
    compare(&database, &Model::of(&told)).await;
}

/// Sends events, and returns once a batch of them is under way that cannot end, for its database does not answer. What
/// nobody has read yet would keep no drain, and neither would lanes that have no leases yet: the first event brings them.
async fn stall_in_a_batch(millstream: &Millstream, proxy: &Proxy, events: &[Event]) {
    let (first, rest) = events.split_at(1);
    assert_eq!(millstream.post(lines(first)).await.unwrap().status, 202);
    millstream.caught_up(Duration::from_secs(30)).await;
    proxy.stall();
    assert_eq!(millstream.post(lines(rest)).await.unwrap().status, 202);
    until("a batch to be written", Duration::from_secs(60), || async {
        let metrics = millstream.get("/metrics").await.text();
        let turns = metrics.lines().find_map(|line| line.strip_prefix("millstream_controller_in_flight_transactions "));
        let turns: f64 = turns.expect("a gauge of transactions under way").trim().parse().expect("a number");
        (turns > 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_leaves_at_once_and_a_kill_in_the_drain_loses_nothing() {
    let database = database().await;
    let proxy = Proxy::start(&database).await;
    let setup = Setup::embedded().set(&format!("postgres.url={}", proxy.url()));
    let mut events: Vec<Event> = Vec::new();
    for round in 0..2u64 {
        let mut millstream = setup.start().await;
        let event = |n: u64| Event::create("uploads", &format!("in/{round}/{n}"), DAY_NS + n, 1);
        let part: Vec<Event> = (0..300).map(event).collect();
        stall_in_a_batch(&millstream, &proxy, &part).await;
        events.extend(part);
        millstream.terminate();
        millstream.logged("draining", Duration::from_secs(10)).await;
        // The drain cannot end: its database does not answer.
        if round == 0 {
            let began = Instant::now();
            millstream.terminate();
            assert_ne!(millstream.wait().await, 0, "what is not committed is said");
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        } else {
            millstream.kill();
        }
        proxy.resume();
    }
    let last = setup.start().await;
    last.caught_up(Duration::from_secs(60)).await;
    compare(&database, &Model::of(&events)).await;
    last.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_drains_it_is_not_ready() {
    let database = database().await;
    let proxy = Proxy::start(&database).await;
    let setup = Setup::embedded().set(&format!("postgres.url={}", proxy.url())).set("limits.drain_seconds=3");
    let mut millstream = setup.start().await;
    // Of one key, so that they belong to one lane.
    let events = [0, 1].map(|later| Event::create("uploads", "in/key", DAY_NS + later, 1));
    stall_in_a_batch(&millstream, &proxy, &events).await;
    millstream.terminate();
    millstream.logged("draining", Duration::from_secs(10)).await;
    let ready = millstream.send(hyper::Method::GET, "/readyz", &[], "").await;
    assert!(ready.as_ref().map_or(true, |answer| answer.status == 503), "{ready:?}");
    let began = Instant::now();
    assert_ne!(millstream.wait().await, 0, "not everything is committed:\n{}", millstream.log());
    assert!(began.elapsed() < Duration::from_secs(15), "the deadline holds: {:?}", began.elapsed());
}
