//! Stage 5: how far the tables are.

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

    /// Partition and the position to read next.
    pub fn positions(&self) -> impl Iterator<Item = (&Partition, &Position)> {
        self.next.iter().map(|(partition, position)| (partition, position))
    }
}
