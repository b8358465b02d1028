//! How a gateway stops, and how a task leaves.

use std::time::Duration;

use millstream_schemas::tasks::Fact;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::harness::{Harness, Response, Setup, read_until, task, until};
use crate::upstream::{Action, Upstream, ok};

const REQUEST: &[u8] = b"GET /services/s/a/x HTTP/1.1\r\nhost: h\r\n\r\n";

fn quick() -> Setup {
    let mut setup = Setup::default();
    setup.options.drain_notice = Duration::from_millis(300);
    setup.options.drain = Duration::from_millis(700);
    setup
}

#[tokio::test]
async fn after_the_notice_it_still_accepts_and_then_closes_in_order() {
    let upstream = Upstream::start(|received| match received.line().contains("/slow") {
        true => Action::Stream(vec![(Duration::from_millis(500), ok("slow"))]),
        false => Action::Reply(ok("fast")),
    })
    .await;
    let mut gateway = quick().start(&[upstream.address]).await;
    let mut idle = gateway.connect().await;
    idle.write_all(REQUEST).await.unwrap();
    read_until(&mut idle, b"fast").await;
    gateway.stop.cancel();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(gateway.get("/services/s/a/x").await.text(), "fast", "during the notice");
    let mut slow = gateway.connect().await;
    slow.write_all(b"GET /services/s/a/slow HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut end = [0];
    assert_eq!(idle.read(&mut end).await.unwrap(), 0, "an idle connection closes");
    let got = String::from_utf8(read_until(&mut slow, b"slow").await).unwrap();
    assert!(got.contains("connection: close"), "{got}");
    assert!(TcpStream::connect(gateway.address).await.is_err(), "nothing is accepted any more");
    assert_eq!(gateway.drain().await.cut, 0);
}

#[tokio::test]
async fn what_does_not_end_is_cut_off() {
    let upstream = Upstream::start(|_| Action::Stall).await;
    let mut gateway = quick().start(&[upstream.address]).await;
    let mut stream = gateway.connect().await;
    stream.write_all(REQUEST).await.unwrap();
    until("it is there", || upstream.count() == 1).await;
    let begun = Instant::now();
    let drained = async { gateway.drain().await.cut };
    let (cut, refused) = tokio::join!(drained, read_until(&mut stream, b"}"));
    let refused = Response::all(&refused).remove(0);
    assert_eq!((cut, refused.status, &*refused.reason()), (1, 503, "draining"));
    assert_eq!(refused.header("connection"), Some("close"));
    assert!((Duration::from_millis(900)..Duration::from_secs(20)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    until("the task is told", || upstream.closed() == 1).await;
}

#[tokio::test]
async fn a_tunnel_ends_with_the_gateway_and_with_the_drain_time_of_its_task() {
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let upgrade = b"GET /services/s/a/ws HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    let upstream = Upstream::start(move |_| Action::Echo(switch.to_vec())).await;
    let mut setup = quick();
    setup.deploy.drain_ms = 100;
    let mut gateway = setup.start(&[upstream.address]).await;
    let mut stream = gateway.connect().await;
    stream.write_all(upgrade).await.unwrap();
    read_until(&mut stream, b"\r\n\r\n").await;
    let Fact::Task(mut leaving) = task("t1", upstream.address) else { panic!() };
    leaving.rank = 1;
    leaving.version = 2;
    gateway.put(Fact::Task(leaving));
    let mut end = [0];
    assert_eq!(stream.read(&mut end).await.unwrap_or(0), 0);
    until("the task is told", || upstream.closed() == 1).await;
    // Nothing else is there: a draining task is used as a last resort.
    let mut stream = gateway.connect().await;
    stream.write_all(upgrade).await.unwrap();
    read_until(&mut stream, b"\r\n\r\n").await;
    gateway.drain().await;
    assert_eq!(stream.read(&mut end).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn idle_connections_of_a_draining_task_close_at_once_and_it_gets_no_new_ones() {
    let leaving = Upstream::start(|_| Action::Reply(ok("leaving"))).await;
    let staying = Upstream::start(|_| Action::Reply(ok("staying"))).await;
    let mut setup = Setup::default();
    setup.deploy.keep_alive_ms = Some(60_000);
    let mut gateway = setup.start(&[leaving.address, staying.address]).await;
    // One at a time, all might go to the task that has been the faster one so far.
    ask_until(&gateway, || leaving.accepted() > 0 && staying.accepted() > 0).await;
    let drain = |rank: i16, epoch: i64| {
        let Fact::Task(mut task) = task("t1", leaving.address) else { panic!() };
        task.rank = rank;
        task.epoch = epoch;
        Fact::Task(task)
    };
    let connections = leaving.accepted();
    assert_eq!(leaving.closed(), 0);
    gateway.put(drain(1, 0));
    let begun = Instant::now();
    until("its idle connections are closed", || leaving.closed() == connections).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    for _ in 0..20 {
        assert_eq!(gateway.get("/services/s/a/x").await.text(), "staying");
    }
    assert_eq!((leaving.accepted(), staying.closed()), (connections, 0));
    // The source went back: it lives again, and keeps connections again.
    gateway.put(drain(0, 1));
    let closed = leaving.closed();
    ask_until(&gateway, || leaving.accepted() > connections).await;
    assert_eq!(leaving.closed(), closed, "its connections are kept");
}

/// Sends requests, eight at a time.
async fn ask_until(gateway: &Harness, is_done: impl Fn() -> bool) {
    let get = || gateway.get("/services/s/a/x");
    for _ in 0..1_000 {
        if is_done() {
            return;
        }
        tokio::join!(get(), get(), get(), get(), get(), get(), get(), get());
    }
    panic!("8,000 requests, and a task got none");
}

#[tokio::test]
async fn no_more_connections_are_served_than_the_limit() {
    let upstream = Upstream::start(|_| Action::Reply(ok("x"))).await;
    let mut setup = Setup::default();
    setup.options.connections_max = 1;
    let gateway = setup.start(&[upstream.address]).await;
    let mut first = gateway.connect().await;
    first.write_all(REQUEST).await.unwrap();
    read_until(&mut first, b"x").await;
    let mut second = gateway.connect().await;
    second.write_all(REQUEST).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    assert_eq!(upstream.count(), 1, "the second one waits in the backlog");
    drop(first);
    read_until(&mut second, b"x").await;
}

#[tokio::test]
async fn a_head_that_comes_slowly_or_is_too_large_is_refused() {
    let upstream = Upstream::start(|_| Action::Reply(ok("x"))).await;
    let mut setup = Setup::default();
    setup.options.head_read = Duration::from_millis(200);
    let gateway = setup.start(&[upstream.address]).await;
    let begun = Instant::now();
    assert!(gateway.raw(b"GET /services/s/a/x HTTP/1.1\r\nhost: h\r\n").await.is_empty());
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let large = format!("GET /services/s/a/x HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "y".repeat(70_000));
    assert_eq!(gateway.raw(large.as_bytes()).await[0].status, 431);
    let many = format!("GET /services/s/a/x HTTP/1.1\r\nhost: h\r\n{}\r\n", "x: y\r\n".repeat(200));
    assert_eq!(gateway.raw(many.as_bytes()).await[0].status, 431);
    assert_eq!(upstream.count(), 0);
}
