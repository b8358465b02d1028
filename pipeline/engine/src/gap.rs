//! Records that are lost, and where their partition goes on.

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
            // The number of lost records is not known.
            return write!(f, "records before position {to} are lost: {reason}");
        }
        write!(f, "positions {from} to {to} are lost: {reason}")
    }
}

/// What a pipeline does about a partition that lost records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnGap {
    /// It is halted, on record, until a person decides how to go on.
    #[default]
    Halt,
    /// It begins again at the oldest record that is left, and asks for a reconcile. For tables that others read to
    /// decide what to do now: what they miss is found by listing, and standing still would do more harm.
    GoOn,
}

/// The position at which a halted partition goes on, as `millstream positions reset --to` takes it: behind the range
/// that was set aside, if the reason of the halt names it as `` `--to POSITION` ``, otherwise the oldest record.
pub fn goes_on_at(reason: &str) -> &str {
    let named = reason.split_once("`--to ").and_then(|(_, rest)| rest.split_once('`'));
    named.map_or("earliest", |(to, _)| to)
}
