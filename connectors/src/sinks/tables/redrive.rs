//! Rewrites quarantined records, by the same path and the same rules as records of the stream.
//!
//! One transaction writes a record's events with their counters and removes its rows from quarantine: an event is in
//! the tables or in quarantine, never in both and never in neither. Events of the record that were written before have
//! no further effect, because only newer events change rows and counters. On a crash nothing is half done.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use millstream_engine::{Decode, Outcome, Position, Record, SinkError};
use millstream_postgres::Connection;
use millstream_schemas::STORE_HEADER;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::columns::{Events as _, Refused};
use super::error::{Fault, failed};
use super::rows::{Applied, Care, Include, Rows};
use super::session::{begin, commit, enter, leave, rollback};

/// Attempts for one set of records while other writers change the same keys.
const ATTEMPTS_MAX: u32 = 10;

/// Rewrites quarantined records.
#[derive(Debug)]
pub struct Redrive<R, D> {
    rows: R,
    decoder: D,
    dry_run: bool,
    set_local: String,
}

/// What became of quarantined rows.
#[derive(Debug, Default)]
pub struct Redriven {
    /// Requested rows that existed and were handled, whatever the result.
    pub rows: u64,
    /// Rows removed, without those that other rows replaced.
    pub removed: u64,
    /// The outcome of the events of their records.
    pub outcome: Outcome,
    /// Rows that stay, and those that replace others.
    pub kept: Vec<Kept>,
}

/// A row that stays in quarantine, or replaces another one there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number; in a dry run that of the existing row.
    pub id: i64,
    /// If the row is new, the row of its record that it replaces: a record that was kept or refused as a whole may
    /// now be refused event by event, and the other way round.
    pub was: Option<i64>,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub detail: String,
}

/// The rows that are locked, as records.
#[derive(Debug, Default)]
struct Locked {
    records: Vec<Record>,
    /// Number of the record, index of the event, number of the row.
    rows: Vec<(u32, i32, i64)>,
}

/// What becomes of the rows of records, given the events that are refused now.
#[derive(Debug, Default)]
struct Refusals {
    kept: Vec<Kept>,
    /// Rows to remove.
    gone: Vec<i64>,
    /// The number of those that others replace.
    replaced: u64,
}

/// What rewrites quarantined records, whatever their rows are.
#[async_trait]
pub trait Rewriter: Send {
    /// Rewrites the records that these rows belong to. The connection must not be in a transaction.
    ///
    /// # Errors
    /// The database failed. A record that it blames is no error, but stays in quarantine.
    async fn run(&mut self, connection: &mut Connection, ids: &[i64]) -> Result<Redriven, SinkError>;
}

#[async_trait]
impl<R: Rows, D: Decode<Columns = R::Columns>> Rewriter for Redrive<R, D> {
    async fn run(&mut self, connection: &mut Connection, ids: &[i64]) -> Result<Redriven, SinkError> {
        if !self.dry_run {
            let ready = self.rows.before(connection).await;
            if ready.is_err() {
                self.undo(connection).await?;
            }
            ready?;
        }
        let mut redriven = Redriven::default();
        // Refused rows are halved until the bad record is found.
        let mut open: Vec<Vec<i64>> = vec![ids.to_vec()];
        while let Some(ids) = open.pop() {
            let mut attempts = 0;
            let fault = loop {
                attempts += 1;
                let done = self.transaction(connection, &ids).await;
                match done {
                    Ok((done, true)) => {
                        redriven.add(done);
                        break None;
                    }
                    Ok((_, false)) => break None,
                    Err(fault) => {
                        self.undo(connection).await?;
                        let again = matches!(fault, Fault::Again) || fault.is_conflict();
                        if !again || attempts >= ATTEMPTS_MAX {
                            break Some(fault);
                        }
                    }
                }
            };
            match fault {
                None => {}
                Some(fault) if !fault.blames_record() => return Err(fault.into_sink_error("write quarantined records")),
                Some(_) if ids.len() > 1 => {
                    let (left, right) = ids.split_at(ids.len() / 2);
                    open.extend([right.to_vec(), left.to_vec()]);
                }
                Some(fault) => {
                    let kept = refused_by_database(&ids, &fault);
                    if !self.dry_run {
                        note(connection, &kept, &fault).await?;
                    }
                    redriven.rows += kept.len() as u64;
                    redriven.outcome.quarantined += kept.len() as u64;
                    redriven.kept.extend(kept);
                }
            }
        }
        Ok(redriven)
    }
}

impl<R: Rows, D: Decode<Columns = R::Columns>> Redrive<R, D> {
    /// `set_local` sets the timeouts of a transaction. A dry run does everything but commit.
    pub fn new(rows: R, decoder: D, set_local: String, dry_run: bool) -> Self {
        Redrive { rows, decoder, dry_run, set_local }
    }

    /// One transaction. The flag is false if the rows no longer exist.
    async fn transaction(&mut self, connection: &mut Connection, ids: &[i64]) -> Result<(Redriven, bool), Fault> {
        begin(connection, self.rows.settings(), &self.set_local).await.map_err(Fault::ours)?;
        let locked = lock(connection, ids).await?;
        if locked.records.is_empty() {
            rollback(connection).await.map_err(Fault::ours)?;
            return Ok((Redriven::default(), false));
        }
        let columns = self.decoder.decode(&locked.records, &[]);
        self.rows.enter(connection, &columns).await?;
        let applied = self.rows.apply(connection, &columns, Include::All, Care::Locked).await?;
        let Applied { mut outcome, left } = applied;
        self.rows.finish(connection, left).await?;
        let settled = columns.settled();
        let Refusals { mut kept, gone, replaced } = keep_refused(connection, &locked, &settled.refused).await?;
        let deleted =
            sqlx::query(include_str!("sql/quarantine_delete.sql")).bind(&gone).execute(&mut *connection).await;
        let removed = deleted.map_err(Fault::ours)?.rows_affected().saturating_sub(replaced);
        let rows = locked.rows.iter().filter(|(_, _, id)| ids.contains(id)).count() as u64;
        for (reason, events) in &settled.filtered {
            outcome.filter(reason, *events);
        }
        outcome.quarantined = settled.refused_events();
        if self.dry_run {
            rollback(connection).await.map_err(Fault::ours)?;
            self.rows.rolled_back();
            // The new rows are rolled back with it.
            for kept in &mut kept {
                kept.id = kept.was.take().unwrap_or(kept.id);
            }
        } else {
            commit(connection).await.map_err(Fault::ours)?;
            self.rows.committed();
        }
        Ok((Redriven { rows, removed, outcome, kept }, true))
    }

    async fn undo(&mut self, connection: &mut Connection) -> Result<(), SinkError> {
        self.rows.rolled_back();
        rollback(connection).await.map_err(|error| failed("roll back", error))
    }
}

impl Redriven {
    /// Adds the result of another set of rows.
    pub fn add(&mut self, other: Redriven) {
        self.rows += other.rows;
        self.removed += other.removed;
        self.outcome.written += other.outcome.written;
        self.outcome.quarantined += other.outcome.quarantined;
        for (reason, events) in other.outcome.filtered {
            self.outcome.filter(reason, events);
        }
        self.kept.extend(other.kept);
    }
}

/// The rows of a record that the database refuses.
fn refused_by_database(ids: &[i64], fault: &Fault) -> Vec<Kept> {
    let detail = match fault {
        Fault::Data(sqlx::Error::Database(error)) => error.message().to_owned(),
        fault => format!("{fault:?}"),
    };
    let kept = |id: &i64| Kept { id: *id, was: None, reason: "refused_by_database".to_owned(), detail: detail.clone() };
    ids.iter().map(kept).collect()
}

/// Writes into the rows why they stay.
async fn note(connection: &mut Connection, kept: &[Kept], fault: &Fault) -> Result<(), SinkError> {
    let told = |error| failed("note why a record stays in quarantine", error);
    let sqlstate = match fault {
        Fault::Data(sqlx::Error::Database(error)) => error.code(),
        _ => None,
    };
    enter(connection).await.map_err(told)?;
    sqlx::query(include_str!("sql/quarantine_refused_update.sql"))
        .bind(kept.iter().map(|kept| kept.id).collect::<Vec<_>>())
        .bind(kept.iter().map(|kept| &*kept.reason).collect::<Vec<_>>())
        .bind(kept.iter().map(|kept| &*kept.detail).collect::<Vec<_>>())
        .bind(vec![sqlstate.as_deref(); kept.len()])
        .execute(&mut *connection)
        .await
        .map_err(told)?;
    leave(connection).await.map_err(told)
}

async fn lock(connection: &mut Connection, ids: &[i64]) -> Result<Locked, Fault> {
    let rows = sqlx::query(include_str!("sql/quarantine_records_lock.sql")).bind(ids).fetch_all(connection).await;
    let mut locked = Locked::default();
    let mut last: Option<[String; 4]> = None;
    for row in &rows.map_err(Fault::ours)? {
        read(row, &mut locked, &mut last).map_err(Fault::ours)?;
    }
    Ok(locked)
}

/// Adds a row to its record, which it shares with the rows beside it.
fn read(row: &PgRow, locked: &mut Locked, last: &mut Option<[String; 4]>) -> Result<(), sqlx::Error> {
    let name: [String; 4] = [row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?];
    if last.as_ref() != Some(&name) {
        let store: String = row.try_get(6)?;
        let headers: BTreeMap<String, String> = serde_json::from_str(row.try_get(8)?).unwrap_or_default();
        let mut headers: Vec<(Box<str>, bytes::Bytes)> =
            headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        // The share is not always what the record names: who it names may have been unknown when it came.
        if !headers.iter().any(|(name, _)| &**name == STORE_HEADER) {
            headers.push((STORE_HEADER.into(), store.into()));
        }
        let [_, _, _, position] = &name;
        let position = position.parse().unwrap_or_else(|never: std::convert::Infallible| match never {});
        locked.records.push(Record {
            position: Position::clone(&position),
            published_at_ms: row.try_get(10)?,
            key: row.try_get::<Vec<u8>, _>(7)?.into(),
            headers,
            payload: row.try_get::<Vec<u8>, _>(9)?.into(),
        });
        *last = Some(name);
    }
    let record = u32::try_from(locked.records.len().saturating_sub(1)).unwrap_or(u32::MAX);
    locked.rows.push((record, row.try_get(5)?, row.try_get(0)?));
    Ok(())
}

/// Events that are refused now keep or get a row of their own; returns which rows stay, and which go.
async fn keep_refused(connection: &mut Connection, locked: &Locked, refused: &[Refused]) -> Result<Refusals, Fault> {
    let row = |one: &Refused| {
        let of_record = locked.rows.iter().filter(|(record, _, _)| *record == one.record);
        let own = of_record.clone().find(|(_, index, _)| *index == one.index);
        (own.map(|(_, _, id)| *id), of_record.map(|(_, _, id)| *id).next())
    };
    let mut kept = Vec::new();
    let mut fresh = Vec::new();
    for one in refused {
        match row(one) {
            (Some(id), _) => kept.push(stays(id, None, one)),
            (None, Some(any)) => fresh.push((any, one)),
            (None, None) => {}
        }
    }
    let own: BTreeSet<i64> = kept.iter().map(|kept| kept.id).collect();
    let going = locked.rows.iter().filter(|(_, _, id)| !own.contains(id));
    let gone = going.clone().map(|(_, _, id)| *id).collect();
    // A row of the whole record stands for those of its events, and they for it.
    let is_replaced = |(record, index, _): &&(u32, i32, i64)| {
        fresh.iter().any(|(_, one)| one.record == *record && (*index < 0 || one.index < 0))
    };
    let replaced = going.filter(is_replaced).count() as u64;
    let numbers = insert(connection, &fresh).await?;
    if !kept.is_empty() {
        sqlx::query(include_str!("sql/quarantine_refused_update.sql"))
            .bind(kept.iter().map(|kept| kept.id).collect::<Vec<_>>())
            .bind(kept.iter().map(|kept| &*kept.reason).collect::<Vec<_>>())
            .bind(kept.iter().map(|kept| &*kept.detail).collect::<Vec<_>>())
            .bind(vec![None::<&str>; kept.len()])
            .execute(connection)
            .await
            .map_err(Fault::ours)?;
    }
    kept.extend(fresh.into_iter().map(|(any, one)| {
        // Without a number: another transaction has just quarantined the same event.
        let id = numbers.get(&(any, one.index)).copied().unwrap_or(any);
        stays(id, Some(any), one)
    }));
    Ok(Refusals { kept, gone, replaced })
}

fn stays(id: i64, was: Option<i64>, one: &Refused) -> Kept {
    Kept { id, was, reason: one.reason.to_owned(), detail: one.detail.replace('\0', "\\0") }
}

/// Inserts rows for refused events, each given a row of its record; returns their numbers by that row and the index.
async fn insert(connection: &mut Connection, fresh: &[(i64, &Refused)]) -> Result<BTreeMap<(i64, i32), i64>, Fault> {
    if fresh.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<(i64, i32, i64)> = sqlx::query_as(include_str!("sql/quarantine_refused_insert.sql"))
        .bind(fresh.iter().map(|(id, _)| *id).collect::<Vec<_>>())
        .bind(fresh.iter().map(|(_, one)| one.index).collect::<Vec<_>>())
        .bind(fresh.iter().map(|(_, one)| one.reason).collect::<Vec<_>>())
        .bind(fresh.iter().map(|(_, one)| one.detail.replace('\0', "\\0")).collect::<Vec<_>>())
        .fetch_all(connection)
        .await
        .map_err(Fault::ours)?;
    Ok(rows.into_iter().map(|(any, index, id)| ((any, index), id)).collect())
}
