//! A broker is gone at once and comes back with its data.

use std::sync::Arc;

use millstream_tests::parts::{Kafka, Kafka3};
use millstream_tests::{Generator, Millstream};
use tokio::time::Instant;

use super::fleet::{Fleet, PATIENCE};
use super::load::Load;

/// What processes say of brokers that are away.
const BROKEN: [&str; 6] = [
    // The stream may be away for longer than its last acknowledged append.
    "stream stopped",
    "the client that reads gets no answers",
    "the stream does not answer",
    "it is not known whether the topic is still there",
    "kafka client:",
    "the group knows another member by our name",
];

/// Two processes under load, both of which move.
pub(super) async fn fleet(fleet: Fleet) -> (Arc<Fleet>, Vec<Millstream>, Load) {
    let mut generator = Generator::new("kafka broker");
    generator.keys = 5_000;
    let mut processes = Vec::new();
    for _ in 0..2 {
        let setup = BROKEN.iter().fold(fleet.setup(), |setup, text| setup.allow(text));
        processes.push(setup.start().await);
    }
    let fleet = Arc::new(fleet);
    let load = Load::start(&fleet, generator, 3_000);
    fleet.moves_by_all(&processes).await;
    (fleet, processes, load)
}

/// Both still move, and everything is in the tables once.
pub(super) async fn finish(fleet: &Fleet, processes: Vec<Millstream>, load: Load) {
    fleet.moves_by_all(&processes).await;
    let events = load.end().await;
    fleet.holds(&events, PATIENCE).await;
    for process in processes {
        process.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_broker_is_killed_and_comes_back() {
    let Some(kafka) = Kafka::alone().await else { return };
    let (fleet, processes, load) = fleet(Fleet::new(&kafka.topics, kafka.bootstrap(), 6).await).await;
    for _ in 0..2 {
        kafka.part.process().kill();
        kafka.part.restart().await;
        let back = Instant::now();
        fleet.moves_by_all(&processes).await;
        println!("all move {:.1} s after the broker was back", back.elapsed().as_secs_f64());
    }
    finish(&fleet, processes, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_stands_still_for_longer_than_a_session() {
    let Some(kafka) = Kafka::alone().await else { return };
    let (fleet, processes, load) = fleet(Fleet::new(&kafka.topics, kafka.bootstrap(), 6).await).await;
    kafka.part.process().freeze();
    tokio::time::sleep(super::fleet::SESSION * 2).await;
    kafka.part.process().thaw();
    let back = Instant::now();
    fleet.moves_by_all(&processes).await;
    println!("all move {:.1} s after the broker went on", back.elapsed().as_secs_f64());
    finish(&fleet, processes, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_brokers_is_killed_and_comes_back() {
    let Some(kafka) = Kafka3::alone().await else { return };
    let (fleet, processes, load) = fleet(Fleet::new(&kafka.topics, kafka.bootstrap(), 6).await).await;
    for number in [1, 2] {
        let killed = Instant::now();
        kafka.node(number).kill();
        // Partitions that it led have another leader now, and the group another coordinator, if it was that.
        fleet.moves_everywhere().await;
        println!("all partitions move {:.1} s after node {number} was killed", killed.elapsed().as_secs_f64());
        kafka.restart(number).await;
    }
    finish(&fleet, processes, load).await;
}
