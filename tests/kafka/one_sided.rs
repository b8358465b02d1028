//! What is sent arrives in one direction only.

use millstream_tests::parts::Kafka;
use millstream_tests::{KafkaProxy, until};

use super::broker;
use super::fleet::{Fleet, PATIENCE};

/// The broker and everybody else hear each other in one direction only, for longer than a session and a request last.
async fn silent(stall: impl Fn(&KafkaProxy)) {
    let proxy = KafkaProxy::start().await;
    let Some(kafka) = Kafka::behind(proxy.address().port()).await else { return };
    proxy.towards(kafka.bootstrap());
    let mut fleet = Fleet::new(&kafka.topics, &proxy.address().to_string(), 4).await;
    // As long as a request waits for its answer before its connection is given up.
    fleet.client_setting("socket.timeout.ms", "10000");
    let (fleet, processes, load) = broker::fleet(fleet).await;
    stall(&proxy);
    tokio::time::sleep(super::fleet::SESSION * 2).await;
    let before = fleet.committed().await;
    proxy.resume();
    until("something to move again", PATIENCE, || async { (fleet.committed().await > before).then_some(()) }).await;
    broker::finish(&fleet, processes, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_do_not_reach_the_broker() {
    silent(KafkaProxy::stall_requests).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_do_not_reach_the_client() {
    silent(KafkaProxy::stall_answers).await;
}
