//! Forwarding: a request goes to one task after the other until one answers, as far as that is allowed.
//!
//! Generation and revision are pinned once; each attempt chooses a task anew. Nothing is sent again that may have been
//! done, unless doing it twice is allowed, and nothing after the head of a response was passed on. Bodies stream both
//! ways; the request is in flight at its task until the body of its response ends. A client that goes away drops all of
//! this, which closes the connection to the task.

mod body;
mod budgets;
mod connect;
pub(crate) mod headers;
mod lease;
mod pool;
pub(crate) mod refusal;
mod replay;
mod response;
mod retry;
mod send;
pub(crate) mod spawn;
mod tunnel;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use millstream_schemas::tasks::Alias;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::budgets::Budgets;
use self::lease::Lease;
use self::replay::Source;
use self::response::{Onward, pass};
use self::retry::{Ended, Terms, Verdict, decide, is_repeatable};
use self::send::{Answer, Missed, Plan, refusal, send};
use self::waiting::{Waiting, generator};
use crate::choose::{Attempt, Pinned, Refused};
use crate::server::counters::{Counters, Miss};
use crate::server::options::Options;
use crate::table::{AliasView, TaskKey};

pub use self::body::{Body, Broken};
pub use self::pool::Pool;
pub use self::refusal::Refusal;
pub(crate) use self::send::Outbound;

const DAY: Duration = Duration::from_secs(86_400);

/// What forwarding needs beside the table.
#[derive(Debug)]
pub(crate) struct Forwarder {
    pub(crate) options: Options,
    pub(crate) counters: Arc<Counters>,
    /// Ends tunnels.
    pub(crate) end: CancellationToken,
    budgets: Budgets,
    waiting: Waiting,
}

/// The state of one request.
struct Turn {
    tried: Vec<TaskKey>,
    missed: Vec<Miss>,
    /// Whether only new connections are used: one that was idle has just failed.
    is_fresh: bool,
    /// The answer that is passed on if no other task gives a better one.
    kept: Option<(Attempt, Answer)>,
}

impl Forwarder {
    pub(crate) fn new(options: Options, counters: Arc<Counters>, end: CancellationToken) -> Self {
        Self { options, counters, end, budgets: Budgets::default(), waiting: Waiting::default() }
    }

    /// Forwards a request to the revision that it draws from an alias.
    ///
    /// # Errors
    /// The refusal that the client gets when no task answers.
    pub(crate) async fn forward(
        &self,
        alias: &AliasView,
        outbound: Outbound,
        body: Incoming,
    ) -> Result<Response<Body>, Refusal> {
        let begun = Instant::now();
        let options = &self.options;
        let pinned = pin(alias, &outbound, begun)?;
        let (plan, terms) = self.plan(&alias.alias, &pinned, &outbound, begun);
        let keep = if terms.is_repeatable { options.replay_bytes_max } else { 0 };
        let source = Source::new(body, keep, options.body_idle, begun);
        self.budgets.request(&alias.alias.service, begun);
        let mut turn = Turn { tried: Vec::new(), missed: Vec::new(), is_fresh: false, kept: None };
        let (attempt, answer) = loop {
            let attempt = match self.waiting.choose(&pinned.revision, &turn.tried, options, plan.until).await {
                Ok(attempt) => attempt,
                Err(Refused::Saturated) if plan.is_over() => break turn.nothing_better(Refusal::timed_out())?,
                Err(refused) => break turn.nothing_left(refused)?,
            };
            let result =
                send(options, &attempt, &pinned, &outbound, &source, Plan { is_fresh: turn.is_fresh, ..plan }).await;
            let (miss, ended, refusal) = match result {
                Ok(answer) => match unavailable(&answer).filter(|_| terms.responses) {
                    Some(ended) if self.is_again(terms, &turn, ended, &source, &alias.alias) => {
                        turn.tried.push(attempt.task().key().clone());
                        turn.kept = Some((attempt, answer));
                        (Miss::Unavailable, None, Refusal::no_routable_task())
                    }
                    _ => break (attempt, answer),
                },
                Err(missed) => {
                    turn.note(&attempt, &missed);
                    (missed.miss, Some(missed.ended), missed.refusal())
                }
            };
            self.counters.missed(miss);
            turn.missed.push(miss);
            if let Some(ended) = ended
                && (plan.is_over() || !self.is_again(terms, &turn, ended, &source, &alias.alias))
            {
                // What the client did wrong is told in any case.
                break if miss == Miss::Client { Err(refusal) } else { turn.nothing_better(refusal) }?;
            }
            self.counters.retried();
        };
        source.settle();
        self.counters.answered(begun.elapsed());
        let lease = Lease {
            attempt,
            sender: answer.sender,
            source,
            counters: Arc::clone(&self.counters),
            keep: Some(plan.keep),
            pool_max: options.pool_max,
        };
        let onward = Onward {
            method: outbound.method,
            upgrade: outbound.upgrade,
            idle: options.body_idle,
            until: plan.until,
            end: self.end.clone(),
        };
        Ok(pass(answer.response, lease, &pinned, onward))
    }

    /// What holds for each attempt of a request.
    fn plan(&self, alias: &Alias, pinned: &Pinned, outbound: &Outbound, begun: Instant) -> (Plan, Terms) {
        let deploy = &pinned.revision.deploy;
        let has_key = outbound.headers.contains_key("idempotency-key");
        let is_repeatable = is_repeatable(&outbound.method, deploy.replay_post, alias.retry_keyed, has_key);
        // A day is beyond any patience, and far below what a clock can hold.
        let millis = |value: i64| Duration::from_millis(u64::try_from(value).unwrap_or(0)).min(DAY);
        // A quarter is left for the way and for clocks: the server's own time must not be met.
        let keep = deploy.keep_alive_ms.map_or(self.options.pool_idle, |kept| millis(kept) / 4 * 3);
        let plan = Plan {
            idle_max: if is_repeatable { keep } else { keep.min(self.options.pool_fresh) },
            keep,
            is_fresh: false,
            until: alias.timeout_ms.map(|total| begun + millis(total)),
        };
        let attempts_max = self.options.attempts_max;
        (plan, Terms { is_repeatable, responses: alias.retry_responses, attempts_max })
    }

    /// Whether another attempt follows one that is not noted yet among the missed.
    fn is_again(&self, terms: Terms, turn: &Turn, ended: Ended, source: &Source, alias: &Alias) -> bool {
        let attempts = turn.missed.len() + usize::from(matches!(ended, Ended::Unavailable { .. }));
        match decide(terms, attempts, ended, source.is_whole()) {
            Verdict::Over => false,
            Verdict::Again => true,
            Verdict::AgainIfPaid => {
                let is_paid = self.budgets.retry(&alias.service, Instant::now());
                if !is_paid {
                    self.counters.over_budget();
                }
                is_paid
            }
        }
    }
}

impl Turn {
    /// Tells the task how an attempt missed, and keeps the request from trying it again.
    fn note(&mut self, attempt: &Attempt, missed: &Missed) {
        if let Some(failure) = missed.failure {
            attempt.failed(Instant::now(), failure);
        }
        if missed.is_stale {
            // The server closed an idle connection: that says nothing of the task, which a new one may reach.
            self.is_fresh = true;
        } else {
            self.tried.push(attempt.task().key().clone());
        }
    }

    /// No attempt follows: the kept answer, or this refusal.
    fn nothing_better(&mut self, refusal: Refusal) -> Result<(Attempt, Answer), Refusal> {
        self.kept.take().ok_or(refusal)
    }

    /// No task is left: the kept answer, or the refusal that says most.
    fn nothing_left(&mut self, refused: Refused) -> Result<(Attempt, Answer), Refusal> {
        match (self.kept.take(), self.missed.last(), refused) {
            (Some(kept), ..) => Ok(kept),
            (None, Some(miss), Refused::NoRoutableTask) => Err(refusal(*miss)),
            (None, _, refused) => Err(refusal_of(refused)),
        }
    }
}

fn refusal_of(refused: Refused) -> Refusal {
    match refused {
        Refused::NoRoutableTask => Refusal::no_routable_task(),
        Refused::Saturated => Refusal::saturated(),
    }
}

/// Draws the revision; requests with the same sticky value get the same one.
fn pin(alias: &AliasView, outbound: &Outbound, now: Instant) -> Result<Pinned, Refusal> {
    let sticky = alias.alias.sticky.as_deref().and_then(|name| outbound.headers.get(name));
    alias.pin(sticky.map(hyper::header::HeaderValue::as_bytes), now, &mut generator()).map_err(refusal_of)
}

/// Whether the task says that it cannot do its work.
fn unavailable(answer: &Answer) -> Option<Ended> {
    let status = answer.response.status();
    let unavailable = [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
    let has_retry_after = answer.response.headers().contains_key(hyper::header::RETRY_AFTER);
    unavailable.contains(&status).then_some(Ended::Unavailable { has_retry_after })
}
