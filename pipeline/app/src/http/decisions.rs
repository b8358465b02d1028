//! `/v1/decisions`: what the controller changed and why; and how it stands, for `/v1/status` and `/metrics`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use millstream_engine::concurrency::{Knob, Reason};
use millstream_engine::gate::{Entry, Gate, Standing};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::problem::Problem;
use crate::time::utc;

/// More are not kept.
const LIMIT_MAX: usize = 1_000;
const LIMIT_DEFAULT: usize = 100;
/// As many as one reads at a glance.
const IN_STATUS: usize = 5;

/// What the address says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    limit: Option<usize>,
}

/// The latest first.
#[derive(Debug, Serialize)]
pub(super) struct Decisions {
    items: Vec<Decision>,
    /// There is never more: older ones are not kept.
    next: Option<String>,
}

/// One change, and why.
#[derive(Debug, Serialize)]
struct Decision {
    number: u64,
    at: String,
    knob: Knob,
    from: usize,
    to: usize,
    reason: Reason,
    figures: BTreeMap<&'static str, f64>,
}

/// How the controller stands.
#[derive(Debug, Serialize)]
pub(super) struct Controller {
    /// What keeps the process from writing more.
    limited_by: Standing,
    /// Transactions at a time.
    concurrency: usize,
    concurrency_min: usize,
    concurrency_max: usize,
    /// That write to the database, this one with them.
    processes: usize,
    /// What the database is believed to bear; null as long as nothing was decided about that.
    ceiling: Option<usize>,
    in_flight: usize,
    /// Batches that are ready and wait for a turn.
    waiting: usize,
    /// Records in a transaction.
    records: usize,
    linger_ms: f64,
    /// Whether after a transaction nothing is begun for as long as it took.
    rests: bool,
    records_per_second_max: u64,
    frozen: bool,
    /// The latest first.
    decisions: Vec<Decision>,
}

impl From<Entry> for Decision {
    fn from(entry: Entry) -> Self {
        let made = entry.decision;
        Decision {
            number: entry.number,
            at: utc(entry.at_ms),
            knob: made.knob,
            from: made.from,
            to: made.to,
            reason: made.reason,
            // JSON has no other numbers.
            figures: made.figures.into_iter().filter(|(_, value)| value.is_finite()).collect(),
        }
    }
}

impl Controller {
    pub(super) fn of(gate: &Gate) -> Self {
        let look = gate.look();
        Controller {
            limited_by: look.standing,
            concurrency: look.pace.concurrency,
            concurrency_min: look.limits.0,
            concurrency_max: look.limits.1,
            processes: look.processes,
            ceiling: look.ceiling,
            in_flight: look.in_flight,
            waiting: look.waiting,
            records: look.pace.records,
            linger_ms: look.pace.linger.as_secs_f64() * 1000.0,
            rests: look.pace.rests,
            records_per_second_max: look.settings.records_per_second_max,
            frozen: look.settings.freeze,
            decisions: gate.decisions(IN_STATUS).into_iter().map(Decision::from).collect(),
        }
    }
}

/// The last decisions.
pub(super) async fn decisions(
    State(app): State<Shared>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<Decisions>, Problem> {
    let Query(parameters) = parameters.map_err(|error| Problem::bad_request(error.body_text()))?;
    let limit = parameters.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit: from 1 to {LIMIT_MAX}")));
    }
    let items = app.node.gate.decisions(limit).into_iter().map(Decision::from).collect();
    Ok(Json(Decisions { items, next: None }))
}
