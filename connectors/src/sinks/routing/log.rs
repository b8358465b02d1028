//! The log of changes: what a follower reads to stay in step with the facts.
//!
//! Each change has a number, without gaps; each transaction that changed something has one commit, with the number of
//! its last change and the digest of all facts after it, and wakes those who listen once.

use millstream_postgres::Connection;
use millstream_schemas::tasks::{Fact, Key};
use serde_json::json;
use serde_json::value::RawValue;

use super::turn::Turn;
use crate::sinks::tables::error::Fault;

/// A changed fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The digest of the fact before; 0 if there was none.
    pub before: u64,
    /// Which fact.
    pub key: Key,
    /// The fact after the change; `None` if it is removed.
    pub after: Option<Fact>,
}

impl Change {
    /// The change from a stored fact, if there was one, to another of the same key.
    pub fn to(before: Option<&Fact>, after: Fact) -> Change {
        Change { before: before.map_or(0, Fact::digest), key: after.key(), after: Some(after) }
    }

    /// The removal of a stored fact.
    pub fn removal(before: &Fact) -> Change {
        Change { before: before.digest(), key: before.key(), after: None }
    }
}

/// Writes the changes of a transaction behind their rows; nothing if there are none.
pub async fn write(connection: &mut Connection, turn: &Turn, changes: &[Change]) -> Result<(), Fault> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut digest = turn.digest;
    let mut seq = turn.seq;
    let mut entries = Vec::with_capacity(changes.len());
    for change in changes {
        seq += 1;
        digest ^= change.before ^ change.after.as_ref().map_or(0, Fact::digest);
        let Key { kind, columns } = &change.key;
        let after = change.after.as_ref().map(|after| RawValue::from_string(after.to_json())).transpose();
        let after = after.map_err(|error| Fault::Ours(sqlx::Error::Encode(error.into())))?;
        entries.push(json!({ "seq": seq, "kind": kind, "key": columns, "after": after }));
    }
    let entries = serde_json::Value::from(entries).to_string();
    sqlx::query(include_str!("sql/log_insert.sql"))
        .bind(entries)
        .execute(&mut *connection)
        .await
        .map_err(Fault::ours)?;
    sqlx::query(include_str!("sql/commit_insert.sql"))
        .bind(seq)
        .bind(digest.cast_signed())
        .bind(&turn.at)
        .execute(&mut *connection)
        .await
        .map_err(Fault::ours)?;
    sqlx::query(include_str!("sql/notify.sql")).execute(connection).await.map(drop).map_err(Fault::ours)
}
