//! Facts as they are stored: read by key, and written as whole rows by whoever has the turn.

use std::collections::{BTreeMap, BTreeSet};

use millstream_postgres::Connection;
use millstream_schemas::tasks::{Fact, Key, Kind};

use super::log::Change;
use super::turn::Turn;
use crate::sinks::tables::error::Fault;

/// Reads the facts of these keys; those that are not stored are missing.
pub async fn read(
    connection: &mut Connection,
    keys: impl Iterator<Item = Key> + Send,
) -> Result<BTreeMap<Key, Fact>, Fault> {
    let mut by_kind: BTreeMap<Kind, BTreeSet<Vec<String>>> = BTreeMap::new();
    for key in keys {
        by_kind.entry(key.kind).or_default().insert(key.columns);
    }
    let mut facts = BTreeMap::new();
    for (kind, keys) in by_kind {
        let column = |at: usize| keys.iter().filter_map(|key| key.get(at).cloned()).collect::<Vec<String>>();
        let mut query = sqlx::query_scalar(select(kind)).bind(column(0)).bind(column(1));
        if kind == Kind::Health {
            query = query.bind(column(2).iter().filter_map(|port| port.parse::<i32>().ok()).collect::<Vec<_>>());
        }
        let rows: Vec<String> = query.fetch_all(&mut *connection).await.map_err(Fault::data)?;
        for row in rows {
            let fact = Fact::read(kind, &row).map_err(|error| Fault::Ours(sqlx::Error::Decode(error.into())))?;
            facts.insert(fact.key(), fact);
        }
    }
    Ok(facts)
}

/// Writes the rows of these changes.
pub async fn write(connection: &mut Connection, turn: &Turn, changes: &[Change]) -> Result<(), Fault> {
    for kind in Kind::ALL {
        let rows: Vec<Row<'_>> = (changes.iter().zip(turn.seq + 1..))
            .filter_map(|(change, seq)| Some((change.after.as_ref()?, seq)))
            .filter(|(fact, _)| fact.kind() == kind)
            .map(|(fact, seq)| Row { fact, seq, at: &turn.at })
            .collect();
        if rows.is_empty() {
            continue;
        }
        let rows = serde_json::to_string(&rows).map_err(|error| Fault::Ours(sqlx::Error::Encode(error.into())))?;
        sqlx::query(upsert(kind)).bind(rows).execute(&mut *connection).await.map_err(Fault::data)?;
    }
    Ok(())
}

#[derive(serde::Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    fact: &'a Fact,
    seq: i64,
    at: &'a str,
}

fn select(kind: Kind) -> &'static str {
    match kind {
        Kind::Task => include_str!("sql/task_select.sql"),
        Kind::Instance => include_str!("sql/instance_select.sql"),
        Kind::Slice => include_str!("sql/slice_select.sql"),
        Kind::Deploy => include_str!("sql/deploy_select.sql"),
        Kind::Health => include_str!("sql/health_select.sql"),
        Kind::Alias => include_str!("sql/alias_select.sql"),
    }
}

fn upsert(kind: Kind) -> &'static str {
    match kind {
        Kind::Task => include_str!("sql/task_upsert.sql"),
        Kind::Instance => include_str!("sql/instance_upsert.sql"),
        Kind::Slice => include_str!("sql/slice_upsert.sql"),
        Kind::Deploy => include_str!("sql/deploy_upsert.sql"),
        Kind::Health => include_str!("sql/health_upsert.sql"),
        Kind::Alias => include_str!("sql/alias_upsert.sql"),
    }
}
