//! Nobody holds the door: whatever a peer does with its connections, others get in, and every client gets its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hyper::Method;
use millstream_engine::task;
use millstream_tests::client::Http;
use millstream_tests::event::lines;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Database, Event, Millstream, Model, Setup, compare, database, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

fn event(key: &str) -> Event {
    Event::create("uploads", key, DAY_NS, 5)
}

/// A connection from an address of the loopback network.
async fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

async fn connect(to: SocketAddr) -> TcpStream {
    TcpStream::connect(to).await.unwrap()
}

/// Sends text, and reads until the other side closes.
async fn exchange(mut stream: TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

fn post(body: &[u8]) -> String {
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n",
        body.len()
    );
    format!("{head}connection: close\r\n\r\n{}", std::str::from_utf8(body).unwrap())
}

/// A counter of `/metrics`.
async fn metric(millstream: &Millstream, name: &str) -> f64 {
    let text = millstream.get("/metrics").await.text();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} is not in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

async fn ended(millstream: &Millstream, reason: &str) -> f64 {
    metric(millstream, &format!("millstream_http_connections_ended_total{{reason=\"{reason}\"}}")).await
}

/// Holds a connection open until it is closed by the other side or the test ends; counts those that were closed.
fn hold(stream: TcpStream, drip: &'static [u8], closed: &Arc<AtomicU64>) {
    let closed = Arc::clone(closed);
    drop(task::spawn("holder", async move {
        let (mut reading, mut writing) = stream.into_split();
        let dripping = async {
            for byte in drip.iter().cycle() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if drip.len() > 1 && writing.write_all(&[*byte]).await.is_err() {
                    return;
                }
            }
            std::future::pending().await
        };
        let mut buffer = [0; 1024];
        let ending = async { while matches!(reading.read(&mut buffer).await, Ok(1..)) {} };
        tokio::select! {
            () = dripping => {}
            () = ending => {}
        }
        closed.fetch_add(1, Relaxed);
    }));
}

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
    until("the one that never reads to be ended", Duration::from_secs(20), || async {
        (ended(&millstream, "answer_timeout").await == 1.0).then_some(())
    })
    .await;
    millstream.finish().await;
}

fn question(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
}

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
        until("a list to wait for the lock", Duration::from_secs(20), || async {
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
async fn a_client_that_has_shut_its_sending_side_gets_its_answer() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    let to = millstream.address();
    let mut events = Vec::new();
    // Small, of several packets, and with a question instead of events.
    for (number, size) in [10, 5_000, 400_000].into_iter().enumerate() {
        let one: Vec<Event> = (0..size / 300 + 1).map(|at| event(&format!("half/{number}/{at}"))).collect();
        let mut stream = connect(to).await;
        stream.write_all(post(&lines(&one)).as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = exchange(stream, "").await;
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        events.extend(one);
    }
    let mut stream = connect(to).await;
    stream.write_all(b"GET /v1/buckets HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = exchange(stream, "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // An unfinished body is no request.
    let mut stream = connect(to).await;
    let body = lines(&[event("cut")]);
    stream.write_all(&post(&body).as_bytes()[..post(&body).len() - 10]).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = exchange(stream, "").await;
    assert!(!answer.contains(" 202 "), "{answer}");
    millstream.caught_up(Duration::from_secs(30)).await;
    compare(&database, &Model::of(&events)).await;
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_reaches_a_client_that_sends_everything_first() {
    let database = database().await;
    let setup = Setup::new(&database).set("http.body_bytes_max=1048576").set("limits.record_bytes_max=1048576");
    let millstream = setup.start().await;
    let to = millstream.address();
    let body = " ".repeat(12 << 20);
    for round in 0..5 {
        let chunked = format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let whole = format!("content-length: {}\r\n\r\n{body}", body.len());
        for rest in [whole, chunked] {
            let request = format!("POST /v1/events HTTP/1.1\r\nhost: localhost\r\n{rest}");
            let answer = exchange(connect(to).await, &request).await;
            assert!(answer.starts_with("HTTP/1.1 413 "), "round {round}: {answer:?}");
            assert!(answer.contains("urn:millstream:problem:too-large"), "{answer}");
        }
    }
    // Whoever never ends does not hold the door either.
    let mut endless = connect(to).await;
    endless
        .write_all(b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\n\r\n")
        .await
        .unwrap();
    let sent = Arc::new(AtomicBool::new(false));
    tokio::time::timeout(Duration::from_secs(40), async {
        let part = vec![b' '; 1 << 20];
        while endless.write_all(&part).await.is_ok() {}
        sent.store(true, Relaxed);
    })
    .await
    .unwrap();
    assert!(sent.load(Relaxed));
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_is_told_why() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    let to = millstream.address();
    let long = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(70_000));
    let many = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "a: b\r\n".repeat(200));
    let large = |bytes| format!("GET / HTTP/1.1\r\nhost: localhost\r\na: {}\r\n\r\n", "b".repeat(bytes));
    let after = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nnonsense\r\n\r\n";
    for (request, status) in [
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (&*long, 414),
        (&many, 431),
        (&large(132_000), 431),
        (&large(200_000), 431),
        (&large(2_000_000), 431),
        (after, 400),
    ] {
        let answer = exchange(connect(to).await, request).await;
        let answer =
            answer.strip_prefix("HTTP/1.1 200 OK").map_or(&*answer, |rest| &rest[rest.find("HTTP/1.1").unwrap()..]);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(head.contains("application/problem+json"), "{head}");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], status, "{body}");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
    // Parameters that are no text, or that nobody knows, on every route; and what a library would say of them.
    for path in [
        "/v1/events?store=%ff",
        "/v1/buckets?store=%ff",
        "/v1/buckets/b/objects?prefix=%ff",
        "/v1/buckets/b/objects?prefix=%C3",
        "/v1/buckets/b/objects/k?version_id=%ff",
        "/v1/buckets/b/count?prefix=a%ffb",
        "/v1/decisions?limit=%ff",
        "/v1/why?pipeline=objects&bucket=b&key=%ff&since_seconds=1",
        "/readyz?for=%ff",
        "/v1/status?%ff",
        "/metrics?x=%ff",
        "/healthz?%ff=1",
        "/v1/buckets/%ff/objects",
        "/v1/pipelines/%ff/resume",
        "/v1/buckets/b/objects?limit=x",
        "/v1/buckets/b/objects?size_min=",
        "/v1/decisions?limit=1&limit=2",
        "/v1/buckets?prefix=a",
        "/readyz?for=dinner",
    ] {
        let method =
            if path.starts_with("/v1/events") || path.ends_with("resume") { Method::POST } else { Method::GET };
        let answer = millstream.send(method, path, &[("content-type", "application/json")], "{}").await.unwrap();
        let text = answer.text();
        assert_eq!(answer.status, 400, "{path}: {text}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}: {text}");
        assert!(!text.contains("deserialize"), "{path}: {text}");
    }
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
    until("a scan to be possible again", Duration::from_secs(10), || async {
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
