//! Connections to tasks: which are used again, and what happens when a server closes one just then.

use std::time::Duration;

use tokio::time::sleep;

use crate::harness::{Setup, until};
use crate::upstream::{Action, Upstream, ok};

#[tokio::test]
async fn connections_are_used_again_while_they_are_fresh() {
    let upstream = Upstream::start(|_| Action::Reply(ok("x"))).await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    for _ in 0..5 {
        assert_eq!(gateway.get("/services/s/a/x").await.status, 200);
        assert_eq!(gateway.request("POST", "/services/s/a/x", "", "body").await.status, 200);
    }
    assert_eq!((upstream.count(), upstream.accepted()), (10, 1));
}

#[tokio::test]
async fn a_post_takes_no_connection_that_was_idle_for_a_quarter_of_a_second() {
    let upstream = Upstream::start(|_| Action::Reply(ok("x"))).await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    gateway.get("/services/s/a/x").await;
    sleep(Duration::from_millis(400)).await;
    gateway.request("POST", "/services/s/a/x", "", "body").await;
    assert_eq!(upstream.accepted(), 2);
    sleep(Duration::from_millis(400)).await;
    gateway.get("/services/s/a/x").await;
    assert_eq!(upstream.accepted(), 2, "a GET takes it");
}

#[tokio::test]
async fn an_idle_connection_is_closed_before_the_server_would() {
    let upstream = Upstream::start(|_| Action::Reply(ok("x"))).await;
    let mut setup = Setup::default();
    setup.deploy.keep_alive_ms = Some(400);
    setup.options.pool_idle = Duration::from_secs(60);
    let gateway = setup.start(&[upstream.address]).await;
    let begun = tokio::time::Instant::now();
    gateway.get("/services/s/a/x").await;
    until("it is closed", || upstream.closed() == 1).await;
    assert!(begun.elapsed() >= Duration::from_millis(290), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// A server that closes each connection a short time after its response, without a word.
async fn impatient(pause: u64) -> Upstream {
    Upstream::start(move |_| Action::ReplyThenClose(ok("x"), Duration::from_millis(pause))).await
}

#[tokio::test]
async fn no_request_is_lost_to_a_server_that_closes_idle_connections() {
    let upstream = impatient(20).await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    let mut retried = 0;
    for count in 1..=60 {
        assert_eq!(gateway.get("/services/s/a/x").await.status, 200);
        let before = std::mem::replace(&mut retried, gateway.gateway.snapshot().retried);
        if retried > before {
            // The budget of retries has ten a second.
            sleep(Duration::from_millis(110)).await;
        }
        // Around the moment at which the server closes.
        sleep(Duration::from_micros(19_000 + 40 * count)).await;
    }
    assert_eq!(upstream.count(), 60, "each was executed once");
}

#[tokio::test]
async fn a_request_that_meets_the_end_of_an_idle_connection_goes_to_the_same_task_once_more() {
    // The second request of a connection is read, and the connection closed in its face.
    let upstream = Upstream::start(|received| match received.line().contains("/again") && received.connection == 1 {
        true => Action::Close,
        false => Action::Reply(ok("x")),
    })
    .await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    assert_eq!(gateway.get("/services/s/a/first").await.status, 200);
    assert_eq!(gateway.get("/services/s/a/again").await.status, 200);
    assert_eq!((upstream.count(), upstream.accepted()), (3, 2));
}

#[tokio::test]
async fn a_response_with_doubtful_framing_is_the_last_of_its_connection() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    ] {
        let upstream = Upstream::start(move |_| Action::Reply(answer.to_vec())).await;
        let gateway = Setup::default().start(&[upstream.address]).await;
        for count in 1..=3 {
            let got = gateway.request("POST", "/services/s/a/x", "", "x").await;
            assert_eq!((got.status, got.text()), (200, "hello"), "{}", String::from_utf8_lossy(answer));
            assert_eq!((upstream.count(), upstream.accepted()), (count, count));
        }
    }
}

#[tokio::test]
async fn a_task_that_is_gone_has_no_connections() {
    let upstream = Upstream::start(|_| Action::Reply(ok("x"))).await;
    let mut setup = Setup::default();
    setup.options.pool_idle = Duration::from_secs(60);
    let mut gateway = setup.start(&[upstream.address]).await;
    gateway.get("/services/s/a/x").await;
    let millstream_schemas::tasks::Fact::Task(mut gone) = crate::harness::task("t1", upstream.address) else {
        panic!()
    };
    gone.rank = 2;
    gone.version = 2;
    let begun = tokio::time::Instant::now();
    gateway.put(millstream_schemas::tasks::Fact::Task(gone));
    until("its connection is closed", || upstream.closed() == 1).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(gateway.get("/services/s/a/x").await.status, 503);
}
