//! Classifies errors of the database: whose fault one is, and so what happens next.

use millstream_engine::{Pressure, Recovery, SinkError};
use millstream_postgres::ConnectError;
use millstream_postgres::sqlstate::{Load, Verdict, load, verdict};

/// Why a transaction failed.
#[derive(Debug)]
pub enum Fault {
    /// A statement that carries record data failed: if PostgreSQL blames data, a record is at fault.
    Data(sqlx::Error),
    /// A statement of ours failed: never a record's fault.
    Ours(sqlx::Error),
    /// Another transaction changed something; a second attempt that reads it again will settle it.
    Again,
    /// Another transaction holds for too long what every writer needs: the same batch is tried again, undivided.
    Busy(sqlx::Error),
    /// The lease or the position is not what the batch was built from.
    Fence(SinkError),
}

impl Fault {
    /// The fault of a statement that carries record data.
    pub fn data(error: sqlx::Error) -> Self {
        Fault::Data(error)
    }

    /// The fault of any other statement.
    pub fn ours(error: sqlx::Error) -> Self {
        Fault::Ours(error)
    }

    /// Whether PostgreSQL blames a record's own data.
    pub(super) fn blames_record(&self) -> bool {
        matches!(self, Fault::Data(error) if verdict(error) == Verdict::RecordFault)
    }

    /// Whether PostgreSQL cancelled it by a statement or lock timeout.
    pub(super) fn is_too_slow(&self) -> bool {
        matches!(self, Fault::Data(error) | Fault::Ours(error) if verdict(error) == Verdict::Split)
    }

    /// Whether another transaction was in the way: a retry may succeed.
    pub(super) fn is_conflict(&self) -> bool {
        let (Fault::Data(error) | Fault::Ours(error) | Fault::Busy(error)) = self else { return false };
        let code = error.as_database_error().and_then(|error| error.code());
        matches!(code.as_deref(), Some("40001" | "40P01" | "55P03"))
    }

    /// The error as the engine sees it.
    pub fn into_sink_error(self, doing: &'static str) -> SinkError {
        match self {
            Fault::Data(error) | Fault::Ours(error) => failed(doing, error),
            Fault::Busy(error) => SinkError::Failed {
                doing,
                recovery: Recovery::Retry,
                pressure: Some(Pressure::Contention),
                source: error.into(),
            },
            Fault::Fence(error) => error,
            Fault::Again => SinkError::Failed {
                doing,
                recovery: Recovery::Retry,
                pressure: Some(Pressure::Contention),
                source: "the rows kept changing under the transaction".into(),
            },
        }
    }
}

/// A failed connection, with what the engine should do about it.
pub(super) fn unreachable(error: ConnectError) -> SinkError {
    let recovery = recovery(error.verdict());
    let pressure = error.load().map(pressure);
    SinkError::Failed { doing: "connect to PostgreSQL", recovery, pressure, source: error.into() }
}

/// An error of the database with what the engine should do about it.
pub(crate) fn failed(doing: &'static str, error: sqlx::Error) -> SinkError {
    let recovery = recovery(verdict(&error));
    SinkError::Failed { doing, recovery, pressure: load(&error).map(pressure), source: error.into() }
}

fn pressure(load: Load) -> Pressure {
    match load {
        Load::Overload => Pressure::Overload,
        Load::Contention => Pressure::Contention,
    }
}

fn recovery(verdict: Verdict) -> Recovery {
    match verdict {
        Verdict::SlowDown { .. } => Recovery::Retry,
        Verdict::Split => Recovery::Split,
        // In statements that carry no records, bad data is our fault.
        Verdict::Alarm | Verdict::RecordFault => Recovery::Alarm,
    }
}

/// Whether the connection must be closed.
pub(super) fn closes_connection(error: &SinkError) -> bool {
    match error {
        SinkError::Failed { source, .. } => match source.downcast_ref::<sqlx::Error>() {
            Some(error @ sqlx::Error::Database(_)) => {
                matches!(verdict(error), Verdict::SlowDown { reconnect: true } | Verdict::Alarm)
            }
            Some(_) => true,
            None => false,
        },
        SinkError::Fenced { .. }
        | SinkError::Moved { .. }
        | SinkError::Resumed { .. }
        | SinkError::MadeAnew { .. }
        | SinkError::Unbalanced(_) => false,
    }
}
