//! Writes what this gateway has applied, once a second: so others see that it lives, which generation it serves, and
//! whether a draining task has requests in flight here.
//!
//! The time of a row is the database's. A report that fails is made again a second later with all that is new by then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_postgres::{Connection, Connector};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::follow::Standing;
use crate::table::{AliasStanding, Applier, Table};

/// How often it is written. A gateway that has written nothing for five seconds is not alive.
const EVERY: Duration = Duration::from_secs(1);
/// Most aliases of one report: the first one of a gateway with many has them all to tell.
const ALIASES_MAX: usize = 5_000;
/// The generation of an alias of which nothing is served.
const NOTHING: i64 = 0;
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
    // Services of which something may have to be told.
    let mut due = BTreeSet::new();
    loop {
        let standing = standing.borrow().clone();
        // What was never applied has nothing to tell.
        if standing.identity.is_some() && standing.away.is_none() {
            // What was written before is not there any more.
            let now = (standing.identity.clone(), standing.db_rewound);
            let is_new = std::mem::replace(&mut history, now.clone()) != now;
            let served = {
                let mut applier = applier.lock().unwrap_or_else(PoisonError::into_inner);
                due.extend(applier.take_changed());
                if is_new {
                    told.clear();
                    due.extend(applier.services_with_aliases());
                }
                news(&applier, &due, &told)
            };
            let writing = write(&connector, &mut connection, &reporter, &standing, &table, &served);
            match tokio::time::timeout(WITHIN, writing).await {
                Ok(Ok(())) => {
                    if served.len() < ALIASES_MAX {
                        due.clear();
                    }
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

/// Aliases of these services that are served otherwise than was told.
fn news(applier: &Applier, services: &BTreeSet<Arc<str>>, told: &Told) -> Vec<Served> {
    let mut news = Vec::new();
    for service in services {
        for AliasStanding { alias, serving, held } in applier.standing_of(service) {
            let generation = serving.unwrap_or(NOTHING);
            let waits = held.as_ref().map(|(newest, _)| *newest);
            let key = (Arc::clone(service), alias);
            // What was never served and does not wait either has been told of nowhere.
            if told.get(&key) == Some(&(generation, waits)) || serving.is_none() && held.is_none() {
                continue;
            }
            let reason = held.map(|(newest, reasons)| {
                let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
                format!("generation {newest} waits: {}", reasons.join("; "))
            });
            let state = if waits.is_some() { "held" } else { "applied" };
            news.push(Served { service: key.0, alias: key.1, generation, state, reason, held: waits });
            if news.len() == ALIASES_MAX {
                return news;
            }
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
        table.draining().iter().map(|(key, count)| (format!("{}/{}", key.source, key.id), *count)).collect();
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

#[cfg(test)]
mod tests {
    use millstream_schemas::tasks::{Alias, Fact, Target};
    use tokio::time::Instant;

    use super::*;
    use crate::Dialable;
    use crate::table::{Change, Options};

    fn put(applier: &mut Applier, service: &str, generation: i64) {
        let targets = vec![Target { revision: "blue".into(), weight: 1 }];
        let alias = Alias { service: service.into(), alias: "prod".into(), generation, targets, ..Alias::default() };
        applier.apply(vec![Change::Put(Fact::Alias(Box::new(alias)))], Instant::now());
    }

    #[test]
    fn an_alias_of_which_nothing_is_served_is_told_as_held_and_told_once() {
        let mut applier = Applier::new(Arc::default(), Arc::new(Dialable::default()), Options::default());
        put(&mut applier, "digits", 3);
        let due = applier.take_changed();
        assert_eq!(due.iter().map(|name| &**name).collect::<Vec<_>>(), ["digits"]);
        let mut told = Told::new();
        let news = news(&applier, &due, &told);
        let [held] = &news[..] else { panic!("{news:?}") };
        assert_eq!((held.generation, held.state, held.held), (NOTHING, "held", Some(3)));
        assert!(held.reason.as_deref().unwrap().starts_with("generation 3 waits: "), "{held:?}");
        told.insert((Arc::clone(&held.service), Arc::clone(&held.alias)), (held.generation, held.held));
        assert!(super::news(&applier, &due, &told).is_empty());
        // Only what has changed since is looked at.
        put(&mut applier, "words", 1);
        applier.tick(Instant::now());
        assert_eq!(applier.take_changed().iter().map(|name| &**name).collect::<Vec<_>>(), ["words"]);
        assert!(applier.take_changed().is_empty());
    }
}
