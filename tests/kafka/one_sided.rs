//! What is sent arrives in one direction only.

use std::sync::Arc;

use millstream_tests::parts::Kafka;
use millstream_tests::{Generator, KafkaProxy, Millstream, until};

use super::broker::BROKEN;
use super::fleet::{Fleet, PATIENCE};
use super::load::Load;

/// The broker and everybody else hear each other in one direction only, for longer than a session and a request last.
async fn silent(stall: impl Fn(&KafkaProxy)) {
    let proxy = KafkaProxy::start().await;
    let Some(kafka) = Kafka::behind(proxy.address().port()).await else { return };
    proxy.towards(kafka.bootstrap());
    let mut fleet = Fleet::new(&kafka.topics, &proxy.address().to_string(), 4).await;
    // As long as a request waits for its answer before its connection is given up.
    fleet.client_setting("socket.timeout.ms", "10000");
    let setup = || BROKEN.iter().fold(fleet.setup(), |setup, text| setup.allow(text));
    let processes: [Millstream; 2] = [setup().start().await, setup().start().await];
    let fleet = Arc::new(fleet);
    let load = Load::start(&fleet, Generator::new("kafka one-sided"), 1_000);
    fleet.moves_by_all(&processes).await;
    stall(&proxy);
    tokio::time::sleep(super::fleet::SESSION * 2).await;
    let before = fleet.committed().await;
    proxy.resume();
    until("something to move again", PATIENCE, || async { (fleet.committed().await > before).then_some(()) }).await;
    fleet.moves_by_all(&processes).await;
    let events = load.end().await;
    fleet.holds(&events, PATIENCE).await;
    for process in processes {
        process.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_do_not_reach_the_broker() {
    silent(KafkaProxy::stall_requests).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_do_not_reach_the_client() {
    silent(KafkaProxy::stall_answers).await;
}
