//! Which lane reads which partition, while partitions come and go.
//!
//! The source says what this process may read ([`Source::assignment`](crate::Source::assignment)); this divides it
//! among the lanes. A partition stays in its lane while that is fair, so that a rebalance disturbs only what moved.

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::position::Partition;
use crate::progress::Progress;
use crate::source::Source;
use crate::spread::{LOOK, Spread};

/// The partitions of each lane. Each lane is notified when its own change.
#[derive(Debug)]
pub(crate) struct Shares {
    lanes: Vec<watch::Sender<Vec<Partition>>>,
}

impl Shares {
    /// Shares for `lanes` lanes, all without partitions.
    pub(crate) fn new(lanes: usize) -> Self {
        Shares { lanes: (0..lanes).map(|_| watch::Sender::new(Vec::new())).collect() }
    }

    /// One receiver for each lane, in the order of lanes.
    pub(crate) fn subscribe(&self) -> Vec<watch::Receiver<Vec<Partition>>> {
        self.lanes.iter().map(watch::Sender::subscribe).collect()
    }

    /// Divides partitions anew when the source's assignment or the number of lanes in use changes, until `shutdown`.
    pub(crate) async fn follow(
        &self,
        source: &dyn Source,
        spread: &Spread,
        progress: &Progress,
        shutdown: &CancellationToken,
    ) {
        let mut assignment = source.assignment();
        // False once the source is gone, or once its partitions can no longer change.
        let mut is_followed = true;
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lanes = spread.look(Instant::now());
        loop {
            let assigned = assignment.borrow_and_update().clone();
            self.divide(&assigned, lanes);
            progress.keep_only(&assigned);
            loop {
                tokio::select! {
                    changed = assignment.changed(), if is_followed => match changed {
                        Ok(()) => break,
                        Err(_) => is_followed = false,
                    },
                    _ = looks.tick() => {
                        let before = std::mem::replace(&mut lanes, spread.look(Instant::now()));
                        if before != lanes {
                            tracing::info!(pipeline = progress.pipeline, from = before, to = lanes, "partitions are spread over other lanes");
                            break;
                        }
                    }
                    () = shutdown.cancelled() => return,
                }
            }
        }
    }

    /// Divides the assigned partitions among the first `count` lanes.
    fn divide(&self, assigned: &[Partition], count: usize) {
        let before: Vec<Vec<Partition>> = self.lanes.iter().map(|lane| lane.borrow().clone()).collect();
        let mut shares = divide(before.get(..count).unwrap_or(&before), assigned);
        shares.resize(before.len(), Vec::new());
        for (lane, share) in self.lanes.iter().zip(shares) {
            lane.send_if_modified(|told| {
                let changed = *told != share;
                *told = share;
                changed
            });
        }
    }
}

/// Divides partitions so that lanes differ by at most one partition and as few partitions as possible change lanes.
fn divide(before: &[Vec<Partition>], assigned: &[Partition]) -> Vec<Vec<Partition>> {
    let mut shares: Vec<Vec<Partition>> =
        before.iter().map(|own| own.iter().filter(|own| assigned.contains(own)).cloned().collect()).collect();
    let lanes = shares.len().max(1);
    let mut homeless = Vec::new();
    // `larger` lanes may hold one partition more than `least`.
    let least = assigned.len() / lanes;
    let mut larger = assigned.len() % lanes;
    for share in &mut shares {
        let keep = if share.len() > least && larger > 0 {
            larger -= 1;
            least + 1
        } else {
            least
        };
        homeless.extend(share.split_off(keep.min(share.len())));
    }
    homeless.extend(assigned.iter().filter(|one| !before.iter().flatten().any(|own| own == *one)).cloned());
    homeless.sort();
    for partition in homeless {
        if let Some(share) = shares.iter_mut().min_by_key(|share| share.len()) {
            share.push(partition);
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(numbers: impl IntoIterator<Item = u32>) -> Vec<Partition> {
        numbers.into_iter().map(|number| Partition::new(format!("{number:03}"))).collect()
    }

    #[test]
    fn a_partition_stays_in_its_lane_while_that_is_fair() {
        let first = divide(&[vec![], vec![]], &names(0..6));
        assert_eq!(first, [names([0, 2, 4]), names([1, 3, 5])]);
        let fewer = divide(&first, &names([0, 1, 2, 3]));
        assert_eq!(fewer, [names([0, 2]), names([1, 3])]);
        let uneven = divide(&first, &names([0, 2, 4]));
        assert_eq!(uneven, [names([0, 2]), names([4])]);
    }

    proptest! {
        #[test]
        fn every_partition_has_one_lane_and_lanes_are_even(
            lanes in 1usize..5,
            steps in prop::collection::vec(prop::collection::btree_set(0u32..20, 0..20), 1..6),
        ) {
            let mut shares = vec![Vec::new(); lanes];
            for step in steps {
                let assigned = names(step);
                shares = divide(&shares, &assigned);
                let mut all: Vec<Partition> = shares.iter().flatten().cloned().collect();
                all.sort();
                prop_assert_eq!(&all, &assigned);
                let sizes = shares.iter().map(Vec::len);
                prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
            }
        }
    }
}
