//! What a limited token sees of the state: its store's figures, and how each pipeline that takes its events keeps up.
//!
//! Totals, errors, paths and addresses concern all stores together, and so a limited token does not see them.

use serde::Serialize;

use super::super::access::Access;
use super::super::judge::{self, State};
use super::super::lag::lag_seconds;
use super::super::probe::Totals;
use super::super::shared::App;
use super::super::subscriptions::Pending;
use crate::tokens::Thing;

/// The part of the state that the token may see.
#[derive(Debug, Serialize)]
pub(in crate::http) struct Part {
    version: &'static str,
    /// The word alone, as for each pipeline.
    state: State,
    well: bool,
    draining: bool,
    limited_to: Limits,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) http: Option<Http>,
    pub(in crate::http) postgres: Postgres,
    pub(in crate::http) pipelines: Vec<Pipeline>,
}

#[derive(Debug, Serialize)]
struct Limits {
    store: Option<String>,
    bucket: Option<String>,
    prefix: Option<String>,
}

/// Events of the store.
#[derive(Debug, Serialize)]
pub(in crate::http) struct Http {
    pub(in crate::http) accepted_events: u64,
    pub(in crate::http) refused_events: u64,
    subscriptions: Vec<Pending>,
}

#[derive(Debug, Serialize)]
pub(in crate::http) struct Postgres {
    reachable: bool,
    /// Totals of the store, unless the token is for a part of it.
    #[serde(flatten)]
    pub(in crate::http) totals: Option<Totals>,
}

/// A pipeline that takes events of the store.
#[derive(Debug, Serialize)]
pub(in crate::http) struct Pipeline {
    pub(in crate::http) name: String,
    verdict: State,
    pub(in crate::http) lag_seconds: Option<f64>,
    freshness_goal_ms: u64,
}

impl Part {
    pub(in crate::http) fn of(app: &App, access: &Access) -> Self {
        let scope = &access.scope;
        let text = |limit: &Option<std::sync::Arc<str>>| limit.as_deref().map(str::to_owned);
        let store = scope.store.as_deref().filter(|store| scope.reaches(Thing::Store(store)));
        let database = app.looks.database();
        let running = app.node.pipelines.iter().enumerate();
        let takes = running.filter(|(_, running)| {
            running.stream.is_some() || scope.store.as_deref().is_none_or(|store| store == running.config.store)
        });
        let pipelines = takes.map(|(index, running)| {
            let (now, lag_records, verdict) = running.look();
            Pipeline {
                name: running.config.name.clone(),
                // The word alone: reasons name servers, partitions and other stores.
                verdict: judge::pipeline(app, index, running, (&now, lag_records, verdict)).state,
                lag_seconds: lag_seconds(app, index, &now, lag_records),
                freshness_goal_ms: running.config.freshness.as_millis().try_into().unwrap_or(u64::MAX),
            }
        });
        let state = judge::whole(app).state;
        Part {
            state,
            well: state.is_well(),
            version: env!("CARGO_PKG_VERSION"),
            draining: app.node.draining.is_cancelled(),
            limited_to: Limits { store: text(&scope.store), bucket: text(&scope.bucket), prefix: text(&scope.prefix) },
            http: store.map(|store| {
                let (accepted_events, refused_events) = app.counts.store(store);
                let mut subscriptions = app.subscriptions.pending();
                subscriptions.retain(|pending| pending.store == store);
                Http { accepted_events, refused_events, subscriptions }
            }),
            postgres: Postgres {
                reachable: database.reachable,
                totals: store.map(|store| database.totals(Some(store))),
            },
            pipelines: pipelines.collect(),
        }
    }
}
