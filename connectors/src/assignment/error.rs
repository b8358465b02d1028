//! Why the partitions could not be divided.

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
    /// It took too long.
    #[error("divide the partitions: no answer within {0:?}")]
    Late(Duration),
}
