//! What operators' tools see of a group.

use millstream_tests::parts::Kafka;
use millstream_tests::{Generator, until};

use super::fleet::{Fleet, PATIENCE};
use super::load::send;

/// Position, end and lag of each partition, as the broker's own tool says.
async fn described(kafka: &Kafka, fleet: &Fleet) -> Vec<(i64, i64, i64)> {
    let text = kafka.describe_group(&fleet.group).await;
    let numbers = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at)?.parse().ok();
        (words.get(1) == Some(&fleet.topic.as_str())).then(|| Some((number(3)?, number(4)?, number(5)?))).flatten()
    };
    text.lines().filter_map(numbers).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_brokers_own_tool_shows_our_group_and_its_true_lag() {
    let Some(kafka) = Kafka::shared().await else { return };
    let mut generator = Generator::new("kafka group");
    let fleet = Fleet::new(&kafka.topics, kafka.bootstrap(), 3).await;
    let setup = fleet.setup();
    let process = setup.start().await;
    let events = generator.events(600);
    send(&fleet, &events).await;
    fleet.holds(&events, PATIENCE).await;
    until("the tool to show no lag", PATIENCE, || async {
        let rows = described(kafka, &fleet).await;
        let all = rows.len() == 3 && rows.iter().map(|(position, _, _)| position).sum::<i64>() == 600;
        (all && rows.iter().all(|(_, _, lag)| *lag == 0)).then_some(())
    })
    .await;
    process.finish().await;
    let more = generator.events(300);
    send(&fleet, &more).await;
    let rows = described(kafka, &fleet).await;
    assert_eq!(rows.iter().map(|(_, _, lag)| lag).sum::<i64>(), 300, "{rows:?}");
    assert!(rows.iter().all(|(position, end, lag)| position + lag == *end), "{rows:?}");
}

/// Whoever had a partition before died before it could tell the group; the next owner does, although nothing new comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_group_hears_of_what_a_killed_process_wrote() {
    let Some(kafka) = Kafka::shared().await else { return };
    let mut generator = Generator::new("kafka untold");
    let fleet = Fleet::new(&kafka.topics, kafka.bootstrap(), 3).await;
    let setup = fleet.setup();
    let mut process = setup.start().await;
    let events = generator.events(600);
    send(&fleet, &events).await;
    fleet.reaches(events.len(), PATIENCE).await;
    process.kill();
    let process = setup.start().await;
    until("the group to know", PATIENCE, || async {
        let committed = fleet.topics.committed(&fleet.group, &fleet.topic, 3).await;
        (committed.iter().flatten().sum::<i64>() == 600).then_some(())
    })
    .await;
    process.finish().await;
}
