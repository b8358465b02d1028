//! What the account of `postgres.url` needs: printed, given, or found missing, all from one list.

use millstream_postgres::{Connection, scram};
use millstream_schemas::grants::{Grant, WRITER, quoted};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _};

/// Creates the account if missing, and grants it what it lacks. The connection must be in a transaction.
///
/// # Errors
/// Database errors, for instance if the account of the connection may not do this.
pub(crate) async fn give(connection: &mut Connection, account: &PgConnectOptions) -> Result<(), sqlx::Error> {
    let role = account.get_username();
    // Fails only if the kernel gives no random bytes.
    let verifier = password(account).map(|password| scram::verifier(&password)).transpose()?;
    let create: Option<String> = sqlx::query_scalar(include_str!("sql/role_create.sql"))
        .bind(role)
        .bind(verifier)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(create) = create {
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *connection).await?;
        tracing::info!(role, "made the account that writes");
    }
    if missing(&mut *connection, Some(role)).await?.is_empty() {
        return Ok(());
    }
    let statements = statements(account).join("\n");
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await?;
    tracing::info!(role, "granted what it needs");
    Ok(())
}

/// What a role lacks; `None` means our own role.
///
/// # Errors
/// Database errors.
pub(crate) async fn missing(
    connection: impl sqlx::PgExecutor<'_>,
    role: Option<&str>,
) -> Result<Vec<&'static Grant>, sqlx::Error> {
    let wanted: Vec<(&'static Grant, &str)> =
        WRITER.iter().flat_map(|grant| grant.privileges.iter().map(move |privilege| (grant, *privilege))).collect();
    let lacking: Vec<i64> = sqlx::query_scalar(include_str!("sql/grants_missing.sql"))
        .bind(role)
        .bind(wanted.iter().map(|(grant, _)| grant.kind.word()).collect::<Vec<_>>())
        .bind(wanted.iter().map(|(grant, _)| grant.name).collect::<Vec<_>>())
        .bind(wanted.iter().map(|(_, privilege)| *privilege).collect::<Vec<_>>())
        .persistent(false)
        .fetch_all(connection)
        .await?;
    let mut missing: Vec<&'static Grant> = lacking
        .into_iter()
        .filter_map(|at| wanted.get(usize::try_from(at - 1).ok()?))
        .map(|(grant, _)| *grant)
        .collect();
    missing.dedup_by_key(|grant| grant.object());
    Ok(missing)
}

/// The statements that give an account what it needs.
pub(crate) fn statements(account: &PgConnectOptions) -> Vec<String> {
    let role = account.get_username();
    let database = account.get_database().unwrap_or(role);
    let connect = format!("GRANT CONNECT ON DATABASE {} TO {};", quoted(database), quoted(role));
    std::iter::once(connect).chain(WRITER.iter().map(|grant| grant.statement(role))).collect()
}

/// The same as a script that a person gives to an owner.
pub(crate) fn script(account: &PgConnectOptions) -> String {
    let role = account.get_username();
    format!(
        "-- What the account {0} needs. An owner of the tables runs this after `millstream migrate`.\n{1}\n\
         -- Not needed: with it, millstream sees the load that other sessions make.\n\
         -- GRANT pg_monitor TO {0};",
        quoted(role),
        statements(account).join("\n")
    )
}

/// The password of connect options, which reveal it only in their URL.
pub(crate) fn password(options: &PgConnectOptions) -> Option<String> {
    let url = options.to_url_lossy();
    let word = percent_encoding::percent_decode_str(url.password()?).decode_utf8_lossy().into_owned();
    (!word.is_empty()).then_some(word)
}
