//! The options of a writer.

use std::time::Duration;

use millstream_postgres::Connector;

/// Rows below the bound up to which dropping goes on, unless the tenth part of the bound is less. More: the oldest are
/// dropped earlier than need be. Fewer: they are looked for more often.
pub(super) const DROP_ROWS: u64 = 10_000;

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
    /// How much the quarantine keeps of one share: beyond it, each transaction that adds to it drops the oldest rows.
    /// `None`: it keeps everything, and whoever reads the counts has to act.
    pub quarantine_max: Option<Bound>,
}

/// How much the quarantine keeps of one share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Rows.
    pub rows: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

impl Bound {
    /// By how many rows and bytes it is gone below when it is reached.
    pub(super) fn slack(self) -> (u64, u64) {
        (DROP_ROWS.min(self.rows / 10), self.bytes / 10)
    }
}
