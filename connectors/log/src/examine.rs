//! Acknowledged records that cannot be read: finding them, remembering them, setting them aside.
//!
//! Damage is met where it is read, or at the end of a partition when it is opened. It stops neither the other
//! partitions nor appends to its own. What precedes it is read, what is behind it in whole frames as well, for readers
//! that are past it; one that has to pass it gets an error until someone restores the file or sets the range aside.

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

/// In one segment; after as many what is left of it counts as one.
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

    /// The offset before which every record was lost with its file, and not given up; `None` if none was.
    pub(crate) fn lost_before(&self) -> Option<u64> {
        let start = self.range().start;
        let lost = *lock(&self.lost);
        lost.filter(|to| *to > 0 && *to == start)
    }

    /// That loss as damage.
    fn loss(&self) -> Option<Damage> {
        let partition = self.place.partition;
        let file = self.directory.clone();
        let to = self.lost_before()?;
        Some(Damage { partition, file, byte: 0, bytes: 0, reason: LOST, from: 0, to, is_missing: true })
    }

    /// Notes that a person has given up what was lost.
    fn forget_loss(&self) -> Result<(), Fault> {
        lost::forget(self.system.as_ref(), &self.directory, self.place)?;
        *lock(&self.lost) = None;
        Ok(())
    }

    pub(crate) fn holes(&self) -> Vec<Pair> {
        let index = lock(&self.index);
        index.holes().all().iter().copied().filter(|(_, to)| *to > index.start()).collect()
    }

    /// Reads everything there is, and tells what cannot be read.
    pub(crate) fn check(&self) -> Result<Vec<Damage>, Fault> {
        let segments = lock(&self.index).segments().clone();
        for segment in segments {
            self.examine(segment.base)?;
        }
        Ok(self.damages())
    }

    /// Goes on after the damage that begins with the record `from`. Returns what was set aside.
    pub(crate) fn set_aside(&self, from: u64) -> Result<Damage, ReadError> {
        // Segments stay while their records are set aside.
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

    /// A segment that is not there.
    fn missing(&self, path: &Path, (from, to): Pair) -> Damage {
        let partition = self.place.partition;
        let file = path.to_owned();
        Damage { partition, file, byte: 0, bytes: 0, reason: "the file is missing", from, to, is_missing: true }
    }

    /// Takes what was found in a file for what is known of it, but for what was set aside. Says once what is new.
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
