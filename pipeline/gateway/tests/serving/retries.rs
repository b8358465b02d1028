//! What is sent again, what is not, and how often a task executes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millstream_gateway::server::counters::Miss;
use tokio::net::TcpListener;

use crate::harness::Setup;
use crate::upstream::{Action, Upstream, ok, response};

/// Two tasks; the first request that comes to any of them is treated so, all others are answered.
async fn two(first: fn() -> Action) -> (Upstream, Upstream, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let handler = |count: Arc<AtomicUsize>| {
        move |_: &_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => first(),
            _ => Action::Reply(ok("second")),
        }
    };
    (Upstream::start(handler(Arc::clone(&count))).await, Upstream::start(handler(Arc::clone(&count))).await, count)
}

#[tokio::test]
async fn a_get_whose_connection_breaks_is_sent_to_another_task() {
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        let (one, other, count) = two(|| Action::Close).await;
        let gateway = Setup::default().start(&[one.address, other.address]).await;
        let body = if method == "PUT" { "content" } else { "" };
        let got = gateway.request(method, "/services/s/a/x", "", body).await;
        assert_eq!(got.status, 200, "{method}");
        assert_eq!((one.count(), other.count(), count.load(Ordering::SeqCst)), (1, 1, 2), "{method}");
        assert_eq!(one.requests()[0].body, other.requests()[0].body);
        let snapshot = gateway.gateway.snapshot();
        assert_eq!((snapshot.retried, snapshot.missed(Miss::Reset)), (1, 1));
    }
}

#[tokio::test]
async fn a_post_that_was_sent_is_never_executed_twice() {
    for method in ["POST", "PATCH"] {
        for headers in ["", "Idempotency-Key: k\r\n"] {
            let (one, other, count) = two(|| Action::Close).await;
            let gateway = Setup::default().start(&[one.address, other.address]).await;
            let got = gateway.request(method, "/services/s/a/x", headers, "pay").await;
            assert_eq!((got.status, &*got.reason()), (502, "reset"));
            assert_eq!((one.count() + other.count(), count.load(Ordering::SeqCst)), (1, 1));
        }
    }
}

#[tokio::test]
async fn a_post_is_sent_again_where_the_deploy_or_the_route_says_so() {
    let (one, other, _) = two(|| Action::Close).await;
    let mut setup = Setup::default();
    setup.deploy.replay_post = true;
    let gateway = setup.start(&[one.address, other.address]).await;
    assert_eq!(gateway.request("POST", "/services/s/a/x", "", "predict").await.text(), "second");
    assert_eq!(one.requests()[0].body, other.requests()[0].body);

    let (one, other, _) = two(|| Action::Close).await;
    let mut setup = Setup::default();
    setup.alias.retry_keyed = true;
    let gateway = setup.start(&[one.address, other.address]).await;
    let keyed = gateway.request("POST", "/services/s/a/x", "Idempotency-Key: k\r\n", "predict").await;
    assert_eq!(keyed.text(), "second");
}

#[tokio::test]
async fn a_body_that_was_not_kept_whole_is_not_sent_again() {
    let (one, other, _) = two(|| Action::Close).await;
    let gateway = Setup::default().start(&[one.address, other.address]).await;
    let got = gateway.request("PUT", "/services/s/a/x", "", &"x".repeat(65_537)).await;
    assert_eq!((got.status, one.count() + other.count()), (502, 1));
    let (one, other, _) = two(|| Action::Close).await;
    let gateway = Setup::default().start(&[one.address, other.address]).await;
    let got = gateway.request("PUT", "/services/s/a/x", "", &"x".repeat(65_536)).await;
    assert_eq!((got.status, one.count() + other.count()), (200, 2));
}

#[tokio::test]
async fn a_post_whose_connection_was_refused_is_sent_to_another_task() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead_address = dead.local_addr().unwrap();
    drop(dead);
    let upstream = Upstream::start(|received| Action::Reply(ok(&received.body.len().to_string()))).await;
    let gateway = Setup::default().start(&[dead_address, upstream.address]).await;
    for count in 1..=20 {
        let got = gateway.request("POST", "/services/s/a/x", "", &"x".repeat(100_000)).await;
        assert_eq!((got.status, got.text()), (200, "100000"));
        assert_eq!(upstream.count(), count);
    }
    assert!(gateway.gateway.snapshot().missed(Miss::Connect) <= 1, "a refused task stays out");
}

#[tokio::test]
async fn no_task_left_says_what_was_wrong_with_the_last_one() {
    let mut upstream = Upstream::start(|_| Action::Reply(ok(""))).await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    assert_eq!(gateway.get("/services/s/a/x").await.status, 200);
    upstream.kill().await;
    let got = gateway.get("/services/s/a/x").await;
    assert_eq!((got.status, &*got.reason()), (502, "connect"));
    let got = gateway.get("/services/s/a/x").await;
    assert_eq!((got.status, &*got.reason()), (503, "no_routable_task"));
}

#[tokio::test]
async fn there_are_three_attempts_at_most() {
    let mut upstreams = Vec::new();
    for _ in 0..5 {
        upstreams.push(Upstream::start(|_| Action::Close).await);
    }
    let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
    let gateway = Setup::default().start(&addresses).await;
    let got = gateway.get("/services/s/a/x").await;
    assert_eq!((got.status, &*got.reason()), (502, "reset"));
    assert_eq!(upstreams.iter().map(Upstream::count).sum::<usize>(), 3);
    assert!(upstreams.iter().all(|upstream| upstream.count() <= 1), "each on another task");
}

#[tokio::test]
async fn responses_of_tasks_are_tried_again_only_where_the_route_says_so() {
    fn unavailable() -> Action {
        Action::Reply(response("503 Service Unavailable", "", "first"))
    }
    fn later() -> Action {
        Action::Reply(response("503 Service Unavailable", "Retry-After: 1\r\n", "first"))
    }
    type First = fn() -> Action;
    for (first, says, method, text) in [
        (unavailable as First, false, "GET", "first"),
        (unavailable, true, "GET", "second"),
        (unavailable, true, "POST", "first"),
        (later, true, "GET", "first"),
    ] {
        let (one, other, _) = two(first).await;
        let mut setup = Setup::default();
        setup.alias.retry_responses = says;
        let gateway = setup.start(&[one.address, other.address]).await;
        assert_eq!(gateway.request(method, "/services/s/a/x", "", "").await.text(), text, "{method} {says}");
    }
    // Without another task the response of the only one is passed on.
    let only = Upstream::start(|_| unavailable()).await;
    let mut setup = Setup::default();
    setup.alias.retry_responses = true;
    let gateway = setup.start(&[only.address]).await;
    let got = gateway.get("/services/s/a/x").await;
    assert_eq!((got.status, got.text(), only.count()), (503, "first", 1));
}

#[tokio::test]
async fn what_a_task_has_answered_says_more_than_a_last_attempt_that_broke() {
    let count = Arc::new(AtomicUsize::new(0));
    let handler = |count: Arc<AtomicUsize>| {
        move |_: &_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => Action::Reply(response("503 Service Unavailable", "", "first")),
            _ => Action::Close,
        }
    };
    let one = Upstream::start(handler(Arc::clone(&count))).await;
    let other = Upstream::start(handler(Arc::clone(&count))).await;
    let mut setup = Setup::default();
    setup.alias.retry_responses = true;
    setup.options.attempts_max = 2;
    let gateway = setup.start(&[one.address, other.address]).await;
    let got = gateway.get("/services/s/a/x").await;
    assert_eq!((got.status, got.text()), (503, "first"));
    assert_eq!(count.load(Ordering::SeqCst), 2, "and then another was asked");
}

#[tokio::test]
async fn retries_end_with_the_budget_of_the_service() {
    let mut upstreams = Vec::new();
    for _ in 0..12 {
        upstreams.push(Upstream::start(|_| Action::Close).await);
    }
    let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
    let gateway = Setup::default().start(&addresses).await;
    let begun = tokio::time::Instant::now();
    for _ in 0..40 {
        assert_eq!(gateway.get("/services/s/a/x").await.status / 100, 5);
    }
    let seconds = begun.elapsed().as_secs() + 2;
    let snapshot = gateway.gateway.snapshot();
    assert!(snapshot.retried <= 10 * seconds + 8, "{} retries in {seconds} s", snapshot.retried);
    assert!(snapshot.retried >= 10 && snapshot.over_budget > 0, "{snapshot:?}");
}

#[tokio::test]
async fn a_task_that_does_not_answer_is_given_up_in_time() {
    let (one, other, _) = two(|| Action::Stall).await;
    let mut setup = Setup::default();
    setup.options.head = Duration::from_millis(150);
    let gateway = setup.start(&[one.address, other.address]).await;
    assert_eq!(gateway.get("/services/s/a/x").await.text(), "second");

    let silent = Upstream::start(|_| Action::Stall).await;
    let mut setup = Setup::default();
    setup.alias.timeout_ms = Some(150);
    let gateway = setup.start(&[silent.address]).await;
    let got = gateway.request("POST", "/services/s/a/x", "", "x").await;
    assert_eq!((got.status, &*got.reason()), (504, "timed_out"));
}

#[tokio::test]
async fn what_is_no_response_is_a_protocol_error_and_never_passed_on() {
    for answer in [
        &b"garbage\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n",
    ] {
        let upstream = Upstream::start(move |_| Action::Reply(answer.to_vec())).await;
        let gateway = Setup::default().start(&[upstream.address]).await;
        let got = gateway.request("POST", "/services/s/a/x", "", "x").await;
        assert_eq!((got.status, &*got.reason()), (502, "protocol"), "{}", String::from_utf8_lossy(answer));
        assert_eq!(upstream.count(), 1);
    }
}
