//! Stage 5: the positions up to which the tables are written.

use crate::position::{Partition, Position};

/// The next position of each partition that a receipt covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    next: Vec<(Partition, Position)>,
}

impl Checkpoint {
    pub(crate) fn new(next: Vec<(Partition, Position)>) -> Self {
        Checkpoint { next }
    }

    /// Each partition with the position to read next.
    pub fn positions(&self) -> impl Iterator<Item = (&Partition, &Position)> {
        self.next.iter().map(|(partition, position)| (partition, position))
    }
}
