//! The fold: what a row is after one more event.
//!
//! A row is the maximum of its events, so any permutation, duplication and split of the same events gives the same row.
//! The state of a task is ordered by (epoch, rank, version): nothing revives what is gone, whatever its version. Its
//! address is ordered apart, so a STOPPED event without an address keeps the address of an earlier RUNNING event.
//! Events of equal order are merged column by column: present beats absent, then the larger value.

use std::cmp::Ordering;

use super::fact::{Alias, Deploy, Fact, Health, Instance, Rank, Slice, Task};

/// What one event does to the stored row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// The row is new or has changed: this is the row to store.
    Written(Fact),
    /// The row has this event already.
    Duplicate,
    /// The row has a later event.
    Stale,
    /// The entity is gone, and this event tells of an earlier state.
    AfterGone,
}

/// Folds one group of columns: the event's columns replace those of the row if the event is of a larger order, and are
/// merged with them if it is of the same order.
macro_rules! fold {
    ($order:expr, $row:ident, $event:ident: $($column:ident),+ $(,)?) => {
        match $order {
            Ordering::Less => {}
            Ordering::Equal => { $(raise(&mut $row.$column, $event.$column);)+ }
            Ordering::Greater => { $($row.$column = $event.$column;)+ }
        }
    };
}

/// Raises a column to a value, if that is larger. `None` and an empty list are less than every other value.
fn raise<T: Ord>(column: &mut T, value: T) {
    if value > *column {
        *column = value;
    }
}

impl Fact {
    /// Merges an event, as a row of its own, into the stored row of the same key.
    ///
    /// Commutative, associative and idempotent in the rows that it writes.
    pub fn merge(stored: Option<&Fact>, event: Fact) -> Merged {
        let Some(stored) = stored else {
            return Merged::Written(event);
        };
        debug_assert_eq!(stored.key(), event.key(), "an event is merged into the row of its key");
        let order = event.order().cmp(&stored.order());
        let is_after_gone = stored.is_gone() && !event.is_gone();
        let row = match (stored.clone(), event) {
            (Fact::Task(row), Fact::Task(event)) => Fact::Task(Box::new(task(*row, *event))),
            (Fact::Instance(row), Fact::Instance(event)) => Fact::Instance(Box::new(instance(*row, *event))),
            (Fact::Slice(row), Fact::Slice(event)) => Fact::Slice(Box::new(slice(*row, *event))),
            (Fact::Deploy(row), Fact::Deploy(event)) => Fact::Deploy(Box::new(deploy(*row, *event))),
            (Fact::Health(row), Fact::Health(event)) => Fact::Health(Box::new(health(*row, *event))),
            (Fact::Alias(row), Fact::Alias(event)) => Fact::Alias(Box::new(alias(*row, *event))),
            (row, _) => row,
        };
        match order {
            _ if row != *stored => Merged::Written(row),
            Ordering::Equal => Merged::Duplicate,
            _ if is_after_gone => Merged::AfterGone,
            _ => Merged::Stale,
        }
    }

    /// Whether the entity is gone for good. Deploys, health and aliases never are.
    pub fn is_gone(&self) -> bool {
        match self {
            Fact::Task(task) => task.rank >= Rank::Gone as i16,
            Fact::Instance(instance) => instance.rank > Rank::Live as i16,
            Fact::Slice(slice) => slice.rank > Rank::Live as i16,
            Fact::Deploy(_) | Fact::Health(_) | Fact::Alias(_) => false,
        }
    }

    /// The order of the state; kinds that have fewer numbers leave the first ones 0.
    fn order(&self) -> (i64, i16, i64) {
        match self {
            Fact::Task(task) => (task.epoch, task.rank, task.version),
            Fact::Instance(instance) => (instance.epoch, instance.rank, instance.version),
            Fact::Slice(slice) => (slice.epoch, slice.rank, slice.version),
            Fact::Deploy(deploy) => (0, 0, deploy.generation),
            Fact::Health(health) => (health.assignment, 0, health.counter),
            Fact::Alias(alias) => (0, 0, alias.generation),
        }
    }
}

/// Whether an event tells of a task whose row may have been purged: no row is stored, the task was created before the
/// floor of its source, and no list tells of it. Such an event is filtered as `below_floor`: written, it would bring
/// back a task that is gone. A task that tells no time of its creation counts by its start; without either it passes.
pub fn is_below_floor(stored: Option<&Fact>, event: &Task, floor_ms: Option<i64>, is_listed: bool) -> bool {
    let created_ms = event.created_ms.or(event.started_ms);
    let is_before = created_ms.zip(floor_ms).is_some_and(|(created_ms, floor_ms)| created_ms < floor_ms);
    stored.is_none() && !is_listed && is_before
}

fn task(mut row: Task, event: Task) -> Task {
    let state = (event.epoch, event.rank, event.version).cmp(&(row.epoch, row.rank, row.version));
    fold!(state, row, event: epoch, rank, version, cluster, definition, group, namespace, name, labels, status,
        desired_status, ready, reason, exit_code, stopped_ms);
    // An event without an address has no order here, which is less than every order.
    let address = (event.address_epoch, event.address_rank, event.address_version).cmp(&(
        row.address_epoch,
        row.address_rank,
        row.address_version,
    ));
    fold!(address, row, event: address_epoch, address_rank, address_version, network, addresses, ports, instance);
    raise(&mut row.created_ms, event.created_ms);
    raise(&mut row.started_ms, event.started_ms);
    row
}

fn instance(mut row: Instance, event: Instance) -> Instance {
    let order = (event.epoch, event.rank, event.version).cmp(&(row.epoch, row.rank, row.version));
    fold!(order, row, event: epoch, rank, version, cluster, status, agent_connected, machine);
    let address = (event.address_epoch, event.address_rank, event.address_version).cmp(&(
        row.address_epoch,
        row.address_rank,
        row.address_version,
    ));
    fold!(address, row, event: address_epoch, address_rank, address_version, network, addresses);
    row
}

fn slice(mut row: Slice, event: Slice) -> Slice {
    let order = (event.epoch, event.rank, event.version).cmp(&(row.epoch, row.rank, row.version));
    fold!(order, row, event: epoch, rank, version, cluster, namespace, service, ports, ready, unready);
    row
}

fn deploy(mut row: Deploy, event: Deploy) -> Deploy {
    let order = event.generation.cmp(&row.generation);
    fold!(order, row, event: generation, retired, selector, container, port, health, min_ready, drain_ms,
        keep_alive_ms, replay_post, identity, concurrency_max);
    row
}

fn health(mut row: Health, event: Health) -> Health {
    let order = (event.assignment, event.counter).cmp(&(row.assignment, row.counter));
    fold!(order, row, event: assignment, counter, healthy, since_ms, reason);
    row
}

fn alias(mut row: Alias, event: Alias) -> Alias {
    let order = event.generation.cmp(&row.generation);
    fold!(order, row, event: generation, deleted, targets, sticky, force, hold_max_ms, retry_responses, retry_keyed,
        timeout_ms, change_id);
    row
}
