//! The HTTP endpoint: events in, objects and state out.
//!
//! Guarantees: 202 means that the stream has every accepted event on disk; each refused event is named with its reason.
//! A request that cannot be served is answered by a problem document and has changed nothing; only an append that
//! failed half-way may have stored some events (repeating it does no harm). No client can take more than a fixed amount
//! of memory, connections and time.
//!
//! To add a route, add a line in `of_all_domains`, or in the `routes` of its domain, and in `http/openapi.json`; a test
//! compares the two.

mod connection;

pub(crate) mod access;

mod problem;

mod asked;

mod ingest;
mod subscriptions;

mod query;

mod objects;

mod routes;

mod appends;
mod counts;
mod seen;

mod shared;

mod health;
mod judge;
mod lag;
mod look;
mod metrics;
mod probe;
mod process;
mod status;

mod controller;
mod decisions;

mod resume;

pub(crate) mod damage;
pub(crate) mod stream;
mod topic;

mod page;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::routing::{MethodRouter, get, post};
use millstream_engine::task;
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::node::Node;
use access::Tokens;
use appends::Appends;
use connection::Ends;
use connection::places::Places;
use connection::visit::Patience;
use counts::Counts;
use judge::Known;
use probe::Probe;
use seen::Looks;
use shared::{App, Shared};
use subscriptions::Subscriptions;

/// How long requests in flight may take once the server is told to stop; the drain of the pipelines comes after it, and
/// supervisors give a process about 30 s in all.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that the kernel holds until they are accepted; the library's default.
const BACKLOG: u32 = 1024;

/// A running endpoint.
#[derive(Debug)]
pub struct Server {
    /// The address it listens on: the real port if 0 was configured.
    pub address: SocketAddr,
    draining: CancellationToken,
    closing: CancellationToken,
    stop: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
}

/// The bound address and the tokens, acquired before anything else is started.
#[derive(Debug)]
pub struct Door {
    /// Bound, so that no other process can listen there, but not listening: clients are refused until it can answer.
    socket: TcpSocket,
    tokens: Option<Tokens>,
}

/// Binds the address.
///
/// # Errors
/// When the address is taken or may not be used without tokens, or the tokens cannot be read.
pub fn open(config: &Config) -> anyhow::Result<Door> {
    let http = &config.http;
    let tokens = http.tokens_file.as_deref().map(Tokens::read).transpose()?;
    if tokens.is_none() && !http.listen.ip().is_loopback() {
        bail!(
            "http.listen = {} can be reached from other machines, and there are no tokens: name a file of them with --set http.tokens_file=FILE, or listen on 127.0.0.1",
            http.listen
        );
    }
    let bind = || {
        let socket = if http.listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Lingering connections of a process that has just ended do not block the address.
        socket.set_reuseaddr(true)?;
        socket.bind(http.listen)?;
        Ok(socket)
    };
    let socket = bind().map_err(|error| not_listening(http.listen, error))?;
    Ok(Door { socket, tokens })
}

fn not_listening(listen: SocketAddr, error: std::io::Error) -> anyhow::Error {
    let taken = error.kind() == std::io::ErrorKind::AddrInUse;
    let next =
        if taken { ": another process listens there; choose a port with --set http.listen=127.0.0.1:0" } else { "" };
    anyhow::Error::new(error).context(format!("listen on {listen}{next}"))
}

/// Starts to listen and to answer.
///
/// # Errors
/// Operating system errors.
pub async fn serve(node: Arc<Node>, door: Door) -> anyhow::Result<Server> {
    let http = &node.config.http;
    let Door { socket, tokens } = door;
    let listener = socket.listen(BACKLOG).map_err(|error| not_listening(http.listen, error))?;
    let address = listener.local_addr().context("read the address that was given")?;
    let draining = node.draining.clone();
    let closing = node.closing.clone();
    let body_bytes = ingest::memory_bytes_max(http.body_bytes_max).clamp(1, Semaphore::MAX_PERMITS);
    let app = Arc::new(App {
        tokens,
        appends: Semaphore::new(http.appends_max),
        appends_ended: Appends::default(),
        body_bytes: Arc::new(Semaphore::new(body_bytes)),
        counts: Counts::new(),
        places: Places::new(&node.config.http),
        subscriptions: Subscriptions::default(),
        looks: Looks::new(&node),
        known: Known::default(),
        probe: Probe::new(&node.connector, node.config.postgres.is_embedded()),
        node,
    });

    let stop = CancellationToken::new();
    let abort = CancellationToken::new();
    let tasks = TaskTracker::new();
    let looking = look::keep_looking(Arc::clone(&app), stop.clone());
    drop(task::spawn("http look", tasks.track_future(looking)));
    if app.tokens.is_some() {
        let reading = access::keep_reading(Arc::clone(&app), stop.clone());
        drop(task::spawn("http tokens", tasks.track_future(reading)));
    }
    let places = Arc::clone(&app.places);
    let patience = Patience::of(&app.node.config.http);
    let ends = Ends { stop: stop.clone(), abort: abort.clone() };
    let accepting = connection::accept(listener, router(app), places, patience, ends, tasks.clone());
    drop(task::spawn("http accept", tasks.track_future(accepting)));
    Ok(Server { address, draining, closing, stop, abort, tasks })
}

impl Server {
    /// Takes no more requests and lets those in flight finish, for five seconds at most.
    pub async fn stop(&self) {
        self.draining.cancel();
        self.closing.cancel();
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!(timeout_s = STOP_TIMEOUT.as_secs(), "requests in flight did not finish and are cut off");
            self.abort.cancel();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        self.abort.cancel();
    }
}

/// Every route: those of all domains together, then those of each.
fn paths() -> Vec<(&'static str, MethodRouter<Shared>)> {
    let mut paths = of_all_domains();
    paths.extend(objects::routes());
    paths.extend(routes::routes());
    paths
}

fn of_all_domains() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/v1/events", post(ingest::events)),
        ("/v1/status", get(status::status)),
        ("/v1/controller", controller::route()),
        ("/v1/decisions", get(decisions::decisions)),
        ("/v1/pipelines/{pipeline}/resume", post(resume::resume)),
        ("/v1/pipelines/{pipeline}/stream", get(stream::describe)),
        ("/v1/pipelines/{pipeline}/stream/{partition}", get(stream::partition)),
        ("/v1/pipelines/{pipeline}/stream/{partition}/damage", get(damage::check).post(damage::set_aside)),
        ("/metrics", get(metrics::metrics)),
        ("/healthz", get(health::alive)),
        ("/readyz", get(health::ready)),
        ("/openapi.json", get(page::openapi)),
        ("/", get(page::html)),
        ("/page.js", get(page::script)),
        ("/page.css", get(page::style)),
    ]
}

fn router(app: Shared) -> Router {
    let router = paths().into_iter().fold(Router::new(), |router, (path, method)| router.route(path, method));
    router
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), metrics::measure))
        // Outermost: before the client is known, no body is read and no route is distinguished from another.
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), access::check))
        .with_state(app)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// Every route is described, nothing else is, and every reference in the description leads somewhere.
    #[test]
    fn the_description_has_every_route() {
        let text = include_str!("http/openapi.json");
        let document: serde_json::Value = serde_json::from_str(text).unwrap();
        let described: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
        let served = super::paths().into_iter().map(|(path, _)| path.replace("{*", "{"));
        assert_eq!(described, served.collect());
        for reference in text.split("\"#/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(document.pointer(&format!("/{reference}")).is_some(), "{reference}");
        }
    }
}
