//! The service `digits` of the demo: six real processes, two revisions, requests through the gateway, and the faults that
//! keys cause.
//!
//! Each process is a task of ECS as far as millstream knows: its events have the shape of ECS and are posted like
//! anybody's. What is kept here beside them is the model that the tables are compared with in the end.

mod event;

mod fleet;

mod load;

pub(crate) mod process;

mod verify;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::cli::client::Client;
use crate::config::{Config, Pipeline, SinkKind};
use crate::node::Node;
use fleet::{Fleet, Subnet};
pub(crate) use load::Counts;
pub(super) use verify::verify;

/// The service, and its alias.
pub(super) const SERVICE: &str = "digits";
pub(super) const ALIAS: &str = "prod";
/// Its revisions; the first one serves at the start.
const REVISIONS: [&str; 2] = ["blue", "green"];
/// The source of its events, and the network of its tasks.
const SOURCE: &str = "demo";
/// How long the first request may take to be served after the start, on a machine that builds something beside it.
const SERVED_WITHIN: Duration = Duration::from_secs(90);

/// How much of it there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Tasks of each revision.
    pub(crate) tasks: u8,
    /// Requests a second.
    pub(crate) gets: u32,
    /// The same of POSTs.
    pub(crate) posts: u32,
}

impl Extent {
    /// That of the demo.
    pub(crate) const DEMO: Extent = Extent { tasks: 3, gets: 100, posts: 20 };
}

/// The running service.
#[derive(Debug)]
pub(crate) struct Services {
    /// Where the gateway listens.
    pub(super) gateway: SocketAddr,
    pub(crate) counts: Arc<Counts>,
    fleet: Mutex<Fleet>,
    client: Client,
    /// What each generation of the alias means.
    pub(crate) generations: Mutex<Vec<(i64, &'static str)>>,
    stop: CancellationToken,
}

/// Adds what the service needs to a configuration: a source of its events, a pipeline that takes them, a checker, and a
/// gateway. Returns the subnet of its tasks.
pub(crate) fn configure(config: &mut Config, check: bool) -> anyhow::Result<Subnet> {
    let subnet = Subnet::free(check)?;
    let source = json!({
        "name": SOURCE, "kind": "ecs", "clusters": [event::CLUSTER], "network": SOURCE, "cidrs": [subnet.cidr()],
        "may": ["task", "health"],
    });
    config.task_source.push(serde_json::from_value(source).context("read the source of the demo")?);
    if config.pipeline_into(SinkKind::Routing).is_none() {
        config.pipeline.push(Pipeline::tasks());
    }
    config.checker.enabled = true;
    // Short enough to see it within a demo.
    config.checker.interval = Duration::from_secs(1);
    let any_port = check || config.http.listen.port() == 0;
    let listen = config.gateway.listen.get_or_insert(SocketAddr::from(([127, 0, 0, 1], 8081)));
    if any_port {
        listen.set_port(0);
        config.gateway.admin.set_port(0);
    }
    Ok(subnet)
}

impl Services {
    /// Starts the processes, tells of them, sets the alias, and waits for the first answer.
    pub(crate) async fn start(node: &Node, subnet: Subnet, extent: Extent) -> anyhow::Result<Arc<Services>> {
        let gateway =
            node.serving.as_ref().and_then(|serving| serving.address).context("the gateway does not listen")?;
        let client = Client::expect(&node.config).await?;
        let fleet = Fleet::start(&node.config.data_dir, subnet, &REVISIONS, extent.tasks).await?;
        let services = Arc::new(Services {
            gateway,
            counts: Arc::default(),
            fleet: Mutex::new(fleet),
            client,
            generations: Mutex::default(),
            stop: CancellationToken::new(),
        });
        for revision in REVISIONS {
            let deploy = json!({
                "selector": { "definition": event::definition(revision) }, "port": process::PORT,
                "health": { "kind": "http", "path": "/healthz" },
            });
            services.put(&format!("/v1/deploys/{SERVICE}/{revision}"), "*", deploy).await?;
        }
        services.tell_all().await?;
        services.set_alias(REVISIONS[0]).await?;
        services.served().await?;
        load::start(&services, extent, &services.stop);
        Ok(services)
    }

    /// Sends all requests to the other revision.
    pub(crate) async fn flip(&self) -> anyhow::Result<String> {
        let now = self.generations.lock().await.last().map(|(_, revision)| *revision);
        let next = REVISIONS.into_iter().find(|revision| Some(*revision) != now).unwrap_or(REVISIONS[0]);
        let generation = self.set_alias(next).await?;
        Ok(format!("{ALIAS} -> {next} (generation {generation}); every request since it was applied went there"))
    }

    /// Kills a process without notice, and starts another task in its place.
    pub(crate) async fn kill(&self) -> anyhow::Result<String> {
        let killed = self.fleet.lock().await.kill().await?;
        // The scheduler finds out a moment later, as it does.
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.tell(&killed).await?;
        let started = self.fleet.lock().await.replace(&killed).await?;
        self.tell(&started).await?;
        Ok(format!(
            "task {} was killed with kill -9; requests went to others, and {} took its place",
            killed.short(),
            started.short()
        ))
    }

    /// Makes a process answer its health check badly, or well again.
    pub(super) async fn sicken(&self) -> anyhow::Result<String> {
        let (task, is_well) = self.fleet.lock().await.sicken().await?;
        let how = if is_well { "well again" } else { "badly" };
        Ok(format!("task {} answers its health check {how}", task.short()))
    }

    /// The journals of all tasks, ended ones too.
    pub(crate) async fn journals(&self) -> Vec<std::path::PathBuf> {
        self.fleet.lock().await.journals().collect()
    }

    /// Stops to send requests.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    async fn tell_all(&self) -> anyhow::Result<()> {
        let tasks = self.fleet.lock().await.tasks();
        for task in tasks {
            self.tell(&task).await?;
        }
        Ok(())
    }

    /// Posts an event of a task as it is now.
    async fn tell(&self, task: &fleet::Task) -> anyhow::Result<()> {
        let headers = [("content-type".to_owned(), "application/json".to_owned())];
        let path = format!("/v1/events?store={SOURCE}");
        let (status, answer) = self.client.send(Method::POST, &path, &headers, event::event(task)).await?;
        anyhow::ensure!(
            status == StatusCode::ACCEPTED,
            "an event of a task was answered {status}{}",
            crate::cli::client::problem(&answer)
        );
        if task.is_running {
            self.counts.told(&task.id);
        }
        Ok(())
    }

    async fn set_alias(&self, revision: &'static str) -> anyhow::Result<i64> {
        let mut generations = self.generations.lock().await;
        let expected = generations.last().map_or_else(|| "*".to_owned(), |(generation, _)| format!("\"{generation}\""));
        let body = json!({ "targets": [{ "revision": revision, "weight": 100 }] });
        let answer = self.put(&format!("/v1/routes/{SERVICE}/{ALIAS}"), &expected, body).await?;
        let generation = answer.get("generation").and_then(Value::as_i64).context("read the generation")?;
        generations.push((generation, revision));
        Ok(generation)
    }

    async fn put(&self, path: &str, expected: &str, body: Value) -> anyhow::Result<Value> {
        // A demo that goes on where it stopped finds what it has set before.
        let condition = match self.client.send(Method::GET, path, &[], Bytes::new()).await? {
            (StatusCode::NOT_FOUND, _) => ("if-none-match", "*".to_owned()),
            _ if expected == "*" => ("if-match", "*".to_owned()),
            _ => ("if-match", expected.to_owned()),
        };
        let headers =
            [(condition.0.to_owned(), condition.1), ("content-type".to_owned(), "application/json".to_owned())];
        let (status, answer) = self.client.send(Method::PUT, path, &headers, body.to_string().into()).await?;
        anyhow::ensure!(status.is_success(), "{path} was answered {status}{}", crate::cli::client::problem(&answer));
        serde_json::from_slice(&answer).context("read the answer")
    }

    async fn served(&self) -> anyhow::Result<()> {
        let began = tokio::time::Instant::now();
        while load::get(self.gateway).await.is_none() {
            anyhow::ensure!(began.elapsed() < SERVED_WITHIN, "the gateway served no request within {SERVED_WITHIN:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}
