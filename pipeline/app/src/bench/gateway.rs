//! `bench gateway`: what it costs to forward a GET of 1 KB, beside a bare forwarder on hyper, nginx and HAProxy.
//!
//! CPU time of the proxy's process decides, not requests a second: on few cores whoever asks costs more than the proxy.
//! Peers run in turns, and ratios are those within a round, so that a slow minute of the machine meets all of them.

mod bare;
pub(super) mod load;
mod others;
pub(super) mod peer;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args as ClapArgs;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::Common;
use super::routes::spread::{median, rounded};
use super::{ingest, machine};
use peer::Role;

/// All that is compared, by the names of the report.
const NAMES: [&str; 4] = ["millstream", "bare_hyper", "nginx", "haproxy"];
/// How long a peer may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);
/// How long it is asked before it is measured: connections are made, and code is loaded.
const WARM: Duration = Duration::from_millis(500);

/// Options of `bench gateway`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Args {
    /// Rounds; the report has their medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each peer is asked in a round.
    #[arg(long = "for", default_value = "5s", value_parser = crate::config::some_time)]
    duration: Duration,
    /// Requests a second (default: half of what the slowest peer answers).
    #[arg(long)]
    rate: Option<f64>,
    #[command(flatten)]
    common: Common,
}

/// A proxy that runs.
#[derive(Debug)]
struct Peer {
    name: &'static str,
    address: SocketAddr,
    process: Child,
}

/// What a peer cost in one round.
#[derive(Clone, Copy, Debug)]
struct Cost {
    cpu_ms_per_1000: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Measures and prints.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (directory, _) = ingest::scratch(&args.common.work_dir)?;
    let upstream = free_address().await?;
    let _upstream = Peer::start("upstream", upstream, peer::command(Role::Upstream, upstream, upstream)?).await?;
    let mut peers = Vec::new();
    for name in NAMES {
        let listen = free_address().await?;
        let command = match name {
            "millstream" => peer::command(Role::Millstream, listen, upstream)?,
            "bare_hyper" => peer::command(Role::Bare, listen, upstream)?,
            _ => {
                let Some(program) = others::installed(name) else {
                    super::note(&format!("{name}: not installed"));
                    continue;
                };
                let make = if name == "nginx" { others::nginx } else { others::haproxy };
                make(&program, directory.path(), listen, upstream)?
            }
        };
        peers.push(Peer::start(name, listen, command).await?);
    }
    let (rate, bears) = rate(&args, &peers).await?;
    let mut rounds = Vec::new();
    for round in 0..args.rounds {
        super::note(&format!("round {} of {} at {rate:.0} requests/s", round + 1, args.rounds));
        // Each peer is the first one in some round.
        peers.rotate_left(1);
        let mut costs = BTreeMap::new();
        for peer in &peers {
            costs.insert(peer.name, peer.cost(rate, args.duration).await?);
        }
        rounds.push(costs);
    }
    let report = report(&args, rate, &bears, &rounds);
    super::print(&if args.common.json { serde_json::to_string_pretty(&report)? } else { table(&report) });
    Ok(ExitCode::SUCCESS)
}

/// The rate of the rounds, and what each peer answers a second at full speed.
async fn rate(args: &Args, peers: &[Peer]) -> anyhow::Result<(f64, BTreeMap<&'static str, f64>)> {
    let mut bears = BTreeMap::new();
    for peer in peers {
        let seen = load::start(peer.address, 0.0, Duration::from_secs(2)).await?;
        super::note(&format!("{} answers {:.0} requests/s at full speed", peer.name, seen.per_second));
        bears.insert(peer.name, seen.per_second);
    }
    let slowest = bears.values().copied().min_by(f64::total_cmp).context("no peer runs")?;
    Ok((args.rate.unwrap_or(slowest / 2.0).max(1.0), bears))
}

impl Peer {
    /// Starts it, and waits until it listens.
    async fn start(name: &'static str, address: SocketAddr, mut command: Command) -> anyhow::Result<Peer> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let process = command.spawn().with_context(|| format!("start {name}"))?;
        let mut peer = Peer { name, address, process };
        let began = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            if let Some(ended) = peer.process.try_wait()? {
                anyhow::bail!("{name} ended with {ended}");
            }
            ensure!(began.elapsed() < LISTENS_WITHIN, "{name} does not listen on {address}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(peer)
    }

    /// Asks it for a time.
    async fn cost(&self, rate: f64, time: Duration) -> anyhow::Result<Cost> {
        let id = self.process.id().with_context(|| format!("{} has ended", self.name))?;
        load::start(self.address, rate, WARM).await?;
        let before = machine::family_cpu_seconds(id);
        let seen = load::start(self.address, rate, time).await?;
        let spent = machine::family_cpu_seconds(id) - before;
        Ok(Cost {
            cpu_ms_per_1000: spent * 1e6 / seen.requests.max(1) as f64,
            p50_ms: seen.p50_ms,
            p99_ms: seen.p99_ms,
        })
    }
}

/// An address of this machine at which nobody listens.
async fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("find a free port")?;
    Ok(listener.local_addr()?)
}

type Rounds = [BTreeMap<&'static str, Cost>];

/// By peer the median of a value over the rounds; null for one that is not installed.
fn medians(rounds: &Rounds, pick: impl Fn(&Cost) -> f64) -> Value {
    let of = |name: &'static str| {
        let values: Vec<f64> = rounds.iter().filter_map(|round| Some(pick(round.get(name)?))).collect();
        (!values.is_empty()).then(|| rounded(median(&values)))
    };
    NAMES.into_iter().map(|name| (name.to_owned(), json!(of(name)))).collect::<serde_json::Map<_, _>>().into()
}

/// By peer the median of our value divided by its, each within one round.
fn ratios(rounds: &Rounds, pick: impl Fn(&Cost) -> f64) -> Value {
    let of = |name: &'static str| {
        let within = |round: &BTreeMap<&'static str, Cost>| {
            Some(pick(round.get("millstream")?) / pick(round.get(name)?).max(f64::MIN_POSITIVE))
        };
        let values: Vec<f64> = rounds.iter().filter_map(within).collect();
        (!values.is_empty()).then(|| rounded(median(&values)))
    };
    let others = NAMES.into_iter().filter(|name| *name != "millstream");
    others.map(|name| (name.to_owned(), json!(of(name)))).collect::<serde_json::Map<_, _>>().into()
}

fn report(args: &Args, rate: f64, bears: &BTreeMap<&'static str, f64>, rounds: &Rounds) -> Value {
    json!({
        "cpu_ms_per_1000": medians(rounds, |cost| cost.cpu_ms_per_1000),
        "p99_ms": medians(rounds, |cost| cost.p99_ms),
        "p50_ms": medians(rounds, |cost| cost.p50_ms),
        "cpu_ratio_to": ratios(rounds, |cost| cost.cpu_ms_per_1000),
        "p99_ratio_to": ratios(rounds, |cost| cost.p99_ms),
        "requests_per_second": rounded(rate),
        "full_speed_per_second": bears,
        "rounds": args.rounds,
        "seconds": args.duration.as_secs_f64(),
        "machine": machine::processor(),
    })
}

fn table(report: &Value) -> String {
    let mut text = format!(
        "GETs of 1 KB, {:.0} requests/s, medians of {} rounds of {} s\n{}\n\n{:<12}{:>20}{:>12}{:>12}{:>16}\n",
        report.get("requests_per_second").and_then(Value::as_f64).unwrap_or(0.0),
        report.get("rounds").unwrap_or(&Value::Null),
        report.get("seconds").unwrap_or(&Value::Null),
        report.get("machine").and_then(Value::as_str).unwrap_or_default(),
        "",
        "CPU ms per 1000",
        "p50 ms",
        "p99 ms",
        "our CPU / its",
    );
    for name in NAMES {
        let value = |group: &str| {
            let value = report.get(group).and_then(|group| group.get(name)).and_then(Value::as_f64);
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
        };
        text.push_str(&format!(
            "{name:<12}{:>20}{:>12}{:>12}{:>16}\n",
            value("cpu_ms_per_1000"),
            value("p50_ms"),
            value("p99_ms"),
            value("cpu_ratio_to"),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_within_rounds_and_what_is_absent_is_null() {
        let cost = |cpu| Cost { cpu_ms_per_1000: cpu, p50_ms: 1.0, p99_ms: 2.0 };
        // The machine was ten times slower in the second round.
        let rounds = [(2.0, 1.0), (20.0, 10.0), (3.0, 1.0)]
            .map(|(ours, bare)| BTreeMap::from([("millstream", cost(ours)), ("bare_hyper", cost(bare))]));
        let pick = |cost: &Cost| cost.cpu_ms_per_1000;
        assert_eq!(ratios(&rounds, pick), json!({ "bare_hyper": 2.0, "nginx": null, "haproxy": null }));
        let medians = medians(&rounds, pick);
        assert_eq!(medians, json!({ "millstream": 3.0, "bare_hyper": 1.0, "nginx": null, "haproxy": null }));
    }
}
