//! Peers that hold many connections, or hold one for long.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::Method;
use millstream_engine::task;
use millstream_tests::client::Http;
use millstream_tests::event::lines;
use millstream_tests::{Event, Setup, database, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{connect, connect_from, ended, event, exchange, hold, metric, post};

/// Asks again and again and never reads.
fn never_read(stream: TcpStream) {
    drop(task::spawn("never reads", async move {
        let mut stream = stream;
        let request = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
        while stream.write_all(request.as_bytes()).await.is_ok() {}
    }));
}

/// More than a thousand connections have two ends each.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

/// Posts one event after the other, each over a connection of its own, and over one that is kept; the times in ms.
async fn post_all(from: [u8; 4], to: SocketAddr, posts: usize, name: &str) -> (Vec<Event>, Vec<u128>) {
    let kept = Http::default();
    let mut events = Vec::new();
    let mut times = Vec::new();
    for number in 0..posts {
        let one = event(&format!("{name}/{number}"));
        let body = lines(std::slice::from_ref(&one));
        let began = Instant::now();
        if number % 2 == 0 {
            let answer = exchange(connect_from(from, to).await, &post(&body)).await;
            assert!(answer.starts_with("HTTP/1.1 202 "), "post {number}: {answer:?}");
        } else {
            let headers = [("content-type", "application/x-ndjson")];
            let answer = kept.send(Method::POST, to, "/v1/events", &headers, body).await.unwrap();
            assert_eq!(answer.status, 202, "post {number}: {}", answer.text());
        }
        times.push(began.elapsed().as_millis());
        events.push(one);
    }
    times.sort_unstable();
    (events, times)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_peer_with_hundreds_of_connections_keeps_nobody_out() {
    allow_many_files();
    let database = database().await;
    let millstream =
        Setup::new(&database).allow("connections are short").allow("did not finish and are cut off").start().await;
    let to = millstream.address();
    let hostile = [127, 0, 0, 2];
    let closed = Arc::new(AtomicU64::new(0));
    for number in 0..670 {
        let mut stream = connect_from(hostile, to).await;
        match number % 67 {
            0..60 => hold(stream, b"", &closed),
            60..65 => {
                let is_head = number % 2 == 0;
                let start = if is_head {
                    "GET /v1/status HTTP/1.1\r\n"
                } else {
                    "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n"
                };
                stream.write_all(start.as_bytes()).await.ok();
                hold(stream, b"a: b\r\n", &closed);
            }
            _ => never_read(stream),
        }
    }
    // Of another peer, and of the same one: neither is refused.
    for (from, name) in [([127, 0, 0, 1], "other"), (hostile, "same")] {
        let (events, times) = post_all(from, to, 200, name).await;
        let p99 = times[times.len() * 99 / 100];
        println!("{name} peer: {} posts, 0 refused, p50 {} ms, p99 {p99} ms", times.len(), times[times.len() / 2]);
        assert!(p99 < 1000, "p99 {p99} ms");
        millstream.caught_up(Duration::from_secs(30)).await;
        assert_eq!(
            database.number("SELECT count(*) FROM millstream.objects").await as usize % 200,
            0,
            "{}",
            events.len()
        );
    }
    assert!(metric(&millstream, "millstream_http_connections ").await <= 512.0 + 16.0);
    assert!(ended(&millstream, "displaced").await >= 150.0, "those beyond the limit made room");
    assert_eq!(ended(&millstream, "refused").await, 0.0);
    assert!(closed.load(Relaxed) >= 100, "and were closed: {}", closed.load(Relaxed));
    let line = millstream.logged("connections are short", Duration::from_secs(5)).await;
    assert!(line.contains("peer=127.0.0.2"), "{line}");
    let said = millstream.lines().iter().filter(|line| line.contains("connections are short")).count();
    assert!(said <= 3, "once a minute: {said}");
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_is_waited_for_beyond_its_limit() {
    let database = database().await;
    let limits = [
        "head_seconds_max=1",
        "idle_seconds_max=2",
        "answer_seconds_max=1",
        "body_pause_seconds_max=1",
        "body_seconds_max=3",
    ];
    let setup = limits.iter().fold(Setup::new(&database), |setup, limit| setup.set(&format!("http.{limit}")));
    let millstream = setup.start().await;
    let to = millstream.address();
    let lasts = async |mut stream: TcpStream, drip: &str| {
        let began = Instant::now();
        let mut buffer = [0; 1024];
        loop {
            let (mut reading, mut writing) = stream.split();
            let read = tokio::time::timeout(Duration::from_millis(200), reading.read(&mut buffer)).await;
            match read {
                Ok(Ok(0) | Err(_)) => return began.elapsed(),
                Ok(Ok(_)) => {}
                Err(_) if drip.is_empty() => {}
                Err(_) => drop(writing.write_all(drip.as_bytes()).await),
            }
            assert!(began.elapsed() < Duration::from_secs(20), "still open");
        }
    };
    let start = async |text: &str| {
        let mut stream = connect(to).await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    };
    let silent = lasts(connect(to).await, "").await;
    let slow_head = lasts(start("GET / HTTP/1.1\r\n").await, "a: b\r\n").await;
    // A connection that the test itself keeps may be among them.
    assert!(ended(&millstream, "head_timeout").await >= 2.0);
    let idle = lasts(start("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await, "").await;
    // That of the test itself may be among them.
    assert!(ended(&millstream, "idle_timeout").await >= 1.0);
    for (limit, took) in [(1, silent), (1, slow_head), (2, idle)] {
        assert!((limit..limit + 4).contains(&took.as_secs()), "{limit} s: {took:?}");
    }

    // Bodies: nothing for a second, and something now and then for three.
    let head = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n";
    let mut paused = start(head).await;
    let mut answer = [0; 12];
    paused.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    let began = Instant::now();
    lasts(start(head).await, "x").await;
    assert!((3..8).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    let change = "PATCH /v1/controller HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n";
    let mut paused = start(change).await;
    paused.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408", "every body has the limit");

    // An answer that nobody reads, however much is asked for.
    never_read(connect(to).await);
    until("the one that never reads to be ended", Duration::from_secs(60), || async {
        (ended(&millstream, "answer_timeout").await == 1.0).then_some(())
    })
    .await;
    millstream.finish().await;
}
