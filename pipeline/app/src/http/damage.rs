//! `/v1/pipelines/{pipeline}/stream/{partition}/damage`: records of the embedded stream that cannot be read, for
//! `millstream stream`.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use millstream_log::{Damage, ReadError};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::access::Access;
use super::problem::Problem;
use super::shared::Shared;
use super::topic::topic_of;

/// Number of partitions checked at a time: a check reads everything, and goes on if the client leaves.
static CHECKS: Semaphore = Semaphore::const_new(1);

/// Records that cannot be read.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Damaged {
    pub(crate) partition: u32,
    /// The damaged file.
    pub(crate) file: String,
    /// Where in it the damage begins.
    pub(crate) byte: u64,
    /// Bytes of the file that cannot be used.
    pub(crate) bytes: u64,
    /// The offset of the first record that cannot be read.
    pub(crate) from: u64,
    /// The offset after the last one.
    pub(crate) to: u64,
    /// The file ends before them, like one that was copied while it was written.
    pub(crate) missing: bool,
    /// All this in words.
    pub(crate) text: String,
}

impl From<&Damage> for Damaged {
    fn from(damage: &Damage) -> Self {
        Damaged {
            partition: damage.partition,
            file: damage.file.display().to_string(),
            byte: damage.byte,
            bytes: damage.bytes,
            from: damage.from,
            to: damage.to,
            missing: damage.is_missing,
            text: damage.to_string(),
        }
    }
}

/// Which damage to set aside.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Aside {
    /// The offset of its first record.
    pub(crate) from: u64,
}

/// Reads a whole partition, and returns what cannot be read.
pub(super) async fn check(
    State(app): State<Shared>,
    Extension(access): Extension<Access>,
    Path((pipeline, partition)): Path<(String, u32)>,
) -> Result<Json<Vec<Damaged>>, Problem> {
    access.every_store()?;
    let topic = topic_of(&app, &pipeline, partition)?;
    let Ok(permit) = CHECKS.try_acquire() else {
        return Err(Problem::too_many("another partition is being checked; ask again when that is done"));
    };
    let checked = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        topic.check(partition)
    });
    let found = checked.await.map_err(|error| unreadable(error.to_string()))?;
    let found = found.map_err(|error| unreadable(error.to_string()))?;
    Ok(Json(found.iter().map(Damaged::from).collect()))
}

/// Gives up damaged records, so that reading goes on after them.
pub(super) async fn set_aside(
    State(app): State<Shared>,
    Extension(access): Extension<Access>,
    Path((pipeline, partition)): Path<(String, u32)>,
    aside: Result<Json<Aside>, JsonRejection>,
) -> Result<Json<Damaged>, Problem> {
    access.every_store()?;
    let Json(aside) = aside.map_err(|error| Problem::bad_request(error.body_text()))?;
    let topic = topic_of(&app, &pipeline, partition)?;
    let done = tokio::task::spawn_blocking(move || topic.set_aside(partition, aside.from)).await;
    match done.map_err(|error| unreadable(error.to_string()))? {
        Ok(damage) => Ok(Json(Damaged::from(&damage))),
        Err(error @ ReadError::NotDamaged { .. }) => {
            let detail = format!("{error}; GET lists what is damaged");
            Err(Problem::new(StatusCode::CONFLICT, "not-damaged", "nothing is damaged there", detail))
        }
        Err(error) => Err(unreadable(error.to_string())),
    }
}

fn unreadable(detail: String) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "stream-unreadable", "the stream cannot be read", detail)
}
