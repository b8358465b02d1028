//! The process that asks a proxy: at a rate, or as fast as answers come.
//!
//! At a rate, a request that had to wait for the one before it on its connection is timed from when it should have
//! begun. How late a timer fired is not counted: it would be a millisecond for every proxy alike.

use std::net::SocketAddr;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use clap::Args as ClapArgs;
use hyper::{Method, StatusCode};
use millstream_engine::task;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::super::routes::exchange::Exchange;
use super::super::routes::spread::quantile;

/// The path of every request: what the gateway takes from it, the others pass on.
const PATH: &str = "/services/bench/prod/model";
/// Connections. More would only add work for all alike.
const CONNECTIONS: u32 = 16;

/// Options of the process.
#[derive(Clone, Debug, ClapArgs)]
pub(in crate::bench) struct Args {
    #[arg(long)]
    address: SocketAddr,
    /// Requests a second; 0 asks as fast as answers come.
    #[arg(long)]
    rate: f64,
    #[arg(long)]
    seconds: f64,
}

/// What it saw.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Seen {
    pub(super) requests: u64,
    pub(super) per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// Starts the process and waits for its result.
pub(super) async fn start(address: SocketAddr, rate: f64, time: Duration) -> anyhow::Result<Seen> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args(["bench", "load", "--address", &address.to_string(), "--rate", &rate.to_string()]);
    command.args(["--seconds", &time.as_secs_f64().to_string()]).env("TOKIO_WORKER_THREADS", "1");
    let output = command.kill_on_drop(true).stderr(Stdio::inherit()).output().await?;
    ensure!(output.status.success(), "the process that asks ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Asks, and prints the result as JSON.
pub(in crate::bench) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let connections: Vec<_> =
        (0..CONNECTIONS).map(|number| task::spawn("asks", ask(args.clone(), number, began))).collect();
    let mut times = Vec::new();
    for connection in connections {
        times.extend(connection.await??);
    }
    let seconds = began.elapsed().as_secs_f64();
    let seen = Seen {
        requests: times.len() as u64,
        per_second: times.len() as f64 / seconds,
        p50_ms: quantile(&mut times, 0.5),
        p99_ms: quantile(&mut times, 0.99),
    };
    super::super::print(&serde_json::to_string(&seen)?);
    Ok(ExitCode::SUCCESS)
}

/// One connection; returns the milliseconds of each request.
async fn ask(args: Args, number: u32, began: Instant) -> anyhow::Result<Vec<f64>> {
    let mut exchange = Exchange::with(args.address);
    let end = began + Duration::from_secs_f64(args.seconds);
    let mut times = Vec::new();
    for turn in 0_u64.. {
        let mut start = Instant::now();
        if args.rate > 0.0 {
            // Each connection takes its turn, so that requests are evenly spread.
            let turn = turn * u64::from(CONNECTIONS) + u64::from(number);
            let intended = began + Duration::from_secs_f64(turn as f64 / args.rate);
            if intended > start {
                tokio::time::sleep_until(intended).await;
                start = Instant::now();
            } else {
                start = intended;
            }
        }
        if start >= end {
            break;
        }
        let status = exchange.send(Method::GET, PATH, &[], Bytes::new()).await?;
        ensure!(status == StatusCode::OK, "a request was answered {status}");
        times.push(start.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(times)
}
