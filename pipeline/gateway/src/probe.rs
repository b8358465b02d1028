//! Probes: a connection to a task, and a GET where its deploy says so.
//!
//! A gateway tries tasks on probation with them; checkers judge all tasks with them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use millstream_schemas::tasks::{Deploy, HealthCheck};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::table::{Table, Trial};

/// What a task did not do.
#[derive(Debug)]
pub(crate) struct Unfit {
    /// In a few words.
    pub(crate) told: String,
    /// Whether it answered at all.
    pub(crate) has_answered: bool,
}

impl Unfit {
    fn silent(told: impl Into<String>) -> Unfit {
        Unfit { told: told.into(), has_answered: false }
    }

    fn unwell(told: impl Into<String>) -> Unfit {
        Unfit { told: told.into(), has_answered: true }
    }
}

/// The most time of a probe.
pub(crate) const WITHIN: Duration = Duration::from_secs(1);
/// Trials under way at a time. More: a gateway that starts from disk connects to more tasks at once.
const TRIALS_MAX: usize = 256;
/// How often trials are looked for without a notice.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Makes the trials that are due, until `stop`.
pub async fn keep_trying(table: Arc<Table>, stop: CancellationToken) {
    let permits = Arc::new(tokio::sync::Semaphore::new(TRIALS_MAX));
    loop {
        for trial in table.trials(permits.available_permits(), Instant::now()) {
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { break };
            // Ends within its time; its result is in the table.
            drop(millstream_engine::task::spawn("try a task", async move {
                attempt(trial).await;
                drop(permit);
            }));
        }
        tokio::select! {
            () = table.trials_due().notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn attempt(trial: Trial) {
    match probe(trial.task().address(), trial.deploy(), &trial.task().key().id, WITHIN).await {
        Ok(()) => trial.passed(),
        Err(unfit) if unfit.has_answered => trial.unwell(Instant::now()),
        Err(_) => trial.failed(Instant::now()),
    }
}

/// Connects to a task, and asks it where that is how it is checked.
pub(crate) async fn probe(address: SocketAddr, deploy: &Deploy, task: &str, within: Duration) -> Result<(), Unfit> {
    let probing = async {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| Unfit::silent(format!("connect: {}", error.kind())))?;
        match &deploy.health {
            None | Some(HealthCheck::Tcp) => Ok(()),
            Some(HealthCheck::Http { path }) => ask(stream, address, path, deploy, task).await,
        }
    };
    let late = |_| Err(Unfit::silent(format!("no answer within {} ms", within.as_millis())));
    timeout(within, probing).await.unwrap_or_else(late)
}

async fn ask(stream: TcpStream, address: SocketAddr, path: &str, deploy: &Deploy, task: &str) -> Result<(), Unfit> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, mut connection) = handshake.map_err(|error| Unfit::silent(format!("connect: {error}")))?;
    let request = Request::get(path)
        .header("host", address.to_string())
        .header("user-agent", "millstream-check")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Unfit::silent(format!("path {path:?}: {error}")))?;
    let mut answer = std::pin::pin!(sender.send_request(request));
    // The connection moves only while it is polled, and may end in the moment in which it brings the answer.
    let answered = tokio::select! {
        answered = &mut answer => answered,
        _ = &mut connection => answer.await,
    };
    let answered = answered.map_err(|error| Unfit::silent(format!("no answer: {error}")))?;
    let status = answered.status();
    if !status.is_success() && !status.is_redirection() {
        return Err(Unfit::unwell(told(status)));
    }
    let Some(name) = &deploy.identity else { return Ok(()) };
    let named = answered.headers().get(name).map(|value| value.as_bytes());
    let is_own = named.is_some_and(|named| [task.as_bytes(), deploy.revision.as_bytes()].contains(&named));
    // Another process has the address by now.
    if is_own { Ok(()) } else { Err(Unfit::unwell("names another task")) }
}

fn told(status: StatusCode) -> String {
    format!("answered {}", status.as_u16())
}
