//! `millstream doctor`: checks the real parts, and says how to repair each failure.
//!
//! It changes nothing: a missing private cluster is not created, and a stopped one runs only while it is checked.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::client::Client;
use super::screen;
use crate::config::{Config, Loaded};
use crate::data_dir;

mod machine;
mod secrets;

mod tokens;

mod stream;

mod postgres;

mod elsewhere;

/// Timeouts for the check of a server, and of a private one that has to be started for it.
const POSTGRES_WITHIN: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(60));

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// State of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Good,
    /// It works, but a person should know about it.
    Note,
    Bad,
}

/// The result for one part.
#[derive(Debug)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    /// What to do about it.
    mend: Option<String>,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, state: State::Good, found: found.into(), mend: None }
    }

    fn note(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Check {
        Check { name, state: State::Note, found: found.into(), mend: Some(mend.into()) }
    }

    fn bad(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Check {
        Check { name, state: State::Bad, found: found.into(), mend: Some(mend.into()) }
    }

    /// Completes the commands in it so that they can be pasted anywhere. Those that the running process gives are
    /// complete already, and may be for another directory.
    fn localize(&mut self, config: &Config) {
        if ["state", "running process"].contains(&self.name) {
            return;
        }
        self.found = config.localized(&self.found).into_owned();
        self.mend = self.mend.take().map(|mend| config.localized(&mend).into_owned());
    }
}

pub(super) async fn run(args: &Args, loaded: &Loaded) -> anyhow::Result<ExitCode> {
    let config = &loaded.config;
    let file = loaded.file.as_ref().map_or_else(|| "no file, defaults".to_owned(), |file| file.display().to_string());
    let mut checks = vec![Check::good("configuration", format!("valid ({file})"))];
    checks.extend(secrets::look(loaded));
    match data_dir::check(&config.data_dir) {
        Ok(()) => {
            let running = Client::find(config).await?;
            // First, because its own judgement is what counts.
            checks.extend(stream::look(config, running.as_ref()).await);
            checks.extend(machine::look(config));
            checks.extend(tokens::look(config));
            checks.extend(database(config, running.is_some()).await);
        }
        // Nothing in that directory is checked.
        Err(error) => {
            let message = format!("{error:#}");
            let (found, mend) = message.split_once(". ").unwrap_or((&message, "name another with --data-dir"));
            checks.push(Check::bad("data directory", found, mend));
        }
    }
    checks.iter_mut().for_each(|check| check.localize(config));
    let failed = checks.iter().filter(|check| check.state == State::Bad).count();
    if args.json {
        let shown = checks.iter().map(|check| {
            let state = word(check.state);
            json!({ "name": check.name, "state": state, "found": check.found, "mend": check.mend })
        });
        screen::print_json(&json!({ "ok": failed == 0, "checks": shown.collect::<Vec<_>>() }))?;
    } else {
        let rows: Vec<Vec<String>> = checks.iter().flat_map(rows).collect();
        screen::print(&screen::table(&rows));
        screen::print(&match failed {
            0 => "all is well".to_owned(),
            1 => "1 failure".to_owned(),
            failed => format!("{failed} failures"),
        });
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks the database, which may accept connections and never answer.
async fn database(config: &Config, runs: bool) -> Vec<Check> {
    let within = if config.postgres.is_embedded() && !runs { POSTGRES_WITHIN.1 } else { POSTGRES_WITHIN.0 };
    match tokio::time::timeout(within, postgres::look(config)).await {
        Ok(found) => found,
        Err(_) => {
            let found = format!("PostgreSQL does not answer within {} s", within.as_secs());
            vec![Check::bad("postgres", found, "is its process stopped, or its machine? look at its log")]
        }
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Good => "ok",
        State::Note => "note",
        State::Bad => "FAIL",
    }
}

/// A check, and below it what to do.
fn rows(check: &Check) -> Vec<Vec<String>> {
    let mut rows = vec![vec![word(check.state).to_owned(), check.name.to_owned(), escaped(&check.found)]];
    if let Some(mend) = &check.mend {
        rows.extend(
            mend.lines().map(|line| vec![String::new(), String::new(), format!("  -> {}", screen::escape(line))]),
        );
    }
    rows
}

/// Messages of several lines, such as the tail of a server's log, on one.
fn escaped(found: &str) -> String {
    screen::escape(&found.lines().map(str::trim).collect::<Vec<_>>().join("; "))
}
