//! After a 101: bytes both ways, until either side closes, the task leaves, or the gateway stops.

use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use millstream_schemas::tasks::Standing;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy, split};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::lease::Lease;
use crate::table::{RevisionView, TaskKey};

/// How long one side may go on after the other one has closed: it may have something to answer.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How often a tunnel looks whether its task is leaving.
const LOOK: Duration = Duration::from_secs(1);

/// Copies both ways. `lease` keeps the request in flight at its task.
pub(crate) async fn run(
    client: OnUpgrade,
    task: OnUpgrade,
    lease: Lease,
    revision: Arc<RevisionView>,
    stop: CancellationToken,
) {
    // Either end is gone before it began: there is nothing to copy.
    let Ok(client) = client.await else { return };
    let Ok(task) = task.await else { return };
    let key = lease.attempt.task().key().clone();
    tokio::select! {
        () = both(TokioIo::new(client), TokioIo::new(task)) => (),
        () = leaves(&revision, &key) => (),
        () = stop.cancelled() => (),
    }
}

async fn both(client: impl AsyncRead + AsyncWrite, task: impl AsyncRead + AsyncWrite) {
    let (mut from_client, mut to_client) = split(client);
    let (mut from_task, mut to_task) = split(task);
    let up = async {
        // An error is an end as well.
        drop(copy(&mut from_client, &mut to_task).await);
        drop(to_task.shutdown().await);
    };
    let down = async {
        drop(copy(&mut from_task, &mut to_client).await);
        drop(to_client.shutdown().await);
    };
    let mut up = std::pin::pin!(up);
    let mut down = std::pin::pin!(down);
    tokio::select! {
        () = &mut up => drop(timeout(LAST_WORDS, down).await),
        () = &mut down => drop(timeout(LAST_WORDS, up).await),
    }
}

/// Completes when the task is draining or gone, and its drain time is over.
async fn leaves(revision: &RevisionView, key: &TaskKey) {
    loop {
        sleep(LOOK).await;
        let tasks = revision.current();
        let member = tasks.members.iter().find(|member| member.task.key() == key);
        if member.is_none_or(|member| member.standing == Standing::Draining) {
            return sleep(revision.drain()).await;
        }
    }
}
