//! The writer of a partition: frames, sync, new segments, and recovery from a failure.
//!
//! The order is always: (once) record the opening, write the frames of a group, sync, mark, show to readers,
//! acknowledge. After a failed write or sync nothing is written until [`Writer::mend`] has cut the file back to what is
//! durable. A failed sync is never retried, because the kernel may have dropped the pages and would report success.
//! Its group is given up.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::error::{During, Error, Fault};
use crate::frame::{Place, Sealer, Sealing};
use crate::index::Index;
use crate::mark::{self, Mark};
use crate::marks::Marks;
use crate::openings::{self, Openings};
use crate::post::Chunk;
use crate::recover::{self, Recovered, Witnesses};
use crate::system::{File, System};
use crate::{lock, segment_path};

/// What a writer needs to know of its partition.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) system: Arc<dyn System>,
    pub(crate) directory: PathBuf,
    pub(crate) place: Place,
    /// Where a copy of the mark is kept.
    pub(crate) marks: Arc<Marks>,
    /// The id of this opening.
    pub(crate) opening: i64,
    pub(crate) segment_bytes: u64,
    pub(crate) age_max_ms: Option<i64>,
    pub(crate) frame_bytes_max: usize,
    pub(crate) zstd_level: i32,
}

/// The state of the file after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// Bytes after the durable length may have been written.
    Written,
    /// These bytes may also be lost in memory and on disk.
    Synced,
}

#[derive(Debug)]
pub(crate) struct Writer {
    settings: Settings,
    file: Box<dyn File>,
    path: PathBuf,
    mark: Box<dyn File>,
    /// Durable bytes of the active segment; the file is exactly this long unless broken or damaged.
    length: u64,
    base: u64,
    end: u64,
    timestamp_first_ms: Option<i64>,
    timestamp_last_ms: i64,
    broken: Option<Broken>,
    /// Nothing more is written to the active segment: its end is damaged.
    damaged: bool,
    /// Whether the entry of this opening is durable.
    opened: bool,
    sealer: Option<Sealer>,
    raw: Vec<u8>,
}

impl Writer {
    /// Takes over the active segment, with the result of its recovery.
    pub(crate) fn open(
        settings: Settings,
        base: u64,
        mark: Box<dyn File>,
        witnesses: Witnesses,
    ) -> Result<(Self, Recovered), Error> {
        let system = settings.system.as_ref();
        let path = segment_path(&settings.directory, base);
        let file = system.open(&path, true).during("open", &path)?;
        let recovered = recover::recover(file.as_ref(), &path, settings.place, base, witnesses)?;
        let found = Mark { segment: base, length: recovered.length, end: Some(recovered.end) };
        settings.marks.keep(found, settings.place);
        let writer = Self {
            settings,
            file,
            path,
            mark,
            length: recovered.length,
            base,
            end: recovered.end,
            timestamp_first_ms: recovered.timestamp_first_ms,
            timestamp_last_ms: recovered.timestamp_last_ms.unwrap_or(i64::MIN),
            broken: None,
            damaged: recovered.is_damaged,
            opened: false,
            sealer: None,
            raw: Vec::new(),
        };
        Ok((writer, recovered))
    }

    /// Stores no record with an earlier time, whatever the clock says.
    pub(crate) fn not_before(&mut self, timestamp_ms: i64) {
        self.timestamp_last_ms = self.timestamp_last_ms.max(timestamp_ms);
    }

    /// Makes a group durable and visible. Returns the first offset of each chunk.
    pub(crate) fn append(
        &mut self,
        group: &[Chunk],
        index: &Mutex<Index>,
        openings: &Mutex<Openings>,
    ) -> Result<Vec<u64>, Fault> {
        if self.broken.is_some() {
            self.mend(index)?;
        }
        if self.damaged || self.length >= self.settings.segment_bytes || self.is_over_age() {
            self.roll(index)?;
        }
        self.begin_opening(index, openings)?;
        let timestamp_ms = self.settings.system.now_ms().max(self.timestamp_last_ms);
        let written = self.write(group, timestamp_ms);
        let (offsets, length, end) = written.inspect_err(|_| self.broken = Some(Broken::Written))?;
        let synced = self.file.sync().during("sync", &self.path);
        synced.inspect_err(|_| self.broken = Some(Broken::Synced))?;

        self.length = length;
        self.end = end;
        self.timestamp_first_ms.get_or_insert(timestamp_ms);
        self.timestamp_last_ms = timestamp_ms;
        self.write_mark();
        lock(index).extend(length, end, timestamp_ms);
        Ok(offsets)
    }

    /// Cuts back to what is durable so that appends can go on. Does nothing to a healthy partition.
    pub(crate) fn mend(&mut self, index: &Mutex<Index>) -> Result<(), Fault> {
        let Some(broken) = self.broken else { return Ok(()) };
        // A new handle: the system may have reported the error of the old one already.
        self.file = self.settings.system.open(&self.path, true).during("open", &self.path)?;
        recover::cut(self.file.as_ref(), &self.path, self.length)?;
        if broken == Broken::Synced && self.length > 0 {
            // The last durable page shared its sectors with what failed: nothing more is put beside it.
            self.roll(index)?;
        }
        self.broken = None;
        tracing::debug!(file = %self.path.display(), offset = self.end, "partition mended, appends are tried again");
        Ok(())
    }

    /// Called before the first record of an opening: once it can be read, its opening must not be lost.
    fn begin_opening(&mut self, index: &Mutex<Index>, openings: &Mutex<Openings>) -> Result<(), Fault> {
        if self.opened {
            return Ok(());
        }
        let Settings { system, directory, place, marks, opening, .. } = &self.settings;
        let from = (lock(index).start(), self.end);
        openings::begin(openings, system.as_ref(), directory, *place, *opening, from)?;
        marks.write(Mark { segment: self.base, length: self.length, end: Some(self.end.saturating_add(1)) }, *place);
        marks.sync();
        self.opened = true;
        Ok(())
    }

    /// Begins a new segment if the active one has outlived the retention, so that it can be removed in its turn.
    pub(crate) fn roll_if_over_age(&mut self, index: &Mutex<Index>) -> Result<(), Fault> {
        if self.broken.is_none() && self.is_over_age() { self.roll(index) } else { Ok(()) }
    }

    /// Syncs the mark, so that a clean close can be relied on after a power cut too.
    pub(crate) fn close(&self) -> Result<(), Fault> {
        self.mark.sync().during("sync", &self.settings.directory.join(mark::FILE_NAME))
    }

    fn is_over_age(&self) -> bool {
        let (Some(first), Some(age)) = (self.timestamp_first_ms, self.settings.age_max_ms) else { return false };
        first < self.settings.system.now_ms().saturating_sub(age)
    }

    fn roll(&mut self, index: &Mutex<Index>) -> Result<(), Fault> {
        if self.length == 0 && !self.damaged {
            return Ok(());
        }
        let path = segment_path(&self.settings.directory, self.end);
        let file = match self.settings.system.create(&path) {
            // Left by an attempt that failed between creating and syncing the directory; it holds nothing.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let file = self.settings.system.open(&path, true).during("open", &path)?;
                recover::cut(file.as_ref(), &path, 0)?;
                file
            }
            created => created.during("create", &path)?,
        };
        self.settings.system.sync_dir(&self.settings.directory).during("sync", &self.settings.directory)?;
        lock(index).roll();
        self.file = file;
        self.path = path;
        self.base = self.end;
        self.length = 0;
        self.timestamp_first_ms = None;
        self.damaged = false;
        Ok(())
    }

    /// Writes the group in frames of bounded size after the durable length.
    fn write(&mut self, group: &[Chunk], timestamp_ms: i64) -> Result<(Vec<u64>, u64, u64), Fault> {
        let mut offsets = Vec::with_capacity(group.len());
        let mut position = self.length;
        let mut end = self.end;
        let mut rest = group;
        while let Some(first) = rest.first() {
            let mut bytes = first.raw.len();
            let more = rest.iter().skip(1).take_while(|chunk| {
                bytes = bytes.saturating_add(chunk.raw.len());
                bytes <= self.settings.frame_bytes_max
            });
            let (frame, after) = rest.split_at(1 + more.count());
            rest = after;
            let base = end;
            for chunk in frame {
                offsets.push(end);
                end = end.saturating_add(u64::from(chunk.count));
            }
            let count = u32::try_from(end - base).unwrap_or(u32::MAX);
            let sealing = Sealing { place: self.settings.place, count, base, timestamp_ms, synced: self.length };
            position += self.write_frame(frame, sealing, position)?;
        }
        Ok((offsets, position, end))
    }

    fn write_frame(&mut self, chunks: &[Chunk], sealing: Sealing, position: u64) -> Result<u64, Fault> {
        let raw = match chunks {
            [only] => only.raw.as_slice(),
            many => {
                self.raw.clear();
                many.iter().for_each(|chunk| self.raw.extend_from_slice(&chunk.raw));
                self.raw.as_slice()
            }
        };
        // zstd's working memory comes with the first append: a partition that is only read does without.
        let sealer = match &mut self.sealer {
            Some(sealer) => sealer,
            None => self.sealer.insert(Sealer::new(self.settings.zstd_level).during("compress for", &self.path)?),
        };
        let frame = sealer.seal(raw, sealing).during("compress for", &self.path)?;
        self.file.write_all_at(frame, position).during("write", &self.path)?;
        Ok(frame.len() as u64)
    }

    fn write_mark(&self) {
        let mark = Mark { segment: self.base, length: self.length, end: Some(self.end) };
        if let Err(error) = mark.write(self.mark.as_ref(), self.settings.place) {
            // The group is durable all the same; only the witness against rot in it is missing.
            tracing::warn!(%error, directory = %self.settings.directory.display(), "the mark was not written");
        }
        self.settings.marks.write(mark, self.settings.place);
    }
}
