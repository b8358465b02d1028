//! `/v1/decisions`: what the controller changed and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use millstream_engine::concurrency::{Knob, Reason};
use millstream_engine::gate::{Entry, Gate};
use serde::{Deserialize, Serialize};

use super::access::Access;
use super::asked::Asked;
use super::problem::Problem;
use super::shared::Shared;
use crate::time::utc;

/// Maximum limit: more decisions are not kept.
const LIMIT_MAX: usize = 1_000;
const LIMIT_DEFAULT: usize = 100;

/// Parameters of the query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    limit: Option<usize>,
}

/// Latest first.
#[derive(Debug, Serialize)]
pub(super) struct Decisions {
    items: Vec<Decision>,
    /// Always null: older ones are not kept.
    next: Option<String>,
}

/// One change, and why.
#[derive(Debug, Serialize)]
pub(super) struct Decision {
    number: u64,
    at: String,
    /// Of which pipeline, if it is about the size of its transactions.
    pipeline: Option<Arc<str>>,
    knob: Knob,
    from: usize,
    to: usize,
    reason: Reason,
    figures: BTreeMap<&'static str, f64>,
}

impl From<Entry> for Decision {
    fn from(entry: Entry) -> Self {
        let made = entry.decision;
        Decision {
            number: entry.number,
            at: utc(entry.at_ms),
            pipeline: entry.pipeline,
            knob: made.knob,
            from: made.from,
            to: made.to,
            reason: made.reason,
            // JSON has no other numbers.
            figures: made.figures.into_iter().filter(|(_, value)| value.is_finite()).collect(),
        }
    }
}

/// At most `limit` decisions, latest first.
pub(super) fn latest(gate: &Gate, limit: usize) -> Vec<Decision> {
    gate.decisions(limit).into_iter().map(Decision::from).collect()
}

/// The last decisions.
pub(super) async fn decisions(
    State(app): State<Shared>,
    Extension(access): Extension<Access>,
    Asked(parameters): Asked<Parameters>,
) -> Result<Json<Decisions>, Problem> {
    let limit = parameters.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit: from 1 to {LIMIT_MAX}")));
    }
    // The figures are of all stores together.
    let items = if access.sees_everything() { latest(&app.node.gate, limit) } else { Vec::new() };
    Ok(Json(Decisions { items, next: None }))
}
