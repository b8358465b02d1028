//! `millstream run`: runs everything until SIGTERM or Ctrl-C.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::Summary;

use super::client;
use super::signals::{Ask, Signals};
use crate::config::Config;
use crate::http::{self, Server};
use crate::node::Node;

/// How long `/readyz` answers 503 before the listener closes, unless configured otherwise or run on a terminal. Load
/// balancers ask every second or two and react after two or three refusals; the drain needs the rest of the 30 s that
/// supervisors give a process.
const NOTICE: Duration = Duration::from_secs(5);

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Record everything that the controller is told and decides in a file, for `millstream tune --replay`.
    #[arg(long, value_name = "FILE")]
    pub(super) record: Option<PathBuf>,
}

/// Starts, waits for a signal, drains.
pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    client::forget_drain(&config.data_dir);
    // If a port is taken, or tokens cannot be read, this fails before a cluster is made for nothing.
    let door = http::open(&config)?;
    let node = tokio::select! {
        node = Node::start(config) => Arc::new(node?),
        () = signals.again() => {
            tracing::info!("stopped before it was running");
            return Ok(ExitCode::FAILURE);
        }
    };
    let server = match http::serve(Arc::clone(&node), door).await {
        Ok(server) => server,
        Err(error) => {
            // Finishes what has begun meanwhile; its summary would only hide the error.
            drop(node.drain().await);
            return Err(error);
        }
    };
    client::note_address(&node.config.data_dir, server.address);
    tracing::info!(listen = %server.address, data_dir = %node.config.data_dir.display(), psql = node.psql_line, "running");
    while signals.next().await == Ask::Reload {
        tracing::info!("SIGHUP: tokens and passwords are read again");
        node.reload();
    }
    let summary = tokio::select! {
        summary = drain(&node, &server, signals.on_terminal()) => summary,
        // A second signal: leave at once. What was in flight is read again at the next start.
        () = signals.again() => Summary::default(),
    };
    client::forget_address(&node.config.data_dir);
    let counted = node.pipelines.iter().map(|pipeline| pipeline.progress.snapshot());
    for counts in counted {
        tracing::info!(
            records = counts.records,
            written = counts.written,
            filtered = counts.filtered.values().sum::<u64>(),
            quarantined = counts.quarantined,
            transactions = counts.transactions,
            "drained"
        );
    }
    Ok(if summary.drained && summary.halted.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows load balancers that it leaves, takes no more requests, finishes what is in flight.
async fn drain(node: &Node, server: &Server, terminal: bool) -> Summary {
    let configured = node.config.http.drain_notice_seconds.map(Duration::from_secs);
    let notice = configured.unwrap_or(if terminal { Duration::ZERO } else { NOTICE });
    node.draining.cancel();
    tracing::info!(notice_s = notice.as_secs(), "draining");
    tokio::time::sleep(notice).await;
    client::note_draining(&node.config.data_dir);
    // Set now: slow requests leave less time to the pipelines, since supervisors wait for both together.
    let deadline = node.drain_deadline();
    server.stop().await;
    node.drain_by(deadline).await
}
