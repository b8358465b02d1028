//! Ranges of offsets that a person has set aside: they cannot be read, and reading goes on after them.
//!
//! `holes` ([`crate::pairs`], `MSH1`) has the first offset and the one after the last, in rising order. Without an
//! entry a lost range is an error for its readers and never skipped. Segment files are not changed: damaged bytes stay
//! until retention removes their segment.

use std::path::Path;

use crate::error::Fault;
use crate::frame::Place;
use crate::pairs::{self, Kind, PAIRS_MAX, Pair};
use crate::system::System;

const KIND: Kind = Kind { file_name: "holes", building_name: "~holes", magic: *b"MSH1" };

/// Sorted, not overlapping.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holes(Vec<Pair>);

impl Holes {
    /// A damaged entry is ignored: its range is an error again, and can be set aside again.
    pub(crate) fn read(system: &dyn System, directory: &Path, place: Place) -> Result<Self, Fault> {
        let content = pairs::read(system, directory, place, KIND)?;
        if let Some(byte) = content.damaged_byte {
            let file = directory.join(KIND.file_name);
            tracing::warn!(file = %file.display(), byte, "a range that was set aside is unknown, and is damage again");
        }
        let mut holes = Self(Vec::new());
        content.pairs.into_iter().for_each(|hole| holes.insert(hole));
        Ok(holes)
    }

    /// With one more hole, and without those before `start`.
    pub(crate) fn with(&self, hole: Pair, start: u64) -> Self {
        let mut holes = self.clone();
        holes.0.retain(|(_, to)| *to > start);
        holes.insert(hole);
        let over = holes.0.len().saturating_sub(PAIRS_MAX);
        holes.0.drain(..over);
        holes
    }

    pub(crate) fn write(&self, system: &dyn System, directory: &Path, place: Place) -> Result<(), Fault> {
        pairs::replace(system, directory, place, KIND, &self.0)
    }

    pub(crate) fn all(&self) -> &[Pair] {
        &self.0
    }

    /// The offset after the last of them.
    pub(crate) fn end(&self) -> u64 {
        self.0.last().map_or(0, |(_, to)| *to)
    }

    /// The hole that contains this offset.
    pub(crate) fn at(&self, offset: u64) -> Option<Pair> {
        self.0.iter().copied().find(|(from, to)| (*from..*to).contains(&offset))
    }

    /// The end of a range, from its first offset that is in no hole.
    pub(crate) fn without(&self, (mut from, to): Pair) -> Option<Pair> {
        while let Some((_, after)) = self.at(from) {
            from = after;
        }
        (from < to).then_some((from, to))
    }

    fn insert(&mut self, (mut from, mut to): Pair) {
        if from >= to {
            return;
        }
        // Holes that touch it are merged into it.
        self.0.retain(|(other_from, other_to)| {
            let apart = *other_to < from || *other_from > to;
            if !apart {
                from = from.min(*other_from);
                to = to.max(*other_to);
            }
            apart
        });
        let at = self.0.partition_point(|(other, _)| *other < from);
        self.0.insert(at, (from, to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_that_touch_are_one() {
        let mut holes = Holes::default();
        [(10, 20), (40, 50), (30, 35), (20, 25), (24, 31), (7, 7)].into_iter().for_each(|hole| holes.insert(hole));
        assert_eq!(holes.all(), [(10, 35), (40, 50)]);
        assert_eq!(
            (holes.at(9), holes.at(10), holes.at(34), holes.at(35)),
            (None, Some((10, 35)), Some((10, 35)), None)
        );
        assert_eq!((holes.without((12, 30)), holes.without((12, 45))), (None, Some((35, 45))));
        assert_eq!(holes.with((60, 70), 35).all(), [(40, 50), (60, 70)]);
    }
}
