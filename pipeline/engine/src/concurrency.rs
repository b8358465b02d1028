//! The controller: how many transactions run at a time, how many records each holds, how long a record waits.
//!
//! A pure state machine: no clock, no runtime, no randomness of its own. The caller tells it what happened and when, as
//! time since an origin of the caller's choice. It answers with [`Decision`]s; between them [`Controller::pace`]
//! returns the numbers in force. The same code runs against a database and in the simulator. One instance per database,
//! shared by all pipelines of a process that write to it: concurrency, brakes and ceiling are the database's; what a
//! transaction costs and how much it holds are each pipeline's.
//!
//! It seeks the smallest concurrency and the smallest transactions that give nearly all the goodput there is, by
//! comparing them with others again and again. Brakes and a ceiling act where a comparison would come too late.

mod allowed;
mod axis;
mod batch;
mod brake;
mod ceiling;
mod controller;
mod cost;
mod curves;
mod decision;
mod evidence;
mod ladder;
mod linger;
mod meter;
mod part;
mod processors;
mod reading;
mod search;
mod step;
mod trial;

use std::time::Duration;

pub use controller::{Controller, Limited};
pub use decision::{Decision, Knob, Reason};

/// What the operator allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The fewest transactions at a time, 1 or more.
    pub concurrency_min: usize,
    /// The most transactions at a time: lanes or connections, whichever is smaller.
    pub concurrency_max: usize,
    /// The most transactions at a time of all processes together; each takes an equal part, 1 at least. 0 for no bound.
    pub concurrency_max_together: usize,
    /// The most records in one transaction.
    pub records_max: usize,
    /// The most bytes of records in one transaction.
    pub bytes_max: usize,
    /// How old an event may become before it is committed: bounds how long batching may wait.
    pub freshness: Duration,
    /// How long a transaction may take: bounds locks and what a failure undoes.
    pub transaction_max: Duration,
    /// Records per second that may be written; 0 for no cap.
    pub records_per_second_max: u64,
    /// Keeps batch size and concurrency as they are: no brake lowers them either. Only the limits above still do.
    pub freeze: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// A transaction was begun.
    Begun(Work),
    /// A transaction ended.
    Ended {
        /// When it was begun.
        began: Duration,
        /// What it held.
        work: Work,
        /// How it ended.
        ending: Ending,
    },
    /// From now on this many batches are ready and wait for a turn.
    Waiting(usize),
    /// What the database reports about itself.
    Signals(Signals),
    /// Time has passed. Sent a few times a second, whatever other events there are.
    Tick,
    /// A pipeline begins to write, or may put something else into a transaction from now on.
    Joined {
        /// Its number: one that there is already, or the next one. The first is 0, and is there from the beginning.
        pipeline: usize,
        /// Whether nothing that was learnt under this number is its own.
        anew: bool,
        /// What it may put into a transaction.
        allowance: Allowance,
    },
}

/// What a transaction holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// The number of the pipeline that writes it.
    pub pipeline: usize,
    /// Records.
    pub records: usize,
    /// Bytes of records.
    pub bytes: usize,
    /// Whether more records were ready than it could hold: there is a backlog.
    pub full: bool,
}

/// What one pipeline may put into a transaction, within what is allowed to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The most records.
    pub records_max: usize,
    /// The most bytes of records.
    pub bytes_max: usize,
    /// How old an event of this pipeline may become before it is committed; `None` for the goal of all.
    pub freshness: Option<Duration>,
}

impl Default for Allowance {
    fn default() -> Self {
        Allowance { records_max: usize::MAX, bytes_max: usize::MAX, freshness: None }
    }
}

/// How a transaction ended. Only committed transactions are measured for cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Committed.
    Committed,
    /// The database was overloaded: out of memory or connections, a timeout, no connection.
    Overload,
    /// Other transactions were in the way: a deadlock, a lock that was not available, a conflict.
    Contention,
    /// Anything else: a fence, a bad record, a shutdown.
    Other,
}

/// What the database reports about itself. A figure that it does not report is `None`, never zero, and changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Signals {
    /// Sessions that run and wait for nothing: they want a processor.
    pub sessions_running: Option<f64>,
    /// Sessions of other programs that run, or ran just now: their clients may wait for a processor too.
    pub sessions_of_others: Option<f64>,
    /// Sessions that wait for a lock of a row, a transaction or a table.
    pub sessions_locked: Option<f64>,
    /// Sessions that wait for disk or for the log.
    pub sessions_waiting_io: Option<f64>,
    /// Processors of the database's machine.
    pub processors: Option<f64>,
    /// Part of all processors in use, 0 to 1.
    pub processors_used: Option<f64>,
    /// Part of them in use by our sessions, and by this process if it may use the same processors, 0 to 1.
    pub processors_ours: Option<f64>,
    /// How far the slowest replica is behind.
    pub replica_lag: Option<Duration>,
    /// Processes that write to the database, each with its own controller, including this one.
    pub processes: Option<usize>,
}

impl Signals {
    /// The figures that are known, by name.
    fn figures(&self) -> Vec<(&'static str, f64)> {
        let figures = [
            ("sessions_running", self.sessions_running),
            ("sessions_of_others", self.sessions_of_others),
            ("sessions_locked", self.sessions_locked),
            ("processors", self.processors),
            ("processors_used_part", self.processors_used),
            ("processors_ours_part", self.processors_ours),
            ("replica_lag_seconds", self.replica_lag.map(|lag| lag.as_secs_f64())),
            ("processes", self.processes.map(|processes| processes as f64)),
        ];
        figures.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect()
    }
}

/// The numbers in force for one pipeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Transactions at a time, of all pipelines together. 0 during a stall: no transaction ends, so none may begin.
    pub concurrency: usize,
    /// Records in a transaction of this pipeline.
    pub records: usize,
    /// How long the oldest record waits for others when there is no backlog.
    pub linger: Duration,
    /// Whether each transaction is followed by a rest of its own length: half of one transaction at a time.
    pub rests: bool,
}

#[cfg(test)]
mod tests;
