//! Shards of tasks, and how many of one fail at once.

use std::collections::{BTreeMap, BTreeSet};

use millstream_schemas::tasks::Health;
use xxhash_rust::xxh3::xxh3_64;

/// Shards into which tasks are divided among checkers.
pub const SHARDS: u16 = 64;
/// Fewer tasks may well fail together.
const BAD_MIN: usize = 10;

/// The shard of a task.
pub fn shard_of(task: &str) -> u16 {
    (xxh3_64(task.as_bytes()) % u64::from(SHARDS)) as u16
}

/// The tasks of a shard that were healthy until now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// All of them, with those that turned bad within the last interval.
    pub(super) all: usize,
    /// Those whose last probe failed.
    ///
    /// A task is told bad after three probes, so when the first of them is, all that fail for the same reason have
    /// failed, too: nothing is published before this number shows it.
    pub(super) bad: usize,
}

/// Shards of which nothing is published, so that this is said once.
#[derive(Debug, Default)]
pub(super) struct Withheld {
    shards: BTreeSet<u16>,
}

impl Withheld {
    /// The results that may be published: not those of a shard of which more than half fails at once.
    pub(super) fn plausible<T>(
        &mut self,
        results: Vec<(T, Health)>,
        shares: &BTreeMap<u16, Share>,
    ) -> Vec<(T, Health)> {
        let mut plausible = Vec::with_capacity(results.len());
        for (target, health) in results {
            let shard = shard_of(&health.task);
            let Share { all, bad } = shares.get(&shard).copied().unwrap_or_default();
            if bad >= BAD_MIN && bad * 2 > all {
                if self.shards.insert(shard) {
                    tracing::error!(
                        shard,
                        bad,
                        all,
                        "more than half of a shard fails at once: nothing of it is published"
                    );
                }
                continue;
            }
            if self.shards.remove(&shard) {
                tracing::info!(shard, bad, all, "the health of the tasks of a shard is published again");
            }
            plausible.push((target, health));
        }
        plausible
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(healthy: bool) -> Vec<((), Health)> {
        let task = (0..).map(|number: u32| number.to_string()).find(|task| shard_of(task) == 3).unwrap();
        vec![((), Health { task, healthy, ..Health::default() })]
    }

    fn told(withheld: &mut Withheld, all: usize, bad: usize) -> usize {
        let shares = BTreeMap::from([(3, Share { all, bad }), (4, Share { all: 99, bad: 99 })]);
        withheld.plausible(result(false), &shares).len()
    }

    #[test]
    fn a_shard_of_which_more_than_half_fails_is_held_back_until_less_does() {
        let mut withheld = Withheld::default();
        assert_eq!(told(&mut withheld, 30, 15), 1, "half is not more");
        assert_eq!(told(&mut withheld, 30, 16), 0);
        assert_eq!(withheld.plausible(result(true), &BTreeMap::from([(3, Share { all: 30, bad: 16 })])).len(), 0);
        assert_eq!(told(&mut withheld, 30, 15), 1);
    }

    #[test]
    fn a_few_tasks_may_all_fail() {
        let mut withheld = Withheld::default();
        assert_eq!((told(&mut withheld, 9, 9), told(&mut withheld, 10, 10)), (1, 0));
    }

    #[test]
    fn every_task_has_a_shard() {
        let shards: BTreeSet<u16> = (0..10_000).map(|number: u32| shard_of(&number.to_string())).collect();
        assert_eq!((shards.len(), shards.last()), (64, Some(&63)));
    }
}
