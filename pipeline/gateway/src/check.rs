//! The checker: probes the tasks of its shards, and publishes what has changed as events.
//!
//! Nothing is written but transitions, and nothing expires: without a checker facts stay as they are. Shards are divided
//! among checkers by the caller; each comes with a number that grows with every decision, so that what a former owner
//! still sends is older than what the present one sent. If more than half of a shard fails at once it is rather the checker
//! that is cut off, so it publishes nothing of that shard and says so.

mod allowance;

mod judge;

mod shard;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millstream_schemas::tasks::{Deploy, Health, Pending, Standing};
use rand::Rng as _;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::probe::{WITHIN, probe};
use crate::table::{Table, TaskKey};
use allowance::Allowance;
use judge::Judge;
pub use shard::{SHARDS, shard_of};
use shard::{Share, Withheld};

/// How often it is looked which probes are due.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Every so many looks, tasks are looked for, too.
const LOOKS_APART: u64 = 4;
/// Probes under way at a time: at a time-out of 1 s this many may be silent before others wait.
const PROBES_MAX: usize = 1_024;

/// See [`Options::lost_after`].
const LOST_AFTER: Duration = Duration::from_secs(60);

/// How a checker checks.
#[derive(Clone, Debug)]
pub struct Options {
    /// Time between probes of a task.
    pub interval: Duration,
    /// The most probes per second; with more tasks the interval grows.
    pub probes_per_second_max: u32,
    /// How long after it was published the facts may say otherwise. Then it was lost: the database went back, or the
    /// event was refused, so it is published again. Shorter: more events while nothing is written.
    pub lost_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options { interval: Duration::from_secs(5), probes_per_second_max: 1_000, lost_after: LOST_AFTER }
    }
}

/// Where results go.
#[async_trait]
pub trait Publish: Send + Sync {
    /// Returns once they are kept; results that could not be kept are published again.
    async fn publish(&self, results: Vec<Health>) -> Result<(), String>;
}

/// The shards of this checker, each with the number of the decision by which it has it.
pub type Shards = watch::Receiver<BTreeMap<u16, i64>>;

/// What is checked.
type Target = (TaskKey, u16);

#[derive(Debug)]
struct Checked {
    judge: Judge,
    deploy: Arc<Deploy>,
    address: SocketAddr,
    due: Instant,
    is_asked: bool,
    shard: u16,
    /// When it was published as bad.
    turned: Option<Instant>,
    /// When it was published.
    told: Option<Instant>,
    /// Told the last time that tasks were looked for.
    round: u64,
}

impl Checked {
    /// Compares what was published with what the facts say; gives the time of the next look if they differ.
    fn compare(&mut self, facts: Option<bool>, lost_after: Duration, now: Instant) -> Option<Instant> {
        let lost = self.told.filter(|_| self.judge.known() != facts)? + lost_after;
        if now < lost {
            return Some(lost);
        }
        self.told = None;
        self.judge.known_is(facts);
        None
    }
}

/// The result of a probe.
#[derive(Debug)]
struct Probed {
    target: Target,
    result: Result<(), String>,
}

/// Checks until `stop`.
pub async fn check(
    table: Arc<Table>,
    shards: Shards,
    publish: Arc<dyn Publish>,
    options: Options,
    stop: CancellationToken,
) {
    let (done, mut probed) = mpsc::channel(PROBES_MAX);
    let mut checker = Checker {
        targets: HashMap::new(),
        counters: BTreeMap::new(),
        withheld: Withheld::default(),
        seen: None,
        compare: None,
        permits: Arc::new(Semaphore::new(PROBES_MAX)),
        allowance: Allowance::new(options.probes_per_second_max, Instant::now()),
        done,
        options,
        round: 0,
        is_stretched: false,
    };
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let mine = shards.borrow().clone();
        let now = Instant::now();
        let mut results = Vec::new();
        while let Ok(one) = probed.try_recv() {
            results.extend(checker.judge(one, &mine, now));
        }
        if !results.is_empty() {
            let shares = checker.shares(now);
            results = checker.withheld.plausible(results, &shares);
        }
        if !results.is_empty() {
            match publish.publish(results.iter().map(|(_, health)| health.clone()).collect()).await {
                Ok(()) => checker.published(&results, now),
                Err(error) => tracing::warn!(%error, "health was not published; the next probe tells it again"),
            }
        }
        checker.look(&table, &mine, now);
        checker.ask(now);
    }
}

struct Checker {
    targets: HashMap<Target, Checked>,
    /// How many results of each shard were made, by the number of its assignment.
    counters: BTreeMap<u16, (i64, i64)>,
    withheld: Withheld,
    /// The table and the shards for which tasks were last looked for.
    seen: Option<(u64, Vec<u16>)>,
    /// When it is time to see whether facts say what was published.
    compare: Option<Instant>,
    permits: Arc<Semaphore>,
    allowance: Allowance,
    done: mpsc::Sender<Probed>,
    options: Options,
    round: u64,
    is_stretched: bool,
}

impl Checker {
    /// Finds the tasks to check: those of these shards whose deploy says how.
    fn look(&mut self, table: &Table, mine: &BTreeMap<u16, i64>, now: Instant) {
        self.round += 1;
        if self.round % LOOKS_APART != 1 {
            return;
        }
        // Read before the table: what changes meanwhile is seen the next time.
        let seen = Some((table.version(), mine.keys().copied().collect()));
        if self.seen == seen && self.compare.is_none_or(|at| now < at) {
            return;
        }
        self.seen = seen;
        self.compare = None;
        for service in table.services() {
            for revision in service.revisions.values().filter(|revision| revision.deploy.health.is_some()) {
                for member in revision.tasks.members.iter().filter(|member| member.standing != Standing::Draining) {
                    let key = member.task.key();
                    let shard = shard_of(&key.id);
                    if !mine.contains_key(&shard) {
                        continue;
                    }
                    let address = member.task.address();
                    let checked = self.targets.entry((key.clone(), address.port())).or_insert_with(|| Checked {
                        judge: Judge::new(known(member.standing)),
                        deploy: Arc::clone(&revision.deploy),
                        address,
                        due: now,
                        is_asked: false,
                        shard,
                        turned: None,
                        told: None,
                        round: 0,
                    });
                    checked.deploy = Arc::clone(&revision.deploy);
                    checked.address = address;
                    checked.round = self.round;
                    let again = checked.compare(known(member.standing), self.options.lost_after, now);
                    self.compare = self.compare.into_iter().chain(again).min();
                }
            }
        }
        let round = self.round;
        self.targets.retain(|_, checked| checked.round == round);
    }

    /// Starts the probes that are due.
    fn ask(&mut self, now: Instant) {
        let interval = interval_of(&self.options, self.targets.len());
        let is_stretched = interval > self.options.interval;
        if is_stretched != std::mem::replace(&mut self.is_stretched, is_stretched) {
            match is_stretched {
                true => {
                    tracing::warn!(?interval, "there are more tasks than probes per second: they are probed less often")
                }
                false => tracing::info!(?interval, "tasks are probed as often as they should be"),
            }
        }
        self.allowance.grow(now);
        let is_due = |checked: &Checked| !checked.is_asked && checked.due <= now;
        let due = self.targets.iter_mut().filter(|(_, checked)| is_due(checked));
        let mut due: Vec<(&Target, &mut Checked)> = due.collect();
        // Many new tasks at once are asked one after another, and none of them again before the others.
        due.sort_unstable_by_key(|(_, checked)| checked.due);
        for (target, checked) in due {
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return };
            if !self.allowance.take() {
                return;
            }
            checked.is_asked = true;
            checked.due = now + checked.judge.next(interval, rand::rng().random());
            let target = target.clone();
            let address = checked.address;
            let deploy = Arc::clone(&checked.deploy);
            let done = self.done.clone();
            // Ends within its time; its result comes back through the channel, which has room for every permit.
            drop(millstream_engine::task::spawn("probe", async move {
                let result = probe(address, &deploy, &target.0.id, WITHIN).await.map_err(|unfit| unfit.told);
                done.send(Probed { target, result }).await.ok();
                drop(permit);
            }));
        }
    }

    /// Judges a result; returns what is to be published.
    fn judge(&mut self, probed: Probed, mine: &BTreeMap<u16, i64>, now: Instant) -> Option<(Target, Health)> {
        let Probed { target, result } = probed;
        let checked = self.targets.get_mut(&target)?;
        checked.is_asked = false;
        let healthy = checked.judge.probed(result.is_ok())?;
        // Near the next look at the database others may still see the old state.
        checked.due = checked.due.min(now + self.options.interval);
        let shard = shard_of(&target.0.id);
        let assignment = *mine.get(&shard)?;
        let counter = self.counters.entry(shard).or_insert((assignment, 0));
        if counter.0 != assignment {
            *counter = (assignment, 0);
        }
        counter.1 += 1;
        let health = Health {
            source: target.0.source.to_string(),
            task: target.0.id.to_string(),
            port: target.1.into(),
            assignment,
            counter: counter.1,
            healthy,
            since_ms: millstream_engine::clock::now_ms(),
            reason: result.err(),
        };
        Some((target, health))
    }

    fn published(&mut self, results: &[(Target, Health)], now: Instant) {
        for (target, health) in results {
            if let Some(checked) = self.targets.get_mut(target) {
                checked.judge.published(health.healthy);
                checked.turned = (!health.healthy).then_some(now);
                checked.told = Some(now);
                let lost = now + self.options.lost_after;
                self.compare = Some(self.compare.map_or(lost, |at| at.min(lost)));
            }
        }
    }

    /// How many tasks of each shard were healthy, and fail.
    fn shares(&self, now: Instant) -> BTreeMap<u16, Share> {
        let interval = self.options.interval;
        let mut shares: BTreeMap<u16, Share> = BTreeMap::new();
        for checked in self.targets.values() {
            let has_turned = checked.turned.is_some_and(|at| now.saturating_duration_since(at) < interval);
            if checked.judge.known() == Some(true) || has_turned {
                let share = shares.entry(checked.shard).or_default();
                share.all += 1;
                share.bad += usize::from(checked.judge.is_failing());
            }
        }
        shares
    }
}

/// The time between probes of one of so many tasks.
fn interval_of(options: &Options, targets: usize) -> Duration {
    let rate = f64::from(options.probes_per_second_max.max(1));
    options.interval.max(Duration::from_secs_f64(targets as f64 / rate))
}

/// What the facts say of a task's health.
fn known(standing: Standing) -> Option<bool> {
    match standing {
        Standing::Routable => Some(true),
        Standing::Pending(Pending::Unhealthy) => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
