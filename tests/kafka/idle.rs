//! A process with nothing to do stays in its group.

use std::time::Duration;

use millstream_tests::parts::Kafka;
use millstream_tests::{Generator, until};
use tokio::time::Instant;

use super::fleet::{Fleet, PATIENCE};
use super::load::send;

/// A member that polls less often leaves the group. The default is five minutes; this is the least that clients take.
const POLL_EVERY: Duration = Duration::from_secs(45);
/// How late the group may hear of that.
const HEARD_WITHIN: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_hears_nothing_stays_in_its_group() {
    let Some(kafka) = Kafka::shared().await else { return };
    let mut fleet = Fleet::new(&kafka.topics, kafka.bootstrap(), 3).await;
    fleet.client_setting("max.poll.interval.ms", &POLL_EVERY.as_millis().to_string());
    let process = fleet.setup().start().await;
    let events = Generator::new("kafka idle").events(50);
    send(&fleet, &events).await;
    fleet.holds(&events, PATIENCE).await;
    let assigned = || process.lines().iter().filter(|line| line.contains("partitions are assigned")).count();
    let before = assigned();
    let began = Instant::now();
    until("such an interval to pass", PATIENCE, || async {
        assert_eq!(assigned(), before, "{}", process.log());
        (began.elapsed() > POLL_EVERY + HEARD_WITHIN).then_some(())
    })
    .await;
    process.finish().await;
}
