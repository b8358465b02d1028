//! The options of a writer.

use std::time::Duration;

use millstream_postgres::Connector;

/// The options of a writer.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pipeline's name: leases and quarantine rows carry it.
    pub pipeline: String,
    /// The incarnation of the stream.
    pub incarnation: String,
    /// How to reach the database.
    pub connect: Connector,
    /// Statements that each transaction begins with, such as timeouts; may be empty.
    pub set_local: String,
    /// How long a transaction may lock a lease that another writer wants. Shorter: the session of a slow writer is
    /// ended, and its batch retried. Longer: the partitions of a writer that hangs wait longer.
    pub lease_lock_max: Duration,
}
