//! Acknowledged over HTTP means: there after everything was killed.

use std::sync::Arc;
use std::time::Duration;

use millstream_engine::task;
use millstream_tests::client::Http;
use millstream_tests::event::lines;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Event, Setup, until};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, PgConnection};

/// Posts one event after another until the other side is gone; says how many were acknowledged.
async fn post_until_gone(address: std::net::SocketAddr, acknowledged: Arc<std::sync::atomic::AtomicU64>) {
    let http = Http::default();
    for number in 0.. {
        let event = Event::create("uploads", &format!("in/{number:06}"), DAY_NS + number, 1);
        let header = [("content-type", "application/x-ndjson")];
        match http.send(hyper::Method::POST, address, "/v1/events", &header, lines(&[event])).await {
            Ok(answer) if answer.status == 202 => {
                acknowledged.store(number + 1, std::sync::atomic::Ordering::SeqCst);
            }
            Ok(answer) => panic!("{}: {}", answer.status, answer.text()),
            Err(_) => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_events_survive_the_kill_of_millstream_and_of_postgres() {
    let setup = Setup::embedded();
    let mut millstream = setup.start().await;
    let acknowledged = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let posts = task::spawn("posts", post_until_gone(millstream.address(), Arc::clone(&acknowledged)));
    until("300 acknowledged posts", Duration::from_secs(60), || async {
        (acknowledged.load(std::sync::atomic::Ordering::SeqCst) >= 300).then_some(())
    })
    .await;

    let pid_file = setup.data_dir().join("postgres/data/postmaster.pid");
    let pid = std::fs::read_to_string(&pid_file).unwrap().lines().next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    millstream.kill();
    posts.await.unwrap();
    let promised = acknowledged.load(std::sync::atomic::Ordering::SeqCst);

    let again = setup.start().await;
    again.caught_up(Duration::from_secs(60)).await;
    let socket = setup.data_dir().join("postgres/run");
    let connect = sqlx::postgres::PgConnectOptions::new_without_pgpass()
        .socket(socket)
        .username("millstream")
        .database("millstream")
        .ssl_mode(sqlx::postgres::PgSslMode::Disable);
    let mut connection = PgConnection::connect_with(&connect).await.unwrap();
    let keys: Vec<String> =
        sqlx::query_scalar("SELECT key FROM millstream.objects ORDER BY key").fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    // One more may be there: stored, and killed before the answer was out.
    let expected = |count: u64| (0..count).map(|number| format!("in/{number:06}")).collect::<Vec<_>>();
    assert!(
        keys == expected(promised) || keys == expected(promised + 1),
        "{} acknowledged, {} there",
        promised,
        keys.len()
    );
    again.finish().await;
}
