//! Every change with its reason, for the operator to read.

use std::time::Duration;

use serde::Serialize;

/// One change, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// When, since the caller's origin, in seconds.
    #[serde(rename = "at_seconds", serialize_with = "seconds")]
    pub at: Duration,
    /// What was changed.
    pub knob: Knob,
    /// The number of the pipeline that it concerns; `None` if it concerns all that write to the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<usize>,
    /// The number before.
    pub from: usize,
    /// The number after.
    pub to: usize,
    /// Why.
    pub reason: Reason,
    /// The figures behind it, by name, each name with its unit.
    pub figures: Vec<(&'static str, f64)>,
}

/// What can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Knob {
    /// Transactions at a time.
    Concurrency,
    /// The most transactions at a time that the database is believed to bear.
    Ceiling,
    /// Records in a transaction.
    Records,
    /// Percent of the time in which the one transaction at a time rests for the sake of other programs.
    Rest,
}

/// Why something was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Twice as many wrote clearly more, or nothing is known yet.
    Startup,
    /// A higher number writes more.
    MoreIsFaster,
    /// A lower number writes as much.
    FewerAreEnough,
    /// Another number is tried for a moment, to compare; or the trial is over.
    Trial,
    /// The database was overloaded.
    Overload,
    /// Other transactions were in the way.
    Contention,
    /// Transactions took much longer than the cost model predicts.
    Slow,
    /// No transaction that was begun ended.
    Stall,
    /// Nothing has spoken against it for a while.
    Recovery,
    /// The database reports that its processors or a replica do not keep up.
    Signal,
    /// The cost of a transaction and of a record, as measured.
    Cost,
    /// The operator's limits.
    Limit,
}

fn seconds<S: serde::Serializer>(at: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((at.as_secs_f64() * 1000.0).round() / 1000.0)
}
