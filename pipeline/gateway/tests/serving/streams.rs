//! Bodies while they are on their way, and what comes after a 101.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::harness::{Response, Setup, read_until, until};
use crate::upstream::{Action, Upstream, ok};

const UPGRADE: &[u8] =
    b"GET /services/s/a/ws HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: k\r\n\r\n";
const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-A: 1\r\n\r\n";

#[tokio::test]
async fn events_are_passed_on_when_they_come() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let part = |text: &str| format!("{:x}\r\n{text}\r\n", text.len()).into_bytes();
    let parts = vec![
        (Duration::ZERO, head),
        (Duration::ZERO, part("data: 1\n\n")),
        (Duration::from_secs(5), part("data: 2\n\n")),
        (Duration::ZERO, b"0\r\n\r\n".to_vec()),
    ];
    let upstream = Upstream::start(move |_| Action::Stream(parts.clone())).await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    let mut stream = gateway.connect().await;
    let begun = Instant::now();
    stream.write_all(b"GET /services/s/a/events HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    read_until(&mut stream, b"data: 1\n\n").await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    read_until(&mut stream, b"data: 2\n\n").await;
    read_until(&mut stream, b"0\r\n\r\n").await;
}

#[tokio::test]
async fn a_request_is_in_flight_until_its_response_has_ended() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab".to_vec();
    let parts = vec![(Duration::ZERO, head), (Duration::from_millis(400), b"cd".to_vec())];
    let upstream = Upstream::start(move |_| Action::Stream(parts.clone())).await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    let in_flight = || {
        let view = gateway.gateway.table().lookup("s").unwrap();
        let tasks = view.revision("blue").unwrap().current();
        tasks.members[0].task.in_flight()
    };
    let mut stream = gateway.connect().await;
    stream.write_all(b"GET /services/s/a/x HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    read_until(&mut stream, b"ab").await;
    assert_eq!(in_flight(), 1);
    read_until(&mut stream, b"cd").await;
    until("it has left", || in_flight() == 0).await;
}

#[tokio::test]
async fn a_response_that_breaks_off_is_seen_to_be_broken() {
    for head in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n2\r\nab\r\n").into_bytes();
        let upstream = Upstream::start(move |_| Action::ReplyThenClose(answer.clone(), Duration::ZERO)).await;
        let gateway = Setup::default().start(&[upstream.address]).await;
        let mut stream = gateway.connect().await;
        stream.write_all(b"GET /services/s/a/x HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        let mut got = Vec::new();
        drop(stream.read_to_end(&mut got).await);
        let got = String::from_utf8(got).unwrap();
        assert!(got.contains("ab") && !got.contains("0\r\n\r\n"), "{got}");
        assert_eq!((upstream.count(), gateway.gateway.snapshot().broken), (1, 1), "and it is not tried again");
    }
}

#[tokio::test]
async fn a_body_that_stops_is_ended() {
    let parts = vec![(Duration::ZERO, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab".to_vec())];
    let upstream = Upstream::start(move |received| match received.line().contains("/stops") {
        true => Action::Stream([parts.clone(), vec![(Duration::from_secs(60), Vec::new())]].concat()),
        false => Action::Reply(ok("")),
    })
    .await;
    let mut setup = Setup::default();
    setup.options.body_idle = Duration::from_millis(200);
    let gateway = setup.start(&[upstream.address]).await;
    let mut stream = gateway.connect().await;
    stream.write_all(b"GET /services/s/a/stops HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut got = Vec::new();
    drop(stream.read_to_end(&mut got).await);
    assert!(String::from_utf8(got).unwrap().ends_with("ab"));
    until("the task is told", || upstream.closed() == 1).await;
    // And one of a client.
    let half = b"POST /services/s/a/x HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nab";
    let got = gateway.raw(half).await;
    assert_eq!((got[0].status, &*got[0].reason()), (408, "request_timed_out"));
    assert_eq!(upstream.count(), 1, "no whole request arrived");
}

#[tokio::test]
async fn a_body_that_takes_long_is_no_time_out_of_its_task() {
    let upstream = Upstream::start(|received| Action::Reply(ok(&received.body.len().to_string()))).await;
    let mut setup = Setup::default();
    setup.options.head = Duration::from_millis(300);
    let gateway = setup.start(&[upstream.address]).await;
    let mut stream = gateway.connect().await;
    stream.write_all(b"POST /services/s/a/x HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n").await.unwrap();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        stream.write_all(b"x").await.unwrap();
    }
    read_until(&mut stream, b"\r\n\r\n5").await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_request_at_its_task() {
    let upstream = Upstream::start(|received| match received.line().contains("/head") {
        true => Action::Stall,
        false => Action::Stream(vec![
            (Duration::ZERO, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab".to_vec()),
            (Duration::from_secs(60), Vec::new()),
        ]),
    })
    .await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    for (path, count) in [("head", 1), ("body", 2)] {
        let mut stream = gateway.connect().await;
        let request = format!("GET /services/s/a/{path} HTTP/1.1\r\nhost: h\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        until("it is there", || upstream.count() == count).await;
        if path == "body" {
            read_until(&mut stream, b"ab").await;
        }
        drop(stream);
        let begun = Instant::now();
        until("the task is told", || upstream.closed() == count).await;
        assert!(begun.elapsed() < Duration::from_secs(30), "{path}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn after_a_101_bytes_go_both_ways_until_one_side_closes() {
    let upstream = Upstream::start(|_| Action::Echo(SWITCH.to_vec())).await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    let mut stream = gateway.connect().await;
    stream.write_all(UPGRADE).await.unwrap();
    let head = String::from_utf8(read_until(&mut stream, b"\r\n\r\n").await).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("x-millstream-task: t1"), "{head}");
    assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
    let received = &upstream.requests()[0];
    assert_eq!((received.header("upgrade"), received.header("connection")), (vec!["websocket"], vec!["upgrade"]));
    for text in [&b"hello"[..], b"\x00\xffGET / HTTP/1.1\r\n\r\n"] {
        stream.write_all(text).await.unwrap();
        let mut echo = vec![0; text.len()];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(echo, text);
    }
    drop(stream);
    until("the task is told", || upstream.closed() == 1).await;
    assert_eq!((upstream.count(), gateway.gateway.snapshot().upgrades), (1, 1));
}

#[tokio::test]
async fn before_a_101_no_byte_is_tunnelled() {
    // The task declines; what the client sent on is a second request, not a part of a tunnel.
    let upstream = Upstream::start(|_| Action::Reply(ok("declined"))).await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    let second = b"GET /services/s/a/../forbidden HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    let got = gateway.raw(&[UPGRADE, second].concat()).await;
    assert_eq!(got.iter().map(|got| got.status).collect::<Vec<_>>(), [200, 400]);
    assert_eq!(upstream.count(), 1);
    // h2c would be a tunnel that nobody checks: it is asked of no task.
    let h2c = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: x\r\n";
    let request = format!("GET /services/s/a/x HTTP/1.1\r\nhost: h\r\n{h2c}\r\n");
    let mut stream = gateway.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stream, b"declined").await;
    assert!(upstream.requests()[1].header("upgrade").is_empty());
}

#[tokio::test]
async fn informational_responses_are_passed_on_before_the_final_one() {
    let answer = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\nConnection: x-b\r\nX-B: 1\r\n\r\n\
        HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let upstream = Upstream::start(move |_| Action::Reply(answer.to_vec())).await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    let one = "GET /services/s/a/x HTTP/1.1\r\nhost: h\r\n\r\n";
    let last = "GET /services/s/a/x HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    let mut stream = gateway.connect().await;
    stream.write_all(one.as_bytes()).await.unwrap();
    let mut got = read_until(&mut stream, b"ok").await;
    stream.write_all(last.as_bytes()).await.unwrap();
    stream.read_to_end(&mut got).await.unwrap();
    let got = Response::all(&got);
    let statuses: Vec<u16> = got.iter().map(|got| got.status).collect();
    assert_eq!(statuses, [103, 102, 200, 103, 102, 200]);
    assert_eq!((got[0].header("link"), got[0].header("x-b")), (Some("</x>; rel=preload"), None));
    // HTTP/1.0 knows none.
    let old = gateway.raw(b"GET /services/s/a/x HTTP/1.0\r\nhost: h\r\n\r\n").await;
    assert_eq!(old.iter().map(|got| got.status).collect::<Vec<_>>(), [200]);
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_go_on() {
    let upstream = Upstream::start(|received| Action::Reply(ok(&received.body.len().to_string()))).await;
    let gateway = Setup::default().start(&[upstream.address]).await;
    let mut stream = gateway.connect().await;
    let head = b"POST /services/s/a/x HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";
    stream.write_all(head).await.unwrap();
    read_until(&mut stream, b"HTTP/1.1 100 Continue\r\n\r\n").await;
    stream.write_all(b"abc").await.unwrap();
    read_until(&mut stream, b"\r\n\r\n3").await;
    assert!(upstream.requests()[0].header("expect").is_empty());
    // Who is refused need not send its body.
    let refused = b"POST /services/none/a/x HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";
    let mut stream = gateway.connect().await;
    stream.write_all(refused).await.unwrap();
    let got = read_until(&mut stream, b"\r\n\r\n").await;
    assert!(got.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&got));
}

#[tokio::test]
async fn a_task_may_answer_before_the_body_has_come() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Setup::default().start(&[listener.local_addr().unwrap()]).await;
    let task = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_until(&mut stream, b"\r\n\r\n").await;
        let answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno";
        stream.write_all(answer).await.unwrap();
        // It is told that nobody needs the rest.
        drop(stream.read_to_end(&mut Vec::new()).await);
    };
    let client = async {
        let mut stream = gateway.connect().await;
        stream.write_all(b"POST /services/s/a/x HTTP/1.1\r\nhost: h\r\ncontent-length: 900\r\n\r\nabc").await.unwrap();
        let got = String::from_utf8(read_until(&mut stream, b"no").await).unwrap();
        assert!(got.starts_with("HTTP/1.1 413 "), "{got}");
        // The rest of the body is no request, so nothing more is read.
        stream.write_all(b"GET /services/s/a/y HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap_or_default();
        assert_eq!(stream.read(&mut [0; 64]).await.unwrap_or(0), 0);
    };
    tokio::join!(task, client);
}
