//! The options of an assigner.

use std::time::Duration;

use millstream_postgres::Connector;

/// The pipeline, the stream, and this process.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pipeline's name.
    pub pipeline: String,
    /// The incarnation of the stream.
    pub incarnation: String,
    /// How to reach the database.
    pub connect: Connector,
    /// The name of this process, which no other has at the same time: see [`crate::assignment::unique_owner`].
    pub owner: String,
    /// Interval of the looks, and expiry.
    pub timing: Timing,
    /// The stored position of a partition that was read to its end.
    pub finished: &'static str,
}

/// How often a process renews its row, and when it is taken for dead.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Interval of the looks. Shorter: partitions are assigned sooner, and the database is asked more often.
    pub period: Duration,
    /// Silence after which a process is taken for dead. Shorter: its partitions wait less, but a slow one is replaced.
    pub expiry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing { period: Duration::from_secs(2), expiry: Duration::from_secs(10) }
    }
}
