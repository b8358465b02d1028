//! Rows of instances, slices, deploys and health in memory, and the table of tasks.

use std::collections::HashMap;
use std::sync::Arc;

use super::names::{Name, Names};
use super::row::{TaskNumber, TaskRow};
use super::selectors::{Member, SelectorRow};
use crate::tasks::fact::{Deploy, Health, Instance, Slice};

/// The tasks by number and by key.
#[derive(Debug, Default)]
pub(in crate::tasks) struct Tasks {
    rows: Vec<Option<Box<TaskRow>>>,
    numbers: HashMap<(Name, Name), TaskNumber>,
    free: Vec<TaskNumber>,
}

impl Tasks {
    /// The number of the task of a source with an id.
    pub(in crate::tasks) fn find(&self, source: Name, id: Name) -> Option<TaskNumber> {
        self.numbers.get(&(source, id)).copied()
    }

    /// The row of a number.
    pub(in crate::tasks) fn row(&self, number: TaskNumber) -> Option<&TaskRow> {
        self.rows.get(number as usize)?.as_deref()
    }

    /// The row of a number, to change its place.
    pub(in crate::tasks) fn row_mut(&mut self, number: TaskNumber) -> Option<&mut TaskRow> {
        self.rows.get_mut(number as usize)?.as_deref_mut()
    }

    /// Stores a row under the number of its key, a new one if there is none.
    pub(in crate::tasks) fn insert(&mut self, row: TaskRow) -> TaskNumber {
        let key = (row.source, row.id);
        let number = self.find(row.source, row.id).or_else(|| self.free.pop()).unwrap_or_else(|| {
            self.rows.push(None);
            let number = TaskNumber::try_from(self.rows.len() - 1);
            debug_assert!(number.is_ok(), "memory ends before the numbers do");
            number.unwrap_or(TaskNumber::MAX)
        });
        self.numbers.insert(key, number);
        self.rows[number as usize] = Some(Box::new(row));
        number
    }

    /// Takes a row out; its number is free.
    pub(in crate::tasks) fn remove(&mut self, number: TaskNumber) -> Option<Box<TaskRow>> {
        let row = self.rows.get_mut(number as usize)?.take()?;
        self.numbers.remove(&(row.source, row.id));
        self.free.push(number);
        Some(row)
    }

    /// One more than the largest number that has a row.
    pub(in crate::tasks) fn end(&self) -> TaskNumber {
        TaskNumber::try_from(self.rows.len()).unwrap_or(TaskNumber::MAX)
    }

    /// Every number that has a row.
    pub(in crate::tasks) fn numbers(&self) -> impl Iterator<Item = TaskNumber> {
        self.numbers.values().copied()
    }
}

/// See [`Instance`].
#[derive(Debug)]
pub(in crate::tasks) struct InstanceRow {
    pub(in crate::tasks) instance: Instance,
    pub(in crate::tasks) network: Option<Name>,
}

/// See [`Slice`]. The uids of pods are names, which the rows of the pods share.
#[derive(Debug)]
pub(in crate::tasks) struct SliceRow {
    /// The slice without its pods.
    slice: Slice,
    pub(in crate::tasks) ready: Box<[Name]>,
    pub(in crate::tasks) unready: Box<[Name]>,
}

impl SliceRow {
    /// Packs a slice; its texts are kept until [`SliceRow::names`] are released.
    pub(in crate::tasks) fn pack(mut slice: Slice, names: &mut Names) -> SliceRow {
        let ready = std::mem::take(&mut slice.ready).iter().map(|uid| names.keep(uid)).collect();
        let unready = std::mem::take(&mut slice.unready).iter().map(|uid| names.keep(uid)).collect();
        SliceRow { slice, ready, unready }
    }

    /// The slice.
    pub(in crate::tasks) fn unpack(&self, names: &Names) -> Slice {
        let uids = |all: &[Name]| all.iter().map(|uid| names.owned(*uid)).collect();
        Slice { ready: uids(&self.ready), unready: uids(&self.unready), ..self.slice.clone() }
    }

    /// Every name that this row keeps, as often as it keeps it.
    pub(in crate::tasks) fn names(&self) -> impl Iterator<Item = Name> {
        self.pods()
    }

    /// The uids of its pods.
    pub(in crate::tasks) fn pods(&self) -> impl Iterator<Item = Name> {
        self.ready.iter().chain(&self.unready).copied()
    }

    /// Whether the slice is there.
    pub(in crate::tasks) fn is_live(&self) -> bool {
        self.slice.rank <= 0
    }
}

/// See [`Deploy`].
#[derive(Debug)]
pub(in crate::tasks) struct DeployRow {
    pub(in crate::tasks) deploy: Arc<Deploy>,
    pub(in crate::tasks) selector: Option<SelectorRow>,
    /// Under what the selector is filed; a retired deploy is not.
    pub(in crate::tasks) filed: Option<Member>,
}

/// See [`Health`]; the source and the task are its key.
#[derive(Debug)]
pub(in crate::tasks) struct HealthRow {
    assignment: i64,
    counter: i64,
    pub(in crate::tasks) healthy: bool,
    since_ms: i64,
    reason: Option<Box<str>>,
}

impl HealthRow {
    /// Packs the result of checks.
    pub(in crate::tasks) fn pack(health: Health) -> HealthRow {
        HealthRow {
            assignment: health.assignment,
            counter: health.counter,
            healthy: health.healthy,
            since_ms: health.since_ms,
            reason: health.reason.map(String::into_boxed_str),
        }
    }

    /// The result of checks.
    pub(in crate::tasks) fn unpack(&self, source: String, task: String, port: i32) -> Health {
        Health {
            source,
            task,
            port,
            assignment: self.assignment,
            counter: self.counter,
            healthy: self.healthy,
            since_ms: self.since_ms,
            reason: self.reason.as_deref().map(str::to_owned),
        }
    }
}
