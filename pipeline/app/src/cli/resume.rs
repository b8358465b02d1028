//! `millstream resume`: lets a pipeline of the running process go on that too many bad events have paused.

use std::process::ExitCode;

use anyhow::bail;
use bytes::Bytes;
use hyper::Method;

use super::client::Client;
use super::screen;
use crate::config::Config;

/// Options of `resume`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline, as `millstream status` names it.
    pipeline: String,
}

pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let name = &args.pipeline;
    let known = config.pipeline.iter().map(|pipeline| &*pipeline.name);
    if !known.clone().any(|known| known == name) {
        bail!("there is no pipeline {name:?}; there is {}", known.collect::<Vec<_>>().join(", "));
    }
    let client = Client::expect(config).await?;
    let answer = client.json(Method::POST, &format!("/v1/pipelines/{name}/resume"), Bytes::new()).await?;
    let was_paused = answer.get("was_paused").and_then(serde_json::Value::as_bool).unwrap_or_default();
    let said = if was_paused { "goes on" } else { "was not paused" };
    screen::print(&format!("pipeline {name} {said}\n"));
    Ok(ExitCode::SUCCESS)
}
