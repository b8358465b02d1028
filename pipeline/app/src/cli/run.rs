//! `millstream run`: everything until SIGTERM or Ctrl-C.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use millstream_engine::Summary;
use tokio::signal::unix::{SignalKind, signal};

use super::client;
use crate::config::Config;
use crate::http;
use crate::node::Node;

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Writes everything that the controller is told and decides into a file, for `millstream tune --replay`.
    #[arg(long, value_name = "FILE")]
    pub(super) record: Option<PathBuf>,
}

/// Starts, waits for a signal, drains.
pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let node = Arc::new(Node::start(config).await?);
    let server = match http::serve(Arc::clone(&node)).await {
        Ok(server) => server,
        Err(error) => {
            // What has begun in the meantime is finished; the summary would only hide why.
            drop(node.drain().await);
            return Err(error);
        }
    };
    client::note_address(&node.config.data_dir, server.address);
    tracing::info!(listen = %server.address, data_dir = %node.config.data_dir.display(), psql = node.psql_line, "running");
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
    }
    client::forget_address(&node.config.data_dir);
    tracing::info!("draining");
    let summary = tokio::select! {
        summary = async { server.stop().await; node.drain().await } => summary,
        // A second signal: leave at once. What was in flight is read again at the next start.
        _ = terminate.recv() => Summary::default(),
        _ = tokio::signal::ctrl_c() => Summary::default(),
    };
    let counted = node.pipelines.iter().map(|pipeline| pipeline.progress.snapshot());
    for counts in counted {
        tracing::info!(
            records = counts.records,
            written = counts.written,
            quarantined = counts.quarantined,
            transactions = counts.transactions,
            "drained"
        );
    }
    Ok(if summary.drained && summary.halted.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
