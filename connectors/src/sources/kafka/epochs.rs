//! The leader epochs of the records read of a partition: runs of offsets of one epoch.
//!
//! An epoch is known only for a record that was read. Offsets between two records (control records, compacted ones) may
//! belong to a leader of which no record was read: a position after them has no epoch, because a wrong one would be
//! taken for a truncation.

use std::collections::VecDeque;

/// Runs that are kept: more changes of the leader than happen while records wait and are written. Older records have no
/// epoch.
const RUNS_MAX: usize = 64;

/// The runs of one partition, in order.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    runs: VecDeque<Run>,
}

/// Records of one leader without a hole between them.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u64,
    last: u64,
    epoch: i32,
}

impl Epochs {
    /// Adds the leader epoch of the next record.
    pub(super) fn note(&mut self, offset: u64, epoch: Option<i32>) {
        let Some(epoch) = epoch else { return };
        if let Some(run) = self.runs.back_mut()
            && run.epoch == epoch
            && run.last.checked_add(1) == Some(offset)
        {
            run.last = offset;
            return;
        }
        if self.runs.len() >= RUNS_MAX {
            self.runs.pop_front();
        }
        self.runs.push_back(Run { first: offset, last: offset, epoch });
    }

    /// The epoch of the record before an offset.
    pub(super) fn before(&self, offset: u64) -> Option<i32> {
        let record = offset.checked_sub(1)?;
        self.runs.iter().rev().find(|run| (run.first..=run.last).contains(&record)).map(|run| run.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_told_of_what_was_read_and_of_nothing_else() {
        let mut epochs = Epochs::default();
        for (offset, epoch) in [(5, 1), (6, 1), (7, 2), (9, 2), (10, 4)] {
            epochs.note(offset, Some(epoch));
        }
        epochs.note(11, None);
        let told: Vec<_> = (5..=13).map(|offset| epochs.before(offset)).collect();
        assert_eq!(told, [None, Some(1), Some(1), Some(2), None, Some(2), Some(4), None, None]);
    }

    #[test]
    fn holes_everywhere_take_little_memory() {
        let mut epochs = Epochs::default();
        (0..100_000).step_by(2).for_each(|offset| epochs.note(offset, Some(3)));
        assert_eq!((epochs.runs.len(), epochs.before(99_999), epochs.before(1)), (RUNS_MAX, Some(3), None));
    }
}
