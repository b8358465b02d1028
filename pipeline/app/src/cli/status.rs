//! `millstream status`: shows the state of the running process, in a table or as its JSON answer. Exits 1 if a person
//! has to act.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::client::{self, Client};
use super::screen::{dash, found, text};
use super::{pace, screen};
use crate::config::Config;
use crate::http::damage::Damaged;

/// Interval of `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Moves the cursor home, and clears what is below.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Options of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the JSON answer of the process.
    #[arg(long)]
    json: bool,
    /// Also show every partition that the process reads: its position and its lag.
    #[arg(short, long)]
    partitions: bool,
    /// Refresh every second until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    if let Some(pid) = client::draining(&config.data_dir) {
        if args.json {
            screen::print_json(&json!({ "state": "draining", "well": true, "draining": true, "process": pid }))?;
        } else {
            screen::print(&format!(
                "draining: process {pid} finishes what is in flight, takes no more requests, and ends"
            ));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let client = Client::expect(config).await?;
    loop {
        let status = client.state().await?;
        if args.watch && std::io::stdout().is_terminal() {
            screen::print_part(CLEAR);
        }
        if args.json {
            screen::print_json(&status)?;
        } else {
            screen::print(&shown(&client, &status, config));
            if args.partitions {
                screen::print(&partitions(&status));
            }
        }
        if !args.watch {
            let is_well = found(&status, "well").and_then(Value::as_bool).unwrap_or(false);
            return Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_EVERY) => {}
            stopped = tokio::signal::ctrl_c() => return Ok(stopped.map(|()| ExitCode::SUCCESS)?),
        }
    }
}

fn shown(client: &Client, status: &Value, config: &Config) -> String {
    let titles = [
        "pipeline",
        "verdict",
        "lag",
        "late",
        "events/s",
        "written",
        "filtered",
        "quarantined",
        "freshness p50",
        "p99",
    ];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    let mut notes = Vec::new();
    let pipelines = status.get("pipelines").and_then(Value::as_array);
    for pipeline in pipelines.into_iter().flatten() {
        rows.push(row(pipeline));
        notes.extend(note(status, pipeline, &|arguments| command(status, config, arguments)));
    }
    let mut text = format!("millstream at {}: {}\n\n{}", client.address, state(status), screen::table(&rows));
    text += &format!("\n{}", database(status));
    if let Some(routes) = found(status, "routes") {
        text += &format!("\n{}", routes_shown(routes));
    }
    if let Some(controller) = found(status, "controller") {
        text += &format!("\n{}", pace::shown(controller));
    }
    for note in notes {
        text += &format!("\n{note}");
    }
    if let Some(limits) = found(status, "limited_to").and_then(Value::as_object) {
        let limit = |(name, value): (&String, &Value)| Some(format!("{name} {}", screen::escape(value.as_str()?)));
        let limits: Vec<String> = limits.iter().filter_map(limit).collect();
        text += &format!("\nthis command's token is for {} only and sees no more", limits.join(", "));
    }
    text
}

/// A command with the options that the asked process itself gives: it may run on another directory than the one
/// configured here.
fn command(status: &Value, config: &Config, arguments: &str) -> String {
    match found(status, "command_options").and_then(Value::as_str) {
        Some(options) => format!("millstream {arguments} {}", screen::escape(options)).trim_end().to_owned(),
        // A limited token may not see them.
        None => config.command(arguments),
    }
}

/// The state in words: since when, why, and what to do next.
fn state(status: &Value) -> String {
    let mut words = text(status, "state").replace('_', " ");
    if let Some(left) = found(status, "seconds_left").and_then(Value::as_f64) {
        words += &format!(", {} left", screen::seconds(left));
    }
    if let Some(lasts) = found(status, "for_seconds").and_then(Value::as_f64) {
        words += &format!(" for {}, since {}", screen::seconds(lasts), text(status, "since"));
    }
    if found(status, "reason").is_some() {
        words += &format!("\n{}", text(status, "reason"));
    }
    if found(status, "next").is_some() {
        words += &format!("\nnext: {}", text(status, "next"));
    }
    words
}

/// One line for each partition of each pipeline.
fn partitions(status: &Value) -> String {
    let titles = ["pipeline", "group", "topic", "partition", "next position", "lag", "late"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for pipeline in found(status, "pipelines").and_then(Value::as_array).into_iter().flatten() {
        for one in found(pipeline, "partitions").and_then(Value::as_array).into_iter().flatten() {
            rows.push(vec![
                text(pipeline, "name"),
                text(pipeline, "group"),
                text(pipeline, "topic"),
                text(one, "partition"),
                text(one, "next_position"),
                number(one, "lag_records").map_or_else(dash, |lag| screen::grouped(lag as u64)),
                number(one, "lag_seconds").map_or_else(dash, screen::seconds),
            ]);
        }
    }
    format!("\n{}", screen::table(&rows))
}

fn database(status: &Value) -> String {
    if found(status, "postgres.reachable").and_then(Value::as_bool) == Some(false) {
        return format!("no figures of the tables: {}", text(status, "postgres.error"));
    }
    let count = |path| found(status, path).and_then(Value::as_u64).map_or_else(dash, screen::grouped);
    let memory = found(status, "process.resident_bytes").and_then(Value::as_u64);
    let memory = memory.map_or_else(dash, |bytes| format!("{} MiB", bytes >> 20));
    let objects = count("postgres.objects");
    let unknown = count("postgres.unknown_size");
    format!("{objects} objects in the tables ({unknown} of unknown size); this process has {memory} in memory")
}

/// The routing tables in a line, the gateway in a second one, and a line for each alias that is held.
fn routes_shown(routes: &Value) -> String {
    let count = |path: &str| found(routes, path).and_then(Value::as_u64).map_or_else(dash, screen::grouped);
    let tasks = found(routes, "tasks").and_then(Value::as_object).into_iter().flatten();
    let tasks = tasks.map(|(state, count)| {
        let count = count.as_u64().map_or_else(dash, screen::grouped);
        format!("{count} {}", screen::escape(state).replace('_', " "))
    });
    let tasks: Vec<String> = tasks.collect();
    let tasks = if tasks.is_empty() { "none".to_owned() } else { tasks.join(", ") };
    let mut shown = format!("routes: {}, change {}", text(routes, "state"), count("seq"));
    if text(routes, "state") == "stalled" {
        shown += &format!(" of {} ago", age(routes, "age_seconds"));
        if found(routes, "unread").is_some() {
            let unread = text(routes, "unread");
            shown += &format!(", {unread} read to its end {} ago", age(routes, "unread_age_seconds"));
        }
    }
    shown += &format!("; services: {}, tasks: {tasks}", count("services"));
    if found(routes, "away").is_some() {
        shown += &format!("; the tables cannot be read: {}", text(routes, "away"));
    }
    if found(routes, "gateway").is_some() {
        let one = |name: &str| count(&format!("gateway.{name}"));
        shown += &format!(
            "\ngateway at {}: {} requests, {} failed, {} tried again",
            text(routes, "gateway.address"),
            one("requests"),
            one("failed"),
            one("retried"),
        );
    }
    for held in found(routes, "held").and_then(Value::as_array).into_iter().flatten() {
        shown += &format!("\n{}", held_shown(held));
    }
    shown
}

fn age(routes: &Value, name: &str) -> String {
    found(routes, name).and_then(Value::as_f64).map_or_else(dash, screen::seconds)
}

fn held_shown(held: &Value) -> String {
    let reasons = found(held, "reasons").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let reasons: Vec<String> = reasons.map(screen::escape).collect();
    let generation = |name| found(held, name).and_then(Value::as_i64);
    let serving = generation("serving").map_or_else(|| "nothing".to_owned(), |one| format!("generation {one}"));
    format!(
        "held: {}/{} serves {serving}, generation {} waits: {}",
        text(held, "service"),
        text(held, "alias"),
        generation("newest").unwrap_or_default(),
        reasons.join("; "),
    )
}

fn number(value: &Value, path: &str) -> Option<f64> {
    found(value, path).and_then(Value::as_f64)
}

fn row(pipeline: &Value) -> Vec<String> {
    let count = |path: &str| number(pipeline, path).map_or_else(dash, |number| screen::grouped(number as u64));
    let freshness = |path: &str| number(pipeline, path).map_or_else(dash, |ms| screen::seconds(ms / 1000.0));
    vec![
        text(pipeline, "name"),
        verdict(pipeline),
        count("lag_records"),
        number(pipeline, "lag_seconds").map_or_else(dash, screen::seconds),
        number(pipeline, "recent.records_per_second").map_or_else(dash, |rate| screen::grouped(rate.round() as u64)),
        count("written"),
        count("filtered_total"),
        count("quarantined"),
        freshness("recent.freshness_ms.p50"),
        freshness("recent.freshness_ms.p99"),
    ]
}

/// The verdict in words, with the time left.
fn verdict(pipeline: &Value) -> String {
    let word = text(pipeline, "verdict");
    let left = found(pipeline, "seconds_left");
    match left.and_then(Value::as_f64) {
        Some(left) => format!("{}, {} left", word.replace('_', " "), screen::seconds(left)),
        None => word.replace('_', " "),
    }
}

/// Notes in addition to the numbers, with the command that helps, which `command` completes from its arguments.
fn note(status: &Value, pipeline: &Value, command: &dyn Fn(&str) -> String) -> Vec<String> {
    let name = text(pipeline, "name");
    let mut notes = Vec::new();
    // A reason of the whole process was printed above.
    if found(pipeline, "reason").is_some() && found(pipeline, "reason") != found(status, "reason") {
        notes.push(format!("{name}: {}", text(pipeline, "reason")));
        if found(pipeline, "next").is_some() {
            notes.push(format!("{name}, next: {}", text(pipeline, "next")));
        }
    }
    let halted: Vec<String> = found(pipeline, "halted")
        .and_then(Value::as_object)
        .map_or_else(Vec::new, |halted| halted.keys().map(|partition| screen::escape(partition)).collect());
    if !halted.is_empty() {
        notes.push(format!("{name}: halted are partitions {}", halted.join(", ")));
    }
    let damages = found(pipeline, "damages").and_then(|damages| Vec::<Damaged>::deserialize(damages).ok());
    // A halt was printed above.
    let is_halted = |damage: &Damaged| found(pipeline, &format!("halted.{}", damage.partition)).is_some();
    for Damaged { partition, from, text, .. } in damages.unwrap_or_default().iter().filter(|damage| !is_halted(damage))
    {
        let text = screen::escape(text);
        let next = command(&format!("stream set-aside --pipeline {name} --partition {partition} --from {from}"));
        notes.push(format!("{name}, partition {partition}: {text}; `{next}` goes on after these records"));
    }
    for one in found(pipeline, "paused_stores").and_then(Value::as_array).into_iter().flatten() {
        let rows = found(one, "rows").and_then(Value::as_u64).map_or_else(dash, screen::grouped);
        let store = text(one, "store");
        let since = text(one, "since");
        notes.push(match text(one, "state").as_str() {
            "resuming" => {
                format!("{name}, store {store} is resumed: {rows} records that were kept are left to write")
            }
            _ => {
                format!("{name}, store {store} is paused since {since}, {rows} records wait: {}", text(one, "command"))
            }
        });
    }
    if found(pipeline, "quarantined").and_then(Value::as_u64).is_some_and(|count| count > 0) {
        notes.push(format!("{name}: events are in quarantine: {}", command("quarantine ls")));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_have_a_line_each_for_table_gateway_and_held_alias() {
        let mut routes = json!({
            "state": "following", "seq": 1234, "age_seconds": 0.1, "away": null, "services": 2,
            "tasks": { "no_deploy": 1, "routable": 6 },
            "held": [{ "service": "digits", "alias": "prod", "serving": 4, "newest": 5, "reasons": ["no\u{1b}[2J tasks"] }],
            "gateway": { "address": "127.0.0.1:8081", "requests": 1500, "failed": 0, "retried": 2 },
        });
        let escaped = screen::escape("no\u{1b}[2J tasks");
        assert_eq!(
            routes_shown(&routes),
            format!(
                "routes: following, change 1,234; services: 2, tasks: 1 no deploy, 6 routable\n\
                 gateway at 127.0.0.1:8081: 1,500 requests, 0 failed, 2 tried again\n\
                 held: digits/prod serves generation 4, generation 5 waits: {escaped}"
            )
        );
        assert!(!escaped.contains('\u{1b}'));
        routes["state"] = "stalled".into();
        routes["age_seconds"] = 8.3.into();
        routes["unread"] = "tasks/3".into();
        routes["unread_age_seconds"] = 61.5.into();
        routes["away"] = "no answer".into();
        routes["held"] = json!([]);
        routes["gateway"] = Value::Null;
        assert_eq!(
            routes_shown(&routes),
            "routes: stalled, change 1,234 of 8.3 s ago, tasks/3 read to its end 62 s ago; services: 2, tasks: 1 no deploy, 6 routable; \
             the tables cannot be read: no answer"
        );
    }
}
