//! What is stored before anything is measured, and the other events that come meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::ensure;
use hyper::{Method, StatusCode};
use millstream_engine::task;
use rand::Rng as _;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::event::{self, SOURCE, Task};
use super::exchange::Exchange;

/// Events of a request while tasks are stored.
const BATCH: u32 = 200;
/// Connections of the other events: each waits for its answer, which takes as long as a disk does.
const CONNECTIONS: u32 = 8;
const LINES: (&str, &str) = ("content-type", "application/x-ndjson");
const JSON: (&str, &str) = ("content-type", "application/json");

/// Posts events, one a line.
pub(super) async fn post(api: &mut Exchange, lines: String) -> anyhow::Result<()> {
    let path = format!("/v1/events?store={SOURCE}");
    let status = api.send(Method::POST, &path, &[LINES], lines.into()).await?;
    ensure!(status == StatusCode::ACCEPTED, "events of tasks were answered {status}");
    Ok(())
}

/// Tells of the stored tasks.
pub(super) async fn fill(api: SocketAddr, tasks: u32) -> anyhow::Result<()> {
    let mut api = Exchange::with(api);
    for service in 0..tasks.div_ceil(event::OF_A_SERVICE) {
        set_up(&mut api, &event::stored_service(service)).await?;
    }
    let mut next = 0;
    while next < tasks {
        let batch = next..tasks.min(next + BATCH);
        next = batch.end;
        let lines: String = batch.map(|number| Task::stored(number).event() + "\n").collect();
        post(&mut api, lines).await?;
    }
    Ok(())
}

/// Makes a service with one revision and the alias `prod`. Its tasks are not checked.
pub(super) async fn set_up(api: &mut Exchange, service: &str) -> anyhow::Result<()> {
    let selector = json!({ "selector": { "definition": event::definition(service) }, "port": event::PORT });
    let target = json!({ "targets": [{ "revision": "1", "weight": 100 }] });
    for (path, body) in [(format!("/v1/deploys/{service}/1"), selector), (format!("/v1/routes/{service}/prod"), target)]
    {
        let headers = [("if-none-match", "*"), JSON];
        let status = api.send(Method::PUT, &path, &headers, body.to_string().into()).await?;
        ensure!(status.is_success(), "{path} was answered {status}");
    }
    Ok(())
}

/// The other events: stored tasks that stop, and others that start in their place.
#[derive(Debug)]
pub(super) struct Others {
    sent: Arc<AtomicU64>,
    began: Instant,
    stop: CancellationToken,
    senders: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Others {
    /// Sends so many events a second.
    pub(super) fn start(api: SocketAddr, tasks: u32, rate: u32) -> Others {
        let stop = CancellationToken::new();
        let sent = Arc::new(AtomicU64::new(0));
        let began = Instant::now();
        let senders = if rate == 0 { 0 } else { CONNECTIONS };
        let sender = |number| {
            let sender = Sender { api: Exchange::with(api), number, tasks, rate, sent: Arc::clone(&sent), began };
            task::spawn("other events", sender.run(stop.clone()))
        };
        let senders = (0..senders).map(sender).collect();
        Others { sent, began, stop, senders }
    }

    /// Ends; returns how many were sent a second.
    pub(super) async fn end(self) -> anyhow::Result<f64> {
        let rate = self.sent.load(Relaxed) as f64 / self.began.elapsed().as_secs_f64();
        self.stop.cancel();
        for sender in self.senders {
            sender.await??;
        }
        Ok(rate)
    }
}

/// One connection, which has a share of the stored tasks for itself.
struct Sender {
    api: Exchange,
    number: u32,
    tasks: u32,
    rate: u32,
    sent: Arc<AtomicU64>,
    began: Instant,
}

impl Sender {
    async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mine = (self.number..self.tasks).step_by(CONNECTIONS as usize);
        let mut tasks: Vec<Task> = mine.map(Task::stored).collect();
        ensure!(!tasks.is_empty(), "there are too few tasks");
        let mut next = (1 << 32) + (u64::from(self.number) << 48);
        let mut stopped: Option<usize> = None;
        for turn in 0_u64.. {
            // Each connection takes its turn, so that events are evenly spread.
            let turn = turn * u64::from(CONNECTIONS) + u64::from(self.number);
            let at = self.began + Duration::from_secs_f64(turn as f64 / f64::from(self.rate));
            tokio::select! {
                () = tokio::time::sleep_until(at) => {}
                () = stop.cancelled() => break,
            }
            let chosen = stopped.unwrap_or_else(|| rand::rng().random_range(0..tasks.len()));
            let Some(task) = tasks.get_mut(chosen) else { break };
            if stopped.take().is_some() {
                *task = Task { number: next, version: 1, is_running: true, ..task.clone() };
                next += 1;
            } else {
                task.version += 1;
                task.is_running = false;
                stopped = Some(chosen);
            }
            post(&mut self.api, task.event()).await?;
            self.sent.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}
