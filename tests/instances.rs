//! Hosts on which tasks share an address: ECS tells their state, and people their addresses; neither hides the other.

use millstream_tests::{Database, database};
use serde_json::{Value, json};

use crate::serving::event::CLUSTER;
use crate::serving::requests::{counts, says, taken};
use crate::serving::setup;

/// A container instance as EventBridge sends it.
fn told(version: u64, status: &str) -> Value {
    json!({
        "version": "0", "id": format!("i-{version}"), "detail-type": "ECS Container Instance State Change",
        "source": "aws.ecs", "account": "111122223333", "time": "2026-01-01T00:00:11Z", "region": "eu-central-1",
        "resources": [], "detail": {
            "containerInstanceArn": "arn:aws:ecs:eu-central-1:111122223333:container-instance/models/i1",
            "clusterArn": CLUSTER, "status": status, "agentConnected": true, "version": version,
        },
    })
}

async fn is(database: &Database, status: Option<&str>, version: i64, address: &str) {
    let status = status.map_or("IS NULL".to_owned(), |status| format!("= '{status}'"));
    let row = format!(
        "SELECT count(*) FROM millstream.instance
         WHERE status {status} AND version = {version} AND addresses = '{{{address}}}'"
    );
    counts(database, &row, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_a_person_sets_makes_no_state_of_ecs_stale() {
    let database = database().await;
    let setup = setup(&database);
    let millstream = setup.start().await;
    let set = |address: &str| drop(says(&setup, &millstream, &["instance", "set", "ecs", "i1", "--address", address]));
    set("127.66.9.1");
    is(&database, None, 0, "127.66.9.1").await;
    taken(&millstream, "ecs", told(1, "ACTIVE")).await;
    is(&database, Some("ACTIVE"), 1, "127.66.9.1").await;
    set("127.66.9.2");
    is(&database, Some("ACTIVE"), 1, "127.66.9.2").await;
    taken(&millstream, "ecs", told(2, "DRAINING")).await;
    is(&database, Some("DRAINING"), 2, "127.66.9.2").await;
    set("127.66.9.3");
    is(&database, Some("DRAINING"), 2, "127.66.9.3").await;
    crate::tables::tasks::log_holds(&database).await;
    millstream.finish().await;
}
