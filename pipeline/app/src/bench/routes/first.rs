//! The time from the event that a task runs to the first request that it answers.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use millstream_engine::task;
use rand::Rng as _;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::event::{self, Task};
use super::exchange::{self, Exchange};
use super::store;

/// The most time between two events, so that they meet every moment between two looks of the follower.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// The time between two requests until one is answered. What is measured is larger by this at most, and a timer's step.
const ASK: Duration = Duration::from_millis(1);
const WITHIN: Duration = Duration::from_secs(10);

/// Makes a service for each of these tasks, and listens in their place.
pub(super) async fn prepare(api: SocketAddr, numbers: Range<u32>) -> anyhow::Result<()> {
    let mut api = Exchange::with(api);
    for number in numbers {
        store::set_up(&mut api, &event::measured_service(number)).await?;
        let address = SocketAddr::from((Task::measured(number).address, event::PORT));
        let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
        // Ends with the process.
        drop(task::spawn("measured task", exchange::answer(listener, Bytes::from_static(b"7"))));
    }
    Ok(())
}

/// Tells that these tasks run, one after another; returns the milliseconds from each answer to the first request.
pub(super) async fn measure(api: SocketAddr, gateway: SocketAddr, numbers: Range<u32>) -> anyhow::Result<Vec<f64>> {
    let mut api = Exchange::with(api);
    let mut requests = Exchange::with(gateway);
    let mut times = Vec::new();
    for number in numbers {
        let pause = rand::rng().random_range(Duration::ZERO..PAUSE_MAX);
        tokio::time::sleep(pause).await;
        let path = format!("/services/{}/prod/", event::measured_service(number));
        let early = requests.send(Method::GET, &path, &[], Bytes::new()).await?;
        ensure!(early != StatusCode::OK, "a task answered before its event");
        store::post(&mut api, Task::measured(number).event()).await?;
        let accepted = Instant::now();
        loop {
            let status = requests.send(Method::GET, &path, &[], Bytes::new()).await?;
            if status == StatusCode::OK {
                break;
            }
            ensure!(accepted.elapsed() < WITHIN, "no request of {path} was answered within {WITHIN:?}: {status}");
            tokio::time::sleep(ASK).await;
        }
        times.push(accepted.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(times)
}
