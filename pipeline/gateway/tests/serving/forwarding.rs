//! What arrives at a task, and what comes back.

use std::time::Duration;

use crate::harness::{Setup, until};
use crate::upstream::{Action, Upstream, ok, response};

#[tokio::test]
async fn a_get_is_forwarded_byte_for_byte_and_says_who_answered() {
    let upstream = Upstream::start(|_| Action::Reply(response("200 Fine", "X-A: 1\r\nX-A: 2\r\n", "hello"))).await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    let got = gateway.get("/services/s/a/v1//x%20y/;p?q=%2F&q=..").await;
    assert_eq!((got.status, got.text()), (200, "hello"));
    assert_eq!(got.header("x-millstream-generation"), Some("7"));
    assert_eq!(got.header("x-millstream-revision"), Some("blue"));
    assert_eq!(got.header("x-millstream-task"), Some("t1"));
    assert_eq!(got.head.matches("x-a: ").count(), 2);
    let received = &upstream.requests()[0];
    assert_eq!(received.line(), "GET /v1//x%20y/;p?q=%2F&q=.. HTTP/1.1");
    assert_eq!(received.header("host"), ["h"]);
    assert_eq!(received.header("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(received.header("x-forwarded-proto"), ["http"]);
    assert_eq!(received.header("x-forwarded-host"), ["h"]);
    assert_eq!(received.header("via"), ["1.1 gw-test"]);
    assert!(received.header("connection").is_empty());
}

#[tokio::test]
async fn bodies_of_any_size_and_framing_arrive_as_they_were_sent() {
    let upstream = Upstream::start(|received| Action::Reply(ok(&received.body.len().to_string()))).await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    for size in [0, 1, 65_535, 65_537, 3_000_000] {
        let body: String = (0..size).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
        let got = gateway.request("POST", "/services/s/a/p", "", &body).await;
        assert_eq!(got.text(), size.to_string());
        let received = upstream.requests().pop().unwrap();
        assert_eq!(received.body, body.as_bytes());
        let length = if size == 0 { Vec::new() } else { vec![size.to_string()] };
        assert_eq!(received.header("content-length"), length);
    }
    let chunked = b"PUT /services/s/a/c HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
        5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nx-millstream-principal: forged\r\n\r\n";
    assert_eq!(gateway.raw(chunked).await[0].text(), "11");
    let received = upstream.requests().pop().unwrap();
    assert_eq!((received.body, received.head.contains("forged")), (b"hello world".to_vec(), false));
    let empty = gateway.request("POST", "/services/s/a/e", "content-length: 0\r\n", "").await;
    assert_eq!(empty.status, 200);
    assert_eq!(upstream.requests().pop().unwrap().header("content-length"), ["0"]);
}

#[tokio::test]
async fn a_body_of_a_get_is_not_lost() {
    let upstream = Upstream::start(|received| Action::Reply(ok(&received.body.len().to_string()))).await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    let chunked = b"GET /services/s/a/c HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
        5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(gateway.raw(chunked).await[0].text(), "5");
    assert_eq!(upstream.requests()[0].body, b"hello");
}

#[tokio::test]
async fn responses_without_a_body_keep_their_length_and_their_connection() {
    let upstream = Upstream::start(|received| {
        Action::Reply(match received.line().split(' ').next() {
            Some("HEAD") => b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n".to_vec(),
            Some("DELETE") => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            _ => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 5\r\n\r\n".to_vec(),
        })
    })
    .await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    let mut stream = gateway.connect().await;
    for (method, line) in [("HEAD", "HTTP/1.1 200"), ("DELETE", "HTTP/1.1 204"), ("GET", "HTTP/1.1 304")] {
        let request = format!("{method} /services/s/a/x HTTP/1.1\r\nhost: h\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
        let head = crate::harness::read_until(&mut stream, b"\r\n\r\n").await;
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with(line) && head.ends_with("\r\n\r\n"), "{head}");
        assert_eq!(head.contains("content-length: 99"), method == "HEAD", "{head}");
    }
    assert_eq!((upstream.count(), upstream.accepted()), (3, 1));
}

#[tokio::test]
async fn headers_that_a_client_may_not_send_do_not_arrive() {
    let upstream = Upstream::start(|_| Action::Reply(ok(""))).await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    let forged = "X-Millstream-Principal: forged\r\nX_MILLSTREAM_ROLE: forged\r\nForwarded: for=forged\r\n\
        X-Forwarded-For: forged\r\nX_Forwarded_Host: forged\r\nX-Real-IP: forged\r\nX-Real_IP: forged\r\n\
        Connection: x-forwarded-for, via, x-mine\r\nx-mine: forged\r\nTransfer_Encoding: forged\r\nKeep-Alive: forged\r\n";
    assert_eq!(gateway.request("GET", "/services/s/a/x", forged, "").await.status, 200);
    let received = &upstream.requests()[0];
    assert!(!received.head.contains("forged"), "{}", received.head);
    assert_eq!(received.header("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(received.header("via"), ["1.1 gw-test"]);
}

#[tokio::test]
async fn a_trusted_hop_speaks_for_its_client() {
    let upstream = Upstream::start(|_| Action::Reply(ok(""))).await;
    let mut setup = Setup::default();
    setup.options.trusted_hops = vec!["127.0.0.0/8".parse().unwrap()];
    let gateway = setup.start(&[upstream.address]).await;
    let headers = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Millstream-Principal: forged\r\n";
    gateway.request("GET", "/services/s/a/x", headers, "").await;
    let received = &upstream.requests()[0];
    assert_eq!(received.header("x-forwarded-for"), ["1.2.3.4, 127.0.0.1"]);
    assert_eq!(received.header("x-forwarded-proto"), ["https"]);
    assert!(!received.head.contains("forged"));
}

#[tokio::test]
async fn refusals_say_why() {
    let upstream = Upstream::start(|_| Action::Reply(ok(""))).await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    for (path, headers, status, reason) in [
        ("/services/none/a/x", "", 404, "no_route"),
        ("/services/s/none/x", "", 404, "no_route"),
        ("/healthz", "", 404, "no_route"),
        ("/services/s/a/../x", "", 400, "bad_path"),
        ("/services/s/a/x%2fy", "", 400, "bad_path"),
        ("/services/s/a/x", "Via: 1.0 other, 1.1 gw-test\r\n", 508, "loop"),
    ] {
        let got = gateway.request("GET", path, headers, "").await;
        assert_eq!((got.status, &*got.reason()), (status, reason), "{path}");
        assert_eq!(got.header("content-type"), Some("application/problem+json"));
    }
    assert_eq!(upstream.count(), 0);
    let empty = Setup::default().start(&[]).await;
    let got = empty.get("/services/s/a/x").await;
    assert_eq!((got.status, &*got.reason(), got.header("retry-after")), (503, "no_routable_task", Some("1")));
    let snapshot = gateway.gateway.snapshot();
    assert_eq!((snapshot.requests, snapshot.refused, snapshot.failed), (6, 6, 0));
    assert_eq!(empty.gateway.snapshot().failed, 1);
}

#[tokio::test]
async fn a_full_task_lets_requests_wait_and_the_wait_is_bounded() {
    let upstream = Upstream::start(|received| match received.line().contains("/slow") {
        true => Action::Stream(vec![(Duration::from_millis(400), ok("slow"))]),
        false => Action::Reply(ok("fast")),
    })
    .await;
    let mut setup = Setup::default();
    setup.deploy.concurrency_max = Some(1);
    setup.options.queue_max = 1;
    setup.options.queue = Duration::from_secs(5);
    let gateway = setup.start(&[upstream.address]).await;
    let slow = gateway.get("/services/s/a/slow");
    let waiting = async {
        until("the slow one is there", || upstream.count() == 1).await;
        gateway.get("/services/s/a/waits").await
    };
    let refused = async {
        until("the slow one is there", || upstream.count() == 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        gateway.get("/services/s/a/refused").await
    };
    let (slow, waiting, refused) = tokio::join!(slow, waiting, refused);
    assert_eq!((slow.text(), waiting.text()), ("slow", "fast"));
    assert_eq!((refused.status, &*refused.reason()), (503, "saturated"));
}

#[tokio::test]
async fn a_request_that_waits_too_long_is_refused() {
    let upstream = Upstream::start(|_| Action::Stall).await;
    let mut setup = Setup::default();
    setup.deploy.concurrency_max = Some(1);
    setup.options.queue = Duration::from_millis(100);
    let gateway = setup.start(&[upstream.address]).await;
    let mut first = gateway.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut first, b"GET /services/s/a/x HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    until("the first one is there", || upstream.count() == 1).await;
    let got = gateway.get("/services/s/a/x").await;
    assert_eq!((got.status, &*got.reason()), (503, "saturated"));
}

#[tokio::test]
async fn the_time_of_a_route_bounds_waiting_for_a_place_and_for_a_connection() {
    let upstream = Upstream::start(|_| Action::Stall).await;
    let mut setup = Setup::default();
    setup.deploy.concurrency_max = Some(1);
    setup.options.queue = Duration::from_secs(60);
    setup.alias.timeout_ms = Some(500);
    let gateway = setup.start(&[upstream.address]).await;
    let (first, second) = tokio::join!(gateway.get("/services/s/a/x"), gateway.get("/services/s/a/x"));
    for got in [first, second] {
        assert_eq!((got.status, &*got.reason()), (504, "timed_out"));
    }
    // A listener whose backlog is full lets connections wait.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut filled = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await
    {
        filled.push(stream);
    }
    let mut setup = Setup::default();
    setup.options.connect = Duration::from_secs(60);
    setup.alias.timeout_ms = Some(500);
    let gateway = setup.start(&[address]).await;
    let begun = tokio::time::Instant::now();
    let got = gateway.get("/services/s/a/x").await;
    assert_eq!((got.status, &*got.reason()), (504, "timed_out"));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_task_that_does_not_name_itself_is_foreign() {
    let upstream = Upstream::start(|received| {
        let named = if received.line().contains("/ok") { "X-Model: blue\r\n" } else { "X-Model: green\r\n" };
        Action::Reply(response("200 OK", named, "secret"))
    })
    .await;
    let mut setup = Setup::default();
    setup.deploy.identity = Some("X-Model".to_owned());
    let gateway = setup.start(&[upstream.address]).await;
    let got = gateway.get("/services/s/a/x").await;
    assert_eq!((got.status, &*got.reason(), got.text().contains("secret")), (502, "foreign", false));
    until("its connection is closed", || upstream.closed() == 1).await;
    assert_eq!(gateway.get("/services/s/a/ok").await.text(), "secret");
    // Only the first response of a connection must.
    assert_eq!(gateway.get("/services/s/a/x").await.text(), "secret");
    assert_eq!(upstream.accepted(), 2);
}
