//! Records that are lost, and where a person lets their partition go on.

use std::fmt;

use crate::position::{Partition, Position};

/// A range of positions that can never be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The partition.
    pub partition: Partition,
    /// The first position lost.
    pub from: Position,
    /// The position after the last one lost, as far as that is known.
    pub to: Position,
    /// What happened, in words for the operator.
    pub reason: String,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gap { from, to, reason, .. } = self;
        if from == to {
            // How many is not known.
            return write!(f, "records before position {to} are lost: {reason}");
        }
        write!(f, "positions {from} to {to} are lost: {reason}")
    }
}

/// Where a person's decision lets a halted partition go on, as `millstream positions reset --to` takes it: behind what
/// was set aside, where the reason of the halt names that as `` `--to POSITION` ``, otherwise at the oldest record.
pub fn goes_on_at(reason: &str) -> &str {
    let named = reason.split_once("`--to ").and_then(|(_, rest)| rest.split_once('`'));
    named.map_or("earliest", |(to, _)| to)
}
