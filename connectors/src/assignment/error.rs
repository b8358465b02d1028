//! Why partitions could not be assigned.

use std::time::Duration;

use millstream_postgres::ConnectError;

/// Why the database did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection.
    #[error("connect to PostgreSQL")]
    Connect(#[from] ConnectError),
    /// A statement failed.
    #[error("divide the partitions")]
    Database(#[from] sqlx::Error),
    /// The database did not answer in time.
    #[error("divide the partitions: no answer within {0:?}")]
    Late(Duration),
}
