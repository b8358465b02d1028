//! A connection that may lead through a pooler.
//!
//! Behind PgBouncer in transaction mode the next transaction may meet another server connection. So no statement is
//! named there and no setting outlives its transaction. Every statement has to be sent inside a transaction, because
//! the driver prepares an unnamed statement in one exchange and runs it in the next.

use std::ops::{Deref, DerefMut};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Either, Execute, Executor, PgConnection, Postgres, SqlStr};

/// A connection that knows how to send its statements.
#[derive(Debug)]
pub struct Connection {
    inner: PgConnection,
    /// Whether statements have names, under which the server caches their plans.
    named: bool,
    set_local: String,
}

impl Connection {
    /// A connection through a pooler; every transaction begins with `set_local`.
    pub(crate) fn pooled(inner: PgConnection, set_local: String) -> Connection {
        Connection { inner, named: false, set_local }
    }

    /// Closes the connection.
    ///
    /// # Errors
    /// The connection failed; it is closed all the same.
    pub async fn close(self) -> Result<(), sqlx::Error> {
        use sqlx::Connection as _;
        self.inner.close().await
    }

    /// Whether every statement must be inside a transaction.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        !self.named
    }

    /// Statements that each transaction must begin with; empty where a session keeps its settings.
    #[must_use]
    pub fn set_local(&self) -> &str {
        &self.set_local
    }
}

/// A direct connection.
impl From<PgConnection> for Connection {
    fn from(inner: PgConnection) -> Connection {
        Connection { inner, named: true, set_local: String::new() }
    }
}

impl From<Connection> for PgConnection {
    fn from(connection: Connection) -> PgConnection {
        connection.inner
    }
}

/// Access for COPY, which has no statement to name.
impl Deref for Connection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.inner
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.inner
    }
}

impl<'c> Executor<'c> for &'c mut Connection {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        self.inner.fetch_many(Sent { query, named: self.named })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        self.inner.fetch_optional(Sent { query, named: self.named })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        self.inner.prepare_with(sql, parameters)
    }
}

/// A statement, unnamed behind a pooler. An empty statement cache alone does not do that: the driver then gives each
/// statement a name that it uses once, and the next client of the same server connection uses the same name.
struct Sent<E> {
    query: E,
    named: bool,
}

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for Sent<E> {
    fn sql(self) -> SqlStr {
        self.query.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.query.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        self.query.take_arguments()
    }

    fn persistent(&self) -> bool {
        self.named && self.query.persistent()
    }
}
