//! Counters by first path segment: exact for the segments that are counted, of which a bucket has a maximum.
//!
//! A segment is registered in the transaction that writes its first object, so its count is complete. Beyond the limit
//! a segment is never registered, and the bucket is marked.

use std::collections::{HashMap, HashSet};

use millstream_postgres::Connection;
use sqlx::Row as _;

use super::counts::{BucketDeltas, Objects};
use super::gathered::{Change, Gathered, Name};
use super::slot::Slot;
use crate::sinks::tables::error::Fault;

/// Segments remembered before all are forgotten: about 100 MB at worst, and asking again is one query.
const REMEMBERED_MAX: usize = 1_000_000;

/// Which segments are counted, as far as this writer knows.
#[derive(Debug)]
pub(super) struct Segments {
    known: HashMap<(String, String), HashMap<String, bool>>,
    /// The number of known segments.
    remembered: usize,
    /// Learnt in the open transaction, and valid only once it commits.
    learnt: Vec<(String, String, String, bool)>,
    max: i32,
    gathered: Gathered,
}

impl Segments {
    pub(super) fn new(max: i32) -> Self {
        let gathered = Gathered::default();
        Segments { known: HashMap::new(), remembered: 0, learnt: Vec::new(), max, gathered }
    }

    pub(super) fn committed(&mut self) {
        if self.remembered + self.learnt.len() > REMEMBERED_MAX {
            self.known.clear();
            self.remembered = 0;
        }
        self.remembered += self.learnt.len();
        for (store, bucket, segment, is_counted) in self.learnt.drain(..) {
            self.known.entry((store, bucket)).or_default().insert(segment, is_counted);
        }
        self.gathered.committed();
    }

    /// The writer has another slot now, in which its former writer may have left changes.
    pub(super) fn slot_changed(&mut self) {
        self.gathered = Gathered::default();
    }

    pub(super) fn rolled_back(&mut self) {
        self.learnt.clear();
        self.gathered.rolled_back();
    }

    pub(super) async fn write(
        &mut self,
        connection: &mut Connection,
        slot: &Slot,
        deltas: &[BucketDeltas],
    ) -> Result<(), Fault> {
        let mut changes: Vec<Change<'_>> = Vec::new();
        let mut unknown: Vec<Change<'_>> = Vec::new();
        for BucketDeltas { store, bucket, segments, .. } in deltas {
            let known = self.known.get(&(store.clone(), bucket.clone()));
            for (segment, delta) in segments.iter().filter(|(_, delta)| **delta != Objects::default()) {
                let change = Change { name: (store, bucket, segment), delta: *delta };
                match known.and_then(|known| known.get(segment)) {
                    Some(true) => changes.push(change),
                    Some(false) => {}
                    None => unknown.push(change),
                }
            }
        }
        if !unknown.is_empty() {
            let learnt = self.register(connection, unknown.iter().map(|change| change.name).collect()).await?;
            changes.extend(unknown.iter().filter(|change| learnt.get(&change.name).copied().unwrap_or(false)));
            let owned = |((store, bucket, segment), is_counted): (Name<'_>, bool)| {
                (store.to_owned(), bucket.to_owned(), segment.to_owned(), is_counted)
            };
            self.learnt.extend(learnt.into_iter().map(owned));
        }
        self.gathered.write(connection, slot, &changes, self.remembered).await.map_err(Fault::ours)
    }

    /// Finds out about segments not met before, and registers those that fit.
    async fn register<'a>(
        &self,
        connection: &mut Connection,
        unknown: Vec<Name<'a>>,
    ) -> Result<HashMap<Name<'a>, bool>, Fault> {
        let mut learnt = HashMap::new();
        let mut missing = unknown;
        // One query without a lock and, for missing segments, a second one under the lock of the bucket.
        for locked in [false, true] {
            let mut room = HashMap::new();
            if locked {
                room = self.lock(connection, &missing).await?;
            }
            let there = select(connection, &missing).await?;
            let (found, absent): (Vec<_>, Vec<_>) =
                missing.into_iter().enumerate().partition(|(at, _)| there.contains(at));
            learnt.extend(found.into_iter().map(|(_, name)| (name, true)));
            missing = absent.into_iter().map(|(_, name)| name).collect();
            if missing.is_empty() {
                break;
            }
            if locked {
                for name in &missing {
                    let left: &mut i32 = room.entry((name.0, name.1)).or_default();
                    let fits = *left > 0;
                    *left -= i32::from(fits);
                    learnt.insert(*name, fits);
                }
                insert(connection, &missing, &learnt).await?;
            }
        }
        Ok(learnt)
    }

    /// Locks the buckets of these segments; returns how many more segments each may count.
    async fn lock<'a>(
        &self,
        connection: &mut Connection,
        names: &[Name<'a>],
    ) -> Result<HashMap<(&'a str, &'a str), i32>, Fault> {
        let rows = sqlx::query(include_str!("sql/segment_limits_lock.sql"))
            .bind(names.iter().map(|name| name.0).collect::<Vec<&str>>())
            .bind(names.iter().map(|name| name.1).collect::<Vec<&str>>())
            .fetch_all(connection)
            .await
            .map_err(Fault::ours)?;
        let mut room = HashMap::new();
        for row in rows {
            let get = |at| row.try_get::<String, _>(at).map_err(Fault::ours);
            let store = get(0)?;
            let bucket = get(1)?;
            let segments: i32 = row.try_get(2).map_err(Fault::ours)?;
            if let Some(name) = names.iter().find(|name| name.0 == store && name.1 == bucket) {
                room.insert((name.0, name.1), self.max.saturating_sub(segments));
            }
        }
        Ok(room)
    }
}

async fn select(connection: &mut Connection, names: &[Name<'_>]) -> Result<HashSet<usize>, Fault> {
    let rows = sqlx::query_scalar::<_, i64>(include_str!("sql/segments_select.sql"))
        .bind(names.iter().map(|name| name.0).collect::<Vec<&str>>())
        .bind(names.iter().map(|name| name.1).collect::<Vec<&str>>())
        .bind(names.iter().map(|name| name.2).collect::<Vec<&str>>())
        .fetch_all(connection)
        .await
        .map_err(Fault::ours)?;
    Ok(rows.into_iter().filter_map(|ordinal| usize::try_from(ordinal - 1).ok()).collect())
}

async fn insert(
    connection: &mut Connection,
    names: &[Name<'_>],
    learnt: &HashMap<Name<'_>, bool>,
) -> Result<(), Fault> {
    let (fit, refused): (Vec<&Name<'_>>, Vec<&Name<'_>>) =
        names.iter().partition(|name| learnt.get(*name).copied().unwrap_or(false));
    sqlx::query(include_str!("sql/segments_insert.sql"))
        .bind(fit.iter().map(|name| name.0).collect::<Vec<&str>>())
        .bind(fit.iter().map(|name| name.1).collect::<Vec<&str>>())
        .bind(fit.iter().map(|name| name.2).collect::<Vec<&str>>())
        .bind(refused.iter().map(|name| name.0).collect::<Vec<&str>>())
        .bind(refused.iter().map(|name| name.1).collect::<Vec<&str>>())
        .execute(connection)
        .await
        .map_err(Fault::ours)?;
    Ok(())
}
