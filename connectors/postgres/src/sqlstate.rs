//! What has to happen after an error of PostgreSQL: one table, by SQLSTATE.
//!
//! A record is blamed only if the error is certainly its own fault. Every unknown error pauses the pipeline with an
//! alarm: a false alarm costs an hour, a false verdict on a record costs the record.
//!
//! To add a code, add a row to `of_code` and one to the test's table. The codes are those of the PostgreSQL manual,
//! appendix A, "PostgreSQL Error Codes".

use sqlx::postgres::PgDatabaseError;

/// What has to happen after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The database is away, busy or in conflict: retry the same batch later, with less load.
    SlowDown {
        /// The connection must be replaced, even if it still seems open: a server that became read-only is no longer
        /// the writer.
        reconnect: bool,
    },
    /// The batch takes too long or waits for a lock. The first time, act as for [`Verdict::SlowDown`] on the same
    /// connection; the next time, split the batch by partition, then by range.
    Split,
    /// A person must act (a schema was changed, a password rotated) or the error is unexpected. Pause the pipeline,
    /// raise the alarm, and retry the same batch from time to time, each time on a new connection.
    Alarm,
    /// A record of the batch can never be written as it is: narrow it down, quarantine it, write the rest.
    RecordFault,
}

/// What has to happen after `error`, whether the server, the connection or the driver raised it.
#[must_use]
pub fn verdict(error: &sqlx::Error) -> Verdict {
    use sqlx::Error as E;
    match error {
        E::Database(database) => match database.try_downcast_ref::<PgDatabaseError>() {
            Some(error) => of_code(error.code(), error.constraint()),
            None => Verdict::Alarm,
        },
        // Errors of a TLS handshake have this form: a bad certificate needs a person.
        E::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => Verdict::Alarm,
        // Refused, reset, timed out, ended in the middle; the driver's own task for the socket is gone; BEGIN was
        // answered by a connection in some other state.
        E::Io(_) | E::WorkerCrashed | E::BeginFailed => Verdict::SlowDown { reconnect: true },
        // All connections are in use, or none can be opened now: the pool has one error for both.
        E::PoolTimedOut => Verdict::SlowDown { reconnect: false },
        // So does a server without TLS.
        E::Tls(_) => Verdict::Alarm,
        // The message stream is out of sync, or the server is no PostgreSQL.
        E::Protocol(_) => Verdict::Alarm,
        // Statement and schema disagree, or this program and its driver do. No record is to blame for either.
        E::Configuration(_)
        | E::InvalidArgument(_)
        | E::RowNotFound
        | E::TypeNotFound { .. }
        | E::ColumnIndexOutOfBounds { .. }
        | E::ColumnNotFound(_)
        | E::ColumnDecode { .. }
        | E::Encode(_)
        | E::Decode(_)
        | E::PoolClosed
        | E::InvalidSavePointStatement => Verdict::Alarm,
        // The driver's list may grow.
        _ => Verdict::Alarm,
    }
}

/// The verdict of a SQLSTATE. `constraint` is the name of the violated constraint, if the server gave one.
#[must_use]
pub fn of_code(code: &str, constraint: Option<&str>) -> Verdict {
    match (class(code), code) {
        // connection exception
        ("08", _) => Verdict::SlowDown { reconnect: true },
        // read_only_sql_transaction: the writer failed over, and this server is a standby now
        (_, "25006") => Verdict::SlowDown { reconnect: true },
        // serialization_failure, deadlock_detected
        (_, "40001" | "40P01") => Verdict::SlowDown { reconnect: false },
        // insufficient resources: disk, memory, connections
        ("53", _) => Verdict::SlowDown { reconnect: false },
        // lock_not_available, query_canceled (by statement_timeout above all)
        (_, "55P03" | "57014") => Verdict::Split,
        // operator intervention: shut down, crashed, starting, database dropped, idle too long
        ("57", "57P01" | "57P02" | "57P03" | "57P04" | "57P05") => Verdict::SlowDown { reconnect: true },
        ("57", _) => Verdict::SlowDown { reconnect: false },
        // system error outside PostgreSQL: a disk
        ("58", _) => Verdict::SlowDown { reconnect: false },

        // A check without a name is the routing of a partitioned table ("no partition of relation .. found for row",
        // "violates partition constraint"): a missing partition is our fault. Checks of tables and domains have names.
        // The text is not compared, because it is in the server's language.
        (_, "23514") if constraint.is_none() => Verdict::Alarm,
        // data exception, integrity constraint violation, program limit exceeded
        ("22" | "23" | "54", _) => Verdict::RecordFault,

        // feature not supported; idle_in_transaction_session_timeout; invalid statement name; invalid authorization;
        // invalid catalog name; invalid schema name; syntax error or access rule violation; internal error
        ("0A" | "26" | "28" | "3D" | "3F" | "42" | "XX", _) | (_, "25P03") => Verdict::Alarm,
        _ => Verdict::Alarm,
    }
}

/// What an error shows of the server's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// It is overloaded: out of memory or connections, or a timeout.
    Overload,
    /// Other transactions are in the way.
    Contention,
}

/// What `error` shows of the server's load, if anything: the writer should then write less.
#[must_use]
pub fn load(error: &sqlx::Error) -> Option<Load> {
    use sqlx::Error as E;
    match error {
        E::Database(database) => load_of_code(database.try_downcast_ref::<PgDatabaseError>()?.code()),
        // A bad certificate.
        E::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => None,
        // Refused or timed out: a queue of connections that is full looks like a server that is away.
        E::Io(_) | E::PoolTimedOut => Some(Load::Overload),
        _ => None,
    }
}

/// What a SQLSTATE shows of the load.
#[must_use]
pub fn load_of_code(code: &str) -> Option<Load> {
    match (class(code), code) {
        // connection exception, insufficient resources
        ("08" | "53", _) => Some(Load::Overload),
        // transaction_timeout, query_canceled (by statement_timeout above all), cannot_connect_now
        (_, "25P04" | "57014" | "57P03") => Some(Load::Overload),
        // serialization_failure, deadlock_detected, lock_not_available
        (_, "40001" | "40P01" | "55P03") => Some(Load::Contention),
        _ => None,
    }
}

/// The first two of five characters, or nothing if it is no SQLSTATE.
fn class(code: &str) -> &str {
    if code.len() == 5 && code.is_ascii() { code.get(..2).unwrap_or_default() } else { "" }
}

#[cfg(test)]
mod tests;
