//! R56, R57: a checker tells transitions and nothing else, each once, and its results are facts like all others.

use std::net::SocketAddr;

use millstream_tests::{Database, Setup, database, free_port};
use serde_json::json;

use crate::serving::event::CLUSTER;
use crate::serving::model::{PORT, fleet};
use crate::serving::requests::{counts, is_state};
use crate::serving::sources;

const TASKS: u8 = 6;

/// Changes of health that were ever written.
const TOLD: &str = "SELECT count(*) FROM millstream.route_log WHERE kind = 'health'";

async fn healthy(database: &Database) -> i64 {
    database.number("SELECT count(*) FROM millstream.health WHERE healthy").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checker_writes_a_row_for_each_transition() {
    let database = database().await;
    let may = sources(&["ecs"], &[CLUSTER]).replace("kind=", "may=[\"task\", \"health\"], kind=");
    let gateway = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let setup = Setup::new(&database).set(&may).set(&format!("gateway.listen={gateway}"));
    let setup = setup.set("gateway.admin=127.0.0.1:0").set("checker.enabled=true").set("checker.interval=500ms");
    let millstream = setup.start().await;
    let health = json!({ "kind": "http", "path": "/healthz" });
    let deploy = json!({ "selector": { "definition": "digits-blue:1" }, "port": PORT, "health": health });
    let mut models = fleet(&millstream, setup.scratch(), 50, TASKS, deploy).await;
    counts(&database, TOLD, i64::from(TASKS)).await;
    assert_eq!(healthy(&database).await, i64::from(TASKS), "the first results are transitions");

    // Three times ill and well again, one after the other: meanwhile the others are probed, and nothing is told of them.
    let mut told = i64::from(TASKS);
    for model in models.iter().take(3) {
        for state in ["unhealthy", "routable"] {
            model.turn().await;
            is_state(&millstream, &model.task.id, state).await;
            told += 1;
            counts(&database, TOLD, told).await;
        }
    }
    // One that is gone without a word.
    models[5].kill();
    is_state(&millstream, &models[5].task.id, "unhealthy").await;
    assert_eq!(database.number(TOLD).await, told + 1, "rows are transitions");
    assert_eq!(healthy(&database).await, i64::from(TASKS) - 1);
    let orders = "SELECT count(DISTINCT (source, task, port, assignment, counter)) FROM millstream.health";
    assert_eq!(database.number(orders).await, i64::from(TASKS));
    crate::tables::tasks::log_holds(&database).await;
    millstream.finish().await;
}
