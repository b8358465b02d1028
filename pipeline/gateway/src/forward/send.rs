//! One attempt: a connection, the request on it, and the head of the response.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::SendRequest;
use hyper::header::HeaderMap;
use hyper::http::Uri;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::connect::connect;
use super::refusal::Refusal;
use super::replay::{Fault, Outgoing, Source};
use super::retry::Ended;
use crate::choose::{Attempt, Failure, Pinned};
use crate::server::counters::Miss;
use crate::server::hints::Hints;
use crate::server::options::Options;

/// A request as it is sent to a task.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// All of them, framing and ours included.
    pub(crate) headers: HeaderMap,
    /// Where the client asked to go on in another protocol.
    pub(crate) upgrade: Option<OnUpgrade>,
    /// Where 1xx responses are passed on.
    pub(crate) hints: Option<Arc<Hints>>,
}

/// What holds for each attempt of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// How long a connection that it takes may have been idle.
    pub(crate) idle_max: Duration,
    /// How long its connection may be idle afterwards.
    pub(crate) keep: Duration,
    /// Whether it takes a new connection.
    pub(crate) is_fresh: bool,
    /// When the route's total time is over.
    pub(crate) until: Option<Instant>,
}

impl Plan {
    /// Whether the route's total time is over.
    pub(crate) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }
}

/// The head of a response, and the connection it came on.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) sender: SendRequest<Outgoing>,
}

/// No head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missed {
    pub(crate) miss: Miss,
    /// What the task is told; `None` where it says nothing of the task.
    pub(crate) failure: Option<Failure>,
    pub(crate) ended: Ended,
    /// Whether the connection had been idle, so that a new one may do.
    pub(crate) is_stale: bool,
    /// Why the client's part of the request failed.
    pub(crate) fault: Option<Fault>,
}

impl Missed {
    const fn new(miss: Miss, failure: Option<Failure>, ended: Ended) -> Self {
        Self { miss, failure, ended, is_stale: false, fault: None }
    }

    /// What the client is told if no attempt follows.
    pub(crate) fn refusal(&self) -> Refusal {
        match self.fault {
            Some(Fault::Broken | Fault::Unwanted) => Refusal::malformed("the body of the request breaks its framing"),
            Some(Fault::Idle) => Refusal::request_timed_out(),
            None => refusal(self.miss),
        }
    }
}

/// The refusal of a request whose last attempt missed so.
pub(crate) fn refusal(miss: Miss) -> Refusal {
    match miss {
        Miss::Connect => Refusal::connect(),
        Miss::Unsent | Miss::Reset => Refusal::reset(),
        Miss::Protocol => Refusal::protocol(),
        Miss::TimedOut => Refusal::timed_out(),
        Miss::Foreign => Refusal::foreign(),
        Miss::Unavailable => Refusal::no_routable_task(),
        Miss::Client => Refusal::malformed("the body of the request broke off"),
    }
}

/// Sends a request to a task, and waits for the head of its response.
pub(super) async fn send(
    options: &Options,
    attempt: &Attempt,
    pinned: &Pinned,
    outbound: &Outbound,
    source: &Source,
    plan: Plan,
) -> Result<Answer, Missed> {
    let task = attempt.task();
    // Each idle connection is taken out of the pool, so this ends.
    loop {
        let idle = if plan.is_fresh { None } else { task.pool.take(plan.idle_max, Instant::now()) };
        let was_idle = idle.is_some();
        let mut sender = match idle {
            Some(sender) => sender,
            None => match before(plan.until, connect(task.address(), options)).await {
                Some(connected) => connected.map_err(|error| unconnected(&error))?,
                // The route's time is over, which says nothing of the task.
                None => return Err(Missed::new(Miss::TimedOut, None, Ended::Unsent)),
            },
        };
        if !was_idle {
            attempt.connected();
        }
        let sending = sender.try_send_request(outbound.request(source.outgoing()));
        let result = head(sending, source, options, plan.until).await;
        // From here on another response may be written.
        outbound.hints.iter().for_each(|hints| hints.end());
        match result {
            Ok(response) => {
                check(&response, outbound, pinned, attempt, was_idle)?;
                attempt.head(Instant::now(), response.status().as_u16());
                return Ok(Answer { response, sender });
            }
            Err(missed) if missed.ended == Ended::Unsent && was_idle => (),
            Err(missed) if was_idle && missed.miss == Miss::Reset => {
                return Err(Missed { is_stale: true, failure: None, ..missed });
            }
            Err(missed) => return Err(missed),
        }
    }
}

/// Waits for a result, but not beyond the route's time.
async fn before<T>(until: Option<Instant>, result: impl Future<Output = T>) -> Option<T> {
    match until {
        Some(until) => timeout_at(until, result).await.ok(),
        None => Some(result.await),
    }
}

/// Waits for the head: so long after the last part of the request, and not beyond the route's time.
async fn head(
    sending: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Outgoing>>>>,
    source: &Source,
    options: &Options,
    until: Option<Instant>,
) -> Result<Response<Incoming>, Missed> {
    let mut sending = std::pin::pin!(sending);
    let begun = Instant::now();
    loop {
        // An attempt that is not the first one begins long after the last part may have come.
        let moved = source.moved().max(begun);
        let limit = moved + options.head;
        let limit = until.map_or(limit, |until| until.min(limit));
        match timeout_at(limit, &mut sending).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) => return Err(unanswered(&error, source.fault())),
            Err(_) if source.moved() > moved && until.is_none_or(|until| until > Instant::now()) => (),
            Err(_) => return Err(Missed::new(Miss::TimedOut, Some(Failure::TimedOut), Ended::Sent)),
        }
    }
}

/// Whether the response may be passed on: it changes the protocol only where that was asked for, and the first one of a
/// connection names the task or its revision where the deploy says that it must.
fn check(
    response: &Response<Incoming>,
    outbound: &Outbound,
    pinned: &Pinned,
    attempt: &Attempt,
    was_idle: bool,
) -> Result<(), Missed> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS && outbound.upgrade.is_none() {
        return Err(Missed::new(Miss::Protocol, Some(Failure::Reset), Ended::Final));
    }
    let identity = pinned.revision.deploy.identity.as_ref().filter(|_| !was_idle);
    let Some(name) = identity else { return Ok(()) };
    let named = response.headers().get(name).map(|value| value.as_bytes());
    let names = [attempt.task().key().id.as_bytes(), pinned.revision.revision.as_bytes()];
    match named.is_some_and(|named| names.contains(&named)) {
        true => Ok(()),
        false => Err(Missed::new(Miss::Foreign, Some(Failure::Reset), Ended::Final)),
    }
}

impl Outbound {
    fn request(&self, body: Outgoing) -> Request<Outgoing> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if let Some(hints) = self.hints.clone() {
            let turn = hints.begin();
            hyper::ext::on_informational(&mut request, move |hint| hints.push(turn, hint.status(), hint.headers()));
        }
        request
    }
}

/// A connection that was not made. What this machine lacks, such as file descriptors, says nothing of the task.
fn unconnected(error: &io::Error) -> Missed {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut};
    let is_hard =
        matches!(error.kind(), ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable | TimedOut);
    Missed::new(Miss::Connect, is_hard.then_some(Failure::Connect), Ended::Unsent)
}

/// A request that hyper gives back was never begun; any other one may have arrived.
fn unanswered(error: &TrySendError<Request<Outgoing>>, fault: Option<Fault>) -> Missed {
    if fault.is_some() {
        return Missed { fault, ..Missed::new(Miss::Client, None, Ended::Final) };
    }
    if error.message().is_some() {
        return Missed::new(Miss::Unsent, None, Ended::Unsent);
    }
    let miss = if error.error().is_parse() { Miss::Protocol } else { Miss::Reset };
    Missed::new(miss, Some(Failure::Reset), Ended::Sent)
}
