//! What is divided, by whom, and how often.

use std::time::Duration;

use millstream_postgres::Connector;

/// Of which pipeline and stream, and who we are.
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
    /// How often, and how long.
    pub timing: Timing,
    /// The position of a partition that was read to its end, as it is stored.
    pub finished: &'static str,
}

/// How often a process shows that it lives, and when it is taken for dead.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two looks. Shorter: partitions are divided sooner, and the database is asked more often.
    pub period: Duration,
    /// Of silence. Shorter: partitions of a dead process wait for less, and a slow one is replaced while it works.
    pub expiry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing { period: Duration::from_secs(2), expiry: Duration::from_secs(10) }
    }
}
