//! The embedded stream and the HTTP endpoint, through the process that runs them if there is one.

use std::path::Path;

use millstream_log::Error;
use serde_json::Value;

use super::{Check, State};
use crate::cli::client::{self, Client};
use crate::config::{Config, StreamKind, quoted};
use crate::http::damage::Damaged;
use crate::http::stream::Described;
use crate::stream;
use crate::stream::Visit;

pub(super) async fn look(config: &Config, running: Option<&Client>) -> Vec<Check> {
    match running {
        Some(client) => {
            let mut checks = state(config, client).await;
            let is_judged = checks.iter().any(|check| check.name == "state");
            let answers = ask(client, is_judged).await;
            if answers.iter().any(|check| check.state == State::Bad) && !is_judged {
                // The failures explain why the state is unknown, too.
                checks.clear();
            }
            checks.extend(answers);
            match config.stream.kind {
                StreamKind::Log => checks.extend(damages_there(config, client).await),
                StreamKind::Kafka => checks.extend(kafka(config).await),
                StreamKind::Kinesis => {}
            }
            checks
        }
        None => {
            if let Some(pid) = client::draining(&config.data_dir) {
                let found = format!("draining: process {pid} finishes what is in flight, and ends");
                return vec![Check::good("state", found)];
            }
            let mut checks = match config.stream.kind {
                StreamKind::Log => log(config),
                StreamKind::Kafka => kafka(config).await,
                StreamKind::Kinesis => Vec::new(),
            };
            checks.push(port(config).await);
            if let Some(address) = Client::gone(config) {
                let found = format!("it answered at {address} and has ended without a drain");
                checks.insert(0, Check::bad("running process", found, config.command("run")));
            }
            checks
        }
    }
}

/// The state as the process judges it, and whether it is the intended process.
async fn state(config: &Config, client: &Client) -> Vec<Check> {
    let name = "running process";
    let status = match client.state().await {
        Ok(status) => status,
        // The token may not ask, or this is no millstream: the next query shows which.
        Err(error) => {
            let mend = config.command("status");
            return vec![Check::note(name, format!("its state is not known: {error:#}"), mend)];
        }
    };
    let text = |name: &str| status.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut checks = Vec::new();
    let theirs = text("data_dir");
    if !theirs.is_empty() && !is_same(Path::new(&theirs), &config.data_dir) {
        let found =
            format!("the millstream at {} runs on {theirs}, not on {}", client.address, config.data_dir.display());
        let mend =
            format!("--data-dir {} looks at that one; --listen chooses an address of one's own", quoted(&theirs));
        checks.push(Check::bad(name, found, mend));
    }
    let said = [text("state").replace('_', " "), text("reason")];
    let said = said.iter().filter(|text| !text.is_empty()).map(String::as_str).collect::<Vec<_>>().join(": ");
    let next = match text("next") {
        // The process names this command itself.
        next if next.is_empty() || next.starts_with("millstream doctor") => "see what fails below".to_owned(),
        next => next,
    };
    checks.push(judged(&status, said, next));
    checks
}

fn judged(document: &Value, said: String, next: impl Into<String>) -> Check {
    let is_well = document.get("well").and_then(Value::as_bool).unwrap_or(false);
    if is_well { Check::good("state", said) } else { Check::bad("state", said, next) }
}

fn is_same(theirs: &Path, ours: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    matches!((real(theirs), real(ours)), (Ok(theirs), Ok(ours)) if theirs == ours)
}

/// The parts as the process reports them; and its state as a whole, if that is unknown so far.
async fn ask(client: &Client, is_judged: bool) -> Vec<Check> {
    let name = "running process";
    let mend = "look at what it logs; is it another program? choose an address with --listen";
    let answer = match client.ready().await {
        Ok(answer) => answer,
        Err(error) => return vec![Check::bad(name, format!("{error:#}"), mend)],
    };
    let document: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
    let Some(checks) = document.get("checks").and_then(|checks| checks.as_object()) else {
        return vec![Check::bad(
            name,
            format!("something at {} answers, but not as millstream does", client.address),
            mend,
        )];
    };
    let mut found = vec![Check::good(name, format!("answers at {}", client.address))];
    if let Some(state) = document.get("state").and_then(Value::as_str).filter(|_| !is_judged) {
        found.push(judged(&document, state.replace('_', " "), "see what fails below"));
    }
    for (part, check) in checks {
        let ok = check.get("ok").and_then(serde_json::Value::as_bool).unwrap_or(false);
        let detail = check.get("detail").and_then(|detail| detail.as_str()).unwrap_or_default();
        let text = format!("{part}: {detail}");
        // A drain is on purpose.
        let is_fault = !ok && part != "lifecycle";
        found.push(match (ok, is_fault) {
            (true, _) => Check::good(name, text),
            (false, false) => Check::note(name, text, "wait for its end"),
            (false, true) => Check::bad(name, text, "see the state above"),
        });
    }
    found
}

/// Asks the brokers for every topic that a pipeline reads.
async fn kafka(config: &Config) -> Vec<Check> {
    let brokers = &config.stream.kafka.brokers;
    let mut checks = Vec::new();
    for pipeline in &config.pipeline {
        let look = async {
            let visit = Visit::open(config, pipeline).await?;
            let partitions = visit.partitions().await?;
            let mut records = 0;
            for partition in 0..partitions {
                let (start, end) = visit.range(partition).await?;
                records += end.saturating_sub(start);
            }
            anyhow::Ok(format!("topic {} at {brokers}: {partitions} partitions, {records} records", pipeline.topic()))
        };
        checks.push(match look.await {
            Ok(found) => Check::good("stream", found),
            Err(error) => {
                let mend = format!(
                    "look whether {brokers} is right (stream.kafka.brokers) and the topic is there: kcat -b {brokers} -L -t {}",
                    pipeline.topic()
                );
                Check::bad("stream", format!("{error:#}"), mend)
            }
        });
    }
    checks
}

/// Records that the running process has found to be unreadable.
async fn damages_there(config: &Config, client: &Client) -> Vec<Check> {
    let mut checks = Vec::new();
    for pipeline in config.pipeline.iter().filter(|pipeline| pipeline.reads_stream()) {
        let described = client.get(&format!("/v1/pipelines/{}/stream", pipeline.name)).await;
        let described = described.and_then(|answer| Ok(serde_json::from_value::<Described>(answer)?));
        // The process has another configuration, or an earlier version: other checks report that.
        let Ok(described) = described else { continue };
        checks.extend(described.damages.iter().map(|damage| damaged(config, pipeline.topic(), damage)));
    }
    checks
}

fn damaged(config: &Config, topic: &str, damage: &Damaged) -> Check {
    let partition = damage.partition;
    let reader = config.pipeline.iter().find(|pipeline| pipeline.reads_stream() && pipeline.topic() == topic);
    let pipeline = reader.map(|reader| format!(" --pipeline {}", reader.name)).unwrap_or_default();
    Check::bad(
        "stream",
        format!("topic {topic}, partition {partition}: {}", damage.text),
        format!(
            "restore the file while `run` is stopped, or give these records up: `millstream stream set-aside{pipeline} --partition {partition} --from {}`",
            damage.from
        ),
    )
}

/// Opens the stream as `run` would, which checks the end of every partition.
fn log(config: &Config) -> Vec<Check> {
    let name = "stream";
    let directory = config.data_dir.join("stream");
    if !directory.join("topics").exists() {
        return vec![Check::good(name, "none yet; `millstream run` makes it")];
    }
    let log = match stream::open_log(config) {
        Ok(log) => log,
        Err(error) => {
            let mend = match error.downcast_ref::<Error>() {
                Some(Error::Locked { pid: Some(pid), lives: true, .. }) => {
                    format!("process {pid} has it open but does not answer over HTTP: look at it, or kill {pid}")
                }
                Some(Error::Locked { lock, .. }) => format!("fuser {}", lock.display()),
                Some(Error::Corrupt(_)) => "restore the file from a copy; nothing was changed".to_owned(),
                _ => format!("ls -la {}", directory.display()),
            };
            return vec![Check::bad(name, format!("{error:#}"), mend)];
        }
    };
    let topics = log.topics();
    for (topic, partitions) in &topics {
        let configured = config.pipeline.iter().any(|pipeline| pipeline.topic() == topic);
        if configured && *partitions != config.stream.partitions {
            let found =
                format!("topic {topic} has {partitions} partitions, stream.partitions is {}", config.stream.partitions);
            let mend = format!("--set stream.partitions={partitions}, or choose another topic");
            return vec![Check::bad(name, found, mend)];
        }
    }
    let shown: Vec<String> =
        topics.iter().map(|(topic, partitions)| format!("{topic} ({partitions} partitions)")).collect();
    let damages: Vec<Check> =
        log.damages().iter().map(|(topic, damage)| damaged(config, topic, &Damaged::from(damage))).collect();
    if let Err(error) = log.close() {
        return vec![Check::bad(name, error.to_string(), format!("ls -la {}", directory.display()))];
    }
    if !damages.is_empty() {
        return damages;
    }
    let found = if shown.is_empty() { "no topic yet".to_owned() } else { shown.join(", ") };
    let checked = "the end of each partition was checked, `millstream stream check` reads all of it";
    vec![Check::good(name, format!("opens without damage: {found}; {checked}"))]
}

async fn port(config: &Config) -> Check {
    let name = "http port";
    let listen = config.http.listen;
    match tokio::net::TcpListener::bind(listen).await {
        Ok(_) => Check::good(name, format!("{listen} is free")),
        Err(error) => {
            let mend = format!("ss -ltnp 'sport = :{}' shows who has it; choose another with --listen", listen.port());
            Check::bad(name, format!("{listen}: {error}"), mend)
        }
    }
}
