//! The process of a task: a model that answers with its own name.
//!
//! It ends when its standard input does: with the demo, however that ends. Each POST that it carries out is a line in its
//! journal, written before the answer, so that a request that was carried out twice can be found.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::json;

/// The port of every task: each has an address of its own.
pub(super) const PORT: u16 = 8066;

/// Options of the process.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address of the task.
    #[arg(long)]
    address: Ipv4Addr,
    /// Revision that it runs.
    #[arg(long)]
    revision: String,
    /// Its id.
    #[arg(long)]
    task: String,
    /// File to which each executed request is written.
    #[arg(long)]
    journal: PathBuf,
}

#[derive(Debug)]
struct Model {
    revision: String,
    task: String,
    journal: Mutex<std::fs::File>,
    is_well: AtomicBool,
}

/// Serves until standard input ends.
///
/// # Errors
/// When the address or the journal cannot be opened.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let journal = std::fs::OpenOptions::new().create(true).append(true).open(&args.journal);
    let journal = journal.with_context(|| format!("open {}", args.journal.display()))?;
    let model = Arc::new(Model {
        revision: args.revision,
        task: args.task,
        journal: Mutex::new(journal),
        is_well: AtomicBool::new(true),
    });
    let listener = tokio::net::TcpListener::bind((args.address, PORT)).await;
    let listener = listener.with_context(|| format!("listen on {}:{PORT}", args.address))?;
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/demo/health", post(change_health))
        .fallback(answer)
        .with_state(model);
    // A thread, because a read of standard input cannot be cancelled.
    std::thread::spawn(|| {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).ok();
        std::process::exit(0);
    });
    axum::serve(listener, router).await.context("serve")?;
    Ok(ExitCode::SUCCESS)
}

async fn health(State(model): State<Arc<Model>>) -> StatusCode {
    if model.is_well.load(Relaxed) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn change_health(State(model): State<Arc<Model>>) -> String {
    let is_well = !model.is_well.fetch_xor(true, Relaxed);
    is_well.to_string()
}

async fn answer(State(model): State<Arc<Model>>, method: axum::http::Method, headers: HeaderMap) -> Response {
    if method == axum::http::Method::POST {
        let id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("?");
        let journal = model.journal.lock();
        let written = journal.map(|mut journal| journal.write_all(format!("{id}\n").as_bytes()));
        if !matches!(written, Ok(Ok(()))) {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    }
    let body = json!({ "service": "digits", "revision": model.revision, "task": model.task, "digit": 7 });
    ([("x-model-revision", model.revision.clone())], axum::Json(body)).into_response()
}
