//! Reads all facts part by part, so that whoever holds the facts need not hold them for long.
//!
//! Each fact that is there from the first part to the last is read exactly once. What is put or removed between two
//! parts may be read or not: the reader must learn of it in another way.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use super::Facts;
use super::names::Name;
use super::row::TaskNumber;
use crate::tasks::fact::Fact;

/// Where the next part begins; the default is the beginning.
#[derive(Debug, Clone, Copy)]
pub struct Cursor(Place);

#[derive(Debug, Clone, Copy)]
enum Place {
    Tasks(TaskNumber),
    /// Instances and slices have no order that stays, and there are few: they are read at once.
    Hosts,
    Deploys(Option<(Name, Name)>),
    Health(Option<(Name, Name, i32)>),
    Aliases(Option<(Name, Name)>),
}

impl Default for Cursor {
    fn default() -> Self {
        Cursor(Place::Tasks(0))
    }
}

impl Facts {
    /// About `max` facts from a place on, and where the next part begins; `None` where there is none. Aliases are last.
    pub fn page(&self, from: Cursor, max: usize) -> (Vec<Fact>, Option<Cursor>) {
        let max = max.max(1);
        let mut page = Vec::new();
        let next = match from.0 {
            Place::Tasks(first) => {
                let size = TaskNumber::try_from(max).unwrap_or(TaskNumber::MAX);
                let end = self.tasks.end().min(first.saturating_add(size));
                let rows = (first..end).filter_map(|number| self.tasks.row(number));
                page.extend(rows.map(|row| Fact::Task(Box::new(row.unpack(&self.names)))));
                if end < self.tasks.end() { Place::Tasks(end) } else { Place::Hosts }
            }
            Place::Hosts => {
                page.extend(self.instances.values().map(|row| Fact::Instance(Box::new(row.instance.clone()))));
                page.extend(self.slices.values().map(|row| Fact::Slice(Box::new(row.unpack(&self.names)))));
                Place::Deploys(None)
            }
            Place::Deploys(after) => {
                let rows = self.deploys.range((after.map_or(Unbounded, Excluded), Unbounded));
                let last = taken(rows, max, |_, row| page.push(Fact::Deploy(Box::new(row.deploy.as_ref().clone()))));
                last.map_or(Place::Health(None), |last| Place::Deploys(Some(last)))
            }
            Place::Health(after) => {
                let rows = self.health.range((after.map_or(Unbounded, Excluded), Unbounded));
                let last = taken(rows, max, |(source, task, port), row| {
                    let health = row.unpack(self.names.owned(source), self.names.owned(task), port);
                    page.push(Fact::Health(Box::new(health)));
                });
                last.map_or(Place::Aliases(None), |last| Place::Health(Some(last)))
            }
            Place::Aliases(after) => {
                let rows = self.aliases.range((after.map_or(Unbounded, Excluded), Unbounded));
                let last =
                    taken(rows, max, |_, row| page.push(Fact::Alias(Box::new(Arc::unwrap_or_clone(row.clone())))));
                let Some(last) = last else { return (page, None) };
                Place::Aliases(Some(last))
            }
        };
        (page, Some(Cursor(next)))
    }
}

/// Takes `max` rows; the key of the last one, or `None` where there are no more.
fn taken<'a, K: Copy + 'a, V: 'a>(
    rows: impl Iterator<Item = (&'a K, &'a V)>,
    max: usize,
    mut take: impl FnMut(K, &'a V),
) -> Option<K> {
    let mut count = 0;
    let mut last = None;
    for (key, row) in rows.take(max) {
        take(*key, row);
        count += 1;
        last = Some(*key);
    }
    last.filter(|_| count == max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::fact::{Alias, Deploy, Health, Instance, Slice, Task};

    fn all(number: usize) -> [Fact; 6] {
        let id = number.to_string();
        [
            Fact::Task(Box::new(Task { source: "s".into(), id: id.clone(), ..Task::default() })),
            Fact::Instance(Box::new(Instance { source: "s".into(), id: id.clone(), ..Instance::default() })),
            Fact::Slice(Box::new(Slice { source: "s".into(), id: id.clone(), ..Slice::default() })),
            Fact::Deploy(Box::new(Deploy { service: "x".into(), revision: id.clone(), ..Deploy::default() })),
            Fact::Health(Box::new(Health { source: "s".into(), task: id.clone(), ..Health::default() })),
            Fact::Alias(Box::new(Alias { service: "x".into(), alias: id, ..Alias::default() })),
        ]
    }

    fn read(facts: &Facts, max: usize) -> Vec<Fact> {
        let mut found = Vec::new();
        let mut at = Some(Cursor::default());
        while let Some(cursor) = at {
            let (page, next) = facts.page(cursor, max);
            found.extend(page);
            at = next;
        }
        found
    }

    #[test]
    fn each_fact_is_read_once_whatever_the_size_of_the_parts() {
        let mut facts = Facts::default();
        assert!(read(&facts, 3).is_empty());
        (0..10).flat_map(all).for_each(|fact| drop(facts.put(fact)));
        facts.remove(&all(4)[0].key());
        for max in [0, 1, 3, 5, 10, 100] {
            let found = read(&facts, max);
            let digest = found.iter().fold(0, |digest, fact| digest ^ fact.digest());
            assert_eq!((found.len(), digest), (59, facts.digest()), "in parts of {max}");
        }
    }

    #[test]
    fn what_stays_is_read_once_while_others_come_and_go() {
        let mut facts = Facts::default();
        (0..10).flat_map(all).for_each(|fact| drop(facts.put(fact)));
        let mut found = Vec::new();
        let mut at = Some(Cursor::default());
        let mut number = 0;
        while let Some(cursor) = at {
            let (page, next) = facts.page(cursor, 2);
            found.extend(page.iter().map(Fact::key));
            all(number % 5).iter().for_each(|fact| drop(facts.remove(&fact.key())));
            all(100 + number).into_iter().for_each(|fact| drop(facts.put(fact)));
            number += 1;
            at = next;
            assert!(number < 1_000, "it ends");
        }
        for key in (5..10).flat_map(all).map(|fact| fact.key()) {
            assert_eq!(found.iter().filter(|found| **found == key).count(), 1, "{key:?}");
        }
    }
}
