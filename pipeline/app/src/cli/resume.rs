//! `millstream resume`: resumes a pipeline of the running process, or a store of it, that was paused because of too
//! many bad events.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use hyper::Method;
use serde_json::Value;

use super::client::Client;
use super::screen::{self, found};
use crate::config::Config;

/// Interval between checks of how many records of a store are left.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Options of `resume`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipeline, as named by `millstream status`.
    pipeline: String,
    /// Resume this store, and write its quarantined records; the process goes on with them if this command is ended.
    #[arg(long)]
    store: Option<String>,
}

pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let name = &args.pipeline;
    let known = config.pipeline.iter().map(|pipeline| &*pipeline.name);
    if !known.clone().any(|known| known == name) {
        bail!("there is no pipeline {name:?}; there is {}", known.collect::<Vec<_>>().join(", "));
    }
    let client = Client::expect(config).await?;
    let query = args.store.as_ref().map(|store| {
        format!("?store={}", percent_encoding::utf8_percent_encode(store, percent_encoding::NON_ALPHANUMERIC))
    });
    let path = format!("/v1/pipelines/{name}/resume{}", query.unwrap_or_default());
    let answer = client.json(Method::POST, &path, Bytes::new()).await?;
    let was_paused = answer.get("was_paused").and_then(Value::as_bool).unwrap_or_default();
    let Some(store) = &args.store else {
        let said = if was_paused { "goes on" } else { "was not paused" };
        screen::print(&format!("pipeline {name} {said}\n"));
        let aside = paused(&client, name, None).await?;
        for one in &aside {
            screen::print(&format!("store {} is paused: {}", screen::text(one, "store"), screen::text(one, "command")));
        }
        return Ok(ExitCode::SUCCESS);
    };
    let said = if was_paused { "goes on" } else { "was not paused" };
    screen::print(&format!("store {store} of pipeline {name} {said}"));
    follow(&client, config, name, store).await?;
    Ok(ExitCode::SUCCESS)
}

/// Prints how many records are left, until none is.
async fn follow(client: &Client, config: &Config, pipeline: &str, store: &str) -> anyhow::Result<()> {
    let mut told = None;
    loop {
        let Some(one) = paused(client, pipeline, Some(store)).await?.into_iter().next() else { break };
        if found(&one, "state").and_then(Value::as_str) != Some("resuming") {
            bail!("store {store} is paused again: {}", screen::text(&one, "reason"));
        }
        let rows = found(&one, "rows").and_then(Value::as_u64).unwrap_or_default();
        if told != Some(rows) {
            screen::print(&format!("{} records that were kept are left to write", screen::grouped(rows)));
            told = Some(rows);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    if told.is_some() {
        screen::print(&format!(
            "all of them are written, or in quarantine with a reason of their own: {}",
            config.command(&format!("quarantine ls --store {store}"))
        ));
    }
    Ok(())
}

/// The stores of a pipeline that are paused or being resumed, or only the named one.
async fn paused(client: &Client, pipeline: &str, store: Option<&str>) -> anyhow::Result<Vec<Value>> {
    let status = client.get("/v1/status").await?;
    let pipelines = found(&status, "pipelines").and_then(Value::as_array);
    let named = |value: &&Value| found(value, "name").and_then(Value::as_str) == Some(pipeline);
    let stores = pipelines.into_iter().flatten().find(named).and_then(|one| found(one, "paused_stores"));
    let is_meant = |one: &&Value| store.is_none_or(|store| found(one, "store").and_then(Value::as_str) == Some(store));
    Ok(stores.and_then(Value::as_array).into_iter().flatten().filter(is_meant).cloned().collect())
}
