//! The parts of a plant: a database, its load, and what happens to it.

pub use super::arrivals::Arrivals;
pub use super::database::cores::Sharing;
pub use super::database::locks::Locks;

/// A database and its load. Times in seconds.
#[derive(Clone, Debug)]
pub struct Plant {
    /// Its name.
    pub name: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    /// How long a run is.
    pub seconds: f64,
    /// What a transaction costs.
    pub cost: Cost,
    /// How transactions share the processors.
    pub sharing: Sharing,
    /// How a transaction is committed.
    pub commit: Commit,
    /// Hot rows.
    pub locks: Option<Locks>,
    /// Inverted indexes whose pending list a transaction must empty now and then.
    pub gin: Option<Gin>,
    /// What changes, and when.
    pub changes: Vec<(f64, Change)>,
    /// How records arrive at each instance.
    pub arrivals: Arrivals,
    /// Processes that write, each with its own controller.
    pub instances: usize,
    /// Transactions that each instance could have open at a time.
    pub lanes: usize,
    /// Whether the database reports signals.
    pub signals: bool,
}

/// What a transaction costs beside its commit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Round trips: holds the transaction, needs no processor.
    pub network: f64,
    /// Processor time of a transaction.
    pub fixed: f64,
    /// Processor time of each record.
    pub record: f64,
    /// Coefficient of variation of the processor time: lognormal.
    pub cv: f64,
}

/// How a transaction is committed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Commit {
    /// Takes this long, however many others commit.
    Alone {
        /// Seconds.
        seconds: f64,
    },
    /// One transaction writes the log at a time, for all that wait by then (PostgreSQL's group commit: see
    /// <https://www.postgresql.org/docs/current/wal-configuration.html>).
    Group {
        /// Seconds for a write of the log.
        seconds: f64,
        /// Seconds more for each record in it.
        record: f64,
    },
    /// Takes longer when the processors are nearly used up, because the storage's own work is starved: Aurora's
    /// `IO:XactSync` (AWS, Aurora User Guide, "IO:XactSync"): `seconds * (1 + slowdown * ((used - 0.9) / 0.1)^2)`
    /// above 0.9.
    Starved {
        /// Seconds while processors are free.
        seconds: f64,
        /// How many times longer it takes when all processors are used.
        slowdown: f64,
    },
}

/// The pending list of a GIN index: the transaction that makes it too long empties it
/// (<https://www.postgresql.org/docs/current/gin.html>, "GIN fast update technique").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gin {
    /// Records that make the list too long.
    pub records: f64,
    /// Seconds that emptying it takes: median, and the bounds.
    pub seconds: (f64, f64, f64),
}

/// Something that happens to the database.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// The part of the processors that is ours from now on, 0 to 1.
    Capacity(f64),
    /// The speed of each transaction from now on, 1 as at first.
    Speed(f64),
    /// The database is gone: open transactions fail, and so do new ones.
    Gone,
    /// The database is back.
    Back,
}

impl Plant {
    /// Whether there is always more to write.
    #[must_use]
    pub fn is_backlogged(&self) -> bool {
        matches!(self.arrivals, Arrivals::Backlog)
    }

    /// Whether less arrives than the database can write, always.
    #[must_use]
    pub fn is_application_limited(&self) -> bool {
        matches!(self.arrivals, Arrivals::Steady(_))
    }
}
