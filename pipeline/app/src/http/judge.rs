//! Judges the state of everything in one place: the state, since when, why, and what to do next.
//!
//! Status, page, metrics, `/readyz`, the log and the commands `status` and `doctor` show this judgement, so that no two
//! of them differ. Only the pace is judged elsewhere, and this judgement overrides it if something is wrong.

mod known;
mod state;
mod tell;

use std::time::Duration;

use millstream_engine::clock::now_ms;
use millstream_engine::{Partition, Snapshot, Verdict, goes_on_at};
use millstream_log::Cause;
use serde::Serialize;

use super::shared::App;
use crate::config::from_anywhere;
use crate::running::Running;
use crate::serving::Serving;
use crate::time::utc;
pub(super) use known::Known;
pub(super) use state::State;
pub(super) use tell::Teller;

/// A database that has not answered for this long, while nothing was committed either, counts as away: a busy one may
/// miss a probe.
const AWAY_AFTER: Duration = Duration::from_millis(1500);
/// Minimum free bytes with which an append is worth a try.
const ROOM_BYTES_MIN: u64 = 1 << 20;

/// The judgement of the whole process, or of one pipeline.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Judgement {
    /// In one word. A pipeline calls it `verdict`.
    pub(super) state: State,
    /// Whether no action is needed.
    pub(super) well: bool,
    /// Since when, as far as this process has seen.
    pub(super) since: String,
    pub(super) for_seconds: f64,
    /// Why, in words for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// The command to run next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
    /// Seconds until a backlog is gone at the present rate, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seconds_left: Option<u64>,
}

/// A state with its reason, before it is known since when.
#[derive(Debug)]
struct Found {
    state: State,
    reason: Option<String>,
    next: Option<String>,
    seconds_left: Option<u64>,
}

impl Found {
    fn new(state: State, reason: Option<String>, next: Option<String>) -> Self {
        Found { state, reason, next, seconds_left: None }
    }
}

/// Judges the whole process.
pub(super) fn whole(app: &App) -> Judgement {
    let found = of_process(app).unwrap_or_else(|| {
        let all = app.node.pipelines.iter().map(|running| {
            let (now, lag_records, verdict) = running.look();
            of_pipeline(app, running, &now, lag_records, verdict)
        });
        let worst = all.chain(of_routes(app)).min_by_key(|found| found.state);
        worst.unwrap_or_else(|| Found::new(State::KeepingUp, None, None))
    });
    judged(app, None, found)
}

/// Judges one pipeline, from a snapshot taken a moment ago.
pub(super) fn pipeline(
    app: &App,
    index: usize,
    running: &Running,
    (now, lag_records, verdict): (&Snapshot, u64, Verdict),
) -> Judgement {
    // A pipeline that reads a queue misses nothing while the stream takes no events.
    let of_all = of_process(app).filter(|found| found.state != State::StreamStopped || running.stream.is_some());
    let found = of_all.unwrap_or_else(|| of_pipeline(app, running, now, lag_records, verdict));
    judged(app, Some(index), found)
}

fn judged(app: &App, pipeline: Option<usize>, found: Found) -> Judgement {
    let since_ms = app.known.since_ms(pipeline, found.state);
    let Found { state, reason, next, seconds_left } = found;
    let reason = reason.map(|reason| app.node.config.localized(&reason).into_owned());
    let for_seconds = now_ms().saturating_sub(since_ms).max(0) as f64 / 1000.0;
    Judgement { state, well: state.is_well(), since: utc(since_ms), for_seconds, reason, next, seconds_left }
}

/// Whether the routes that this process follows are behind, whoever it is that does not read on.
fn of_routes(app: &App) -> Option<Found> {
    let reason = app.node.serving.as_ref().and_then(Serving::stalled)?;
    Some(Found::new(State::Stalled, Some(reason), Some(app.node.config.command("doctor"))))
}

/// A state that concerns the whole process, if there is one.
fn of_process(app: &App) -> Option<Found> {
    let config = &app.node.config;
    if app.node.draining.is_cancelled() {
        let reason = if app.node.closing.is_cancelled() {
            "what is in flight is finished, nothing new is taken"
        } else {
            "it leaves soon: what is in flight is finished, and events are taken until then"
        };
        return Some(Found::new(State::Draining, Some(reason.to_owned()), None));
    }
    if let Some(Stopped { reason, lacks_room }) = stopped(app) {
        let next = if lacks_room {
            format!("df -h {}", from_anywhere(&config.data_dir.join("stream")))
        } else {
            config.command("doctor")
        };
        return Some(Found::new(State::StreamStopped, Some(reason), Some(next)));
    }
    let error = away(app)?;
    let reason = format!("the database does not answer: {error}; events are taken and kept");
    let next = if config.postgres.is_embedded() {
        format!("tail {}", from_anywhere(&config.data_dir.join("postgres/log")))
    } else {
        config.command("doctor")
    };
    Some(Found::new(State::DatabaseAway, Some(reason), Some(next)))
}

/// Why the database is away, if it is.
fn away(app: &App) -> Option<String> {
    unanswered(app, false)
}

/// Why a database that answers accepts nothing from this account, if that is so.
fn refused(app: &App) -> Option<String> {
    let lacking = || app.looks.database().lacking().map(|grant| format!("the account lacks a grant: {grant}"));
    unanswered(app, true).map(|error| format!("the database refuses: {error}")).or_else(lacking)
}

fn unanswered(app: &App, refuses: bool) -> Option<String> {
    let database = app.looks.database();
    let error = database.error.filter(|_| database.refuses == refuses)?;
    let (since, transactions) = database.failing?;
    let is_unready = app.node.tables.borrow().reason().is_some();
    let nothing_done = transactions == app.transactions() && since.elapsed() >= AWAY_AFTER;
    (is_unready || nothing_done).then_some(error)
}

/// Why the stream takes no events.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) reason: String,
    lacks_room: bool,
}

/// Whether the stream takes no events. A stream that stopped for lack of room recovers with the next append, so it
/// counts as stopped only while there is no room or an append has just failed: otherwise no client would send one.
pub(super) fn stopped(app: &App) -> Option<Stopped> {
    let failing = app.appends_ended.failing();
    let Some(log) = app.node.stream.log() else {
        return failing.map(|reason| Stopped { reason, lacks_room: false });
    };
    let stopped = log.stopped();
    let (topic, partition, cause) = stopped.first()?;
    let lacks_room = matches!(cause, Cause::Fault(fault) if fault.is_space());
    if lacks_room && failing.is_none() && has_room(app) {
        return None;
    }
    let more = match stopped.len() {
        1 => String::new(),
        partitions => format!(" (and {} more partitions)", partitions - 1),
    };
    let said = match cause {
        Cause::Fault(fault) => format!("{cause}: {}", fault.source),
        other => other.to_string(),
    };
    let hint = if lacks_room { "; appends go on by themselves once there is room" } else { "" };
    Some(Stopped { reason: format!("topic {topic}, partition {partition}{more}: {said}{hint}"), lacks_room })
}

fn has_room(app: &App) -> bool {
    let stat = rustix::fs::statvfs(app.node.config.data_dir.join("stream"));
    stat.is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) >= ROOM_BYTES_MIN)
}

fn of_pipeline(app: &App, running: &Running, now: &Snapshot, lag_records: u64, verdict: Verdict) -> Found {
    let found = undisturbed(app, running, now, lag_records, verdict);
    if found.state < State::Frozen || !app.node.gate.look().settings.freeze {
        return found;
    }
    let held = "the operator holds the pace where it is";
    let reason = found.reason.map_or_else(|| held.to_owned(), |reason| format!("{held}; {reason}"));
    Found { reason: Some(reason), ..Found::new(State::Frozen, None, Some(app.node.config.command("pace --thaw"))) }
}

/// The state of a pipeline, whether the operator holds the pace or not.
fn undisturbed(app: &App, running: &Running, now: &Snapshot, lag_records: u64, verdict: Verdict) -> Found {
    let config = &app.node.config;
    if let Some(error) = refused(app)
        && !matches!(verdict, Verdict::Braked { .. } | Verdict::Halted { .. })
    {
        return Found::new(State::Braked, Some(error), Some(config.command("doctor")));
    }
    if let Verdict::KeepingUp | Verdict::CatchingUp { .. } = verdict
        && let Some(reason) = full(running)
    {
        let next = config.command(&bad_events(&reason));
        return Found::new(State::Flooding, Some(reason), Some(next));
    }
    match verdict {
        Verdict::KeepingUp => Found::new(State::KeepingUp, None, None),
        Verdict::CatchingUp { seconds_left } => {
            let reason = format!("{lag_records} records wait");
            Found { seconds_left, ..Found::new(State::CatchingUp, Some(reason), None) }
        }
        Verdict::Stalled => {
            let reason = format!("{lag_records} records wait, and none was written in the last seconds");
            Found::new(State::Stalled, Some(reason), Some(config.command("doctor")))
        }
        Verdict::Braked { reason } => Found::new(State::Braked, Some(reason), Some(config.command("doctor"))),
        Verdict::Flooding { reason } => {
            let next = config.command(&bad_events(&reason));
            Found::new(State::Flooding, Some(reason), Some(next))
        }
        Verdict::Halted { reason } => {
            let next = config.command(&decision(running, now, &reason));
            Found::new(State::Halted, Some(reason), Some(next))
        }
    }
}

/// The stores whose quarantine is full, so that their posts are refused, in words with the commands that make room.
fn full(running: &Running) -> Option<String> {
    let standings = running.progress.standings();
    let full = standings.iter().filter(|standing| running.flood.is_full(standing)).map(|standing| {
        let share = &standing.share;
        let rows = standing.rows;
        let bytes = standing.bytes;
        format!(
            "the quarantine of store {share} is full ({rows} rows, {bytes} bytes) and its posts are refused: \
             `millstream quarantine redrive --store {share}` or `millstream quarantine purge --store {share}` makes room"
        )
    });
    let told: Vec<String> = full.collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// The command that shows the bad events of a paused store.
fn bad_events(reason: &str) -> String {
    let store = named(reason).and_then(|command| command.split_once(" --store "));
    store.map_or_else(|| "quarantine ls".to_owned(), |(_, store)| format!("quarantine ls --store {store}"))
}

/// The command that a halt waits for.
fn decision(running: &Running, now: &Snapshot, reason: &str) -> String {
    if now.paused.is_some() {
        return "quarantine ls".to_owned();
    }
    let name = &running.config.name;
    let damaged = |partition: &Partition| {
        let damages = running.topic.as_ref()?.damages(partition.as_str().parse().ok()?);
        damages.first().map(|damage| damage.from)
    };
    let mut halted = now.halted.iter();
    if let Some((partition, from)) = now.halted.keys().find_map(|partition| Some((partition, damaged(partition)?))) {
        return format!("stream set-aside --pipeline {name} --partition {partition} --from {from}");
    }
    let is_all = now.halted.len() == running.source.assignment().borrow().len();
    let is_one_way = now.halted.values().all(|reason| goes_on_at(reason) == "earliest");
    match halted.next() {
        Some(_) if is_all && is_one_way => format!("positions reset --pipeline {name} --to earliest"),
        Some((first, reason)) => {
            format!("positions reset --pipeline {name} --partition {first} --to {}", goes_on_at(reason))
        }
        // The reason names what it waits for.
        None => named(reason).unwrap_or("doctor").to_owned(),
    }
}

/// The command that a reason names, without the name of the program.
fn named(reason: &str) -> Option<&str> {
    let (_, rest) = reason.split_once("`millstream ")?;
    rest.split_once('`').map(|(command, _)| command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_its_command() {
        let reason = "another stream: run `millstream positions reset --pipeline p --to earliest`, if so";
        assert_eq!(named(reason), Some("positions reset --pipeline p --to earliest"));
        assert_eq!(named("no such thing"), None);
    }
}
