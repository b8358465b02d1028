//! `millstream demo`: the whole system on one machine with a generator of uploads, live.
//!
//! With `--for .. --check` it does the same without a terminal and reports whether the tables equal a model that shares
//! no code with the sink.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args as ClapArgs;
use millstream_engine::{Summary, task};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cli::client;
use crate::cli::signals::Signals;
use crate::config::Config;
use crate::http;
use crate::node::Node;
use services::Services;

mod check;
mod emitter;
mod keys;
mod model;
mod row_by_row;
mod screen;
pub(crate) mod services;
mod terminal;
mod tree;

/// Options of the demo.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// How long to run (default: until Ctrl-C).
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::config::some_time)]
    pub duration: Option<Duration>,
    /// Run without a terminal in a separate directory, and exit 0 only if the tables equal the model.
    #[arg(long)]
    pub check: bool,
    /// Remove what an earlier demo left, and start afresh.
    #[arg(long)]
    pub fresh: bool,
    /// Uploads per second; bursts have five times this rate.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: u64,
    /// File tree whose names and sizes the uploads take.
    #[arg(long, default_value = "/usr")]
    pub tree: std::path::PathBuf,
    /// Seed of the random choices.
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
    /// Sends the requests of the service to its other revision.
    Flip,
    /// Kills a task of the service.
    KillTask,
    /// Makes a task of the service answer its health check badly, or well again.
    Sicken,
}

/// What the parts of the demo share.
#[derive(Debug)]
struct Shared {
    node: Arc<Node>,
    address: std::net::SocketAddr,
    /// The service behind the gateway.
    services: Arc<Services>,
    sent: AtomicU64,
    poison_sent: AtomicU64,
    /// Whether the other shape is being measured.
    row_by_row: AtomicBool,
    /// Lines for the screen: what a key did and what to look at.
    notes: std::sync::Mutex<Vec<String>>,
    /// Notified of each new note.
    noted: tokio::sync::Notify,
}

impl Shared {
    fn note(&self, text: impl Into<String>) {
        let mut notes = self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        notes.push(text.into());
        let extra = notes.len().saturating_sub(4);
        notes.drain(..extra);
        drop(notes);
        self.noted.notify_one();
    }
}

/// Runs the demo.
///
/// # Errors
/// Names the part that could not be started.
pub async fn run(args: Args, mut config: Config) -> anyhow::Result<ExitCode> {
    // Before a server is started that a signal would leave running.
    let mut signals = Signals::listen()?;
    let name = if args.check { "check" } else { "demo" };
    config.data_dir = config.data_dir.join(name);
    if let Some(error) = millstream_log::Log::in_use(&config.data_dir.join("stream")) {
        return Err(runs_already(&config, error));
    }
    if (args.fresh || args.check) && config.data_dir.exists() {
        std::fs::remove_dir_all(&config.data_dir).with_context(|| format!("remove {}", config.data_dir.display()))?;
    }
    if args.check {
        // Any free port: another demo or millstream may be running.
        config.http.listen.set_port(0);
    }
    let subnet = services::configure(&mut config, args.check)?;
    let files = tree::files(&args.tree)?;
    screen::say(&format!(
        "millstream demo: starting the stream and PostgreSQL in {}; the first time this takes some seconds",
        config.data_dir.display()
    ));
    let door = http::open(&config)?;
    let node = Arc::new(Node::start(config).await?);
    let server = match http::serve(Arc::clone(&node), door).await {
        Ok(server) => server,
        Err(error) => {
            drop(node.drain().await);
            return Err(error);
        }
    };
    client::note_address(&node.config.data_dir, server.address);
    let services = match Services::start(&node, subnet, services::Extent::DEMO).await {
        Ok(services) => services,
        Err(error) => {
            server.stop().await;
            drop(node.drain().await);
            return Err(error);
        }
    };
    let shared = Arc::new(Shared {
        node: Arc::clone(&node),
        address: server.address,
        services: Arc::clone(&services),
        sent: AtomicU64::new(0),
        poison_sent: AtomicU64::new(0),
        row_by_row: AtomicBool::new(false),
        notes: std::sync::Mutex::default(),
        noted: tokio::sync::Notify::new(),
    });
    let model = live(&args, files, &shared, &mut signals).await?;
    screen::say(&format!("stopped sending after {} events; draining", shared.sent.load(Relaxed)));
    services.stop();
    let equal = if args.check {
        catch_up(&node).await?;
        let are_objects = check::compare(&node, &model, shared.poison_sent.load(Relaxed)).await?;
        services::verify(&node, &services).await? && are_objects
    } else {
        true
    };
    let summary = tokio::select! {
        summary = async { server.stop().await; node.drain().await } => summary,
        // A second signal: leave at once. What was in flight is read again at the next start.
        () = signals.again() => Summary::default(),
    };
    client::forget_address(&node.config.data_dir);
    screen::summarize(&shared, &summary);
    Ok(if equal && summary.drained && summary.halted.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends and shows until the end; returns what was sent.
async fn live(
    args: &Args,
    files: Vec<tree::File>,
    shared: &Arc<Shared>,
    signals: &mut Signals,
) -> anyhow::Result<model::Model> {
    let stop = CancellationToken::new();
    let gone = CancellationToken::new();
    let (wishes, wished) = mpsc::channel(8);
    let emitting = emitter::emit(args.clone(), files, Arc::clone(shared), wished, stop.clone());
    let mut emitting = task::spawn("emitter", emitting);
    let keyboard = if args.check { None } else { keys::listen(wishes.clone()) };
    let screen = screen::show(Arc::clone(shared), args.duration, keyboard.is_some(), stop.clone(), gone.clone());
    let screen = task::spawn("screen", screen);
    let early = tokio::select! {
        () = wait(args.duration, &wishes, args.check, signals) => None,
        () = gone.cancelled() => None,
        // It ends early only with an error, which is the reason.
        ended = &mut emitting => Some(ended),
    };
    stop.cancel();
    // The screen first: later lines then appear below what the terminal showed before the demo.
    screen.await??;
    drop(keyboard);
    match early {
        Some(ended) => ended?,
        None => emitting.await?,
    }
}

/// Explains why a second demo cannot start in the same directory.
fn runs_already(config: &Config, error: millstream_log::Error) -> anyhow::Error {
    let next = "take another place with --data-dir DIR";
    let error = anyhow::Error::new(error);
    match client::noted_address(&config.data_dir) {
        Some(address) => error.context(format!("a demo runs already: open http://{address}/, or {next}")),
        None => {
            error.context(format!("{} is in use: wait until that process ends, or {next}", config.data_dir.display()))
        }
    }
}

/// Waits for the end. A run with `--check` also presses the keys itself: it has to survive these faults.
async fn wait(duration: Option<Duration>, wishes: &mpsc::Sender<Wish>, check: bool, signals: &mut Signals) {
    let end = async {
        match duration.or(check.then_some(Duration::from_secs(30))) {
            Some(duration) if check => {
                let pressed = [
                    Wish::Flip,
                    Wish::Duplicates,
                    Wish::KillTask,
                    Wish::Poison,
                    Wish::Sicken,
                    Wish::KillPostgres,
                    Wish::Flip,
                    Wish::Sicken,
                ];
                for wish in pressed {
                    tokio::time::sleep(duration / 9).await;
                    // The emitter ends only after us.
                    wishes.send(wish).await.ok();
                }
                tokio::time::sleep(duration / 9).await;
            }
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    // Any signal ends the demo: it has nothing to reload.
    tokio::select! {
        () = end => {}
        _ = signals.next() => {}
    }
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
