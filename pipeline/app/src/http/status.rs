//! `/v1/status`: the state of everything, for people, the page and the command line.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Response};
use millstream_engine::Snapshot;
use millstream_engine::histogram::Reading;
use serde::Serialize;

use super::access::{Access, Standing, Tokens};
use super::controller::Controller;
use super::damage::Damaged;
use super::judge::{self, Judgement, State as Judged};
use super::lag::lag_seconds;
use super::probe::Totals;
use super::process;
use super::shared::{App, Shared};
use super::subscriptions::Pending;
use crate::config::{Config, StreamKind};
use crate::running::Running;
use crate::stream::{Carried, Carrier};

mod part;
pub(super) use part::Part;

mod routes;
pub(super) use routes::Routes;

/// The whole state.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    /// The state in one word; with since when, why, and what to do next.
    #[serde(flatten)]
    state: Judgement,
    draining: bool,
    data_dir: String,
    /// Options that a command on this machine needs to reach this process, quoted for a shell.
    command_options: String,
    process: process::Usage,
    http: Http,
    postgres: Postgres,
    pipelines: Vec<Pipeline>,
    controller: Controller,
    bridges: Vec<Bridge>,
    /// The routing tables, if this process follows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    routes: Option<Routes>,
}

#[derive(Debug, Serialize)]
struct Http {
    accepted_events: u64,
    refused_events: u64,
    appends_in_flight: usize,
    connections: usize,
    /// Connections ended by this side, by reason.
    connections_ended: BTreeMap<&'static str, u64>,
    /// Subscriptions of Amazon SNS that wait for a person.
    subscriptions: Vec<Pending>,
    /// State of the file of tokens, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Standing>,
}

#[derive(Debug, Serialize)]
struct Postgres {
    reachable: bool,
    /// The error of the database or the network.
    error: Option<String>,
    #[serde(flatten)]
    totals: Totals,
    /// A line to paste into a shell.
    psql: String,
}

/// A queue that is carried into the stream.
#[derive(Debug, Serialize)]
struct Bridge {
    queue: String,
    topic: String,
    #[serde(flatten)]
    counts: Carried,
}

#[derive(Debug, Serialize)]
struct Pipeline {
    name: String,
    topic: String,
    store: String,
    /// The state, by its old name.
    verdict: Judged,
    #[serde(flatten)]
    judgement: Judgement,
    uptime_seconds: f64,
    records: u64,
    written: u64,
    filtered: BTreeMap<&'static str, u64>,
    filtered_total: u64,
    /// Filtered events, by the names that their emitters give: the first of them.
    filtered_names: Vec<FilteredName>,
    quarantined: u64,
    lag_records: u64,
    /// Age of the oldest record that is not in the tables; null if unknown.
    lag_seconds: Option<f64>,
    transactions: u64,
    retries: u64,
    stalls: u64,
    recent: Recent,
    batch_records: Quantiles,
    freshness_ms: Quantiles,
    write_ms: Quantiles,
    freshness_goal_ms: u64,
    /// The consumer group, if the stream has groups.
    group: Option<String>,
    /// The partitions that this process reads.
    partitions: Vec<Partition>,
    /// Next position by partition.
    positions: BTreeMap<String, String>,
    /// Partitions that wait for a person, and why.
    halted: BTreeMap<String, String>,
    /// Records of its embedded stream that are known to be unreadable.
    damages: Vec<Damaged>,
    /// Stores that are paused, or that were resumed and are being written.
    paused_stores: Vec<PausedStore>,
    /// Rows in quarantine, as far as is known.
    quarantine_rows: u64,
    /// Rows that were dropped from quarantine to make room, where a pipeline never pauses.
    quarantine_dropped: u64,
    /// Why what runs should be listed again, where a pipeline went on after a gap.
    reconcile_wanted: Option<String>,
}

/// Filtered events of one name.
#[derive(Debug, Serialize)]
struct FilteredName {
    reason: &'static str,
    name: String,
    events: u64,
}

impl FilteredName {
    fn of(name: &millstream_engine::named::Name) -> Self {
        FilteredName { reason: name.reason, name: name.name.to_string(), events: name.events }
    }
}

/// A store with too many bad events.
#[derive(Debug, Serialize)]
struct PausedStore {
    store: String,
    /// `paused`, or `resuming` while its quarantined records are written.
    state: &'static str,
    since: String,
    reason: String,
    /// Quarantined records that are not written yet.
    rows: u64,
    /// All of its rows in quarantine.
    quarantine_rows: u64,
    /// The command to run next.
    command: String,
}

/// One partition that this process reads.
#[derive(Debug, Serialize)]
struct Partition {
    partition: String,
    next_position: Option<String>,
    /// Null if the stream does not report it.
    lag_records: Option<u64>,
    /// Seconds since the last record in the tables was accepted, if there are newer ones.
    lag_seconds: Option<f64>,
}

/// Rates of the last seconds.
#[derive(Debug, Serialize)]
struct Recent {
    window_seconds: f64,
    records_per_second: f64,
    written_per_second: f64,
    transactions_per_second: f64,
    batch_records: Quantiles,
    freshness_ms: Quantiles,
}

/// Null if nothing was counted.
#[derive(Debug, Serialize)]
struct Quantiles {
    p50: Option<u64>,
    p99: Option<u64>,
    max: Option<u64>,
}

impl Quantiles {
    fn of(reading: &Reading) -> Self {
        let quantile = |share| reading.quantile_ms(share);
        Quantiles { p50: quantile(0.5), p99: quantile(0.99), max: quantile(1.0) }
    }
}

/// Answers from memory: the database was asked by [`super::look`]. A limited token sees its part.
pub(super) async fn status(State(app): State<Shared>, Extension(access): Extension<Access>) -> Response {
    if access.sees_everything() {
        Json(everything(&app)).into_response()
    } else {
        Json(Part::of(&app, &access)).into_response()
    }
}

fn everything(app: &App) -> Status {
    let node = &app.node;
    let pipelines = node.pipelines.iter().enumerate().map(|(index, running)| pipeline(app, index, running));
    Status {
        version: env!("CARGO_PKG_VERSION"),
        state: judge::whole(app),
        draining: node.draining.is_cancelled(),
        data_dir: data_dir(&node.config.data_dir),
        command_options: node.config.options().trim_start().to_owned(),
        process: process::usage(),
        http: Http {
            accepted_events: app.counts.accepted.get(),
            refused_events: app.counts.refused.get(),
            appends_in_flight: app.appends_in_flight(),
            connections: app.places.open().0,
            connections_ended: app.places.ended().collect(),
            subscriptions: app.subscriptions.pending(),
            tokens: app.tokens.as_ref().map(Tokens::standing),
        },
        postgres: postgres(app),
        pipelines: pipelines.collect(),
        controller: Controller::of(app),
        bridges: node.bridges.iter().map(bridge).collect(),
        routes: node.serving.as_ref().map(Routes::of),
    }
}

/// A path that can be found from any directory.
fn data_dir(path: &std::path::Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn postgres(app: &App) -> Postgres {
    let database = app.looks.database();
    let totals = database.totals(None);
    Postgres { reachable: database.reachable, error: database.error, totals, psql: app.node.psql_line.clone() }
}

fn bridge(carrier: &Carrier) -> Bridge {
    Bridge { queue: carrier.config.from.queue.clone(), topic: carrier.config.topic.clone(), counts: carrier.counts() }
}

fn pipeline(app: &App, index: usize, running: &Running) -> Pipeline {
    let (now, lag_records, verdict) = running.look();
    let judgement = judge::pipeline(app, index, running, (&now, lag_records, verdict));
    let config = &app.node.config;
    let recent = recent(&now, app.looks.earlier(index).as_deref());
    let text = |map: BTreeMap<_, _>| map.into_iter().collect();
    Pipeline {
        name: running.config.name.clone(),
        topic: running.config.topic().to_owned(),
        store: running.config.store.clone(),
        verdict: judgement.state,
        judgement,
        uptime_seconds: now.uptime.as_secs_f64(),
        records: now.records,
        written: now.written,
        filtered_total: now.filtered.values().sum(),
        filtered_names: now.named.iter().map(FilteredName::of).collect(),
        quarantined: now.quarantined,
        lag_records,
        lag_seconds: lag_seconds(app, index, &now, lag_records),
        transactions: now.transactions,
        retries: now.retries,
        stalls: now.stalls,
        recent,
        batch_records: Quantiles::of(&now.batch_records),
        freshness_ms: Quantiles::of(&now.freshness),
        write_ms: Quantiles::of(&running.progress.write_time.read()),
        freshness_goal_ms: running.config.freshness.as_millis().try_into().unwrap_or(u64::MAX),
        group: (config.stream.kind == StreamKind::Kafka).then(|| running.config.group().into_owned()),
        partitions: partitions(running, &now),
        positions: text(
            now.positions.iter().map(|(partition, next)| (partition.to_string(), next.to_string())).collect(),
        ),
        paused_stores: paused_stores(config, running, &now),
        quarantine_rows: now.shares.iter().map(|standing| standing.rows).sum(),
        quarantine_dropped: now.dropped,
        reconcile_wanted: now.reconcile_wanted.clone(),
        halted: text(
            now.halted
                .iter()
                .map(|(partition, why)| (partition.to_string(), config.localized(why).into_owned()))
                .collect(),
        ),
        damages: damages(running),
        filtered: now.filtered,
    }
}

fn damages(running: &Running) -> Vec<Damaged> {
    let Some(topic) = &running.topic else { return Vec::new() };
    let damages = (0..topic.partitions()).flat_map(|partition| topic.damages(partition));
    damages.map(|damage| Damaged::from(&damage)).collect()
}

fn paused_stores(config: &Config, running: &Running, now: &Snapshot) -> Vec<PausedStore> {
    let paused = now.shares.iter().filter_map(|standing| Some((standing, standing.pause.as_ref()?)));
    let shown = paused.map(|(standing, pause)| PausedStore {
        store: standing.share.to_string(),
        state: if pause.is_resumed { "resuming" } else { "paused" },
        since: crate::time::utc(pause.since_ms),
        reason: pause.reason.clone(),
        rows: pause.rows,
        quarantine_rows: standing.rows,
        command: config.command(&format!("resume {} --store {}", running.config.name, standing.share)),
    });
    shown.collect()
}

fn partitions(running: &Running, now: &Snapshot) -> Vec<Partition> {
    let now_ms = millstream_engine::clock::now_ms();
    let assigned = running.source.assignment().borrow().clone();
    let mut partitions: Vec<Partition> = assigned
        .iter()
        .map(|partition| {
            let next = now.positions.get(partition);
            let lag_records = next.and_then(|next| running.source.lag_records(partition, next));
            let as_of_ms = now.as_of_ms.get(partition);
            let lag_seconds = match lag_records {
                Some(0) => Some(0.0),
                _ => as_of_ms.map(|at_ms| now_ms.saturating_sub(*at_ms).max(0) as f64 / 1000.0),
            };
            let next_position = next.map(ToString::to_string);
            Partition { partition: partition.to_string(), next_position, lag_records, lag_seconds }
        })
        .collect();
    // Numbers in their order.
    partitions
        .sort_by(|one, other| (one.partition.len(), &one.partition).cmp(&(other.partition.len(), &other.partition)));
    partitions
}

fn recent(now: &Snapshot, earlier: Option<&Snapshot>) -> Recent {
    let earlier = earlier.unwrap_or(now);
    let window_seconds = now.at.saturating_duration_since(earlier.at).as_secs_f64();
    let rate =
        |now: u64, then: u64| if window_seconds > 0.0 { now.saturating_sub(then) as f64 / window_seconds } else { 0.0 };
    Recent {
        window_seconds,
        records_per_second: rate(now.records, earlier.records),
        written_per_second: rate(now.written, earlier.written),
        transactions_per_second: rate(now.transactions, earlier.transactions),
        batch_records: Quantiles::of(&now.batch_records.since(&earlier.batch_records)),
        freshness_ms: Quantiles::of(&now.freshness.since(&earlier.freshness)),
    }
}
