//! Requests through the gateway, and what became of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use millstream_engine::task;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{ALIAS, Extent, SERVICE, Services};

/// The most time of a request.
const WITHIN: Duration = Duration::from_secs(10);

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Requests that were sent.
    pub(crate) sent: AtomicU64,
    /// GETs that were not answered with 200.
    pub(crate) failed_gets: AtomicU64,
    /// POSTs that were not answered with 200.
    pub(crate) failed_posts: AtomicU64,
    /// Answers by generation and revision.
    pub(crate) answers: Mutex<BTreeMap<(i64, String), u64>>,
    /// The ids of the POSTs that failed.
    pub(crate) unanswered: Mutex<Vec<String>>,
    /// What the first failures were.
    pub(crate) failures: Mutex<Vec<String>>,
    /// Tasks of which an event was posted, and that have answered nothing yet.
    awaited: Mutex<BTreeMap<String, Instant>>,
    /// How long each of the others took from there to its first answer.
    first: Mutex<Vec<Duration>>,
}

impl Counts {
    /// An event about a new task was posted.
    pub(super) fn told(&self, task: &str) {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).insert(task.to_owned(), Instant::now());
    }

    fn answered(&self, task: &str) {
        let told = self.awaited.lock().unwrap_or_else(PoisonError::into_inner).remove(task);
        if let Some(told) = told {
            self.first.lock().unwrap_or_else(PoisonError::into_inner).push(told.elapsed());
        }
    }

    /// From the event of a task to its first answer: the median, and 99 of 100; `None` before there is any.
    pub(crate) fn to_first_answer(&self) -> Option<[Duration; 2]> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner).clone();
        first.sort_unstable();
        let last = first.len().checked_sub(1)?;
        let at = |share: f64| first.get((last as f64 * share).round() as usize).copied().unwrap_or_default();
        Some([at(0.5), at(0.99)])
    }
}

/// Sends until `stop`.
pub(super) fn start(services: &Arc<Services>, extent: Extent, stop: &CancellationToken) {
    for (method, rate) in [(Method::GET, extent.gets), (Method::POST, extent.posts)] {
        let services = Arc::clone(services);
        let stop = stop.clone();
        // Ends with the demo; everything in its result is counted.
        drop(task::spawn("requests of the demo", async move {
            let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
            let mut number = 0;
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = stop.cancelled() => return,
                }
                number += 1;
                let request = one(client.clone(), Arc::clone(&services), method.clone(), number);
                drop(task::spawn("request of the demo", request));
            }
        }));
    }
}

type Requests = Client<HttpConnector, Full<Bytes>>;

async fn one(client: Requests, services: Arc<Services>, method: Method, number: u64) {
    let counts = &services.counts;
    counts.sent.fetch_add(1, Relaxed);
    let answer = tokio::time::timeout(WITHIN, ask(&client, services.gateway, &method, number)).await;
    let why = match answer {
        Ok(Ok((StatusCode::OK, named, task))) => {
            counts.answered(&task);
            let mut answers = counts.answers.lock().unwrap_or_else(PoisonError::into_inner);
            *answers.entry(named).or_default() += 1;
            return;
        }
        Ok(Ok((status, ..))) => format!("{method} was answered {status}"),
        Ok(Err(error)) => format!("{method} failed: {error:#}"),
        Err(_) => format!("{method} was not answered within {} s", WITHIN.as_secs()),
    };
    let failed = if method == Method::GET { &counts.failed_gets } else { &counts.failed_posts };
    failed.fetch_add(1, Relaxed);
    if method == Method::POST {
        counts.unanswered.lock().unwrap_or_else(PoisonError::into_inner).push(id(&method, number));
    }
    let mut failures = counts.failures.lock().unwrap_or_else(PoisonError::into_inner);
    if failures.len() < 20 {
        failures.push(why);
    }
}

async fn ask(
    client: &Requests,
    gateway: SocketAddr,
    method: &Method,
    number: u64,
) -> anyhow::Result<(StatusCode, (i64, String), String)> {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{gateway}/services/{SERVICE}/{ALIAS}/predict"))
        .header("x-request-id", id(method, number))
        .body(Full::from("{}"))?;
    let answer = client.request(request).await?;
    let status = answer.status();
    let named = named(&answer);
    let task = text(&answer, "x-millstream-task");
    // The body counts, too: an answer that breaks off is a failure.
    answer.into_body().collect().await?;
    Ok((status, named, task))
}

/// Names a request in the journal of the task that carries it out.
fn id(method: &Method, number: u64) -> String {
    format!("{method}-{number}")
}

/// The generation and the revision that the gateway names, beside the revision that the model names itself.
fn named<B>(answer: &Response<B>) -> (i64, String) {
    let generation = text(answer, "x-millstream-generation").parse().unwrap_or_default();
    (generation, text(answer, "x-model-revision"))
}

fn text<B>(answer: &Response<B>, name: &str) -> String {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// One GET; `None` unless it is answered with 200.
pub(super) async fn get(gateway: SocketAddr) -> Option<()> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let asked = tokio::time::timeout(WITHIN, ask(&client, gateway, &Method::GET, 0)).await;
    matches!(asked, Ok(Ok((StatusCode::OK, ..)))).then_some(())
}
