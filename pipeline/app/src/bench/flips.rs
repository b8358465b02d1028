//! `bench flips`: an alias that goes to and fro under load while tasks are killed, and what became of each request.
//!
//! The service is that of the demo with more processes. Answers are compared with what their generation names, and
//! POSTs with the journals of the processes, those of killed ones too.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args as ClapArgs;
use millstream_engine::task;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Common;
use super::routes::spread::rounded;
use super::{ingest, machine};
use crate::cli::client;
use crate::config::Pipeline;
use crate::demo::services::{self, Extent, Services};
use crate::http;
use crate::node::Node;

/// A task is killed so often, and another one takes its place.
const KILL_EVERY: Duration = Duration::from_secs(2);
/// How long the last requests may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

/// Options of `bench flips`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Args {
    /// How often the alias goes to the other revision.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    flips: u64,
    /// Flips a second.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=50))]
    rate: u32,
    /// GETs a second.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    gets: u32,
    /// POSTs a second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    posts: u32,
    /// Processes, half of them of each revision.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(4..=200))]
    processes: u8,
    #[command(flatten)]
    common: Common,
}

/// Measures and prints.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (_directory, mut config) = ingest::scratch(&args.common.work_dir)?;
    config.pipeline = vec![Pipeline::tasks()];
    let subnet = services::configure(&mut config, true)?;
    let node = Arc::new(Node::start(config).await?);
    let server = http::serve(Arc::clone(&node), http::open(&node.config)?).await?;
    client::note_address(&node.config.data_dir, server.address);
    super::note(&format!("starting {} processes", args.processes));
    let extent = Extent { tasks: args.processes / 2, gets: args.gets, posts: args.posts };
    let measured = match Services::start(&node, subnet, extent).await {
        Ok(services) => measure(&args, &node, services).await,
        Err(error) => Err(error),
    };
    server.stop().await;
    node.drain().await;
    let report = measured?;
    super::print(&if args.common.json { serde_json::to_string_pretty(&report)? } else { table(&report) });
    Ok(ExitCode::SUCCESS)
}

async fn measure(args: &Args, node: &Node, services: Arc<Services>) -> anyhow::Result<Value> {
    let gateway = node.serving.as_ref().and_then(|serving| serving.gateway.clone()).context("no gateway runs")?;
    let before = gateway.snapshot();
    let began = Instant::now();
    let stop = CancellationToken::new();
    let killing = task::spawn("kill tasks", kill(Arc::clone(&services), stop.clone()));
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / args.rate);
    // Flips that took long are not made up for: no two come closer than they should.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for flip in 0..args.flips {
        ticks.tick().await;
        services.flip().await.context("flip the alias")?;
        if (flip + 1) % 100 == 0 {
            let sent = services.counts.sent.load(Relaxed);
            super::note(&format!("{} of {} flips, {sent} requests", flip + 1, args.flips));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    stop.cancel();
    let kills = killing.await??;
    services.stop();
    let tally = Tally::of(&services).await?;
    let after = gateway.snapshot();
    let asked = (after.requests - before.requests).saturating_sub(after.refused - before.refused);
    let attempts = asked + (after.retried - before.retried);
    for failure in services.counts.failures.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        super::note(failure);
    }
    Ok(json!({
        "flips": args.flips,
        "requests": tally.requests,
        "failed_safe": tally.failed_safe,
        "failed_unsafe": tally.failed_unsafe,
        "executed_twice": tally.executed_twice,
        "mixed_generation": tally.mixed_generation,
        "attempts_per_request": rounded(attempts as f64 / asked.max(1) as f64),
        "failed_unsafe_executed": tally.failed_unsafe_executed,
        "executed": tally.executed,
        "kills": kills,
        "processes": args.processes,
        "seconds": rounded(seconds),
        "requests_per_second": rounded(tally.requests as f64 / seconds),
        "machine": machine::processor(),
    }))
}

/// Kills until `stop`; returns how many.
async fn kill(services: Arc<Services>, stop: CancellationToken) -> anyhow::Result<u64> {
    let mut kills = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(KILL_EVERY) => {}
            () = stop.cancelled() => return Ok(kills),
        }
        services.kill().await.context("kill a task")?;
        kills += 1;
    }
}

/// What became of all requests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    requests: u64,
    /// GETs that were not answered with 200.
    failed_safe: u64,
    /// POSTs that were not answered with 200.
    failed_unsafe: u64,
    /// Of these, the ones that a task had carried out: it was killed before it answered.
    failed_unsafe_executed: u64,
    /// POSTs that are in a journal.
    executed: u64,
    /// Entries of journals beyond the first one of each POST.
    executed_twice: u64,
    /// Answers of a revision that their generation does not name.
    mixed_generation: u64,
}

impl Tally {
    /// Waits for the last answers, and counts.
    async fn of(services: &Services) -> anyhow::Result<Tally> {
        let counts = &services.counts;
        let began = Instant::now();
        let answers = loop {
            let answers = counts.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let failed = counts.failed_gets.load(Relaxed) + counts.failed_posts.load(Relaxed);
            if answers.values().sum::<u64>() + failed == counts.sent.load(Relaxed) {
                break answers;
            }
            ensure!(began.elapsed() < ANSWERED_WITHIN, "requests were never answered");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let generations: BTreeMap<i64, &str> = services.generations.lock().await.iter().copied().collect();
        let mixed = answers.iter().filter(|((generation, revision), _)| {
            generations.get(generation).is_none_or(|named| *named != revision.as_str())
        });
        let mut tally = Tally {
            requests: counts.sent.load(Relaxed),
            failed_safe: counts.failed_gets.load(Relaxed),
            failed_unsafe: counts.failed_posts.load(Relaxed),
            mixed_generation: mixed.map(|(_, count)| *count).sum(),
            ..Tally::default()
        };
        let mut lines = Vec::new();
        for journal in services.journals().await {
            let text = std::fs::read_to_string(&journal).with_context(|| format!("read {}", journal.display()))?;
            lines.extend(text.lines().map(str::to_owned));
        }
        tally.add_journals(&lines, &counts.unanswered.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(tally)
    }

    /// Counts what was carried out; `unanswered` are the POSTs that failed.
    fn add_journals(&mut self, lines: &[String], unanswered: &[String]) {
        let executed: BTreeSet<&String> = lines.iter().collect();
        self.executed = executed.len() as u64;
        self.executed_twice = (lines.len() - executed.len()) as u64;
        self.failed_unsafe_executed = unanswered.iter().filter(|id| executed.contains(id)).count() as u64;
    }
}

fn table(report: &Value) -> String {
    let value = |name: &str| report.get(name).cloned().unwrap_or_default().to_string();
    format!(
        "{} flips and {} kills in {} s, {} processes, {} requests/s\n{}\n\nrequests               {:>10}\nfailed GETs            {:>10}\nfailed POSTs           {:>10}\n  that a task executed {:>10}\nexecuted twice         {:>10}\nmixed generations      {:>10}\nattempts a request     {:>10}",
        value("flips"),
        value("kills"),
        value("seconds"),
        value("processes"),
        value("requests_per_second"),
        value("machine"),
        value("requests"),
        value("failed_safe"),
        value("failed_unsafe"),
        value("failed_unsafe_executed"),
        value("executed_twice"),
        value("mixed_generation"),
        value("attempts_per_request"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_in_two_journals_was_executed_twice() {
        let lines = ["POST-1", "POST-2", "POST-1", "POST-1"].map(str::to_owned);
        let mut tally = Tally::default();
        tally.add_journals(&lines, &["POST-2".to_owned(), "POST-3".to_owned()]);
        assert_eq!(tally, Tally { executed: 2, executed_twice: 2, failed_unsafe_executed: 1, ..Tally::default() });
    }
}
