//! `/v1/pipelines/{pipeline}/stream`: the embedded stream for commands that cannot open a log that is open here:
//! `positions`, `consume`, `replay`.

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millstream_log::{ReadError, Topic};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::access::Access;
use super::asked::{Asked as Parameters, Named};
use super::damage::Damaged;
use super::problem::Problem;
use super::shared::Shared;
use super::topic::{topic, topic_of};

/// Maximum bytes of records in an answer, before their encoding; a single larger record is still returned.
const READ_BYTES: usize = 1 << 20;
/// Number of concurrent reads: each holds an answer in memory, and appends need the processor more.
static READS: Semaphore = Semaphore::const_new(2);

/// A topic and its partitions.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Described {
    /// The identity of the stream.
    pub(crate) incarnation: String,
    /// One for each partition, from 0.
    pub(crate) partitions: Vec<Extent>,
    /// Records that are known to be unreadable.
    #[serde(default)]
    pub(crate) damages: Vec<Damaged>,
}

/// What a partition holds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Extent {
    /// The offset of its first record.
    pub(crate) start: u64,
    /// The offset after its last.
    pub(crate) end: u64,
}

/// The question about a partition: one of these.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// Records from this offset on.
    from: Option<u64>,
    /// The first offset stored at or after this time, in milliseconds since 1970.
    at_ms: Option<i64>,
    /// The era of the record before this offset.
    era_before: Option<u64>,
}

/// The answer for a partition; only what was asked for is there.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Answer {
    /// Records in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) records: Vec<Line>,
    /// The offset after them.
    pub(crate) next: Option<u64>,
    /// The offset of a time.
    pub(crate) offset: Option<u64>,
    /// The era of an offset.
    pub(crate) era: Option<i64>,
}

/// A record.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Line {
    pub(crate) offset: u64,
    pub(crate) published_at_ms: i64,
    /// In base64, as the values of headers and the payload.
    pub(crate) key: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: String,
}

/// The partitions of a topic, and what they hold.
pub(in crate::http) async fn describe(
    State(app): State<Shared>,
    Extension(access): Extension<Access>,
    Named(pipeline): Named<String>,
) -> Result<Json<Described>, Problem> {
    access.every_store()?;
    let topic = topic(&app, &pipeline)?;
    let extent = |partition| {
        let range = topic.range(partition);
        Extent { start: range.start, end: range.end }
    };
    let partitions = (0..topic.partitions()).map(extent).collect();
    let damages = (0..topic.partitions()).flat_map(|partition| topic.damages(partition));
    let damages = damages.map(|damage| Damaged::from(&damage)).collect();
    Ok(Json(Described { incarnation: topic.id().to_owned(), partitions, damages }))
}

/// Answers one question about a partition.
pub(in crate::http) async fn partition(
    State(app): State<Shared>,
    Extension(access): Extension<Access>,
    Named((pipeline, partition)): Named<(String, u32)>,
    Parameters(asked): Parameters<Asked>,
) -> Result<Json<Answer>, Problem> {
    access.every_store()?;
    let topic = topic_of(&app, &pipeline, partition)?;
    let Ok(permit) = READS.try_acquire() else {
        return Err(Problem::too_many("other reads of the stream are under way; ask again"));
    };
    let answered = tokio::task::spawn_blocking(move || {
        // The read goes on when its client has left.
        let _permit = permit;
        answer(&topic, partition, asked)
    })
    .await;
    let unreadable = |detail: String| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "stream-unreadable", "the stream cannot be read", detail)
    };
    match answered {
        Ok(Ok(answer)) => Ok(Json(answer)),
        Ok(Err(ReadError::OutOfRange { start, end, .. })) => {
            let detail = format!("partition {partition} holds offsets {start} to {end}");
            Err(Problem::new(StatusCode::NOT_FOUND, "no-offset", "no such offset", detail))
        }
        Ok(Err(error)) => Err(unreadable(error.to_string())),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

fn answer(topic: &Topic, partition: u32, asked: Asked) -> Result<Answer, ReadError> {
    let mut answer =
        Answer { era: asked.era_before.and_then(|next| topic.opening_before(partition, next)), ..Answer::default() };
    if let Some(ms) = asked.at_ms {
        answer.offset = Some(topic.offset_at(partition, ms)?);
    }
    if let Some(from) = asked.from {
        answer.next = Some(from);
        if topic.range(partition).end != from {
            let read = topic.read(partition, from, READ_BYTES)?;
            answer.next = Some(read.next);
            answer.records = read.records.iter().map(line).collect();
        }
    }
    Ok(answer)
}

fn line(record: &millstream_log::Record) -> Line {
    let header = |(name, value): &(Box<str>, bytes::Bytes)| (name.to_string(), STANDARD.encode(value));
    Line {
        offset: record.offset,
        published_at_ms: record.timestamp_ms,
        key: STANDARD.encode(&record.key),
        headers: record.headers.iter().map(header).collect(),
        payload: STANDARD.encode(&record.payload),
    }
}
