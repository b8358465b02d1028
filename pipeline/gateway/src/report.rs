//! Writes what this gateway has applied, once a second: so others see that it lives, which generation it serves, and
//! whether a draining task has requests in flight here.
//!
//! The time of a row is the database's. A report that fails is made again a second later with all that is new by then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_postgres::{Connection, Connector};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::follow::Standing;
use crate::table::{Applier, Table};

/// How often it is written. A gateway that has written nothing for five seconds is not alive.
const EVERY: Duration = Duration::from_secs(1);
/// Most aliases of one report: the first one of a gateway with many has them all to tell.
const ALIASES_MAX: usize = 5_000;
/// The most time of a report.
const WITHIN: Duration = Duration::from_secs(10);

/// Who reports.
#[derive(Clone, Debug)]
pub struct Reporter {
    /// Its name among the gateways.
    pub id: String,
    /// Where it listens.
    pub address: String,
    /// Woken when a generation was applied, so that nobody waits for a second to see it.
    pub applied: Arc<tokio::sync::Notify>,
}

/// What is served of an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Served {
    service: Arc<str>,
    alias: Arc<str>,
    generation: i64,
    state: &'static str,
    reason: Option<String>,
    /// The generation that waits.
    #[serde(skip)]
    held: Option<i64>,
}

/// What was written last of each alias of a service: the generation, and the newer one that is held.
type Told = BTreeMap<(Arc<str>, Arc<str>), (i64, Option<i64>)>;

/// Reports until `stop`.
pub async fn report(
    reporter: Reporter,
    connector: Connector,
    applier: Arc<Mutex<Applier>>,
    table: Arc<Table>,
    standing: watch::Receiver<Standing>,
    stop: CancellationToken,
) {
    let mut connection = None;
    let mut told = Told::new();
    let mut history = (None, 0);
    loop {
        let standing = standing.borrow().clone();
        // What was never applied has nothing to tell.
        if standing.identity.is_some() && standing.away.is_none() {
            // What was written before is not there any more.
            let now = (standing.identity.clone(), standing.db_rewound);
            if std::mem::replace(&mut history, now.clone()) != now {
                told.clear();
            }
            let served = news(&applier, &told);
            let writing = write(&connector, &mut connection, &reporter, &standing, &table, &served);
            match tokio::time::timeout(WITHIN, writing).await {
                Ok(Ok(())) => {
                    told.extend(served.into_iter().map(|one| ((one.service, one.alias), (one.generation, one.held))));
                }
                failed => {
                    connection = None;
                    tracing::debug!(?failed, "what this gateway serves was not written");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = reporter.applied.notified() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Aliases that are served otherwise than was told.
fn news(applier: &Mutex<Applier>, told: &Told) -> Vec<Served> {
    let applier = applier.lock().unwrap_or_else(PoisonError::into_inner);
    let held: BTreeMap<(Arc<str>, Arc<str>), (i64, String)> = applier
        .held()
        .into_iter()
        .map(|held| {
            let reasons: Vec<String> = held.reasons.iter().map(ToString::to_string).collect();
            let reason = format!("generation {} waits: {}", held.newest, reasons.join("; "));
            ((held.service, held.alias), (held.newest, reason))
        })
        .collect();
    let mut news = Vec::new();
    for applied in applier.applied_aliases() {
        let key = (applied.service, applied.alias);
        let held = held.get(&key);
        let state = if held.is_some() { "held" } else { "applied" };
        let generation = applied.row.generation;
        let waits = held.map(|(newest, _)| *newest);
        if told.get(&key) == Some(&(generation, waits)) {
            continue;
        }
        let reason = held.map(|(_, reason)| reason.clone());
        news.push(Served { service: key.0, alias: key.1, generation, state, reason, held: waits });
        if news.len() == ALIASES_MAX {
            break;
        }
    }
    news
}

async fn write(
    connector: &Connector,
    connection: &mut Option<Connection>,
    reporter: &Reporter,
    standing: &Standing,
    table: &Table,
    served: &[Served],
) -> Result<(), crate::follow::Fault> {
    let open = match connection.take() {
        Some(open) => open,
        None => connector.connect().await?,
    };
    let open = connection.insert(open);
    let pooled = open.is_pooled();
    if pooled {
        sqlx::raw_sql("BEGIN").execute(&mut *open).await?;
    }
    let in_flight: BTreeMap<String, usize> =
        table.draining().into_iter().map(|(key, count)| (format!("{}/{}", key.source, key.id), count)).collect();
    sqlx::query(include_str!("report/sql/gateway_upsert.sql"))
        .bind(&reporter.id)
        .bind(standing.seq)
        .bind("following")
        .bind(serde_json::to_string(&in_flight)?)
        .bind(&reporter.address)
        .execute(&mut *open)
        .await?;
    if !served.is_empty() {
        sqlx::query(include_str!("report/sql/gateway_alias_insert.sql"))
            .bind(&reporter.id)
            .bind(serde_json::to_string(served)?)
            .execute(&mut *open)
            .await?;
    }
    if pooled {
        sqlx::raw_sql("COMMIT").execute(open).await?;
    }
    Ok(())
}
