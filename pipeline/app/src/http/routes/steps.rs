//! Rows of the facts, read in steps: changes wait for whoever holds the facts.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_schemas::tasks::Spot;

/// Rows that are read at a time: some milliseconds, in which no change is applied.
pub(super) const STEP: usize = 1_000;

/// How a page is read from all deploys or all aliases.
pub(super) struct Read<'a, T> {
    pub(super) limit: usize,
    /// The names of the last item of the page before.
    pub(super) after: (&'a str, &'a str),
    /// The names by which items are ordered.
    pub(super) names: fn(&T) -> (&str, &str),
}

impl<T> Read<'_, T> {
    /// Reads in steps, between which changes are applied; keeps what the page has, and one more if there is a next page.
    pub(super) async fn all(&self, step: impl Fn(Option<Spot>) -> (Vec<Arc<T>>, Option<Spot>)) -> Vec<Arc<T>> {
        let mut found: BTreeMap<(String, String), Arc<T>> = BTreeMap::new();
        let mut spot = None;
        loop {
            let (rows, next) = step(spot);
            for row in rows.into_iter().filter(|row| (self.names)(row) > self.after) {
                let (first, second) = (self.names)(&row);
                found.insert((first.to_owned(), second.to_owned()), row);
                if found.len() > self.limit + 1 {
                    found.pop_last();
                }
            }
            spot = next;
            if spot.is_none() {
                return found.into_values().collect();
            }
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use millstream_gateway::{Applier, Change, Dialable, Options, Table};
    use millstream_schemas::tasks::{Alias, Fact};
    use tokio::time::Instant;

    use super::*;

    fn names(alias: &Alias) -> (&str, &str) {
        (&alias.service, &alias.alias)
    }

    #[tokio::test]
    async fn aliases_are_read_in_steps_and_pages_are_the_whole() {
        let dialable = Arc::new(Dialable::new(BTreeMap::new(), [], []));
        let mut applier = Applier::new(Arc::new(Table::default()), dialable, Options::default());
        let alias = |number: usize| Alias {
            service: format!("s{}", number % 7),
            alias: format!("a{number:05}"),
            generation: 1,
            deleted: number % 5 == 4,
            ..Alias::default()
        };
        let changes = (0..2_500).rev().map(|number| Change::Put(Fact::Alias(Box::new(alias(number)))));
        applier.apply(changes.collect(), Instant::now());
        let mut expected: Vec<(String, String)> =
            (0..2_500).map(alias).filter(|alias| !alias.deleted).map(|alias| (alias.service, alias.alias)).collect();
        expected.sort_unstable();
        let facts = Mutex::new(applier);
        for service in [None, Some("s3")] {
            let mut after = (String::new(), String::new());
            let mut pages = Vec::new();
            loop {
                let steps = AtomicUsize::new(0);
                let read = Read { limit: 150, after: (&after.0, &after.1), names };
                let found = read.all(|spot| {
                    steps.fetch_add(1, Relaxed);
                    let applier = facts.try_lock().expect("nobody holds the facts between two steps");
                    let (mut aliases, next) = applier.facts().aliases(service, spot, STEP);
                    aliases.retain(|alias| !alias.deleted);
                    (aliases, next)
                });
                let mut page: Vec<_> =
                    found.await.iter().map(|alias| (alias.service.clone(), alias.alias.clone())).collect();
                assert_eq!(steps.into_inner(), if service.is_none() { 3 } else { 1 });
                let more = page.len() > 150;
                page.truncate(150);
                pages.extend(page);
                let Some(last) = pages.last().filter(|_| more) else { break };
                after = last.clone();
            }
            let mut expected = expected.clone();
            expected.retain(|(name, _)| service.is_none_or(|service| name == service));
            assert_eq!(pages, expected);
        }
    }
}
