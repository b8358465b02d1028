//! The process that follows alone: how long a fresh follower takes, its memory, a lookup, and one change.

use std::process::{ExitCode, Stdio};
use std::sync::{Arc, PoisonError};

use anyhow::ensure;
use clap::Args as ClapArgs;
use millstream_gateway::{Applier, Change, Dialable, Table};
use millstream_postgres::Connector;
use millstream_schemas::tasks::{Alias, Deploy, Fact, Key, Kind, Selector, Target};
use rand::Rng as _;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use tokio::time::Instant;

use super::super::machine;
use super::event::{self, Task};
use super::follower::Follower;
use super::spread::{median, quantile};

/// Changes that are timed.
const CHANGES: u32 = 2_000;
/// Lookups that are timed together: one alone is shorter than the clock takes.
const LOOKUPS: usize = 1_000;

/// Options of the process.
#[derive(Clone, Debug, ClapArgs)]
pub(in crate::bench) struct Args {
    /// Directory of the server's socket, or its host.
    #[arg(long)]
    host: String,
    #[arg(long)]
    port: u16,
    #[arg(long)]
    user: String,
    #[arg(long)]
    database: String,
    /// Services among which is looked up.
    #[arg(long)]
    services: u32,
}

/// What it found.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Seen {
    pub(super) snapshot_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) lookup_ns: f64,
    pub(super) apply_us_p50: f64,
    pub(super) apply_us_p99: f64,
    pub(super) facts: usize,
}

/// Starts the process and waits for its result.
pub(super) async fn start(connect: &PgConnectOptions, services: u32) -> anyhow::Result<Seen> {
    let host = connect.get_socket().map_or_else(|| connect.get_host().to_owned(), |path| path.display().to_string());
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args(["bench", "follow", "--host", &host, "--user", connect.get_username()]);
    command.args(["--port", &connect.get_port().to_string(), "--services", &services.to_string()]);
    command.args(["--database", connect.get_database().unwrap_or("millstream")]);
    let output = command.kill_on_drop(true).stderr(Stdio::inherit()).output().await?;
    ensure!(output.status.success(), "the follower's process ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Measures, and prints the result as JSON.
pub(in crate::bench) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let connect = PgConnectOptions::new_without_pgpass().username(&args.user).database(&args.database).port(args.port);
    let connect = if args.host.starts_with('/') { connect.socket(&args.host) } else { connect.host(&args.host) };
    let connect = connect.ssl_mode(sqlx::postgres::PgSslMode::Disable);
    let resident = machine::resident_bytes();
    let mut follower = Follower::start(Connector::from(connect), true)?;
    let loaded = follower.loaded().await?;
    let resident = machine::resident_bytes().saturating_sub(resident);
    let facts = follower.facts();
    let applier = Arc::clone(&follower.applier);
    // From here on the facts are ours alone.
    follower.end().await?;
    let mut changes = {
        let mut applier = applier.lock().unwrap_or_else(PoisonError::into_inner);
        apply(&mut applier)?
    };
    let seen = Seen {
        snapshot_seconds: loaded.as_secs_f64(),
        resident_bytes: resident,
        lookup_ns: lookup(args.services),
        apply_us_p50: quantile(&mut changes, 0.5),
        apply_us_p99: quantile(&mut changes, 0.99),
        facts,
    };
    super::super::print(&serde_json::to_string(&seen)?);
    Ok(ExitCode::SUCCESS)
}

/// Changes tasks of the first service, one by one; gives the CPU time of each in microseconds.
fn apply(applier: &mut Applier) -> anyhow::Result<Vec<f64>> {
    let mut spent = Vec::new();
    for number in 0..CHANGES {
        let id = Task::stored(number % event::OF_A_SERVICE).id();
        let key = Key { kind: Kind::Task, columns: vec![event::SOURCE.to_owned(), id] };
        // With few tasks stored, the service has fewer.
        let Some(Fact::Task(mut task)) = applier.facts().get(&key) else { continue };
        task.version += 1;
        task.rank = 1 - task.rank.min(1);
        task.desired_status = Some(if task.rank == 0 { "RUNNING" } else { "STOPPED" }.to_owned());
        let change = vec![Change::Put(Fact::Task(task))];
        let before = clock_gettime(ClockId::ThreadCPUTime);
        applier.apply(change, Instant::now());
        let after = clock_gettime(ClockId::ThreadCPUTime);
        let us = (after.tv_sec - before.tv_sec) as f64 * 1e6 + (after.tv_nsec - before.tv_nsec) as f64 / 1e3;
        spent.push(us);
    }
    ensure!(!spent.is_empty(), "no task of the first service is stored");
    Ok(spent)
}

/// The time of a lookup at random among so many services, in nanoseconds.
fn lookup(services: u32) -> f64 {
    let table = Arc::new(Table::default());
    let nothing = Dialable::new(std::collections::BTreeMap::new(), [], []);
    let mut applier = Applier::new(Arc::clone(&table), Arc::new(nothing), millstream_gateway::Options::default());
    let name = |number: u32| format!("looked-up-{number}");
    let facts = (0..services).flat_map(|number| {
        let selector = Selector { definition: Some(event::definition(&name(number))), ..Selector::default() };
        let target = Target { revision: "1".to_owned(), weight: 100 };
        let deploy = Deploy {
            service: name(number),
            revision: "1".to_owned(),
            generation: 1,
            selector: Some(selector),
            ..Deploy::default()
        };
        let alias = Alias {
            service: name(number),
            alias: "prod".to_owned(),
            generation: 1,
            targets: vec![target],
            ..Alias::default()
        };
        [Fact::Deploy(Box::new(deploy)), Fact::Alias(Box::new(alias))]
    });
    applier.load(facts, &millstream_gateway::Former::new(), Instant::now());
    let mut random = rand::rng();
    let mut times = Vec::new();
    for _ in 0..200 {
        let names: Vec<String> = (0..LOOKUPS).map(|_| name(random.random_range(0..services.max(1)))).collect();
        let began = Instant::now();
        let found = names.iter().filter(|name| table.lookup(std::hint::black_box(name)).is_some()).count();
        times.push(began.elapsed().as_nanos() as f64 / LOOKUPS as f64);
        debug_assert_eq!(found, LOOKUPS, "every service is there");
    }
    median(&times)
}
