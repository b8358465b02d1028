//! What the process itself asks the database: whether it answers, and what it holds.
//!
//! The probe has a connection of its own: the database must not look down when clients fill the pool, and the cause of
//! a failed connection must be the server's own word and not that of a pool that waited for it.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_postgres::{ConnectError, Connector};
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::query;
use crate::grants;

/// Timeout: load balancers ask every few seconds and give up after about one. The counters are a few rows per bucket.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);
/// Answers are shared for this long, so that many probes at a time ask the database once.
const FRESH: Duration = Duration::from_millis(500);
/// Interval of the check that the account still has its grants: a person who revokes or forgets one is told before the
/// next event fails. The check asks the catalogue for a few dozen privileges.
const GRANTS_EVERY: Duration = Duration::from_secs(5);

/// Objects, their known bytes, and how many have no known size.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Totals {
    /// Current objects.
    pub(super) objects: i64,
    /// Their known sizes.
    pub(super) bytes: Option<Box<RawValue>>,
    /// How many have none.
    pub(super) unknown_size: i64,
}

/// What the tables hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    /// Of all stores together.
    pub(super) all: Totals,
    /// Of the first 1,000 stores.
    pub(super) stores: BTreeMap<String, Totals>,
    /// What the account lacks to write, as the statement that gives it.
    pub(super) lacking: Option<String>,
}

/// What was counted, or why nothing was.
pub(super) type Answer = Result<Counted, Failure>;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// For people.
    pub(super) said: String,
    /// Whether the database answers, and refuses: the account may not ask, or the tables have changed.
    pub(super) is_refusal: bool,
}

impl Failure {
    fn of(error: &sqlx::Error, said: String) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        // A server that starts, stops or was told to end this answers in SQLSTATE class 57, and is away all the same.
        let is_refusal = code.is_some_and(|code| !code.starts_with("57"));
        Failure { said, is_refusal }
    }
}

/// A connection for these questions alone.
#[derive(Debug)]
pub(super) struct Probe {
    connector: Connector,
    /// The account for a server elsewhere; the private server needs no check.
    account: Option<String>,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    /// Absent during a query: a connection given up in the middle is not used again.
    connection: Option<PgConnection>,
    answered: Option<(Instant, Answer)>,
    /// The last check of the grants, and what was lacking.
    grants: Option<(Instant, Option<String>)>,
}

impl Probe {
    /// For a server elsewhere, or for the private one.
    pub(super) fn new(connector: &Connector, is_embedded: bool) -> Self {
        let account = connector.options().ok().filter(|_| !is_embedded);
        Probe {
            account: account.map(|account| account.get_username().to_owned()),
            connector: connector.clone().application_name("millstream probe"),
            last: Mutex::default(),
        }
    }

    /// Asks the database, or repeats its last answer if that is fresh. Takes at most [`TIMEOUT`], and as long again if
    /// another query is under way.
    pub(super) async fn ask(&self) -> Answer {
        let mut last = self.last.lock().await;
        if let Some((at, answer)) = &last.answered
            && at.elapsed() < FRESH
        {
            return answer.clone();
        }
        let connection = last.connection.take();
        let grants = last.grants.take();
        let asked = tokio::time::timeout(TIMEOUT, self.look(connection, grants)).await;
        let answer = match asked {
            Ok(Ok((counted, connection, grants))) => {
                last.connection = Some(connection);
                last.grants = grants;
                Ok(counted)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let said = format!("no answer within {} s", TIMEOUT.as_secs());
                Err(Failure { said, is_refusal: false })
            }
        };
        last.answered = Some((Instant::now(), answer.clone()));
        answer
    }

    /// Counts, and from time to time checks the grants.
    async fn look(
        &self,
        open: Option<PgConnection>,
        grants: Option<(Instant, Option<String>)>,
    ) -> Result<(Counted, PgConnection, Option<(Instant, Option<String>)>), Failure> {
        let (mut counted, mut connection) = self.count(open).await?;
        let Some(account) = &self.account else { return Ok((counted, connection, None)) };
        let grants = match grants {
            Some((at, None)) if at.elapsed() < GRANTS_EVERY => (at, None),
            _ => {
                let lacking = lacking(&mut connection, account).await;
                (Instant::now(), lacking.map_err(|error| Failure::of(&error, cause(&error)))?)
            }
        };
        counted.lacking.clone_from(&grants.1);
        Ok((counted, connection, Some(grants)))
    }

    async fn count(&self, open: Option<PgConnection>) -> Result<(Counted, PgConnection), Failure> {
        if let Some(mut open) = open {
            match count(&mut open).await {
                Ok(counted) => return Ok((counted, open)),
                Err(error) if error.as_database_error().is_some() => return Err(Failure::of(&error, cause(&error))),
                // The server has restarted since, as a rule: a new connection shows whether it is back.
                Err(error) => tracing::debug!(%error, "the probe's connection is gone"),
            }
        }
        let mut connection = self.connector.connect_direct().await.map_err(|error| refused(&error))?;
        let counted = count(&mut connection).await.map_err(|error| Failure::of(&error, cause(&error)))?;
        Ok((counted, connection))
    }
}

/// What the account lacks, as the first of the statements that give it.
async fn lacking(connection: &mut PgConnection, account: &str) -> Result<Option<String>, sqlx::Error> {
    // In a transaction, for the sake of poolers.
    let mut transaction = connection.begin_with("BEGIN READ ONLY").await?;
    let missing = grants::missing(&mut *transaction, None).await?;
    transaction.commit().await?;
    let more = missing.len().saturating_sub(1);
    let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
    Ok(missing.first().map(|grant| format!("{}{more}", grant.statement(account))))
}

async fn count(connection: &mut PgConnection) -> Result<Counted, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN READ ONLY").await?;
    // Our own number: SET takes no parameters.
    let set = format!("SET LOCAL statement_timeout = {}", TIMEOUT.as_millis());
    sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut *transaction).await?;
    let rows =
        sqlx::query(include_str!("sql/totals_select.sql")).persistent(false).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    let mut counted = Counted::default();
    for row in rows {
        let totals =
            Totals { objects: row.try_get(1)?, bytes: query::number(row.try_get(2)?), unknown_size: row.try_get(3)? };
        match row.try_get::<Option<String>, _>(0)? {
            Some(store) => drop(counted.stores.insert(store, totals)),
            None => counted.all = totals,
        }
    }
    Ok(counted)
}

/// The reason why there is no connection, without repetition.
fn refused(error: &ConnectError) -> Failure {
    match error {
        ConnectError::Refused { why, source } => Failure::of(source, format!("{why}: {}", cause(source))),
        other => Failure { said: other.to_string(), is_refusal: false },
    }
}

/// The error of the server or the network, without the driver's words around it.
pub(super) fn cause(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(said) => match said.code() {
            Some(code) => format!("{} ({code})", said.message()),
            None => said.message().to_owned(),
        },
        sqlx::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}
