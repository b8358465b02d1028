//! What a writer must know.

use std::time::Duration;

use millstream_postgres::Connector;

/// What a writer must know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pipeline's name: leases and quarantine rows carry it.
    pub pipeline: String,
    /// The incarnation of the stream.
    pub incarnation: String,
    /// How to reach the database.
    pub connect: Connector,
    /// Statements that each transaction begins with, such as limits of time; may be empty.
    pub set_local: String,
    /// How long a transaction may keep a lease locked that another writer wants. Shorter: a writer that is only slow is
    /// ended, and its batch begun anew. Longer: the partitions of one that stands still wait for longer.
    pub lease_lock_max: Duration,
}
