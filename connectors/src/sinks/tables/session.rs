//! Begins and ends transactions.

use millstream_postgres::Connection;
use sqlx::AssertSqlSafe;

/// Begins a transaction with our settings, then those of the domain, then those that the configuration adds.
pub(crate) async fn begin(connection: &mut Connection, settings: &str, set_local: &str) -> Result<(), sqlx::Error> {
    let begin = include_str!("sql/transaction_begin.sql");
    begin_with(connection, &format!("{begin}\n{settings}\n{set_local}")).await
}

/// Call it before a statement that is committed by itself. Behind a pooler every statement needs a transaction;
/// elsewhere that would add two answers to wait for, and to lose.
pub(crate) async fn enter(connection: &mut Connection) -> Result<(), sqlx::Error> {
    if !connection.is_pooled() {
        return Ok(());
    }
    let begin = format!("BEGIN;\n{}", connection.set_local());
    begin_with(connection, &begin).await
}

/// Call it after it failed: behind a pooler its transaction accepts no other statement.
pub(crate) async fn give_up(connection: &mut Connection) -> Result<(), sqlx::Error> {
    if connection.is_pooled() { rollback(connection).await } else { Ok(()) }
}

/// Call it after such a statement.
pub(crate) async fn leave(connection: &mut Connection) -> Result<(), sqlx::Error> {
    if connection.is_pooled() { commit(connection).await } else { Ok(()) }
}

async fn begin_with(connection: &mut Connection, statements: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(connection).await.map(drop)
}

pub(crate) async fn commit(connection: &mut Connection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("COMMIT").execute(connection).await.map(drop)
}

pub(crate) async fn rollback(connection: &mut Connection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("ROLLBACK").execute(connection).await.map(drop)
}
