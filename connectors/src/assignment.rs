//! Assigns partitions to processes by a table of PostgreSQL, for streams without a consumer group.
//!
//! Each process renews its row once per period, takes free partitions up to its fair share, and one at a time from a
//! process that has at least two more. Times are those of the database. Partitions of a silent process are taken only
//! after the database has answered for two periods without a break: after an outage all processes seem to be dead.
//!
//! This decides who *should* read. Who *may write* is decided by the lease row and its token, in the transaction that
//! writes (`sinks::metadata`). So two processes that both believe to own a partition do no harm: one is fenced, asks
//! here ([`Assigner::confirm`]), and lets go.
//!
//! Partitions may have parents, as the shards of Kinesis do: a child is assigned only when every parent that still
//! exists is finished.

mod error;
mod options;
mod plan;
mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_engine::{Partition, task};
use rand::Rng as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use error::Error;
pub use options::{Options, Timing};
pub use plan::{Member, ready};
use table::Table;

/// Periods in which the database must answer without a break before a silent process is taken for dead: within one
/// period, which may last a fifth longer, every living process has renewed its row, however late it reconnected.
const CALM_PERIODS: u32 = 2;

/// A name for this process that no other has: host, process id and a random number.
#[must_use]
pub fn unique_owner() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    format!("{host}:{}:{:08x}", std::process::id(), rand::rng().random::<u32>())
}

/// Takes part in dividing the partitions of a stream until it is dropped.
#[derive(Debug)]
pub struct Assigner {
    shared: Arc<Shared>,
    running: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    members: watch::Sender<Vec<Member>>,
    assignment: watch::Sender<Vec<Partition>>,
    numbers: watch::Sender<BTreeMap<Partition, i64>>,
    /// The number of looks requested, and the last of them that was answered.
    asked: watch::Sender<u64>,
    answered: watch::Sender<u64>,
    stopping: watch::Sender<bool>,
}

impl Assigner {
    /// Starts to take part.
    #[must_use]
    pub fn start(options: Options, members: Vec<Member>) -> Self {
        let shared = Arc::new(Shared {
            options,
            members: watch::Sender::new(members),
            assignment: watch::Sender::default(),
            numbers: watch::Sender::default(),
            asked: watch::Sender::default(),
            answered: watch::Sender::default(),
            stopping: watch::Sender::default(),
        });
        let running = task::spawn("divide partitions", run(Arc::clone(&shared)));
        Assigner { shared, running: Mutex::new(Some(running)) }
    }

    /// The partitions of this process, as they come and go: sorted, each once.
    pub fn assignment(&self) -> watch::Receiver<Vec<Partition>> {
        self.shared.assignment.subscribe()
    }

    /// The same, each with the number of the decision by which this process has it: a later decision about a partition
    /// has a larger number, whoever it is for.
    pub fn numbers(&self) -> watch::Receiver<BTreeMap<Partition, i64>> {
        self.shared.numbers.subscribe()
    }

    /// Sets the partitions that the stream has now.
    pub fn members(&self, members: Vec<Member>) {
        let is_new = self.shared.members.send_if_modified(|known| {
            let is_new = *known != members;
            *known = members;
            is_new
        });
        if is_new {
            self.look();
        }
    }

    /// Requests an immediate look at the database.
    pub fn look(&self) {
        self.shared.asked.send_modify(|asked| *asked += 1);
    }

    /// Returns once a look that began after the call is answered.
    ///
    /// # Errors
    /// If the database does not answer within `expiry`.
    pub async fn confirm(&self) -> Result<(), Error> {
        let mut answered = self.shared.answered.subscribe();
        let mut number = 0;
        self.shared.asked.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        let within = self.shared.options.timing.expiry;
        let looked = tokio::time::timeout(within, answered.wait_for(|answered| *answered >= number)).await;
        // We hold the sender, so the channel cannot close.
        looked.map(drop).map_err(|_| Error::Late(within))
    }

    /// Gives all partitions back, so that others take them at once, and stops taking part. If the database does not
    /// answer, others take them after `expiry`.
    pub async fn stop(&self) {
        self.shared.stopping.send_replace(true);
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running
            && let Err(error) = running.await
        {
            tracing::warn!(%error, "the partitions were not given back");
        }
    }
}

impl Drop for Assigner {
    fn drop(&mut self) {
        if let Some(running) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() {
            running.abort();
        }
    }
}

/// Looks at the database once per period, until it is stopped.
async fn run(shared: Arc<Shared>) {
    let Timing { period, expiry } = shared.options.timing;
    let mut table = Table::new(&shared.options);
    let mut asked = shared.asked.subscribe();
    let mut stopping = shared.stopping.subscribe();
    let mut calm = Calm::new(period);
    let mut failed = false;
    while !*stopping.borrow_and_update() {
        let number = *asked.borrow_and_update();
        let members = shared.members.borrow().clone();
        let look = tokio::time::timeout(expiry / 2, table.look(&members, calm.is_calm()));
        match look.await.unwrap_or(Err(Error::Late(expiry / 2))) {
            Ok(own) => {
                if std::mem::take(&mut failed) {
                    tracing::info!("the partitions are divided again");
                }
                calm.answered();
                assign(&shared, own);
                shared.answered.send_replace(number);
            }
            Err(error) => {
                if !std::mem::replace(&mut failed, true) {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "the partitions stay as they are until the database answers");
                }
                calm.silent();
                table.disconnect();
            }
        }
        // A failed look is not retried at once, however often one is requested.
        let wait = period.mul_f64(rand::rng().random_range(0.8..=1.2));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = asked.changed(), if !failed => {}
            _ = stopping.changed() => {}
        }
    }
    assign(&shared, BTreeMap::new());
    let left = tokio::time::timeout(expiry / 2, table.leave()).await.unwrap_or(Err(Error::Late(expiry / 2)));
    if let Err(error) = left {
        tracing::warn!(%error, "the partitions were not given back: others take them when they have waited for us");
    }
}

fn assign(shared: &Shared, numbers: BTreeMap<Partition, i64>) {
    let own: Vec<Partition> = numbers.keys().cloned().collect();
    shared.numbers.send_if_modified(|told| {
        let is_new = *told != numbers;
        *told = numbers;
        is_new
    });
    shared.assignment.send_if_modified(|told| {
        let is_new = *told != own;
        if is_new {
            tracing::info!(partitions = own.len(), before = told.len(), "this process reads other partitions now");
        }
        *told = own;
        is_new
    });
}

/// How long the database has answered without a break, by our own clock.
#[derive(Debug)]
struct Calm {
    period: Duration,
    since: Option<Instant>,
    last: Option<Instant>,
}

impl Calm {
    fn new(period: Duration) -> Self {
        Calm { period, since: None, last: None }
    }

    fn is_calm(&self) -> bool {
        let is_steady = |since: Instant| since.elapsed() >= self.period * CALM_PERIODS;
        // Nor if this process itself was suspended until now.
        self.since.is_some_and(is_steady) && self.last.is_some_and(|last| last.elapsed() < self.period * 2)
    }

    fn answered(&mut self) {
        let now = Instant::now();
        if self.last.is_none_or(|last| now - last >= self.period * 2) {
            self.since = Some(now);
        }
        self.last = Some(now);
    }

    fn silent(&mut self) {
        self.since = None;
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_calm_after_two_periods_without_a_break() {
        let period = Duration::from_secs(1);
        let mut calm = Calm::new(period);
        let mut looks = Vec::new();
        for (wait_ms, answers) in [
            (0, true),
            (1_000, true),
            (999, true),
            (1, true),
            (1_900, true),
            (1, false),
            (10, true),
            (1_000, true),
            (1_000, true),
            (2_000, true),
            (1_000, true),
        ] {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            looks.push(calm.is_calm());
            if answers { calm.answered() } else { calm.silent() }
        }
        assert_eq!(looks, [false, false, false, true, true, true, false, false, true, false, false]);
    }

    #[test]
    fn no_two_names_are_alike() {
        assert_ne!(unique_owner(), unique_owner());
    }
}
