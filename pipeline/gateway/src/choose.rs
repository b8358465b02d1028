//! Choosing: which revision a request is for, and which of its tasks an attempt is sent to.
//!
//! A task is chosen among the usable ones (R62): two different ones are drawn, and the one with the lesser load is
//! taken, which is (requests in flight + 1) x cost. Nothing here reads a clock or sleeps: the time is passed in. Locks
//! are those of single tasks, held for some instructions.

mod attempt;
pub(crate) mod breaker;
pub(crate) mod counters;
mod draw;
pub(crate) mod hard;
pub(crate) mod peak;
mod refused;
mod sets;

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use self::attempt::Tries;
use self::sets::Sets;
use crate::table::{Member, RevisionView, TaskKey, Tasks};

pub use self::attempt::{Attempt, Failure};
pub use self::counters::Counters;
pub use self::draw::Pinned;
pub use self::refused::Refused;

impl RevisionView {
    /// Chooses a task of those that the revision has now, without those that the request tried before.
    ///
    /// # Errors
    /// [`Refused::Saturated`] when each task that it could be has its `concurrency_max`;
    /// [`Refused::NoRoutableTask`] when there is no task, or none that was not tried.
    pub fn choose(&self, tried: &[TaskKey], now: Instant, rng: &mut impl Rng) -> Result<Attempt, Refused> {
        let tasks = self.current();
        let sets = Sets::of(&tasks, now);
        let is_panic = sets.is_panic();
        // A request that was tried before is not risked for the sake of a breaker.
        if tried.is_empty() && !is_panic {
            let attempt = sets.breaker_due.iter().find_map(|member| self.try_breaker(member, &tasks, now));
            if let Some(attempt) = attempt {
                return Ok(attempt);
            }
        }
        if sets.reachable.is_empty() {
            let attempt = sets.reach_due.iter().find_map(|member| self.try_reach(member, &tasks, now));
            if let Some(attempt) = attempt {
                return Ok(attempt);
            }
        }
        let counters = &self.line.counters;
        let (set, counter) = match (sets.reachable.is_empty(), is_panic) {
            (true, _) => (sets.draining, Some(&counters.draining)),
            (false, true) => (sets.reachable, Some(&counters.panic)),
            (false, false) => (sets.usable, None),
        };
        let chosen = self.lesser(set, tried, &tasks, now, rng);
        match &chosen {
            Ok(_) => counter.into_iter().for_each(Counters::add),
            Err(Refused::Saturated) => Counters::add(&counters.saturated),
            Err(Refused::NoRoutableTask) => Counters::add(&counters.no_routable_task),
        }
        chosen
    }

    /// The lesser of two different ones that are drawn.
    fn lesser(
        &self,
        mut set: Vec<&Arc<Member>>,
        tried: &[TaskKey],
        tasks: &Arc<Tasks>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Result<Attempt, Refused> {
        set.retain(|member| !tried.contains(member.task.key()));
        if set.is_empty() {
            return Err(Refused::NoRoutableTask);
        }
        let max = tasks.concurrency_max;
        set.retain(|member| max.is_none_or(|max| member.task.in_flight() < max));
        // One that was filled meanwhile is taken out, so this ends.
        while !set.is_empty() {
            let at = lesser_of_two(&set, now, rng);
            let member = set.swap_remove(at);
            if member.task.enter(max) {
                let breaker = match member.task.is_marked() {
                    true => member.task.record().breaker.try_once(now),
                    false => None,
                };
                return Ok(self.begin(member, tasks, Tries { reach: None, breaker }, now));
            }
        }
        Err(Refused::Saturated)
    }

    /// The one request of an open breaker, unless another request was faster.
    fn try_breaker(&self, member: &Arc<Member>, tasks: &Arc<Tasks>, now: Instant) -> Option<Attempt> {
        if !member.task.enter(tasks.concurrency_max) {
            return None;
        }
        let breaker = member.task.record().breaker.try_once(now);
        if breaker.is_none() {
            member.task.leave();
        }
        breaker.map(|_| self.begin(member, tasks, Tries { reach: None, breaker }, now))
    }

    /// The one try of a task that could not be reached.
    fn try_reach(&self, member: &Arc<Member>, tasks: &Arc<Tasks>, now: Instant) -> Option<Attempt> {
        if !member.task.enter(tasks.concurrency_max) {
            return None;
        }
        let reach = member.task.record().hard.try_once(now);
        if reach.is_none() {
            member.task.leave();
        }
        reach.map(|_| self.begin(member, tasks, Tries { reach, breaker: None }, now))
    }

    fn begin(&self, member: &Arc<Member>, tasks: &Arc<Tasks>, tries: Tries, now: Instant) -> Attempt {
        Attempt::begin(Arc::clone(&member.task), Arc::clone(tasks), Arc::clone(&self.line), tries, now)
    }
}

/// The place of the one with the lesser load of two different ones; the set is not empty.
fn lesser_of_two(set: &[&Arc<Member>], now: Instant, rng: &mut impl Rng) -> usize {
    if set.len() == 1 {
        return 0;
    }
    let first = rng.random_range(0..set.len());
    let second = (first + rng.random_range(1..set.len())) % set.len();
    let of_group = std::cell::OnceCell::new();
    let load = |at: usize| {
        let task = &set[at].task;
        let cost = task.record().peak.cost(now);
        let cost = cost.unwrap_or_else(|| {
            let begin: Duration = *of_group.get_or_init(|| median(set, now).unwrap_or(peak::UNKNOWN));
            task.record().peak.begin(begin, now);
            begin.as_secs_f64()
        });
        (task.in_flight() + 1) as f64 * cost
    };
    if load(second) < load(first) { second } else { first }
}

/// The median of the costs that are known.
fn median(set: &[&Arc<Member>], now: Instant) -> Option<Duration> {
    let mut costs: Vec<f64> = set.iter().filter_map(|member| member.task.record().peak.cost(now)).collect();
    costs.sort_by(f64::total_cmp);
    costs.get(costs.len() / 2).map(|cost| Duration::from_secs_f64(*cost))
}

#[cfg(test)]
mod tests;
