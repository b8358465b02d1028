//! A noisy neighbour: pgbench on the same server, alone, while a backlog is drained, and gone again.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use millstream_postgres::cluster::Binaries;
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::process::Command;

use super::drain::{self, Draining};
use super::{AROUND, CLOSE, Curve, WINDOW};
use crate::bench::ground::Ground;
use crate::bench::ours::{Found, Setting};
use crate::bench::plot::Series;

const DATABASE: &str = "neighbour";
/// 200,000 accounts: few, so that the costly page writes after a checkpoint are over before it is measured.
const SCALE: &str = "2";
/// A fifth of its transactions update, the others read one row.
const MIX: [&str; 4] = ["--builtin=simple-update@1", "--builtin=select-only@4", "--no-vacuum", "--progress=1"];
/// How long it runs alone.
const ALONE: Duration = Duration::from_secs(20);
/// Seconds at the start of each of its runs that are not measured.
const SETTLE: usize = 5;
/// Seconds that we watch after it has left.
const LOOK_ON: f64 = 60.0;

/// The rates of both.
#[derive(Debug, Serialize)]
pub(super) struct Visit {
    clients: u32,
    /// The neighbour's transactions per second alone, and beside us.
    pub(super) alone_per_second: f64,
    pub(super) beside_per_second: f64,
    /// The share of its own rate that it keeps.
    pub(super) kept: f64,
    /// Our events per second before it came, while it was there, and after it left.
    pub(super) before_per_second: f64,
    pub(super) during_per_second: f64,
    pub(super) after_per_second: f64,
    /// Our rate divided by that over the same rows without a neighbour: a larger table is slower to write.
    pub(super) during: f64,
    pub(super) after: f64,
    /// Seconds from its leaving until we have nine tenths of that; `None` if that took more than a minute.
    pub(super) seconds_until_regained: Option<f64>,
    /// The decisions of the controller meanwhile.
    pub(super) found: Found,
    /// Per cent of what each has without the other, over time.
    #[serde(skip)]
    pub(super) lines: Vec<Series>,
}

/// Measures each alone, then both.
pub(super) async fn visit(
    ground: &mut Ground,
    setting: Setting,
    stays: Duration,
    clients: u32,
    before: Duration,
    events: u64,
) -> anyhow::Result<Visit> {
    let neighbour = Neighbour::move_in(ground, clients).await?;
    ground.fresh().await?;
    let alone_per_second = mean(&neighbour.run(ALONE).await?);
    let (undisturbed, _) = drain::run(ground, setting, before + stays * 2, events).await.context("nobody comes")?;

    let mut draining = Draining::start(ground, setting, events).await?;
    let comes = before.as_secs_f64();
    draining.until(comes).await?;
    let before_per_second = draining.curve.rate(comes * 2.0 / 3.0, comes);
    let (beside, looked) = tokio::join!(neighbour.run(stays), draining.until(comes + stays.as_secs_f64()));
    looked?;
    let beside = beside?;
    let beside_per_second = mean(&beside);
    let leaves = draining.seconds();
    let during_per_second = draining.curve.rate(comes + SETTLE as f64, leaves);
    let mut regained = None;
    let mut now = leaves + WINDOW;
    while regained.is_none() && now < leaves + WINDOW + LOOK_ON {
        draining.until(now).await?;
        let is_back = share(&draining.curve, &undisturbed, now - WINDOW, now) >= CLOSE;
        regained = is_back.then_some(now - WINDOW - leaves);
        now += 1.0;
    }
    // The rate after it has recovered.
    let after = draining.seconds();
    draining.until(after + 2.0 * WINDOW).await?;
    let after_per_second = draining.curve.rate(after, after + 2.0 * WINDOW);
    let (curve, ended) = draining.stop().await?;
    let ours =
        curve.rates(AROUND).into_iter().map(|(at, _)| (at, share(&curve, &undisturbed, at - AROUND, at + AROUND)));
    let theirs = (0..).map(f64::from).zip(&beside).map(|(at, rate)| (comes + at + 1.0, *rate / alone_per_second));
    let lines = vec![line("millstream", ours), line("neighbour", theirs)];
    let during = share(&curve, &undisturbed, comes + SETTLE as f64, leaves);
    let after = share(&curve, &undisturbed, after, after + 2.0 * WINDOW);
    tracing::info!(
        alone_per_second,
        beside_per_second,
        before_per_second,
        during_per_second,
        after_per_second,
        during,
        after,
        "visit"
    );
    Ok(Visit {
        clients,
        alone_per_second,
        beside_per_second,
        kept: beside_per_second / alone_per_second,
        before_per_second,
        during_per_second,
        after_per_second,
        during,
        after,
        seconds_until_regained: regained,
        found: ended.found,
        lines,
    })
}

struct Neighbour {
    connect: PgConnectOptions,
    binaries: Binaries,
    clients: u32,
}

impl Neighbour {
    /// Creates its database, once.
    async fn move_in(ground: &Ground, clients: u32) -> anyhow::Result<Neighbour> {
        let connect = ground.keep.connect.clone();
        let mut connection = PgConnection::connect_with(&connect).await?;
        let major: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int / 10000")
            .fetch_one(&mut connection)
            .await?;
        let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(DATABASE)
            .fetch_one(&mut connection)
            .await?;
        if !there {
            sqlx::raw_sql("CREATE DATABASE neighbour").execute(&mut connection).await.context("make its database")?;
        }
        connection.close().await?;
        let fetched = ground.keep.config.data_dir.join("postgres/fetched");
        let binaries = Binaries::find(u32::try_from(major).ok(), &fetched)?;
        let neighbour = Neighbour { connect, binaries, clients };
        if !there {
            let made = neighbour.pgbench().args(["--initialize", "--quiet", "--scale", SCALE]).arg(DATABASE).output();
            let made = made.await?;
            ensure!(made.status.success(), "pgbench --initialize: {}", String::from_utf8_lossy(&made.stderr));
        }
        Ok(neighbour)
    }

    fn pgbench(&self) -> Command {
        let mut command = Command::new(self.binaries.dir.join("pgbench"));
        let host = self
            .connect
            .get_socket()
            .map_or_else(|| self.connect.get_host().to_owned(), |socket| socket.display().to_string());
        command.args(["--host", &host, "--port", &self.connect.get_port().to_string()]);
        command.args(["--username", self.connect.get_username()]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs it for a time; returns its transactions per second in each second.
    async fn run(&self, duration: Duration) -> anyhow::Result<Vec<f64>> {
        let seconds = duration.as_secs().max(SETTLE as u64 + 3).to_string();
        let clients = self.clients.to_string();
        let mut command = self.pgbench();
        command.args(MIX).args(["--client", &clients, "--jobs", "1", "--time", &seconds]).arg(DATABASE);
        let ended =
            command.output().await.with_context(|| format!("run pgbench in {}", self.binaries.dir.display()))?;
        let said = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.success(), "pgbench ended with {}: {said}", ended.status);
        let rates: Vec<f64> = said.lines().filter_map(rate).collect();
        ensure!(rates.len() > SETTLE, "pgbench told no progress: {said}");
        Ok(rates)
    }
}

/// The rate of one run divided by that of another while these rows are written.
fn share(curve: &Curve, undisturbed: &Curve, from: f64, to: f64) -> f64 {
    let alone = undisturbed.rate_over(curve.records_at(from), curve.records_at(to));
    if alone > 0.0 { curve.rate(from, to) / alone } else { 0.0 }
}

/// Shares in per cent.
fn line(name: &str, shares: impl Iterator<Item = (f64, f64)>) -> Series {
    Series { name: name.to_owned(), points: shares.map(|(at, share)| (at, share * 100.0)).collect() }
}

/// The mean of all but the first seconds.
fn mean(rates: &[f64]) -> f64 {
    let rates = rates.get(SETTLE..).unwrap_or_default();
    rates.iter().sum::<f64>() / rates.len().max(1) as f64
}

/// The rate in a line of progress.
fn rate(line: &str) -> Option<f64> {
    let rest = line.strip_prefix("progress: ")?.split_once(", ")?.1;
    rest.split_once(" tps")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_the_same_rows() {
        let mut alone = Curve::default();
        let mut beside = Curve::default();
        // The table is slower to write from its thousandth row on.
        let written = |second: u64| if second <= 10 { second * 100 } else { 1_000 + (second - 10) * 50 };
        for second in 0..=60 {
            alone.push(second as f64, written(second));
            beside.push(second as f64 * 2.0, written(second));
        }
        for from in [2.0, 40.0] {
            let share = share(&beside, &alone, from, from + 10.0);
            assert!((share - 0.5).abs() < 0.01, "{share}");
        }
    }

    #[test]
    fn lines_of_progress_tell_a_rate() {
        // As pgbench 15 and 18 print it.
        assert_eq!(rate("progress: 1.0 s, 4021.9 tps, lat 1.975 ms stddev 1.421"), Some(4021.9));
        assert_eq!(rate("progress: 2.0 s, 12.0 tps, lat 1.975 ms stddev 1.421, 0 failed"), Some(12.0));
        assert_eq!(rate("pgbench (15.18 (Debian 15.18-0+deb12u1))"), None);
    }
}
