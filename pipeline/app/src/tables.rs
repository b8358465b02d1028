//! Prepares the tables for writing: when the process starts, or as soon as the database answers.
//!
//! Events are accepted meanwhile: the stream needs no database. Nothing is read before the tables are ready, so nothing
//! can be written to tables of another shape.

mod steps;

use std::sync::Arc;
use std::time::Duration;

use millstream_engine::retry::Backoff;
use millstream_engine::{Progress, task};
use millstream_postgres::{ConnectError, Connector, Postgres, Verdict, verdict};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::{elsewhere, migrate};
pub(crate) use steps::bring_up_to_date;

/// How long a start waits for the tables before it goes on without them.
const START_WAIT: Duration = Duration::from_secs(10);
/// How long a server may take to answer after a connect; a frozen one accepts connections and never answers.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Waits between tries grow from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How often the log repeats a reason that stays the same.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// State of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tables {
    /// They are being checked, or brought up to date.
    Preparing,
    /// The database is away, or another session is in the way; this is tried again.
    Waiting(String),
    /// A person must act; this is tried again all the same.
    Refused(String),
    /// They can be written.
    Ready,
}

impl Tables {
    /// Why they cannot be written yet.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Tables::Preparing => Some("the tables are being brought up to date"),
            Tables::Waiting(reason) | Tables::Refused(reason) => Some(reason),
            Tables::Ready => None,
        }
    }
}

/// Starts to prepare the tables. Returns once they are ready, once it is known that the database is away, or after
/// [`START_WAIT`]; the rest then goes on in the background until `stop`.
///
/// # Errors
/// If the database answers and this program must not write to it, or a setting is wrong.
pub(crate) async fn prepare(
    config: &Config,
    connector: &Connector,
    stop: CancellationToken,
) -> anyhow::Result<watch::Receiver<Tables>> {
    let (tell, tables) = watch::channel(Tables::Preparing);
    let (refuse, refused) = oneshot::channel();
    let trying = keep_trying(config.clone(), connector.clone(), tell, refuse, stop);
    // Ends with the process, or when the tables are ready.
    drop(task::spawn("prepare the tables", trying));
    // Otherwise the first try has ended in another way, or takes long.
    if let Ok(Ok(error)) = tokio::time::timeout(START_WAIT, refused).await {
        return Err(error);
    }
    if let Some(reason) = tables.borrow().reason() {
        tracing::warn!(reason, "the tables are not ready: events are taken in and kept, nothing is written yet");
    }
    Ok(tables)
}

/// Waits until the tables are ready; meanwhile the pipeline reports why nothing is written. Returns false on shutdown.
pub(crate) async fn ready(
    mut tables: watch::Receiver<Tables>,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> bool {
    loop {
        let reason = tables.borrow_and_update().reason().map(str::to_owned);
        progress.hold(reason.as_deref());
        if reason.is_none() {
            return true;
        }
        tokio::select! {
            changed = tables.changed() => if changed.is_err() { return false },
            () = stop.cancelled() => return false,
        }
    }
}

/// Waits until the tables are ready. Returns false on shutdown.
pub(crate) async fn are_ready(mut tables: watch::Receiver<Tables>, stop: &CancellationToken) -> bool {
    tokio::select! {
        ready = tables.wait_for(|tables| tables.reason().is_none()) => ready.is_ok(),
        () = stop.cancelled() => false,
    }
}

/// Tries until the tables are ready. A refusal of the first try ends this; later refusals are tried again.
async fn keep_trying(
    config: Config,
    connector: Connector,
    tell: watch::Sender<Tables>,
    refuse: oneshot::Sender<anyhow::Error>,
    stop: CancellationToken,
) {
    let began = Instant::now();
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    let mut told = Instant::now();
    let mut refuse = Some(refuse);
    loop {
        let tried = tokio::select! {
            tried = try_once(&config.postgres, &connector) => tried,
            () = stop.cancelled() => return,
        };
        let error = match tried {
            Ok(()) => break,
            Err(error) => error,
        };
        let is_passing = is_passing(&error);
        let reason = config.localized(&format!("{error:#}")).into_owned();
        if let Some(refuse) = refuse.take()
            && !is_passing
        {
            // There is no receiver if the start did not wait.
            if refuse.send(error).is_ok() {
                return;
            }
        }
        let state = if is_passing { Tables::Waiting(reason) } else { Tables::Refused(reason) };
        let is_news = *tell.borrow() != state && backoff.attempts() > 0;
        if is_news || told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            match &state {
                Tables::Refused(reason) => tracing::error!(reason, "the tables cannot be written until a person acts"),
                state => tracing::warn!(reason = state.reason(), "the tables are not ready"),
            }
        }
        tell.send_replace(state);
        tokio::select! {
            () = tokio::time::sleep(backoff.next_wait()) => {}
            () = stop.cancelled() => return,
        }
    }
    if backoff.attempts() > 0 {
        tracing::info!(waited_s = began.elapsed().as_secs(), "the tables are ready: what waits is written");
    }
    tell.send_replace(Tables::Ready);
}

async fn try_once(postgres: &Postgres, connector: &Connector) -> anyhow::Result<()> {
    // Only this probe is bounded in time: a step may take as long as it takes.
    // The owner of the tables may first have to create the account that writes.
    let connector = if postgres.is_embedded() { connector.clone() } else { postgres.migrate_connector() };
    let probe = async { connector.connect().await?.close().await.map_err(anyhow::Error::from) };
    match tokio::time::timeout(ANSWER_WAIT, probe).await {
        Ok(answered) => answered?,
        Err(_) => return Err(NoAnswer.into()),
    }
    if !postgres.is_embedded() {
        return elsewhere::prepare(postgres).await;
    }
    bring_up_to_date(postgres, &connector).await
}

/// A server that accepts connections and does not answer.
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL takes the connection and does not answer within {} s", ANSWER_WAIT.as_secs())]
struct NoAnswer;

/// Whether an error goes away by itself: the database is away, is starting, is full, or another session holds a lock.
fn is_passing(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let verdict = cause
            .downcast_ref::<ConnectError>()
            .map(ConnectError::verdict)
            .or_else(|| cause.downcast_ref::<sqlx::Error>().map(verdict));
        matches!(verdict, Some(Verdict::SlowDown { .. } | Verdict::Split))
            || cause.is::<NoAnswer>()
            || cause.is::<migrate::Waited>()
    })
}
