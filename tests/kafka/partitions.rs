//! A topic that grows.

use millstream_tests::Generator;
use millstream_tests::parts::Kafka;

use super::fleet::{Fleet, PATIENCE};
use super::load::send;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_added_are_read_from_their_beginning_without_a_restart() {
    let Some(kafka) = Kafka::shared().await else { return };
    let mut generator = Generator::new("kafka grows");
    let mut fleet = Fleet::new(&kafka.topics, kafka.bootstrap(), 3).await;
    fleet.client_setting("topic.metadata.refresh.interval.ms", "1000");
    let processes = [fleet.setup().start().await, fleet.setup().start().await];
    let mut events = generator.events(1_000);
    send(&fleet, &events).await;
    fleet.holds(&events, PATIENCE).await;
    fleet.topics.grow(&fleet.topic, 6).await;
    // Sent before anybody has heard of the new ones.
    let more = generator.events(1_000);
    let places = send(&fleet, &more).await;
    assert!(places.iter().any(|(partition, _)| *partition >= 3), "the producer knows them");
    events.extend(more);
    fleet.holds(&events, PATIENCE).await;
    assert_eq!(fleet.leases().await.len(), 6);
    for process in processes {
        process.finish().await;
    }
}
