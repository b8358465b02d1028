//! The group cannot be told how far we are: only tools miss that.

use std::sync::Arc;
use std::time::Duration;

use millstream_tests::parts::Kafka;
use millstream_tests::{Generator, KafkaProxy};
use tokio::time::Instant;

use super::fleet::{Fleet, PATIENCE};
use super::load::Load;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_commit_to_the_group_fails() {
    let proxy = KafkaProxy::start().await;
    let Some(kafka) = Kafka::behind(proxy.address().port()).await else { return };
    proxy.towards(kafka.bootstrap());
    let bootstrap = proxy.address().to_string();
    let fleet = Arc::new(Fleet::new(&kafka.topics, &bootstrap, 4).await);
    proxy.fail_commits(&fleet.topic);
    let setup = fleet.setup();
    let mut process = setup.start().await;
    let load = Load::start(&fleet, Generator::new("kafka commits"), 2_000);
    process.logged("the group was not told our position", PATIENCE).await;
    fleet.moves_everywhere().await;
    // It has nothing to go by but the tables.
    process.kill();
    process = setup.start().await;
    fleet.moves_everywhere().await;
    let events = load.end().await;
    fleet.holds(&events, PATIENCE).await;
    assert_eq!(fleet.topics.committed(&fleet.group, &fleet.topic, 4).await, [None; 4], "the group was told nothing");
    println!("{} commits failed, {} events", proxy.commits_failed(), events.len());

    // Once it can be told, it is told the truth, although nothing new comes.
    proxy.allow_commits();
    let began = Instant::now();
    loop {
        let committed = fleet.topics.committed(&fleet.group, &fleet.topic, 4).await;
        if committed.iter().flatten().sum::<i64>() == events.len() as i64 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the group was told {committed:?}; {}", process.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    process.finish().await;
}
