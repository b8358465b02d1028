//! Two processes that were given one name by mistake.

use std::sync::Arc;

use millstream_tests::parts::Kafka;
use millstream_tests::{Generator, until};

use super::fleet::{Fleet, PATIENCE};
use super::load::Load;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_name_one_gives_in_and_nothing_is_written_twice() {
    let Some(kafka) = Kafka::shared().await else { return };
    let fleet = Arc::new(Fleet::new(&kafka.topics, kafka.bootstrap(), 3).await);
    let setup = || {
        let setup = fleet.setup().set("stream.kafka.instance=twin").allow("the group knows another member by our name");
        setup.allow("another process has our name in the group").allow("judge::tell: halted").allow("kafka client:")
    };
    let twins = [setup().start().await, setup().start().await];
    let load = Load::start(&fleet, Generator::new("kafka twins"), 1_000);
    let given_in = until("one to give in", PATIENCE, || async {
        twins.iter().position(|twin| twin.log().contains("another process has our name in the group"))
    })
    .await;
    fleet.moves_everywhere().await;
    let events = load.end().await;
    fleet.holds(&events, PATIENCE).await;
    let [one, two] = twins;
    let (mut one, two) = if given_in == 0 { (one, two) } else { (two, one) };
    one.terminate();
    assert!(one.wait().await <= 1, "{}", one.log());
    one.check_log();
    two.finish().await;
}
