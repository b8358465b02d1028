//! Leases and positions: the fence that a writer passes inside each transaction.

use std::collections::{BTreeMap, BTreeSet};

use millstream_engine::{Gap, Held, Partition, Position, Range, Recovery, SinkError};
use millstream_postgres::Connection;
use rand::Rng as _;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::Options;
use super::error::{Fault, failed};
use super::session::{enter, give_up, leave};

/// The leases of one writer.
#[derive(Debug, Default)]
pub(super) struct Leases {
    token: String,
    /// The partitions of the last call of `acquire`.
    held: Vec<Partition>,
    /// Partitions without a stored position when they were leased, and without a commit since.
    unread: BTreeSet<Partition>,
}

/// The state of a batch by its lease rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fence {
    /// The batch is next.
    Open,
    /// The batch is committed already: only the answer was lost.
    Passed,
}

/// A random UUID (version 4, RFC 9562) as text.
pub(crate) fn random_uuid() -> String {
    let bits = (rand::rng().random::<u128>() & !(0xf000 << 64) & !(0b11 << 62)) | (0x4000 << 64) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default().to_owned();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

impl Leases {
    /// Takes leases with a new token: from this commit on, their former writer is fenced. If a session keeps them
    /// locked for longer than `lease_lock_max`, it is ended, and the next call finds them free.
    pub(super) async fn acquire(
        &mut self,
        connection: &mut Connection,
        options: &Options,
        partitions: &[Partition],
    ) -> Result<Vec<Held>, SinkError> {
        let names: Vec<&str> = partitions.iter().map(Partition::as_str).collect();
        enter(connection).await.map_err(|error| failed("take leases", error))?;
        refuse_changed_incarnation(connection, options, &names).await?;
        let token = random_uuid();
        let rows = match take(connection, options, &names, &token).await {
            Ok(rows) => rows,
            Err(error) => {
                if error.recovery() == Recovery::Split {
                    give_up(connection).await.map_err(|error| failed("take leases", error))?;
                    enter(connection).await.map_err(|error| failed("take leases", error))?;
                    end_holders(connection, options, &names).await?;
                    leave(connection).await.map_err(|error| failed("take leases", error))?;
                }
                return Err(error);
            }
        };
        leave(connection).await.map_err(|error| failed("take leases", error))?;
        let held: Result<Vec<Held>, sqlx::Error> = rows
            .iter()
            .map(|row| {
                let next: Option<String> = row.try_get(1)?;
                let partition = Partition::new(row.try_get::<String, _>(0)?);
                Ok(Held { partition, next: next.map(position), era: row.try_get(2)?, halted: row.try_get(3)? })
            })
            .collect();
        let held = held.map_err(|error| failed("read leases", error))?;
        self.unread = held.iter().filter(|held| held.next.is_none()).map(|held| held.partition.clone()).collect();
        self.held = partitions.to_vec();
        self.token = token;
        Ok(held)
    }

    /// Puts a gap on record and moves the position of its partition, in one statement.
    pub(super) async fn go_on(
        &mut self,
        connection: &mut Connection,
        options: &Options,
        gap: &Gap,
        to: &Position,
        era: Option<i64>,
    ) -> Result<(), SinkError> {
        enter(connection).await.map_err(not_gone_on)?;
        let moved: i64 = sqlx::query_scalar(include_str!("sql/lease_go_on.sql"))
            .bind(&options.pipeline)
            .bind(&options.incarnation)
            .bind(gap.partition.as_str())
            .bind(gap.from.to_string())
            .bind(gap.to.to_string())
            .bind(&gap.reason)
            .bind(to.to_string())
            .bind(era)
            .bind(&self.token)
            .bind(options.lease_lock_max.as_millis().to_string())
            .fetch_one(&mut *connection)
            .await
            .map_err(not_gone_on)?;
        leave(connection).await.map_err(not_gone_on)?;
        if moved == 0 {
            return Err(SinkError::Fenced { partition: gap.partition.clone() });
        }
        // From now on it has a stored position; if that is missing later, the database was restored.
        self.unread.remove(&gap.partition);
        Ok(())
    }

    /// Fails if another writer has taken one of the leases since. Locks nothing.
    pub(super) async fn confirm(&self, connection: &mut Connection, options: &Options) -> Result<(), SinkError> {
        let failing = |error| failed("look at the leases", error);
        enter(connection).await.map_err(failing)?;
        let ours: Vec<String> = sqlx::query_scalar(include_str!("sql/lease_tokens_select.sql"))
            .bind(&options.pipeline)
            .bind(&options.incarnation)
            .bind(self.held.iter().map(Partition::as_str).collect::<Vec<_>>())
            .bind(&self.token)
            .fetch_all(&mut *connection)
            .await
            .map_err(failing)?;
        leave(connection).await.map_err(failing)?;
        match self.held.iter().find(|partition| !ours.iter().any(|name| name == partition.as_str())) {
            Some(partition) => Err(SinkError::Fenced { partition: partition.clone() }),
            None => Ok(()),
        }
    }

    /// Locks the lease rows of a batch and checks that it may be written.
    pub(super) async fn check(
        &self,
        connection: &mut Connection,
        options: &Options,
        ranges: &[Range],
    ) -> Result<Fence, Fault> {
        let names: Vec<&str> = ranges.iter().map(|range| range.partition.as_str()).collect();
        let rows = sqlx::query(include_str!("sql/lease_lock.sql"))
            .bind(&options.pipeline)
            .bind(&options.incarnation)
            .bind(&names)
            .fetch_all(connection)
            .await
            .map_err(Fault::ours)?;
        let mut stored = BTreeMap::new();
        for row in &rows {
            let read = || {
                Ok::<_, sqlx::Error>((
                    row.try_get::<String, _>(0)?,
                    row.try_get::<String, _>(1)?,
                    row.try_get::<Option<String>, _>(2)?,
                ))
            };
            let (partition, token, next) = read().map_err(Fault::ours)?;
            if token == self.token {
                stored.insert(Partition::new(partition), next.map(position));
            }
        }
        judge(ranges, &stored, &self.unread)
    }

    /// From now on these partitions have a stored position; if one is missing later, the database was restored.
    pub(super) fn committed(&mut self, ranges: &[Range]) {
        for range in ranges {
            self.unread.remove(&range.partition);
        }
    }

    /// Moves the stored positions past a batch.
    pub(super) async fn advance(
        &self,
        connection: &mut Connection,
        options: &Options,
        ranges: &[Range],
    ) -> Result<(), Fault> {
        sqlx::query(include_str!("sql/lease_advance.sql"))
            .bind(&options.pipeline)
            .bind(&options.incarnation)
            .bind(ranges.iter().map(|range| range.partition.as_str()).collect::<Vec<_>>())
            .bind(ranges.iter().map(|range| range.next.to_string()).collect::<Vec<_>>())
            .bind(ranges.iter().map(|range| range.era).collect::<Vec<_>>())
            .execute(connection)
            .await
            .map_err(Fault::ours)?;
        Ok(())
    }
}

/// Compares a batch's ranges with the positions stored under our token.
fn judge(
    ranges: &[Range],
    stored: &BTreeMap<Partition, Option<Position>>,
    unread: &BTreeSet<Partition>,
) -> Result<Fence, Fault> {
    let mut passed = 0;
    for range in ranges {
        let Some(next) = stored.get(&range.partition) else {
            return Err(Fault::Fence(SinkError::Fenced { partition: range.partition.clone() }));
        };
        // Never read before: any beginning is right, since the source chose the oldest record.
        match next {
            None if unread.contains(&range.partition) => {}
            Some(next) if *next == range.from => {}
            Some(next) if *next == range.next => passed += 1,
            _ => {
                let partition = range.partition.clone();
                return Err(Fault::Fence(SinkError::Moved { partition, stored: next.clone() }));
            }
        }
    }
    match passed {
        0 => Ok(Fence::Open),
        all if all == ranges.len() => Ok(Fence::Passed),
        // One transaction moves all of its ranges or none.
        _ => {
            let first = ranges.first().map(|range| range.partition.clone()).unwrap_or_else(|| Partition::new(""));
            let stored = stored.get(&first).cloned().flatten();
            Err(Fault::Fence(SinkError::Moved { partition: first, stored }))
        }
    }
}

/// Writes new tokens into the lease rows; waits up to `lease_lock_max` for a session that locks them.
async fn take(
    connection: &mut Connection,
    options: &Options,
    partitions: &[&str],
    token: &str,
) -> Result<Vec<PgRow>, SinkError> {
    let owner = format!("{}:{}", std::env::var("HOSTNAME").unwrap_or_default(), std::process::id());
    sqlx::query(include_str!("sql/lease_acquire.sql"))
        .bind(&options.pipeline)
        .bind(&options.incarnation)
        .bind(partitions)
        .bind(owner)
        .bind(token)
        .bind(options.lease_lock_max.as_millis().to_string())
        .fetch_all(connection)
        .await
        .map_err(|error| failed("take leases", error))
}

/// Ends the sessions that keep leases locked beyond the limit: their transactions are rolled back, and their owner is
/// fenced if it wakes up.
async fn end_holders(connection: &mut Connection, options: &Options, partitions: &[&str]) -> Result<(), SinkError> {
    let ended = async {
        let rows = sqlx::query(include_str!("sql/lease_holders_end.sql"))
            .bind(&options.pipeline)
            .bind(&options.incarnation)
            .bind(partitions)
            .bind(options.lease_lock_max.as_secs_f64())
            .fetch_all(&mut *connection)
            .await?;
        for row in rows {
            let pid: i32 = row.try_get(0)?;
            let state: Option<String> = row.try_get(1)?;
            let owner: String = row.try_get(2)?;
            let partitions: String = row.try_get(3)?;
            let seconds: i64 = row.try_get(4)?;
            let ended: bool = row.try_get(5)?;
            tracing::warn!(
                pid,
                state,
                owner,
                partitions,
                seconds,
                ended,
                "a session kept leases locked for too long: it is ended"
            );
        }
        Ok(())
    };
    ended.await.map_err(|error| failed("end the session that keeps leases locked", error))
}

/// A stream that was made anew has other records at the same positions: going on would silently lose or repeat some.
async fn refuse_changed_incarnation(
    connection: &mut Connection,
    options: &Options,
    partitions: &[&str],
) -> Result<(), SinkError> {
    let other = sqlx::query(include_str!("sql/lease_others_select.sql"))
        .bind(&options.pipeline)
        .bind(&options.incarnation)
        .bind(partitions)
        .fetch_all(&mut *connection)
        .await
        .map_err(|error| failed("read leases", error))?;
    let Some(first) = other.first() else { return Ok(()) };
    let incarnation: String = first.try_get(0).map_err(|error| failed("read leases", error))?;
    let mut gaps = Vec::with_capacity(other.len());
    for row in &other {
        let read = || Ok::<_, sqlx::Error>((row.try_get::<String, _>(1)?, row.try_get::<String, _>(2)?));
        let (partition, from) = read().map_err(|error| failed("read leases", error))?;
        let gap = Gap {
            partition: Partition::new(partition),
            from: position(from),
            to: Position::Offset(0),
            reason: format!("the stream was made anew: it was {incarnation}"),
        };
        insert_gap(connection, options, &gap).await?;
        gaps.push(gap);
    }
    leave(connection).await.map_err(|error| failed("record a gap", error))?;
    let reason = format!(
        "the tables were filled from stream {incarnation}, this is {}: if that is right, run `millstream positions reset --pipeline {} --to earliest`",
        options.incarnation, options.pipeline,
    );
    Err(SinkError::MadeAnew { gaps, reason })
}

/// Puts a gap on record and halts its partition, in one transaction.
pub(super) async fn record_gap(connection: &mut Connection, options: &Options, gap: &Gap) -> Result<(), SinkError> {
    enter(connection).await.map_err(|error| failed("record a gap", error))?;
    insert_gap(connection, options, gap).await?;
    sqlx::query(include_str!("sql/lease_halt.sql"))
        .bind(&options.pipeline)
        .bind(&options.incarnation)
        .bind(gap.partition.as_str())
        .bind(gap.to_string())
        .execute(&mut *connection)
        .await
        .map_err(|error| failed("record a gap", error))?;
    leave(connection).await.map_err(|error| failed("record a gap", error))
}

async fn insert_gap(connection: &mut Connection, options: &Options, gap: &Gap) -> Result<(), SinkError> {
    sqlx::query(include_str!("sql/gap_insert.sql"))
        .bind(&options.pipeline)
        .bind(&options.incarnation)
        .bind(gap.partition.as_str())
        .bind(gap.from.to_string())
        .bind(gap.to.to_string())
        .bind(&gap.reason)
        .execute(connection)
        .await
        .map_err(|error| failed("record a gap", error))?;
    Ok(())
}

fn position(text: String) -> Position {
    text.parse().unwrap_or_else(|never| match never {})
}

fn not_gone_on(error: sqlx::Error) -> SinkError {
    failed("go on after a gap", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(partition: &str, from: u64, next: u64) -> Range {
        let from = Position::Offset(from);
        let next = Position::Offset(next);
        Range { partition: Partition::new(partition), from, next, era: None, records: 0..0 }
    }

    fn stored(rows: &[(&str, Option<u64>)]) -> BTreeMap<Partition, Option<Position>> {
        rows.iter().map(|(name, at)| (Partition::new(name), at.map(Position::Offset))).collect()
    }

    #[test]
    fn only_the_next_batch_passes_the_fence() {
        let ranges = [range("0", 5, 9), range("1", 0, 3)];
        let unread = BTreeSet::from([Partition::new("1")]);
        let judged = |rows: &[(&str, Option<u64>)]| judge(&ranges, &stored(rows), &unread);
        assert!(matches!(judged(&[("0", Some(5)), ("1", Some(0))]), Ok(Fence::Open)));
        assert!(matches!(judged(&[("0", Some(5)), ("1", None)]), Ok(Fence::Open)));
        assert!(matches!(judged(&[("0", Some(9)), ("1", Some(3))]), Ok(Fence::Passed)));
        assert!(matches!(judged(&[("0", Some(9)), ("1", Some(0))]), Err(Fault::Fence(SinkError::Moved { .. }))));
        assert!(matches!(judged(&[("0", Some(4)), ("1", Some(0))]), Err(Fault::Fence(SinkError::Moved { .. }))));
        assert!(matches!(judged(&[("0", None), ("1", Some(0))]), Err(Fault::Fence(SinkError::Moved { .. }))));
        assert!(matches!(judged(&[("0", Some(5))]), Err(Fault::Fence(SinkError::Fenced { .. }))));
    }

    #[test]
    fn a_token_is_a_uuid_of_version_4() {
        let token = random_uuid();
        assert_eq!(token.len(), 36);
        assert_eq!(token.as_bytes()[14], b'4');
        assert!(matches!(token.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_ne!(token, random_uuid());
    }
}
