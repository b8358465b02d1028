//! `millstream gateway` and `millstream check`: parts of `run` by themselves, so that they can be scaled apart.
//!
//! Neither changes a table: a gateway reads the routing tables, a checker appends events to the stream.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::signals::{Ask, Signals};
use crate::config::{Config, SinkKind};
use crate::data_dir;
use crate::postgres;
use crate::serving::{Serving, With};
use crate::stream::Stream;
use crate::tables::Tables;

/// How long `/readyz` of the admin address answers 503 before the listener closes, unless configured or run on a terminal.
const NOTICE: Duration = Duration::from_secs(5);

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Gateway,
    Checker,
}

/// Starts, waits for a signal, drains.
pub(super) async fn run(mut config: Config, part: Part) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    config.checker.enabled = part == Part::Checker;
    match part {
        Part::Gateway if config.gateway.listen.is_none() => {
            bail!("gateway.listen says where it listens: --set gateway.listen=127.0.0.1:8081")
        }
        Part::Gateway => {}
        Part::Checker => config.gateway.listen = None,
    }
    data_dir::prepare(&config)?;
    let (cluster, connector, _) = postgres::open(&config).await?;
    let mut opened = None;
    if part == Part::Checker {
        let stream = Stream::open(&config)?;
        let pipeline =
            config.pipeline_into(SinkKind::Routing).context("no pipeline of tasks: configure a task_source")?;
        let topic = Box::pin(stream.topic(&config, pipeline, &connector)).await?;
        opened = Some((stream, topic));
    }
    let stop = CancellationToken::new();
    let draining = CancellationToken::new();
    // Whoever writes keeps the tables up to date.
    let (_ready, tables) = watch::channel(Tables::Ready);
    let with = With {
        stream: opened.as_ref().and_then(|(_, topic)| topic.append.clone()),
        is_writer: false,
        stamped: Vec::new(),
        tables,
        draining: draining.clone(),
        stop: stop.clone(),
    };
    let serving = Serving::start(&config, &connector, with).await?.context("there is nothing to follow")?;
    match serving.address {
        Some(address) => tracing::info!(listen = %address, admin = %config.gateway.admin, id = serving.id, "serving"),
        None => tracing::info!("checking"),
    }
    while signals.next().await == Ask::Reload {}
    draining.cancel();
    let configured = config.http.drain_notice_seconds.map(Duration::from_secs);
    if let Some(notice) = configured.or((!signals.on_terminal()).then_some(NOTICE)) {
        tokio::select! {
            () = tokio::time::sleep(notice) => {}
            () = signals.again() => {}
        }
    }
    serving.end().await;
    drop(opened);
    if let Some(cluster) = cluster {
        cluster.close().await?;
    }
    Ok(ExitCode::SUCCESS)
}
