//! What the state says of the routing tables that this process follows, and of the gateway that serves from them.
//!
//! Answers from memory. Tasks are counted at each call, which takes about 0.1 s with a million of them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::serving::{Oldest, STALLED_AFTER, Serving, state};

/// Maximum number of held aliases that are listed.
const HELD_MAX: usize = 20;

/// The routing tables as this process has them.
#[derive(Debug, Serialize)]
pub(in crate::http) struct Routes {
    /// `following`, `stalled` beyond 5 s, or `starting` before the first snapshot.
    pub(in crate::http) state: &'static str,
    /// The history that is followed.
    identity: Option<String>,
    /// The number of the last change that is applied.
    pub(in crate::http) seq: i64,
    /// Seconds since the route log was last read to its end; null before the first snapshot.
    pub(in crate::http) age_seconds: Option<f64>,
    /// Seconds since the partition of the stream of tasks that is the furthest behind was read to its end, by whichever
    /// process reads it; null before the first stamp.
    pub(in crate::http) unread_age_seconds: Option<f64>,
    /// That partition, as `pipeline/partition`.
    unread: Option<String>,
    /// Why the tables cannot be read, while that is so.
    away: Option<String>,
    pub(in crate::http) services: usize,
    /// Tasks that belong to a revision, by state. Gone ones are left out.
    pub(in crate::http) tasks: BTreeMap<&'static str, usize>,
    /// Aliases whose newest generation is not served yet: the first of them.
    held: Vec<Held>,
    pub(in crate::http) held_total: usize,
    /// Times that all facts were read, by reason.
    pub(in crate::http) snapshots: BTreeMap<&'static str, u64>,
    /// What serves from them, if this process has a gateway.
    pub(in crate::http) gateway: Option<Gateway>,
}

/// An alias that is served as it was before.
#[derive(Debug, Serialize)]
struct Held {
    service: String,
    alias: String,
    /// The generation that is served, if one is.
    serving: Option<i64>,
    newest: i64,
    reasons: Vec<String>,
}

/// What a gateway did since its start.
#[derive(Debug, Serialize)]
pub(in crate::http) struct Gateway {
    id: String,
    address: Option<String>,
    pub(in crate::http) requests: u64,
    /// Requests that were refused before a task was chosen.
    pub(in crate::http) refused: u64,
    /// Requests that no task answered.
    pub(in crate::http) failed: u64,
    /// Attempts after the first one of a request.
    pub(in crate::http) retried: u64,
}

impl Routes {
    pub(in crate::http) fn of(serving: &Serving) -> Self {
        let standing = serving.standing.borrow().clone();
        let age = standing.in_step.map(|at| at.elapsed());
        let oldest = serving.oldest.borrow().clone();
        let unread_age = oldest.as_ref().map(Oldest::age);
        let held = serving.with(|applier| applier.held());
        let held_total = held.len();
        let held = held.into_iter().take(HELD_MAX).map(|held| Held {
            service: held.service.to_string(),
            alias: held.alias.to_string(),
            serving: held.serving,
            newest: held.newest,
            reasons: held.reasons.iter().map(ToString::to_string).collect(),
        });
        let counted = [standing.db_rewound, standing.digest_differed, standing.pruned];
        let began = standing.snapshots.saturating_sub(counted.iter().sum());
        let reasons = ["db_rewound", "digest", "pruned"].into_iter().zip(counted);
        let (services, tasks) = count(serving);
        Routes {
            state: match age {
                None => "starting",
                Some(age) if age.max(unread_age.unwrap_or_default()) > STALLED_AFTER => "stalled",
                Some(_) => "following",
            },
            identity: standing.identity,
            seq: standing.seq,
            age_seconds: age.map(|age| age.as_secs_f64()),
            unread_age_seconds: unread_age.map(|age| age.as_secs_f64()),
            unread: oldest.map(|oldest| oldest.name),
            away: standing.away,
            services,
            tasks,
            held: held.collect(),
            held_total,
            snapshots: reasons.chain([("start", began)]).collect(),
            gateway: serving.gateway.as_ref().map(|gateway| {
                let counts = gateway.snapshot();
                Gateway {
                    id: serving.id.clone(),
                    address: serving.address.map(|address| address.to_string()),
                    requests: counts.requests,
                    refused: counts.refused,
                    failed: counts.failed,
                    retried: counts.retried,
                }
            }),
        }
    }
}

/// Services, and their tasks by state.
fn count(serving: &Serving) -> (usize, BTreeMap<&'static str, usize>) {
    let mut services = 0;
    let mut tasks = BTreeMap::new();
    for service in serving.table.services() {
        services += 1;
        for revision in service.revisions.values() {
            for member in &revision.tasks.members {
                *tasks.entry(state(member.standing)).or_default() += 1;
            }
            for (pending, waiting) in revision.tasks.pending() {
                *tasks.entry(pending.as_str()).or_default() += waiting;
            }
        }
    }
    (services, tasks)
}
