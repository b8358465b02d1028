//! The sets of tasks that a request may be sent to (R62), and the cap on open breakers (R65).
//!
//! Where the rules leave a choice:
//! - A task that is out and due for its try is out until the try has shown something. The try of a breaker is a
//!   request; that of a task that could not be reached is a connection without a request ([`crate::Trial`]), so that no
//!   request waits for a dead host. A request takes it only where nothing else can be reached.
//! - At most half of C may be out by breakers. Opening one is refused beyond that; where C shrank since, those that are
//!   due first are let in again.

use std::sync::Arc;

use millstream_schemas::tasks::{Pending, Standing};
use tokio::time::Instant;

use super::breaker::Gate;
use super::hard::Reach;
use crate::table::{Member, Tasks};

/// The tasks of a revision, as an attempt sees them.
#[derive(Debug, Default)]
pub(super) struct Sets<'a> {
    /// C: all that may be sent requests.
    pub(super) candidates: usize,
    /// C without those that could not be reached.
    pub(super) reachable: Vec<&'a Arc<Member>>,
    /// Those of them that are not unhealthy, and whose breaker is not open.
    pub(super) usable: Vec<&'a Arc<Member>>,
    /// Reachable, healthy, and due for the one request of their breaker.
    pub(super) breaker_due: Vec<&'a Arc<Member>>,
    /// Of C, could not be reached, and due for a try.
    pub(super) reach_due: Vec<&'a Arc<Member>>,
    /// Draining and reachable.
    pub(super) draining: Vec<&'a Arc<Member>>,
}

impl<'a> Sets<'a> {
    pub(super) fn of(tasks: &'a Tasks, now: Instant) -> Self {
        let mut sets = Self::default();
        // Those out by their breaker, with the time of their one request; `None` while it runs.
        let mut out: Vec<(Option<Instant>, Gate, &'a Arc<Member>)> = Vec::new();
        for member in &tasks.members {
            let (reach, gate, due) = state(member, now);
            if member.standing == Standing::Draining {
                if reach == Reach::Open {
                    sets.draining.push(member);
                }
                continue;
            }
            if member.is_on_probation() {
                continue;
            }
            sets.candidates += 1;
            match reach {
                Reach::Open => sets.reachable.push(member),
                Reach::Due => sets.reach_due.push(member),
                Reach::Out => {}
            }
            if reach != Reach::Open || is_unhealthy(member) {
                continue;
            }
            match gate {
                Gate::Closed => sets.usable.push(member),
                Gate::Open | Gate::Due => out.push((due, gate, member)),
            }
        }
        let over = out.len().saturating_sub(sets.candidates / 2);
        if over > 0 {
            out.sort_by_key(|(due, ..)| (due.is_none(), *due));
        }
        sets.usable.extend(out.iter().take(over).map(|(.., member)| *member));
        let rest = out.iter().skip(over).filter(|(_, gate, _)| *gate == Gate::Due);
        sets.breaker_due.extend(rest.map(|(.., member)| *member));
        sets
    }

    /// Whether less than half of what can be reached is usable: then health and breakers are not believed.
    pub(super) fn is_panic(&self) -> bool {
        self.usable.len() * 2 < self.reachable.len()
    }
}

/// Whether one more breaker may open: at most half of C, rounded down, and so never the last one.
pub(super) fn may_open(tasks: &Tasks, now: Instant) -> bool {
    let in_c = |member: &&Arc<Member>| member.standing != Standing::Draining && !member.is_on_probation();
    let candidates = tasks.members.iter().filter(in_c).count();
    let is_out = |member: &&Arc<Member>| state(member, now).1 != Gate::Closed;
    let open = tasks.members.iter().filter(in_c).filter(is_out).count();
    open < candidates / 2
}

fn is_unhealthy(member: &Member) -> bool {
    member.standing == Standing::Pending(Pending::Unhealthy)
}

fn state(member: &Member, now: Instant) -> (Reach, Gate, Option<Instant>) {
    if !member.task.is_marked() {
        return (Reach::Open, Gate::Closed, None);
    }
    let record = member.task.record();
    (record.hard.reach(now), record.breaker.gate(now), record.breaker.due())
}
