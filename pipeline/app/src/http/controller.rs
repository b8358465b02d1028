//! `/v1/controller`: shows the controller, and changes its limits while it runs.
//!
//! A change takes effect at once, until the process ends or the next change; the configuration stays as it is.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{MethodRouter, get};
use millstream_engine::concurrency::Settings;
use millstream_engine::gate::{Joined, Standing};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::access::Access;
use super::decisions::{self, Decision};
use super::judge;
use super::problem::Problem;
use super::shared::{App, Shared};

/// Number of decisions in the answer: as many as one reads at a glance.
const DECISIONS: usize = 5;
/// Maximum bytes of a change: four numbers take less.
const BODY_BYTES_MAX: usize = 4 << 10;

/// State of the controller.
#[derive(Debug, Serialize)]
pub(super) struct Controller {
    /// What keeps the process from writing more.
    limited_by: Limit,
    /// Number of concurrent transactions.
    concurrency: usize,
    /// Its minimum and maximum: this process's part, where processes share a bound.
    concurrency_min: usize,
    concurrency_max: usize,
    /// Number of processes that write to the database, with this one.
    processes: usize,
    /// The concurrency that the database is believed to bear; null until that is decided.
    ceiling: Option<usize>,
    in_flight: usize,
    /// Batches that are ready and wait for a turn.
    waiting: usize,
    /// Records in a transaction, and their maximum.
    records: usize,
    records_max: usize,
    linger_ms: f64,
    /// The same of each pipeline that shares the controller.
    pipelines: Vec<Part>,
    /// Whether after each transaction the process rests for as long as it took.
    rests: bool,
    records_per_second_max: u64,
    frozen: bool,
    /// The limits in force, for this process alone.
    limits: Limits,
    /// The configured limits; null if they are the same.
    configured: Option<Limits>,
    /// Latest first.
    decisions: Vec<Decision>,
}

/// The pace of one pipeline.
#[derive(Debug, Serialize)]
struct Part {
    name: Arc<str>,
    /// Records in a transaction.
    records: usize,
    linger_ms: f64,
}

impl From<Joined> for Part {
    fn from(joined: Joined) -> Self {
        let Joined { name, pace, .. } = joined;
        Part { name, records: pace.records, linger_ms: pace.linger.as_secs_f64() * 1000.0 }
    }
}

/// What can be changed while it runs.
#[derive(Debug, PartialEq, Serialize)]
struct Limits {
    frozen: bool,
    concurrency_min: usize,
    concurrency_max: usize,
    records_max: usize,
}

/// A merge patch (<https://www.rfc-editor.org/rfc/rfc7396>): a missing member stays, null means as configured.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(default, deserialize_with = "given")]
    frozen: Option<Option<bool>>,
    #[serde(default, deserialize_with = "given")]
    concurrency_min: Option<Option<usize>>,
    #[serde(default, deserialize_with = "given")]
    concurrency_max: Option<Option<usize>>,
    #[serde(default, deserialize_with = "given")]
    records_max: Option<Option<usize>>,
}

/// Distinguishes null from a missing member.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}

impl From<&Settings> for Limits {
    fn from(settings: &Settings) -> Self {
        Limits {
            frozen: settings.freeze,
            concurrency_min: settings.concurrency_min,
            concurrency_max: settings.concurrency_max,
            records_max: settings.records_max,
        }
    }
}

/// What keeps the process from writing more: the pace, or what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Limit {
    Pace(Standing),
    State(judge::State),
}

/// If something is wrong, that is the limit, whatever the controller sees; and a backlog means that there is work.
fn limited_by(state: judge::State, standing: Standing) -> Limit {
    match (state, standing) {
        (judge::State::CatchingUp, Standing::ApplicationLimited) => Limit::Pace(Standing::PartitionLimited),
        (judge::State::KeepingUp | judge::State::CatchingUp | judge::State::Frozen, standing) => Limit::Pace(standing),
        (state, _) => Limit::State(state),
    }
}

impl Controller {
    pub(super) fn of(app: &App) -> Self {
        let gate = &app.node.gate;
        let look = gate.look();
        let [limits, configured] = [&look.settings, &look.configured].map(Limits::from);
        Controller {
            limited_by: limited_by(judge::whole(app).state, look.standing),
            concurrency: look.pace.concurrency,
            concurrency_min: look.limits.0,
            concurrency_max: look.limits.1,
            processes: look.processes,
            ceiling: look.ceiling,
            in_flight: look.in_flight,
            waiting: look.waiting,
            records: look.pace.records,
            records_max: look.settings.records_max,
            linger_ms: look.pace.linger.as_secs_f64() * 1000.0,
            pipelines: look.pipelines.into_iter().map(Part::from).collect(),
            rests: look.pace.rests,
            records_per_second_max: look.settings.records_per_second_max,
            frozen: look.settings.freeze,
            configured: (configured != limits).then_some(configured),
            limits,
            decisions: decisions::latest(gate, DECISIONS),
        }
    }
}

impl Change {
    /// The settings after this change.
    fn of(&self, now: &Settings, configured: &Settings) -> Result<Settings, String> {
        let concurrency_max = chosen(self.concurrency_max, now.concurrency_max, configured.concurrency_max);
        let concurrency_min = chosen(self.concurrency_min, now.concurrency_min, configured.concurrency_min);
        let records_max = chosen(self.records_max, now.records_max, configured.records_max);
        let lanes = configured.concurrency_max;
        if !(1..=lanes).contains(&concurrency_max) {
            return Err(format!(
                "concurrency_max: from 1 to {lanes}, the lanes of all pipelines (pipeline.NAME.concurrency.max)"
            ));
        }
        if !(1..=concurrency_max).contains(&concurrency_min) {
            return Err(format!(
                "concurrency_min: from 1 to {concurrency_max}, which is concurrency_max; {concurrency_min} is not"
            ));
        }
        if !(1..=configured.records_max).contains(&records_max) {
            let most = configured.records_max;
            return Err(format!("records_max: from 1 to {most}, the largest batch (pipeline.NAME.batch_records_max)"));
        }
        let freeze = chosen(self.frozen, now.freeze, configured.freeze);
        Ok(Settings { concurrency_min, concurrency_max, records_max, freeze, ..now.clone() })
    }
}

fn chosen<T>(change: Option<Option<T>>, now: T, configured: T) -> T {
    change.map_or(now, |value| value.unwrap_or(configured))
}

/// Shows it, and changes it.
pub(super) fn route() -> MethodRouter<Shared> {
    get(look).patch(change)
}

async fn look(State(app): State<Shared>, Extension(access): Extension<Access>) -> Result<Json<Controller>, Problem> {
    access.every_store()?;
    Ok(Json(Controller::of(&app)))
}

async fn change(
    State(app): State<Shared>,
    Extension(access): Extension<Access>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Controller>, Problem> {
    access.every_store()?;
    // A web page cannot send JSON without a preflight request.
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !(media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json")))
    {
        let title = "the media type is not supported";
        let detail = "send application/json, as in `curl -X PATCH -H 'content-type: application/json'`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", title, detail));
    }
    let body = super::ingest::body::small(&app, body, BODY_BYTES_MAX).await?;
    // A struct would take a list for its members, too.
    let change: Map<String, Value> = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad_request(format!("the body is no JSON object: {error}")))?;
    let change: Change =
        serde_json::from_value(Value::Object(change)).map_err(|error| Problem::bad_request(error.to_string()))?;
    let gate = &app.node.gate;
    if let Some(settings) = gate.allow(|now, configured| change.of(now, configured)).map_err(Problem::bad_request)? {
        let now = Limits::from(&settings);
        tracing::info!(
            frozen = now.frozen,
            concurrency_min = now.concurrency_min,
            concurrency_max = now.concurrency_max,
            records_max = now.records_max,
            "the operator has set the controller's limits"
        );
    }
    Ok(Json(Controller::of(&app)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn configured() -> Settings {
        Settings {
            concurrency_min: 2,
            concurrency_max: 8,
            concurrency_max_together: 0,
            records_max: 10_000,
            bytes_max: 1 << 24,
            freshness: Duration::from_millis(500),
            transaction_max: Duration::from_secs(2),
            records_per_second_max: 0,
            freeze: false,
        }
    }

    fn after(now: &Settings, change: &str) -> Result<Settings, String> {
        serde_json::from_str::<Change>(change).map_err(|error| error.to_string())?.of(now, &configured())
    }

    #[test]
    fn what_is_left_out_stays_and_null_is_what_is_configured() {
        let change = r#"{"frozen":true,"concurrency_min":1,"concurrency_max":1,"records_max":100}"#;
        let changed = after(&configured(), change).unwrap();
        let expected =
            Settings { freeze: true, concurrency_min: 1, concurrency_max: 1, records_max: 100, ..configured() };
        assert_eq!(changed, expected);
        assert_eq!(after(&changed, "{}").unwrap(), changed);
        let back = after(&changed, r#"{"concurrency_max":null,"concurrency_min":null}"#).unwrap();
        assert_eq!(back, Settings { freeze: true, records_max: 100, ..configured() });
        assert_eq!(after(&back, r#"{"frozen":null,"records_max":null}"#).unwrap(), configured());
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        for (change, said) in [
            (r#"{"concurrency_max":9}"#, "from 1 to 8"),
            (r#"{"concurrency_max":0}"#, "from 1 to 8"),
            (r#"{"concurrency_min":5,"concurrency_max":4}"#, "from 1 to 4"),
            (r#"{"concurrency_max":1}"#, "concurrency_min: from 1 to 1, which is concurrency_max; 2 is not"),
            (r#"{"records_max":10001}"#, "from 1 to 10000"),
            (r#"{"freeze":true}"#, "unknown field `freeze`"),
            (r#"{"concurrency_max":-1}"#, "invalid value"),
        ] {
            let refused = after(&configured(), change).unwrap_err();
            assert!(refused.contains(said), "{change}: {refused}");
        }
    }
}
