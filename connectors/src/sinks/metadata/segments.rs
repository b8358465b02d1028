//! Counters by first path segment: exact for the segments that are counted, at most a fixed number in a bucket.
//!
//! A segment is registered in the transaction that writes its first object, so its count is complete; beyond the limit
//! it is never registered, and the bucket says so.

use std::collections::HashMap;

use millstream_postgres::Connection;
use sqlx::Row as _;

use super::counts::{Objects, Slot};
use super::error::Fault;

/// Segments remembered before the memory is emptied: about 100 MB at worst, and asking again is one query.
const REMEMBERED_MAX: usize = 1_000_000;

type Name = (String, String, String);

/// Which segments are counted, as far as this writer knows.
#[derive(Debug)]
pub(super) struct Segments {
    known: HashMap<Name, bool>,
    /// Learnt in the open transaction: true only once it commits.
    learnt: Vec<(Name, bool)>,
    max: i32,
}

impl Segments {
    pub(super) fn new(max: i32) -> Self {
        Segments { known: HashMap::new(), learnt: Vec::new(), max }
    }

    pub(super) fn committed(&mut self) {
        if self.known.len() + self.learnt.len() > REMEMBERED_MAX {
            self.known.clear();
        }
        self.known.extend(self.learnt.drain(..));
    }

    pub(super) fn rolled_back(&mut self) {
        self.learnt.clear();
    }

    pub(super) async fn write(
        &mut self,
        connection: &mut Connection,
        slot: &Slot,
        deltas: &HashMap<(String, String), HashMap<String, Objects>>,
    ) -> Result<(), Fault> {
        let mut changes: Vec<(Name, Objects)> = Vec::new();
        for ((store, bucket), segments) in deltas {
            for (segment, delta) in segments.iter().filter(|(_, delta)| **delta != Objects::default()) {
                changes.push(((store.clone(), bucket.clone(), segment.clone()), *delta));
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let unknown: Vec<&Name> =
            changes.iter().map(|(name, _)| name).filter(|name| !self.known.contains_key(*name)).collect();
        let learnt = if unknown.is_empty() { HashMap::new() } else { self.register(connection, unknown).await? };
        let counted = |name: &Name| self.known.get(name).or_else(|| learnt.get(name)).copied().unwrap_or(false);
        changes.retain(|(name, _)| counted(name));
        self.learnt.extend(learnt);
        let query = sqlx::query(include_str!("sql/segment_counts_apply.sql"))
            .bind(slot.number)
            .bind(changes.iter().map(|((store, _, _), _)| &**store).collect::<Vec<&str>>())
            .bind(changes.iter().map(|((_, bucket, _), _)| &**bucket).collect::<Vec<&str>>())
            .bind(changes.iter().map(|((_, _, segment), _)| &**segment).collect::<Vec<&str>>())
            .bind(changes.iter().map(|(_, delta)| delta.objects).collect::<Vec<_>>())
            .bind(changes.iter().map(|(_, delta)| delta.bytes.to_string()).collect::<Vec<_>>())
            .bind(changes.iter().map(|(_, delta)| delta.unknown_size).collect::<Vec<_>>());
        query.execute(connection).await.map_err(Fault::ours)?;
        Ok(())
    }

    /// Finds out about segments not met before, and registers those that fit.
    async fn register(&self, connection: &mut Connection, unknown: Vec<&Name>) -> Result<HashMap<Name, bool>, Fault> {
        let mut learnt = HashMap::new();
        let mut missing = unknown;
        // Asked once without a lock and, for what is missing, again under the lock of its bucket.
        for locked in [false, true] {
            let mut room = HashMap::new();
            if locked {
                room = self.lock(connection, &missing).await?;
            }
            let there = select(connection, &missing).await?;
            let (found, absent): (Vec<_>, Vec<_>) =
                missing.into_iter().enumerate().partition(|(at, _)| there.contains(at));
            learnt.extend(found.into_iter().map(|(_, name)| (name.clone(), true)));
            missing = absent.into_iter().map(|(_, name)| name).collect();
            if missing.is_empty() {
                break;
            }
            if locked {
                for name in &missing {
                    let left: &mut i32 = room.entry((&*name.0, &*name.1)).or_default();
                    let fits = *left > 0;
                    *left -= i32::from(fits);
                    learnt.insert((*name).clone(), fits);
                }
                insert(connection, &missing, &learnt).await?;
            }
        }
        Ok(learnt)
    }

    /// Locks the buckets of these segments; says how many more segments each may count.
    async fn lock<'a>(
        &self,
        connection: &mut Connection,
        names: &[&'a Name],
    ) -> Result<HashMap<(&'a str, &'a str), i32>, Fault> {
        let rows = sqlx::query(include_str!("sql/segment_limits_lock.sql"))
            .bind(names.iter().map(|name| &*name.0).collect::<Vec<&str>>())
            .bind(names.iter().map(|name| &*name.1).collect::<Vec<&str>>())
            .fetch_all(connection)
            .await
            .map_err(Fault::ours)?;
        let mut room = HashMap::new();
        for row in rows {
            let get = |at| row.try_get::<String, _>(at).map_err(Fault::ours);
            let (store, bucket) = (get(0)?, get(1)?);
            let segments: i32 = row.try_get(2).map_err(Fault::ours)?;
            if let Some(name) = names.iter().find(|name| name.0 == store && name.1 == bucket) {
                room.insert((&*name.0, &*name.1), self.max.saturating_sub(segments));
            }
        }
        Ok(room)
    }
}

async fn select(connection: &mut Connection, names: &[&Name]) -> Result<std::collections::HashSet<usize>, Fault> {
    let rows = sqlx::query_scalar::<_, i64>(include_str!("sql/segments_select.sql"))
        .bind(names.iter().map(|name| &*name.0).collect::<Vec<&str>>())
        .bind(names.iter().map(|name| &*name.1).collect::<Vec<&str>>())
        .bind(names.iter().map(|name| &*name.2).collect::<Vec<&str>>())
        .fetch_all(connection)
        .await
        .map_err(Fault::ours)?;
    Ok(rows.into_iter().filter_map(|ordinal| usize::try_from(ordinal - 1).ok()).collect())
}

async fn insert(connection: &mut Connection, names: &[&Name], learnt: &HashMap<Name, bool>) -> Result<(), Fault> {
    let (fit, refused): (Vec<&&Name>, Vec<&&Name>) =
        names.iter().partition(|name| learnt.get(**name).copied().unwrap_or(false));
    sqlx::query(include_str!("sql/segments_insert.sql"))
        .bind(fit.iter().map(|name| &*name.0).collect::<Vec<&str>>())
        .bind(fit.iter().map(|name| &*name.1).collect::<Vec<&str>>())
        .bind(fit.iter().map(|name| &*name.2).collect::<Vec<&str>>())
        .bind(refused.iter().map(|name| &*name.0).collect::<Vec<&str>>())
        .bind(refused.iter().map(|name| &*name.1).collect::<Vec<&str>>())
        .execute(connection)
        .await
        .map_err(Fault::ours)?;
    Ok(())
}
