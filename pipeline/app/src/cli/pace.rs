//! `millstream pace`: shows the controller of the running process, and bounds it while that runs.

use std::process::ExitCode;

use hyper::Method;
use serde_json::{Map, Value};

use super::client::Client;
use super::screen::{self, dash, found, text};
use crate::config::Config;

const PATH: &str = "/v1/controller";

/// Options of `pace`. Without any it only shows the controller.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Hold the number and the size of transactions where they are; the limits below still apply.
    #[arg(long, conflicts_with = "thaw")]
    freeze: bool,
    /// Let them change again.
    #[arg(long)]
    thaw: bool,
    /// Minimum number of concurrent transactions.
    #[arg(long, value_name = "NUMBER")]
    concurrency_min: Option<usize>,
    /// Maximum number of concurrent transactions, up to the number of lanes.
    #[arg(long, value_name = "NUMBER")]
    concurrency_max: Option<usize>,
    /// Maximum number of records in a transaction, up to the configured batch.
    #[arg(long, value_name = "NUMBER")]
    records_max: Option<usize>,
    /// Restore the configured values, except for those given by other options.
    #[arg(long)]
    configured: bool,
    /// Print the JSON answer of the process.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// What is to be changed, as `PATCH /v1/controller` takes it.
    fn change(&self) -> Map<String, Value> {
        let frozen = if self.freeze { Some(true) } else { self.thaw.then_some(false) };
        let members = [
            ("frozen", frozen.map(Value::from)),
            ("concurrency_min", self.concurrency_min.map(Value::from)),
            ("concurrency_max", self.concurrency_max.map(Value::from)),
            ("records_max", self.records_max.map(Value::from)),
        ];
        let said = |(name, value): (&str, Option<Value>)| {
            let value = value.or(self.configured.then_some(Value::Null))?;
            Some((name.to_owned(), value))
        };
        members.into_iter().filter_map(said).collect()
    }
}

pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let client = Client::expect(config).await?;
    let change = args.change();
    let controller = if change.is_empty() {
        client.get(PATH).await?
    } else {
        client.json(Method::PATCH, PATH, Value::Object(change).to_string().into()).await?
    };
    if args.json {
        screen::print_json(&controller)?;
        return Ok(ExitCode::SUCCESS);
    }
    screen::print(&shown(&controller));
    if found(&controller, "configured").is_some() {
        screen::print(&format!(
            "This holds until the process ends: put it into millstream.toml to keep it, or undo it with `{}`.\n",
            config.command("pace --configured")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// State of the controller, and its last decisions.
pub(super) fn shown(controller: &Value) -> String {
    let count = |path: &str| found(controller, path).and_then(Value::as_u64).map_or_else(dash, screen::grouped);
    let linger = found(controller, "linger_ms").and_then(Value::as_f64).unwrap_or_default();
    let mut line = format!(
        "pace: {}. {} transactions at a time (may be {} to {}), batches of up to {} records, sent after {} at the latest",
        limit(&text(controller, "limited_by")),
        count("concurrency"),
        count("concurrency_min"),
        count("concurrency_max"),
        count("records"),
        screen::seconds(linger / 1000.0),
    );
    if let Some(ceiling) = found(controller, "ceiling").and_then(Value::as_u64) {
        line += &format!("; the database is believed to bear {ceiling}");
    }
    if found(controller, "rests").and_then(Value::as_bool).unwrap_or_default() {
        line += "; it rests as long as it writes, for the sake of others";
    }
    if let Some(processes) = found(controller, "processes").and_then(Value::as_u64).filter(|processes| *processes > 1) {
        line += &format!("; {processes} processes write to it");
    }
    if let Some(configured) = found(controller, "configured") {
        line += &format!("; limits were set while it runs, {}", limits(configured));
    }
    let decisions = found(controller, "decisions").and_then(Value::as_array);
    for one in decisions.into_iter().flatten() {
        let number = |path: &str| found(one, path).and_then(Value::as_u64).map_or_else(dash, screen::grouped);
        line += &format!(
            "\n  {}  {} {} -> {}, {}{}",
            text(one, "at"),
            text(one, "knob"),
            number("from"),
            number("to"),
            text(one, "reason").replace('_', " "),
            figures(one),
        );
    }
    line + "\n"
}

/// The limit in words.
fn limit(name: &str) -> String {
    let known = match name {
        "application_limited" => "limited by what arrives",
        "partition_limited" => "limited by the lanes: there is a backlog, and no more lanes or partitions for it",
        "database_limited" => "limited by the database, which writes no more however much it is given",
        "concurrency_limited" => "limited by the number of transactions that is allowed",
        "capped" => "limited by the cap on rows per second",
        "braked" => "braked, because the database was overloaded, refused or did not answer",
        "frozen" => "held where it is by the operator",
        "halted" => "nothing is written until you decide",
        "database_away" => "nothing is written, the database is away",
        "stream_stopped" => "nothing arrives, the stream is stopped",
        "flooding" => "a store is paused, the others go on",
        "stalled" => "nothing is written, although something waits",
        "draining" => "what is in flight is finished",
        other => return other.replace('_', " "),
    };
    known.to_owned()
}

fn figures(decision: &Value) -> String {
    let figures = found(decision, "figures").and_then(Value::as_object);
    let shown = |(name, value): (&String, &Value)| {
        let value = value.as_f64().unwrap_or_default();
        let digits = if value.abs() < 10.0 { 3 } else { 0 };
        format!("{} {value:.digits$}", screen::escape(name))
    };
    let shown: Vec<String> = figures.into_iter().flatten().map(shown).collect();
    if shown.is_empty() { String::new() } else { format!(" ({})", shown.join(", ")) }
}

/// The configured limits.
fn limits(configured: &Value) -> String {
    let count = |path: &str| found(configured, path).and_then(Value::as_u64).map_or_else(dash, screen::grouped);
    let frozen = found(configured, "frozen").and_then(Value::as_bool).unwrap_or_default();
    format!(
        "configured are {} to {} transactions of at most {} records{}",
        count("concurrency_min"),
        count("concurrency_max"),
        count("records_max"),
        if frozen { ", frozen" } else { "" },
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: super::Args,
    }

    #[test]
    fn only_what_is_said_is_changed() {
        let change = |options: &[&str]| {
            let line = Line::try_parse_from([&["pace"], options].concat()).unwrap();
            serde_json::Value::Object(line.args.change()).to_string()
        };
        assert_eq!(change(&[]), "{}");
        assert_eq!(change(&["--freeze", "--concurrency-max", "3"]), r#"{"concurrency_max":3,"frozen":true}"#);
        assert_eq!(
            change(&["--configured", "--thaw", "--records-max", "50"]),
            r#"{"concurrency_max":null,"concurrency_min":null,"frozen":false,"records_max":50}"#
        );
        assert!(Line::try_parse_from(["pace", "--freeze", "--thaw"]).is_err());
    }
}
