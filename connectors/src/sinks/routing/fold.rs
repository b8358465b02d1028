//! Folds the events of a batch into the stored facts, and says what became of each event.

use std::collections::BTreeMap;

use millstream_postgres::Connection;
use millstream_schemas::tasks::{Fact, Key, Merged, is_below_floor};

use super::columns::Event;
use super::log::Change;
use crate::sinks::tables::error::Fault;
use crate::sinks::tables::rows::Applied;

/// The floor of each source: unknown tasks that were created before it are not written.
#[derive(Debug, Default)]
pub(super) struct Floors(BTreeMap<String, i64>);

impl Floors {
    pub(super) async fn read(connection: &mut Connection) -> Result<Floors, Fault> {
        let floors: Vec<(String, i64)> =
            sqlx::query_as(include_str!("sql/floor_select.sql")).fetch_all(connection).await.map_err(Fault::ours)?;
        Ok(Floors(floors.into_iter().collect()))
    }

    fn is_below(&self, stored: Option<&Fact>, event: &Event) -> bool {
        let Fact::Task(task) = &event.event.fact else { return false };
        is_below_floor(stored, task, self.0.get(&task.source).copied(), event.event.is_listed)
    }
}

/// The changes, in order of their keys, and the outcome of each event.
pub(super) fn fold(events: &[&Event], stored: BTreeMap<Key, Fact>, floors: &Floors) -> Applied<Vec<Change>> {
    let mut applied = Applied::<Vec<Change>>::default();
    let mut facts = stored.clone();
    for event in events {
        let key = event.event.fact.key();
        let former = facts.get(&key);
        if floors.is_below(former, event) {
            applied.outcome.filter("below_floor", 1);
            continue;
        }
        match Fact::merge(former, event.event.fact.clone()) {
            Merged::Written(fact) => {
                facts.insert(key, fact);
                applied.outcome.written += 1;
            }
            Merged::Duplicate => applied.outcome.filter("duplicate", 1),
            Merged::Stale => applied.outcome.filter("stale", 1),
            Merged::AfterGone => applied.outcome.filter("after_gone", 1),
        }
    }
    for (key, after) in facts {
        let before = stored.get(&key);
        if before != Some(&after) {
            applied.left.push(Change::to(before, after));
        }
    }
    applied
}
