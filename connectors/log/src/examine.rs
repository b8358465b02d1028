//! Acknowledged records that cannot be read: finding them, remembering them, setting them aside.
//!
//! Damage is found when it is read, or at the end of a partition when the partition is opened. It stops neither other
//! partitions nor appends to its own. Records before it are served; so are those in whole frames after it, to readers
//! that start there. A reader that reaches it gets an error until a person restores the file or sets the range aside.

use std::io::ErrorKind;
use std::path::Path;

use crate::damage::{Damage, LOST};
use crate::error::{Corrupt, During, Fault, ReadError};
use crate::index::Segment;
use crate::pairs::Pair;
use crate::partition::Partition;
use crate::system::File;
use crate::walk::{Stop, Walk};
use crate::{lock, lost, search, segment_path};

/// Damages listed per segment; the rest of the segment then counts as one.
const DAMAGES_MAX: usize = 64;

impl Partition {
    /// The damage that is known so far, oldest first.
    pub(crate) fn damages(&self) -> Vec<Damage> {
        let start = self.range().start;
        let loss = self.loss();
        let mut damages = lock(&self.damages);
        damages.retain(|damage| damage.to > start);
        loss.into_iter().chain(damages.iter().cloned()).collect()
    }

    /// The offset before which all records were lost with their files and not given up; `None` without a loss.
    pub(crate) fn lost_before(&self) -> Option<u64> {
        let start = self.range().start;
        let lost = *lock(&self.lost);
        lost.filter(|to| *to > 0 && *to == start)
    }

    /// The loss of all segments, as damage.
    fn loss(&self) -> Option<Damage> {
        let partition = self.place.partition;
        let file = self.directory.clone();
        let to = self.lost_before()?;
        Some(Damage { partition, file, byte: 0, bytes: 0, reason: LOST, from: 0, to, is_missing: true })
    }

    /// Records that a person gave the lost records up.
    fn forget_loss(&self) -> Result<(), Fault> {
        lost::forget(self.system.as_ref(), &self.directory, self.place)?;
        *lock(&self.lost) = None;
        Ok(())
    }

    pub(crate) fn holes(&self) -> Vec<Pair> {
        let index = lock(&self.index);
        index.holes().all().iter().copied().filter(|(_, to)| *to > index.start()).collect()
    }

    /// Reads the whole partition; returns what cannot be read.
    pub(crate) fn check(&self) -> Result<Vec<Damage>, Fault> {
        let segments = lock(&self.index).segments().clone();
        for segment in segments {
            self.examine(segment.base)?;
        }
        Ok(self.damages())
    }

    /// Lets reads continue after the damage that begins at `from`. Returns what was set aside.
    pub(crate) fn set_aside(&self, from: u64) -> Result<Damage, ReadError> {
        // Retention must not remove segments meanwhile.
        let _no_retention = lock(&self.removing);
        if let Some(loss) = self.loss().filter(|loss| loss.from == from) {
            self.forget_loss()?;
            tracing::warn!(damage = %loss, "a loss was set aside, it is not told any more");
            return Ok(loss);
        }
        let base = lock(&self.index).segment_of(from).map(|(segment, _)| segment.base);
        let found = base.map(|base| self.examine(base)).transpose()?.unwrap_or_default();
        let damage = found.into_iter().find(|damage| damage.from == from);
        let damage = damage.ok_or(ReadError::NotDamaged { partition: self.place.partition, offset: from })?;
        let holes = {
            let index = lock(&self.index);
            index.holes().with((damage.from, damage.to), index.start())
        };
        holes.write(self.system.as_ref(), &self.directory, self.place)?;
        lock(&self.index).set_holes(holes);
        lock(&self.damages).retain(|known| known.from != from);
        tracing::warn!(%damage, "a damaged range was set aside, reading goes on after it");
        Ok(damage)
    }

    /// Reads a segment, remembers what is damaged in it and returns that.
    pub(crate) fn examine(&self, base: u64) -> Result<Vec<Damage>, Fault> {
        let Some((segment, end)) = lock(&self.index).segment_of(base) else { return Ok(Vec::new()) };
        let path = segment_path(&self.directory, base);
        let file = match self.system.open(&path, false) {
            // Removed by retention.
            Err(error) if error.kind() == ErrorKind::NotFound && self.range().start > base => return Ok(Vec::new()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let damage = self.missing(&path, (base, end));
                return Ok(self.note(&path, vec![damage]));
            }
            opened => opened.during("open", &path)?,
        };
        let found = self.scan(file.as_ref(), &path, segment, end)?;
        Ok(self.note(&path, found))
    }

    fn scan(&self, file: &dyn File, path: &Path, segment: Segment, end: u64) -> Result<Vec<Damage>, Fault> {
        let mut found = Vec::new();
        let mut from = (0, segment.base);
        loop {
            let mut walk = Walk::new(file, path, self.place, from, segment.length);
            walk.streaming();
            let stop = loop {
                if walk.offset() >= end {
                    return Ok(found);
                }
                match walk.checked(end) {
                    Ok(Some(_)) => {}
                    Ok(None) => break walk.short("the segment ends before its last offset"),
                    Err(stop) => break stop,
                }
            };
            let Corrupt { byte, reason, is_short, .. } = match stop {
                Stop::Corrupt(damage) => damage,
                Stop::Fault(fault) => return Err(fault),
            };
            let offset = walk.offset();
            let next = if found.len() < DAMAGES_MAX {
                search::next_whole(file, path, self.place, (byte, offset), (segment.length, end))?
            } else {
                None
            };
            let (position, to) = next.unwrap_or((segment.length, end));
            let is_missing = is_short && next.is_none();
            let bytes = position.saturating_sub(byte);
            let file_path = path.to_owned();
            let partition = self.place.partition;
            found.push(Damage { partition, file: file_path, byte, bytes, reason, from: offset, to, is_missing });
            match next {
                Some(next) => from = next,
                None => return Ok(found),
            }
        }
    }

    /// The damage of a missing segment.
    fn missing(&self, path: &Path, (from, to): Pair) -> Damage {
        let partition = self.place.partition;
        let file = path.to_owned();
        Damage { partition, file, byte: 0, bytes: 0, reason: "the file is missing", from, to, is_missing: true }
    }

    /// Replaces the known damage of a file by `found`, without ranges that were set aside. Logs new damage once.
    fn note(&self, path: &Path, found: Vec<Damage>) -> Vec<Damage> {
        let holes = lock(&self.index).holes().clone();
        let outside = |damage: Damage| {
            let (from, to) = holes.without((damage.from, damage.to))?;
            Some(Damage { from, to, ..damage })
        };
        let found: Vec<Damage> = found.into_iter().filter_map(outside).collect();
        let mut known = lock(&self.damages);
        for damage in found.iter().filter(|damage| !known.contains(damage)) {
            tracing::error!(%damage, "acknowledged records cannot be read");
        }
        known.retain(|damage| damage.file != path);
        known.extend(found.iter().cloned());
        known.sort_by_key(|damage| damage.from);
        drop(known);
        found
    }
}
