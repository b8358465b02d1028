//! The checker of this process: its shards are divided with those of others, and its results are events of the stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use millstream_connectors::assignment::{Assigner, Member, Options, Timing, unique_owner};
use millstream_connectors::sinks::stream::{Append, NewRecord};
use millstream_engine::{Partition, task};
use millstream_gateway::Table;
use millstream_gateway::check::{self, Publish, SHARDS};
use millstream_postgres::Connector;
use millstream_schemas::STORE_HEADER;
use millstream_schemas::tasks::Health;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// The name under which shards are divided.
const NAME: &str = "checker";

/// Results as events of the stream of tasks.
struct Events {
    stream: Arc<dyn Append>,
}

#[async_trait]
impl Publish for Events {
    async fn publish(&self, results: Vec<Health>) -> Result<(), String> {
        let records = results.into_iter().map(|health| {
            let id = format!("{}-{}-{}-{}", health.task, health.port, health.assignment, health.counter);
            let key = health.task.clone();
            let store = health.source.clone();
            let event = json!({
                "specversion": "1.0", "type": "millstream.health.v1", "source": "/millstream/checker", "id": id,
                "time": crate::time::utc(health.since_ms), "data": health,
            });
            NewRecord {
                key: key.into(),
                headers: vec![(STORE_HEADER.into(), store.into())],
                payload: event.to_string().into(),
            }
        });
        self.stream.append(records.collect()).await.map(drop).map_err(|error| error.to_string())
    }
}

/// Checks until `stop`.
pub(super) fn start(
    config: &Config,
    connector: &Connector,
    table: Arc<Table>,
    stream: Arc<dyn Append>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let shards = (0..SHARDS).map(|shard| Member { partition: Partition::new(shard.to_string()), parents: Vec::new() });
    let options = Options {
        pipeline: NAME.to_owned(),
        incarnation: NAME.to_owned(),
        connect: connector.clone().application_name("millstream checker"),
        owner: unique_owner(),
        timing: Timing::default(),
        finished: "",
    };
    let members: Vec<Member> = shards.collect();
    let checking = check::Options {
        interval: config.checker.interval,
        probes_per_second_max: config.checker.probes_per_second_max,
        ..check::Options::default()
    };
    task::spawn("check tasks", async move {
        let assigner = Assigner::start(options, members);
        let mut numbers = assigner.numbers();
        let (sender, mine) = watch::channel(BTreeMap::new());
        let publish: Arc<dyn Publish> = Arc::new(Events { stream });
        let check = check::check(table, mine, publish, checking, stop.clone());
        let telling = async {
            loop {
                let own = numbers.borrow_and_update().clone();
                let shard = |(partition, number): (&Partition, &i64)| Some((partition.as_str().parse().ok()?, *number));
                sender.send_replace(own.iter().filter_map(shard).collect());
                if numbers.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = check => {}
            () = telling => {}
        }
        assigner.stop().await;
    })
}
