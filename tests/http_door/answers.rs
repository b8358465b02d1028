//! Every client gets its answer, also one that does not ask as it should.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::Method;
use millstream_tests::event::lines;
use millstream_tests::{Event, Model, Setup, compare, database};
use tokio::io::AsyncWriteExt as _;

use super::{connect, event, exchange, post};

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
