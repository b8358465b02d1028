//! `millstream demo`: the whole system on one machine with a generator of uploads, live.
//!
//! With `--for .. --check` it does the same without a terminal and says whether the tables equal a model that shares no
//! code with the sink.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args as ClapArgs;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::http;
use crate::node::Node;

mod check;
mod emitter;
mod keys;
mod model;
mod row_by_row;
mod screen;
mod tree;

/// Options of the demo.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// How long to run; without it until Ctrl-C.
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::config::duration::parse)]
    pub duration: Option<Duration>,
    /// Runs without a terminal in a directory of its own, and exits 0 only if the tables equal the model.
    #[arg(long)]
    pub check: bool,
    /// Removes what an earlier demo left and begins anew.
    #[arg(long)]
    pub fresh: bool,
    /// Uploads per second, with bursts of five times as many.
    #[arg(long, default_value_t = 200)]
    pub rate: u64,
    /// The file tree whose names and sizes the uploads take.
    #[arg(long, default_value = "/usr")]
    pub tree: std::path::PathBuf,
    /// The seed of the choices.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// What a person asks for while the demo runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// Sends the last thousand events again.
    Duplicates,
    /// Sends events that no table can hold.
    Poison,
    /// Kills PostgreSQL.
    KillPostgres,
    /// Shows the row-per-transaction shape beside ours.
    RowByRow,
}

/// What the parts of the demo share.
#[derive(Debug)]
struct Shared {
    node: Arc<Node>,
    address: std::net::SocketAddr,
    sent: AtomicU64,
    poison_sent: AtomicU64,
    /// Lines for the screen: what a key did and what to look at.
    notes: std::sync::Mutex<Vec<String>>,
}

impl Shared {
    fn note(&self, text: impl Into<String>) {
        let mut notes = self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        notes.push(text.into());
        let extra = notes.len().saturating_sub(4);
        notes.drain(..extra);
    }
}

/// Runs the demo.
///
/// # Errors
/// Says which part could not be started.
pub async fn run(args: Args, mut config: Config) -> anyhow::Result<ExitCode> {
    let name = if args.check { "check" } else { "demo" };
    config.data_dir = config.data_dir.join(name);
    if (args.fresh || args.check) && config.data_dir.exists() {
        std::fs::remove_dir_all(&config.data_dir).with_context(|| format!("remove {}", config.data_dir.display()))?;
    }
    if args.check {
        // Beside a running demo or product.
        config.http.listen.set_port(0);
    }
    let files = tree::files(&args.tree)?;
    let node = Arc::new(Node::start(config).await?);
    let server = http::serve(Arc::clone(&node)).await?;
    let shared = Arc::new(Shared {
        node: Arc::clone(&node),
        address: server.address,
        sent: AtomicU64::new(0),
        poison_sent: AtomicU64::new(0),
        notes: std::sync::Mutex::default(),
    });
    let stop = CancellationToken::new();
    let (wishes, wished) = mpsc::channel(8);
    screen::introduce(&shared, args.duration);
    let emitting = millstream_engine::task::spawn(
        "emitter",
        emitter::emit(args.clone(), files, Arc::clone(&shared), wished, stop.clone()),
    );
    let keyboard = if args.check { None } else { keys::listen(wishes.clone()) };
    let screen = screen::show(Arc::clone(&shared), stop.clone(), keyboard.is_some());
    let screen = millstream_engine::task::spawn("screen", screen);
    wait(args.duration, &wishes, args.check).await?;
    stop.cancel();
    let model = emitting.await??;
    screen.await?;
    drop(keyboard);
    screen::say(&format!("stopped sending after {} events; draining", shared.sent.load(Relaxed)));
    let equal = if args.check {
        catch_up(&node).await?;
        check::compare(&node, &model, shared.poison_sent.load(Relaxed)).await?
    } else {
        true
    };
    server.stop().await;
    let summary = node.drain().await;
    screen::summarize(&shared, &summary);
    Ok(if equal && summary.drained && summary.halted.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits for the end. A checking run also presses the keys by itself: faults are part of what it proves.
async fn wait(duration: Option<Duration>, wishes: &mpsc::Sender<Wish>, check: bool) -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let end = async {
        match duration.or(check.then_some(Duration::from_secs(30))) {
            Some(duration) if check => {
                for wish in [Wish::Duplicates, Wish::Poison, Wish::KillPostgres] {
                    tokio::time::sleep(duration / 4).await;
                    // The emitter ends only after us.
                    wishes.send(wish).await.ok();
                }
                tokio::time::sleep(duration / 4).await;
            }
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = end => {}
        result = tokio::signal::ctrl_c() => result?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Waits until the tables have all that the stream holds.
async fn catch_up(node: &Node) -> anyhow::Result<()> {
    let began = Instant::now();
    while !node.is_caught_up() {
        anyhow::ensure!(began.elapsed() < Duration::from_secs(60), "the tables did not catch up within 60 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
