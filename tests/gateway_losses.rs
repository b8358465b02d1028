//! Many tasks at once die, or answer their health checks badly: who asks a second later hears nothing of it.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::Method;
use millstream_tests::client::Http;
use millstream_tests::{Setup, database, free_port, until};
use serde_json::json;
use tokio::time::Instant;

use crate::serving::event::CLUSTER;
use crate::serving::load::{Load, answering, failed};
use crate::serving::model::{PORT, fleet};
use crate::serving::requests::{WITHIN, is_state};
use crate::serving::{setup, sources};

const TASKS: u8 = 20;
const CLIENTS: usize = 6;
/// How long there is load after the loss.
const LOAD: Duration = Duration::from_secs(12);

fn gateway(setup: Setup) -> (Setup, SocketAddr, SocketAddr) {
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let admin = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    (setup.set(&format!("gateway.listen={listen}")).set(&format!("gateway.admin={admin}")), listen, admin)
}

async fn counter(admin: SocketAddr, name: &str) -> f64 {
    let text = Http::default().send(Method::GET, admin, "/metrics", &[], "").await.unwrap().text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("millstream_gateway_{name}_total ")));
    line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
}

/// `kill -9` of a part of them, of which no event tells.
async fn killed(network: u8, count: usize) {
    let database = database().await;
    let (setup, listen, admin) = gateway(setup(&database));
    let millstream = setup.start().await;
    let deploy = json!({ "selector": { "definition": "digits-blue:1" }, "port": PORT });
    let mut models = fleet(&millstream, setup.scratch(), network, TASKS, deploy).await;
    let load = Load::start(listen, CLIENTS);
    until("load", WITHIN, || async { (load.answers() > 300).then_some(()) }).await;
    let requests = counter(admin, "requests").await;
    let retried = counter(admin, "requests_retried").await;
    let killed = Instant::now();
    models.iter_mut().take(count).for_each(|model| model.kill());
    tokio::time::sleep(LOAD).await;
    let requests = counter(admin, "requests").await - requests;
    let retried = counter(admin, "requests_retried").await - retried;
    let heard = load.end().await;
    println!(
        "{count} of {TASKS} killed: {requests} requests, {retried} tried again, {} failed",
        failed(&heard, killed).len()
    );
    let late = failed(&heard, killed + Duration::from_secs(1));
    assert!(late.is_empty(), "{late:?}");
    assert!(requests > 500.0 && (requests + retried) / requests <= 1.2, "{requests} requests, {retried} tried again");
    let left: Vec<&str> = answering(&heard, killed + Duration::from_secs(1)).into_iter().collect();
    assert_eq!(left.len(), models.len() - count, "all others serve: {left:?}");
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_of_the_tasks_may_die_at_once() {
    killed(30, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_half_of_the_tasks_may_die_at_once() {
    killed(31, 12).await;
}

/// So many cannot all be ill: with less than half left, unhealthy ones are used, too, and that is counted (R62).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_tasks_serve_when_more_than_half_fail_their_health_check() {
    let database = database().await;
    let may = sources(&["ecs"], &[CLUSTER]).replace("kind=", "may=[\"task\", \"health\"], kind=");
    let (setup, listen, admin) = gateway(Setup::new(&database).set(&may).set("checker.enabled=true"));
    let setup = setup.set("checker.interval=500ms").allow("check");
    let millstream = setup.start().await;
    let health = json!({ "kind": "http", "path": "/healthz" });
    let deploy = json!({ "selector": { "definition": "digits-blue:1" }, "port": PORT, "health": health });
    let models = fleet(&millstream, setup.scratch(), 32, TASKS, deploy).await;
    let load = Load::start(listen, CLIENTS);
    until("load", WITHIN, || async { (load.answers() > 300).then_some(()) }).await;
    let began = Instant::now();
    // By and by: most of a shard at once would be taken for an error of the checker itself.
    for model in models.iter().take(12) {
        model.turn().await;
        is_state(&millstream, &model.task.id, "unhealthy").await;
    }
    let ill = Instant::now();
    let panics = counter(admin, "panic").await;
    let before = load.answers();
    until("load", WITHIN, || async { (load.answers() > before + 600).then_some(()) }).await;
    let heard = load.end().await;
    assert!(failed(&heard, began).is_empty(), "{:?}", failed(&heard, began));
    assert_eq!(answering(&heard, ill).len(), models.len(), "all of them serve");
    assert!(counter(admin, "panic").await > panics, "and that is counted");
    millstream.finish().await;
}
