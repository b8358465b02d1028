//! Copies of the marks of all partitions, kept beside their directories: they show how far a partition had come if its
//! whole directory is lost.
//!
//! `marks` has the 40 bytes of a [`Mark`] for each partition, in order. They are written after each sync, as the mark
//! itself, and like it not synced. Before the first record of an opening is written, however, the offset after it is
//! written here and synced, so that a lost partition is never taken for one that was always empty.
//!
//! It is read only for a partition without any segment ([`crate::lost`]). As long as all directories are there, nothing
//! depends on it, so a failure to write it is only logged.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{During, Fault};
use crate::frame::Place;
use crate::mark::{MARK_BYTES, Mark};
use crate::system::{File, System};

const FILE_NAME: &str = "marks";

/// The file of one topic.
#[derive(Debug)]
pub(crate) struct Marks {
    path: PathBuf,
    /// `None` if it could be neither opened nor made.
    file: Option<Box<dyn File>>,
}

impl Marks {
    /// Writes the file of a topic that is being made: nothing was written to any partition.
    pub(crate) fn create(system: &dyn System, topic: &Path, tag: u32, partitions: u32) -> Result<(), Fault> {
        let path = topic.join(FILE_NAME);
        let nothing = Mark { segment: 0, length: 0, end: Some(0) };
        let bytes: Vec<u8> = (0..partitions).flat_map(|partition| nothing.to_bytes(Place { tag, partition })).collect();
        let file = system.create(&path).during("create", &path)?;
        file.write_all_at(&bytes, 0).during("write", &path)?;
        file.sync().during("sync", &path)
    }

    /// Opens the file, or makes an empty one: for a topic of an earlier version, or where it was lost.
    pub(crate) fn open(system: &dyn System, topic: &Path) -> Self {
        let path = topic.join(FILE_NAME);
        let opened = match system.open(&path, true) {
            Err(error) if error.kind() == ErrorKind::NotFound => system.create(&path).and_then(|file| {
                system.sync_dir(topic)?;
                Ok(file)
            }),
            opened => opened,
        };
        let file = opened
            .inspect_err(|error| tracing::warn!(%error, file = %path.display(), "no copies of the marks are kept"))
            .ok();
        Self { path, file }
    }

    /// The offset after the last record that the partition is known to have had.
    pub(crate) fn end(&self, place: Place) -> Option<u64> {
        let mut bytes = [0; MARK_BYTES];
        let read = self.file.as_ref()?.read_at(&mut bytes, position(place));
        let read = read.inspect_err(|error| self.tell("read", error)).ok()?;
        Mark::parse(&bytes, read, place)?.end
    }

    /// Keeps the mark of a partition that was opened, unless it is kept already.
    pub(crate) fn keep(&self, mark: Mark, place: Place) {
        if self.end(place) != mark.end {
            self.write(mark, place);
        }
    }

    /// Keeps the mark of a partition that has got records.
    pub(crate) fn write(&self, mark: Mark, place: Place) {
        let Some(file) = &self.file else { return };
        if let Err(error) = file.write_all_at(&mark.to_bytes(place), position(place)) {
            self.tell("written", &error);
        }
    }

    /// Makes durable what was written.
    pub(crate) fn sync(&self) {
        let Some(file) = &self.file else { return };
        if let Err(error) = file.sync() {
            self.tell("synced", &error);
        }
    }

    fn tell(&self, done: &'static str, error: &std::io::Error) {
        tracing::warn!(%error, file = %self.path.display(), "the copies of the marks were not {done}");
    }
}

fn position(place: Place) -> u64 {
    u64::from(place.partition) * MARK_BYTES as u64
}
