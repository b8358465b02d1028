//! Changes that people ask for: an alias is set, deleted or rolled back, a revision is deployed or retired.
//!
//! Each is one transaction with the turn: it reads the row, compares its generation with the expected one, writes the
//! next generation, and logs it as a change by an event is logged. The same request again, recognised by its id, gets
//! the first answer: a client that lost the answer can repeat it.

use millstream_postgres::Connection;
use millstream_schemas::tasks::{Alias, Deploy, Fact, Key, Kind};

use super::log::{self, Change};
use super::stored;
use super::turn::Turn;
use crate::sinks::tables::error::Fault;
use crate::sinks::tables::session::{begin, commit, rollback};

/// The generation that a request expects to replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// There is none yet, or it is deleted.
    None,
    /// This one.
    Generation(i64),
    /// Whatever is there: for commands that have just shown it.
    Any,
}

/// A change that is asked for.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Sets an alias; its generation is given by the change.
    Alias(Alias),
    /// Deletes an alias; the row stays for its generation.
    DeleteAlias {
        /// The service.
        service: String,
        /// The alias.
        alias: String,
    },
    /// Sets an alias to what it was before its newest generation.
    Rollback {
        /// The service.
        service: String,
        /// The alias.
        alias: String,
    },
    /// Sets a revision; its generation is given by the change.
    Deploy(Deploy),
    /// Retires a revision.
    Retire {
        /// The service.
        service: String,
        /// The revision.
        revision: String,
    },
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edited {
    /// The row is this one now.
    Done {
        /// The row.
        fact: Fact,
        /// The number of the change in the log.
        seq: i64,
    },
    /// The same request has made this row before.
    Same {
        /// The row.
        fact: Fact,
    },
    /// The row has another generation than expected; `None` if there is none.
    Conflict(Option<Fact>),
    /// Revisions that no deploy tells of.
    UnknownRevisions(Vec<String>),
    /// There is no such row.
    Missing,
}

/// How a change is made.
#[derive(Clone, Debug)]
pub struct How {
    /// The generation to replace.
    pub expected: Expected,
    /// Identifies the request.
    pub change_id: Option<String>,
    /// Whether targets may name revisions that are not deployed yet.
    pub allow_pending: bool,
    /// Does everything but commit.
    pub dry_run: bool,
}

/// Makes a change, in a transaction of its own; `set_local` sets its timeouts.
///
/// # Errors
/// The database failed, or the turn was not free in time: nothing was changed, unless the answer to COMMIT was lost.
pub async fn edit(connection: &mut Connection, edit: Edit, how: &How, set_local: &str) -> Result<Edited, Fault> {
    begin(connection, "", set_local).await.map_err(Fault::ours)?;
    let edited = within(connection, edit, how).await;
    if matches!(edited, Ok(Edited::Done { .. })) && !how.dry_run {
        commit(connection).await.map_err(Fault::ours)?;
    } else {
        rollback(connection).await.map_err(Fault::ours)?;
    }
    edited
}

async fn within(connection: &mut Connection, edit: Edit, how: &How) -> Result<Edited, Fault> {
    let turn = Turn::take(connection).await?;
    let key = key(&edit);
    let stored = stored::read(connection, std::iter::once(key.clone())).await?.remove(&key);
    if let Some(fact) = made_before(connection, &key, how).await? {
        return Ok(Edited::Same { fact });
    }
    let generation = generation(stored.as_ref());
    let is_expected = match how.expected {
        Expected::Any => true,
        Expected::None => !stored.as_ref().is_some_and(is_there),
        Expected::Generation(expected) => stored.is_some() && generation == expected,
    };
    if !is_expected {
        return Ok(Edited::Conflict(stored));
    }
    let Some(mut after) = next(connection, edit, stored.as_ref()).await? else { return Ok(Edited::Missing) };
    if let Fact::Alias(alias) = &after
        && !how.allow_pending
        && !alias.deleted
    {
        let unknown = unknown_revisions(connection, alias).await?;
        if !unknown.is_empty() {
            return Ok(Edited::UnknownRevisions(unknown));
        }
    }
    // An event may have told the largest number there is.
    let Some(next_generation) = generation.checked_add(1) else { return Ok(Edited::Conflict(stored)) };
    set_generation(&mut after, next_generation, how.change_id.clone());
    let changes = [Change::to(stored.as_ref(), after.clone())];
    stored::write(connection, &turn, &changes).await?;
    if let Fact::Alias(alias) = &after {
        remember(connection, &turn, alias, after.to_json()).await?;
    }
    if let (Fact::Deploy(deploy), Some(change_id)) = (&after, &how.change_id) {
        sqlx::query(include_str!("sql/deploy_change_insert.sql"))
            .bind(&deploy.service)
            .bind(&deploy.revision)
            .bind(change_id)
            .bind(after.to_json())
            .bind(&turn.at)
            .execute(&mut *connection)
            .await
            .map_err(Fault::ours)?;
    }
    log::write(connection, &turn, &changes).await?;
    Ok(Edited::Done { fact: after, seq: turn.seq + 1 })
}

/// What this request made before, whatever came after it.
async fn made_before(connection: &mut Connection, key: &Key, how: &How) -> Result<Option<Fact>, Fault> {
    let Some(change_id) = &how.change_id else { return Ok(None) };
    let same = match key.kind {
        Kind::Deploy => include_str!("sql/deploy_same.sql"),
        _ => include_str!("sql/history_same.sql"),
    };
    let row: Option<String> = sqlx::query_scalar(same)
        .bind(key.columns.first())
        .bind(key.columns.get(1))
        .bind(change_id)
        .fetch_optional(connection)
        .await
        .map_err(Fault::ours)?;
    let read = |row: String| Fact::read(key.kind, &row);
    row.map(read).transpose().map_err(|error| Fault::Ours(sqlx::Error::Decode(error.into())))
}

fn key(edit: &Edit) -> Key {
    let (kind, service, name) = match edit {
        Edit::Alias(alias) => (Kind::Alias, &alias.service, &alias.alias),
        Edit::DeleteAlias { service, alias } | Edit::Rollback { service, alias } => (Kind::Alias, service, alias),
        Edit::Deploy(deploy) => (Kind::Deploy, &deploy.service, &deploy.revision),
        Edit::Retire { service, revision } => (Kind::Deploy, service, revision),
    };
    Key { kind, columns: vec![service.clone(), name.clone()] }
}

fn generation(fact: Option<&Fact>) -> i64 {
    match fact {
        Some(Fact::Alias(alias)) => alias.generation,
        Some(Fact::Deploy(deploy)) => deploy.generation,
        _ => 0,
    }
}

/// Whether a row stands for something that exists, and not only for its generation.
fn is_there(fact: &Fact) -> bool {
    match fact {
        Fact::Alias(alias) => !alias.deleted,
        Fact::Deploy(deploy) => !deploy.retired,
        _ => true,
    }
}

fn set_generation(fact: &mut Fact, generation: i64, change_id: Option<String>) {
    match fact {
        Fact::Alias(alias) => {
            alias.generation = generation;
            alias.change_id = change_id;
        }
        Fact::Deploy(deploy) => deploy.generation = generation,
        _ => {}
    }
}

/// The row after the change, but for its generation; `None` if there is nothing to change.
async fn next(connection: &mut Connection, edit: Edit, stored: Option<&Fact>) -> Result<Option<Fact>, Fault> {
    Ok(match (edit, stored) {
        (Edit::Alias(alias), _) => Some(Fact::Alias(Box::new(Alias { deleted: false, ..alias }))),
        (Edit::DeleteAlias { .. }, Some(Fact::Alias(alias))) if !alias.deleted => {
            Some(Fact::Alias(Box::new(Alias { deleted: true, ..Alias::clone(alias) })))
        }
        (Edit::Rollback { service, alias }, Some(Fact::Alias(newest))) => {
            let row: Option<String> = sqlx::query_scalar(include_str!("sql/history_select.sql"))
                .bind(service)
                .bind(alias)
                .bind(newest.generation)
                .fetch_optional(connection)
                .await
                .map_err(Fault::ours)?;
            let read = |row: String| Fact::read(Kind::Alias, &row);
            row.map(read).transpose().map_err(|error| Fault::Ours(sqlx::Error::Decode(error.into())))?
        }
        (Edit::Deploy(deploy), _) => Some(Fact::Deploy(Box::new(Deploy { retired: false, ..deploy }))),
        (Edit::Retire { .. }, Some(Fact::Deploy(deploy))) if !deploy.retired => {
            Some(Fact::Deploy(Box::new(Deploy { retired: true, ..Deploy::clone(deploy) })))
        }
        (Edit::DeleteAlias { .. } | Edit::Rollback { .. } | Edit::Retire { .. }, _) => None,
    })
}

/// Targets that no deploy tells of. Revisions of pods have no deploy: these need `allow_pending`.
async fn unknown_revisions(connection: &mut Connection, alias: &Alias) -> Result<Vec<String>, Fault> {
    let key = |revision: &str| Key { kind: Kind::Deploy, columns: vec![alias.service.clone(), revision.to_owned()] };
    let revisions = alias.targets.iter().map(|target| key(&target.revision));
    let known = stored::read(connection, revisions).await?;
    let is_unknown = |revision: &&String| !known.contains_key(&key(revision));
    Ok(alias.targets.iter().map(|target| &target.revision).filter(is_unknown).cloned().collect())
}

/// Ends the range of the former generation, and begins that of this one.
async fn remember(connection: &mut Connection, turn: &Turn, alias: &Alias, row: String) -> Result<(), Fault> {
    sqlx::query(include_str!("sql/history_end.sql"))
        .bind(&alias.service)
        .bind(&alias.alias)
        .bind(&turn.at)
        .execute(&mut *connection)
        .await
        .map_err(Fault::ours)?;
    sqlx::query(include_str!("sql/history_insert.sql"))
        .bind(&alias.service)
        .bind(&alias.alias)
        .bind(alias.generation)
        .bind(row)
        .bind(&turn.at)
        .execute(connection)
        .await
        .map(drop)
        .map_err(Fault::ours)
}
