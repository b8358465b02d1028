//! The HTTP client of the benchmarks: a process of its own that posts events and times the answers.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Args as ClapArgs;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::generate::Generator;
use millstream_engine::task;

/// Options of the client process.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Args {
    /// Address to post to.
    #[arg(long)]
    address: SocketAddr,
    /// Number of events, over all connections.
    #[arg(long)]
    events: u64,
    /// Events per POST request.
    #[arg(long)]
    post: u64,
    /// Number of concurrent connections.
    #[arg(long)]
    connections: u64,
    /// Events per second over all connections; 0 posts at full speed.
    #[arg(long)]
    rate: u64,
    #[arg(long)]
    seed: u64,
}

/// What the client measured.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Seen {
    pub(super) events: u64,
    pub(super) seconds: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

/// Starts the client process and waits for its result.
pub(super) async fn start(
    address: SocketAddr,
    events: u64,
    post: u64,
    connections: u64,
    rate: u64,
    seed: u64,
) -> anyhow::Result<Seen> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args(["bench", "client", "--address", &address.to_string()]);
    for (name, value) in
        [("--events", events), ("--post", post), ("--connections", connections), ("--rate", rate), ("--seed", seed)]
    {
        command.arg(name).arg(value.to_string());
    }
    let output = command.stderr(std::process::Stdio::inherit()).output().await?;
    ensure!(output.status.success(), "the client ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Posts, and prints the result as JSON.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let posts_each = (args.events / args.post / args.connections).max(1);
    let mut tasks = Vec::new();
    let mut bodies: Vec<Vec<Bytes>> = Vec::new();
    let mut generator = Generator::new(args.seed, millstream_engine::clock::now_ms() - 1000);
    for _ in 0..args.connections {
        // At full speed posts are made before the clock starts; at a rate the time of the events must be now.
        let count = if args.rate == 0 { posts_each } else { 0 };
        bodies.push((0..count).map(|_| body(&mut generator, args.post)).collect());
    }
    let began = Instant::now();
    for (number, bodies) in (0u64..).zip(bodies) {
        let args = args.clone();
        tasks.push(task::spawn("connection", connection(args, number, posts_each, bodies, began)));
    }
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await??);
    }
    let seconds = began.elapsed().as_secs_f64();
    waits.sort_unstable();
    let at = |share: f64| {
        let index = ((waits.len() as f64 * share) as usize).min(waits.len().saturating_sub(1));
        waits.get(index).map_or(0.0, |wait: &Duration| wait.as_secs_f64() * 1000.0)
    };
    let seen = Seen {
        events: posts_each * args.connections * args.post,
        seconds,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        max_ms: at(1.0),
    };
    super::print(&serde_json::to_string(&seen)?);
    Ok(ExitCode::SUCCESS)
}

async fn connection(
    args: Args,
    number: u64,
    posts: u64,
    bodies: Vec<Bytes>,
    began: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut poster = Poster::connect(args.address).await?;
    let mut waits = Vec::new();
    let mut bodies = bodies.into_iter();
    let mut generator = Generator::new(args.seed + number, millstream_engine::clock::now_ms() - 1000);
    for post in 0..posts {
        if args.rate > 0 {
            // Each connection takes its turn, so that posts are evenly spread.
            let turn = (post * args.connections + number) * args.post;
            tokio::time::sleep_until(began + Duration::from_secs_f64(turn as f64 / args.rate as f64)).await;
        }
        let body = bodies.next().unwrap_or_else(|| body(&mut generator, args.post));
        let sent = Instant::now();
        let (status, answer) = poster.post("/v1/events", body).await?;
        ensure!(status == StatusCode::ACCEPTED, "{status}: {}", String::from_utf8_lossy(&answer));
        waits.push(sent.elapsed());
    }
    Ok(waits)
}

/// A connection that posts.
pub(crate) struct Poster {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Poster {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the sender is dropped; its errors reach the sender.
        drop(task::spawn("http", async move { drop(connection.await) }));
        Ok(Poster { address, sender })
    }

    /// Posts lines of JSON; returns status and answer.
    pub(crate) async fn post(&mut self, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = Request::post(path)
            .header("host", self.address.to_string())
            .header("content-type", "application/x-ndjson")
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await.context("post")?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

fn body(generator: &mut Generator, events: u64) -> Bytes {
    let mut body = Vec::with_capacity(1200 * events as usize);
    for _ in 0..events {
        body.extend_from_slice(&generator.next_event().payload);
        body.push(b'\n');
    }
    body.into()
}
