//! `millstream deploy`: the revisions of services, and which tasks belong to them.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::client::{Client, problem};
use super::route::change_id;
use super::screen::{self, found, text};
use crate::config::Config;

/// Commands of `deploy`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists revisions of all services, or of one.
    Ls {
        /// Only those of this service.
        service: Option<String>,
        /// Print the JSON answer of the process.
        #[arg(long)]
        json: bool,
    },
    /// Sets a revision: which tasks belong to it, and how they are reached.
    Set(Box<SetArgs>),
    /// Retires a revision: it takes no more tasks.
    Retire {
        /// Service.
        service: String,
        /// Revision.
        revision: String,
        /// Do everything but commit.
        #[arg(long)]
        dry_run: bool,
        /// Print the JSON answer of the process.
        #[arg(long)]
        json: bool,
    },
}

/// Options of `deploy set`.
#[derive(Debug, clap::Args)]
pub struct SetArgs {
    /// Service.
    service: String,
    /// Revision.
    revision: String,
    /// Tasks of this task definition, as `family:revision`.
    #[arg(long)]
    definition: Option<String>,
    /// Tasks of this group, such as `service:digits`.
    #[arg(long)]
    group: Option<String>,
    /// Tasks of this source.
    #[arg(long)]
    source: Option<String>,
    /// Tasks of this cluster.
    #[arg(long)]
    cluster: Option<String>,
    /// Pods of this namespace.
    #[arg(long)]
    namespace: Option<String>,
    /// Pods with this label; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Container that serves, where a task has several.
    #[arg(long)]
    container: Option<String>,
    /// Port of the container.
    #[arg(long)]
    port: Option<u16>,
    /// How tasks are checked: `tcp`, or the path of a GET, such as `/healthz`.
    #[arg(long, value_name = "tcp|PATH")]
    health: Option<String>,
    /// Routable tasks that an alias waits for.
    #[arg(long, default_value_t = 1)]
    min_ready: u32,
    /// How long a task that is stopped may finish what it has, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain_seconds: u32,
    /// Whether any request may be sent again to another task.
    #[arg(long)]
    replay_post: bool,
    /// Requests at a time that a task takes.
    #[arg(long, value_name = "NUMBER")]
    concurrency_max: Option<u32>,
    /// The whole revision as a JSON file, in place of the options above.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["definition", "group", "source", "cluster", "namespace", "label", "container", "port", "health", "min_ready", "drain_seconds", "replay_post", "concurrency_max"])]
    file: Option<PathBuf>,
    /// Do everything but commit.
    #[arg(long)]
    dry_run: bool,
    /// Print the JSON answer of the process.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: &Command, config: &Config) -> anyhow::Result<ExitCode> {
    let client = Client::expect(config).await?;
    match command {
        Command::Ls { service, json } => list(&client, service.as_deref(), *json).await,
        Command::Set(args) => {
            let body = match &args.file {
                Some(file) => std::fs::read(file).with_context(|| format!("read {}", file.display()))?,
                None => args.body()?.to_string().into_bytes(),
            };
            let Named { path, dry_run, json } = Named::new(&args.service, &args.revision, args.dry_run, args.json);
            change(&client, Method::PUT, &path, body.into(), dry_run, json).await
        }
        Command::Retire { service, revision, dry_run, json } => {
            let Named { path, dry_run, json } = Named::new(service, revision, *dry_run, *json);
            change(&client, Method::DELETE, &path, Bytes::new(), dry_run, json).await
        }
    }
}

struct Named {
    path: String,
    dry_run: bool,
    json: bool,
}

impl Named {
    fn new(service: &str, revision: &str, dry_run: bool, json: bool) -> Self {
        let encode = |part| percent_encoding::utf8_percent_encode(part, percent_encoding::NON_ALPHANUMERIC);
        Named { path: format!("/v1/deploys/{}/{}", encode(service), encode(revision)), dry_run, json }
    }
}

impl SetArgs {
    fn body(&self) -> anyhow::Result<Value> {
        let mut selector = serde_json::Map::new();
        for (name, value) in [
            ("source", &self.source),
            ("cluster", &self.cluster),
            ("definition", &self.definition),
            ("group", &self.group),
            ("namespace", &self.namespace),
        ] {
            if let Some(value) = value {
                selector.insert(name.to_owned(), value.clone().into());
            }
        }
        let mut labels = serde_json::Map::new();
        for label in &self.label {
            let (name, value) = label.split_once('=').with_context(|| format!("{label:?}: write NAME=VALUE"))?;
            labels.insert(name.to_owned(), value.into());
        }
        if !labels.is_empty() {
            selector.insert("labels".to_owned(), labels.into());
        }
        let health = self.health.as_deref().map(|health| match health {
            "tcp" => json!({ "kind": "tcp" }),
            path => json!({ "kind": "http", "path": path }),
        });
        Ok(json!({
            "selector": (!selector.is_empty()).then_some(selector),
            "container": self.container,
            "port": self.port,
            "health": health,
            "min_ready": self.min_ready,
            "drain_ms": i64::from(self.drain_seconds) * 1000,
            "replay_post": self.replay_post,
            "concurrency_max": self.concurrency_max,
        }))
    }
}

async fn list(client: &Client, service: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let query = service.map(|service| {
        format!("?service={}", percent_encoding::utf8_percent_encode(service, percent_encoding::NON_ALPHANUMERIC))
    });
    let answer = client.get(&format!("/v1/deploys{}", query.unwrap_or_default())).await?;
    if json {
        screen::print_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let items = found(&answer, "items").and_then(Value::as_array).cloned().unwrap_or_default();
    if items.is_empty() {
        screen::print(
            "no revision is deployed; `millstream deploy set SERVICE REVISION --definition FAMILY:N --port PORT` sets one",
        );
        return Ok(ExitCode::SUCCESS);
    }
    for item in &items {
        screen::print(&line(item));
    }
    Ok(ExitCode::SUCCESS)
}

async fn change(
    client: &Client,
    method: Method,
    path: &str,
    body: Bytes,
    dry_run: bool,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let (status, now) = client.send(Method::GET, path, &[], Bytes::new()).await?;
    let condition = match status {
        StatusCode::NOT_FOUND => ("if-none-match".to_owned(), "*".to_owned()),
        status if status.is_success() => {
            let now: Value = serde_json::from_slice(&now).context("read the revision")?;
            let generation = found(&now, "generation").and_then(Value::as_i64).unwrap_or_default();
            ("if-match".to_owned(), format!("\"{generation}\""))
        }
        status => bail!("{} answers {status}{}", client.address, problem(&now)),
    };
    let query = format!("dry_run={dry_run}&change_id={}", change_id());
    let headers = [condition, ("content-type".to_owned(), "application/json".to_owned())];
    let (status, answer) = client.send(method, &format!("{path}?{query}"), &headers, body).await?;
    if !status.is_success() {
        bail!("{} answers {status}{}", client.address, problem(&answer));
    }
    let answer: Value = serde_json::from_slice(&answer).context("read the answer")?;
    if json {
        screen::print_json(&answer)?;
    } else {
        let would = if dry_run { "dry run, nothing was changed; it would be: " } else { "" };
        screen::print(&format!("{would}{}", line(&answer)));
    }
    Ok(ExitCode::SUCCESS)
}

/// A revision in one line.
fn line(deploy: &Value) -> String {
    let generation = found(deploy, "generation").and_then(Value::as_i64).unwrap_or_default();
    let state = match found(deploy, "retired").and_then(Value::as_bool).unwrap_or_default() {
        true => "retired",
        false => "deployed",
    };
    let port = found(deploy, "port").and_then(Value::as_u64).map(|port| format!(", port {port}")).unwrap_or_default();
    let selector = found(deploy, "selector").filter(|selector| !selector.is_null());
    let selector = selector.map_or_else(|| "no tasks".to_owned(), |selector| screen::escape(&selector.to_string()));
    format!(
        "{}/{} is {state} (generation {generation}){port}: {selector}",
        text(deploy, "service"),
        text(deploy, "revision")
    )
}
