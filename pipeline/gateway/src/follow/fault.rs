//! Why a connection to the routing tables is given up.

use millstream_postgres::ConnectError;

/// Why the database is asked anew on a new connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// It cannot be reached.
    #[error("connect to PostgreSQL")]
    Connect(#[from] ConnectError),
    /// A statement failed.
    #[error("read the routing tables")]
    Statement(#[from] sqlx::Error),
    /// It did not answer in time.
    #[error("PostgreSQL does not answer")]
    Silent(#[from] tokio::time::error::Elapsed),
    /// A row is not what this program knows.
    #[error("a row of the routing tables belongs to another version of the schema")]
    Row(#[from] serde_json::Error),
}

impl Fault {
    /// The error with its causes, in one line.
    pub(crate) fn told(&self) -> String {
        told(self)
    }
}

/// An error with its causes, in one line.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
