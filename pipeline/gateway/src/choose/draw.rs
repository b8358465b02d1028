//! Which revision a request is for (R33).
//!
//! Drawn by weight for each request, or, with a sticky key, by a bucket of 10,000 over the targets in their order: who
//! had the first target at 10 % keeps it at 20 %. A drawn revision without a task that is routable here is replaced by
//! one drawn among the others; where none of them has any, it stays.

use std::sync::Arc;

use rand::Rng;
use tokio::time::Instant;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::counters::Counters;
use super::refused::Refused;
use crate::table::{AliasView, RevisionView};

/// Buckets of sticky keys: a share is kept to a hundredth of a percent.
const BUCKETS: u64 = 10_000;

/// A revision that a request keeps, whatever becomes of the alias.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// The generation of the alias.
    pub generation: i64,
    /// The revision.
    pub revision: Arc<RevisionView>,
    /// Whether another revision was drawn first, which had no routable task.
    pub redistributed: bool,
}

impl AliasView {
    /// Draws a revision. `sticky` is the value of the header that the alias names, where the request has it.
    ///
    /// # Errors [`Refused::NoRoutableTask`] when no target has weight: an alias that means every live revision, of
    /// which there is none.
    pub fn pin(&self, sticky: Option<&[u8]>, now: Instant, rng: &mut impl Rng) -> Result<Pinned, Refused> {
        let bucket = sticky.map(|key| bucket(key, &self.alias.service, &self.alias.alias));
        let mut draw = |weights: &mut dyn Iterator<Item = (u32, usize)>| {
            let weights: Vec<(u32, usize)> = weights.collect();
            drawn(&weights, bucket, rng)
        };
        let all = self.targets.iter().enumerate().map(|(at, (weight, _))| (*weight, at));
        let Some(first) = draw(&mut all.clone()) else {
            Counters::add(&self.counters.no_routable_task);
            return Err(Refused::NoRoutableTask);
        };
        let has_task = |at: usize| self.targets[at].1.current().members.iter().any(|member| member.is_ready(now));
        let other = match has_task(first) {
            true => None,
            false => draw(&mut all.filter(|(_, at)| *at != first && has_task(*at))),
        };
        if other.is_some() {
            Counters::add(&self.counters.redistributed);
        }
        let revision = Arc::clone(&self.targets[other.unwrap_or(first)].1);
        Ok(Pinned { generation: self.alias.generation, revision, redistributed: other.is_some() })
    }
}

/// The bucket of a sticky key.
fn bucket(key: &[u8], service: &str, alias: &str) -> u64 {
    let seed = xxh3_64(format!("{service}/{alias}").as_bytes());
    xxh3_64_with_seed(key, seed) % BUCKETS
}

/// Draws by weight, or takes what the bucket falls on; `None` where no weight is positive.
fn drawn(weights: &[(u32, usize)], bucket: Option<u64>, rng: &mut impl Rng) -> Option<usize> {
    let sum: u64 = weights.iter().map(|(weight, _)| u64::from(*weight)).sum();
    if sum == 0 {
        return None;
    }
    let place = bucket.unwrap_or_else(|| rng.random_range(0..sum));
    // Both sides of `place / whole < until / sum`, without rounding.
    let whole = if bucket.is_some() { BUCKETS } else { sum };
    let mut until = 0;
    let found = weights.iter().find(|(weight, _)| {
        until += u64::from(*weight);
        place * sum < until * whole
    });
    debug_assert!(found.is_some(), "the last weight reaches to the end");
    found.map(|(_, at)| *at)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use millstream_schemas::tasks::{Alias, Standing};

    use super::super::tests::{UNHEALTHY, UNKNOWN, revision, rng};
    use super::*;

    fn alias(targets: &[(u32, &[Standing])]) -> AliasView {
        let target = |(at, (weight, tasks)): (usize, &(u32, &[Standing]))| {
            let revision = RevisionView { revision: at.to_string().into(), ..revision(tasks) };
            (*weight, Arc::new(revision))
        };
        let alias = Alias { service: "digits".to_owned(), alias: "prod".to_owned(), generation: 4, ..Alias::default() };
        AliasView {
            alias: Arc::new(alias),
            newest: 4,
            held: None,
            is_served: true,
            targets: targets.iter().enumerate().map(target).collect(),
            counters: Arc::default(),
        }
    }

    fn pinned(alias: &AliasView, sticky: Option<&[u8]>, rng: &mut impl Rng) -> usize {
        alias.pin(sticky, Instant::now(), rng).unwrap().revision.revision.parse().unwrap()
    }

    /// Whether a count is within three standard deviations of its share.
    fn is_share(count: usize, of: usize, share: f64) -> bool {
        let all = of as f64;
        (count as f64 - all * share).abs() <= 3.0 * (all * share * (1.0 - share)).sqrt()
    }

    const ONE: &[Standing] = &[Standing::Routable];

    #[test]
    fn weights_are_shares_of_their_sum() {
        let alias = alias(&[(1, ONE), (2, ONE), (7, ONE)]);
        let mut counts = [0; 3];
        let rng = &mut rng();
        (0..20_000).for_each(|_| counts[pinned(&alias, None, rng)] += 1);
        for (count, share) in counts.into_iter().zip([0.1, 0.2, 0.7]) {
            assert!(is_share(count, 20_000, share), "{count} of 20,000 is not {share}");
        }
        let keys = |alias: &AliasView, rng: &mut _| {
            (0..20_000).map(|key: u32| pinned(alias, Some(&key.to_le_bytes()), rng)).filter(|at| *at == 1).count()
        };
        assert!(is_share(keys(&alias, rng), 20_000, 0.2), "and of sticky keys");
    }

    #[test]
    fn who_had_the_new_revision_at_ten_percent_keeps_it_at_twenty() {
        for order in [[0, 1], [1, 0]] {
            let shares = |new: u32| {
                let mut targets: [(u32, &[Standing]); 2] = [(new, ONE), (100 - new, ONE)];
                if order[0] == 1 {
                    targets.reverse();
                }
                alias(&targets)
            };
            let [ten, twenty] = [shares(10), shares(20)];
            let rng = &mut rng();
            let mut moved = 0;
            for key in 0..5_000_u32 {
                let before = pinned(&ten, Some(&key.to_le_bytes()), rng) == order[0];
                let after = pinned(&twenty, Some(&key.to_le_bytes()), rng) == order[0];
                assert!(after || !before, "key {key} went back");
                moved += usize::from(after && !before);
            }
            assert!(is_share(moved, 5_000, 0.1), "{moved}");
        }
    }

    #[test]
    fn a_sticky_key_stays_and_other_aliases_have_other_buckets() {
        let alias = alias(&[(50, ONE), (50, ONE)]);
        let rng = &mut rng();
        let first = pinned(&alias, Some(b"user 1"), rng);
        assert!((0..50).all(|_| pinned(&alias, Some(b"user 1"), rng) == first));
        let same =
            (0..1_000_u32).filter(|key| bucket(&key.to_le_bytes(), "a", "b") == bucket(&key.to_le_bytes(), "a", "c"));
        assert!(same.count() < 10);
    }

    #[test]
    fn a_revision_without_routable_task_is_replaced_by_the_others_by_their_weights() {
        let alias = alias(&[(5, &[UNHEALTHY, UNKNOWN, Standing::Draining]), (1, ONE), (3, ONE), (1, &[])]);
        let mut counts = [0; 4];
        let rng = &mut rng();
        (0..10_000).for_each(|_| counts[pinned(&alias, None, rng)] += 1);
        assert_eq!((counts[0], counts[3]), (0, 0));
        assert!(is_share(counts[1], 10_000, 0.25), "{counts:?}");
        let redistributed = usize::try_from(alias.counters.redistributed.load(Relaxed)).unwrap();
        assert!(is_share(redistributed, 10_000, 0.6), "{redistributed}");
        let sticky: std::collections::BTreeSet<usize> = (0..20).map(|_| pinned(&alias, Some(b"x"), rng)).collect();
        assert_eq!(sticky.len(), 1, "a sticky key stays with the replacement, too");
    }

    #[test]
    fn a_revision_stays_drawn_when_no_target_has_a_routable_task() {
        let alias = alias(&[(1, &[Standing::Draining]), (0, ONE)]);
        let pinned = alias.pin(None, Instant::now(), &mut rng()).unwrap();
        assert_eq!((&*pinned.revision.revision, pinned.redistributed, pinned.generation), ("0", false, 4));
        let nothing = super::tests::alias(&[]).pin(None, Instant::now(), &mut rng());
        assert_eq!(nothing.unwrap_err(), Refused::NoRoutableTask);
    }
}
