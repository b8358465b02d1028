//! One partition: its queue, its committer thread, its writer and its index.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::damage::Damage;
use crate::error::{Cause, Corrupt, During, Error, Fault};
use crate::frame::Place;
use crate::holes::Holes;
use crate::index::{Index, Segment};
use crate::lost;
use crate::mark::{self, Mark};
use crate::openings::Openings;
use crate::options::{Options, Retention};
use crate::post::Chunk;
use crate::queue::Queue;
use crate::recover::Witnesses;
use crate::system::System;
use crate::walk::{Stop, Walk};
use crate::writer::{Settings, Writer};
use crate::{SEGMENT_SUFFIX, lock, segment_path};

/// Frames in one group: what is synced, and so acknowledged, together. More would let segments outgrow their size
/// and make the first of many waiting appends wait for the last.
const GROUP_FRAMES_MAX: usize = 8;
/// The committer's work is shallow; the rest of the default 2 MiB would only be reserved.
const STACK_BYTES: usize = 512 << 10;
/// Interval between two log lines about the same failure: on a full disk every append fails.
const TELL_AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) system: Arc<dyn System>,
    pub(crate) directory: PathBuf,
    pub(crate) place: Place,
    pub(crate) index: Mutex<Index>,
    openings: Mutex<Openings>,
    /// The damage found so far, sorted.
    pub(crate) damages: Mutex<Vec<Damage>>,
    /// Where it began anew after its segments were lost, unless these records were given up.
    pub(crate) lost: Mutex<Option<u64>>,
    pub(crate) retention: Retention,
    /// Held by one retention at a time, so that segments are unlinked in order.
    pub(crate) removing: Mutex<()>,
    writer: Mutex<Writer>,
    queue: Queue,
    thread: Mutex<Option<JoinHandle<()>>>,
    progress: watch::Sender<u64>,
    group_bytes_max: usize,
    /// When appends began to fail, and when that was last logged.
    failing: Mutex<Option<(Instant, Instant)>>,
}

impl Partition {
    /// Opens a partition: lists the segments and checks the last one. Begins anew if none is left.
    pub(crate) fn open(settings: Settings, options: &Options, progress: watch::Sender<u64>) -> Result<Self, Error> {
        let system = Arc::clone(&settings.system);
        let directory = settings.directory.clone();
        let place = settings.place;
        let group_bytes_max = settings.frame_bytes_max.saturating_mul(GROUP_FRAMES_MAX);
        lost::make_directory(system.as_ref(), &directory)?;
        let mut openings = Openings::read(system.as_ref(), &directory, place)?;
        let holes = Holes::read(system.as_ref(), &directory, place)?;
        let mut lost = lost::read(system.as_ref(), &directory, place)?;
        let mark = mark::open(system.as_ref(), &directory)?;
        let witnesses = Witnesses {
            mark: Mark::read(mark.as_ref(), &directory, place)?,
            end: openings.began_at().max(holes.end()),
        };
        let mut segments = list(system.as_ref(), &directory)?;
        let base = match segments.pop_back() {
            Some(active) => active.base,
            None => {
                let base = lost::begin_anew(&settings, witnesses, !openings.is_empty())?;
                lost = Some(base);
                base
            }
        };
        let (mut writer, recovered) = Writer::open(settings, base, mark, witnesses)?;
        if let (None, Some(previous)) = (recovered.timestamp_last_ms, segments.back()) {
            // If the segment is damaged: the time before the damage.
            let (floor_ms, _) = last_timestamp(system.as_ref(), &directory, place, *previous, base)?;
            writer.not_before(floor_ms.unwrap_or(i64::MIN));
        }
        let length = recovered.length;
        let timestamp_last_ms = recovered.timestamp_last_ms;
        segments.push_back(Segment { base, length, timestamp_last_ms });
        openings.ends_at(recovered.end);
        let partition = Self {
            system,
            directory,
            place,
            index: Mutex::new(Index::new(segments, recovered.end, holes)),
            openings: Mutex::new(openings),
            damages: Mutex::new(Vec::new()),
            lost: Mutex::new(lost),
            retention: options.retention,
            removing: Mutex::new(()),
            writer: Mutex::new(writer),
            queue: Queue::new(options.mend_delay, options.linger),
            thread: Mutex::new(None),
            progress,
            group_bytes_max,
            failing: Mutex::default(),
        };
        if recovered.is_damaged {
            partition.examine(base)?;
        }
        Ok(partition)
    }

    /// Hands chunks to the committer, which the first call starts.
    pub(crate) fn submit(self: &Arc<Self>, chunks: Vec<Chunk>) {
        if !self.queue.submit(chunks) {
            return;
        }
        let partition = Arc::clone(self);
        let name = format!("log-commit-{}", self.place.partition);
        let started = std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || partition.run());
        match started {
            Ok(thread) => *lock(&self.thread) = Some(thread),
            Err(error) => self.queue.end(&Cause::Thread(error.to_string().into())),
        }
    }

    /// Makes a stopped partition take appends again; see [`crate::Topic::mend`].
    pub(crate) fn mend(&self) -> Result<(), Fault> {
        lock(&self.writer).mend(&self.index)?;
        self.queue.resume();
        Ok(())
    }

    pub(crate) fn stopped(&self) -> Option<Cause> {
        self.queue.stopped()
    }

    pub(crate) fn opening_before(&self, offset: u64) -> Option<i64> {
        if offset > self.range().end { None } else { lock(&self.openings).before(offset) }
    }

    pub(crate) fn knows(&self, offset: u64, opening: i64) -> bool {
        // Read the end first: it only grows, and a later opening begins at it.
        let end = self.range().end;
        lock(&self.openings).knows(offset, opening, end)
    }

    pub(crate) fn reached(&self, opening: i64) -> Option<u64> {
        let end = self.range().end;
        lock(&self.openings).reached(opening, end)
    }

    pub(crate) fn roll_if_over_age(&self) -> Result<(), Fault> {
        lock(&self.writer).roll_if_over_age(&self.index)
    }

    /// Refuses new appends. [`Partition::join`] waits for those accepted.
    pub(crate) fn close(&self) {
        self.queue.close();
    }

    pub(crate) fn join(&self) -> Result<(), Fault> {
        let thread = lock(&self.thread).take();
        // The committer's panic has already failed its appends, by `Ended`.
        let ended = thread.is_none_or(|thread| thread.join().is_ok());
        if !ended {
            tracing::error!(directory = %self.directory.display(), "the partition's writing thread had panicked");
        }
        lock(&self.writer).close()
    }

    fn run(&self) {
        let _ended = Ended(&self.queue);
        while let Some(group) = self.queue.take(self.group_bytes_max) {
            let segments_before = lock(&self.index).segments().len();
            self.commit(group);
            if lock(&self.index).segments().len() > segments_before
                && let Err(error) = self.enforce_retention()
            {
                tracing::warn!(%error, directory = %self.directory.display(), "old segments were not removed");
            }
        }
    }

    fn commit(&self, group: Vec<Chunk>) {
        let appended = lock(&self.writer).append(&group, &self.index, &self.openings);
        match appended {
            Ok(offsets) => {
                self.queue.resume();
                self.tell_success();
                self.progress.send_modify(|moves| *moves = moves.wrapping_add(1));
                group.into_iter().zip(offsets).for_each(|(chunk, offset)| chunk.ticket.durable(offset));
            }
            Err(fault) => {
                self.tell_failure(&fault);
                let retry = fault.is_space();
                let cause = Cause::Fault(fault);
                self.queue.stop(&cause, retry);
                group.into_iter().for_each(|chunk| chunk.ticket.fail(&cause));
            }
        }
    }
}

impl Partition {
    fn tell_failure(&self, fault: &Fault) {
        let now = Instant::now();
        let mut failing = lock(&self.failing);
        let (since, is_due) = match *failing {
            Some((since, told)) => (since, now.duration_since(told) >= TELL_AGAIN),
            None => (now, true),
        };
        if is_due {
            let cause = fault.source.to_string();
            let for_s = now.duration_since(since).as_secs();
            tracing::error!(error = %fault, cause, for_s, "partition stopped, appends to it fail");
            *failing = Some((since, now));
        }
    }

    fn tell_success(&self) {
        if let Some((since, _)) = lock(&self.failing).take() {
            tracing::info!(
                partition = self.place.partition, directory = %self.directory.display(), after_s = since.elapsed().as_secs(),
                "the partition takes appends again"
            );
        }
    }
}

/// However the committer ends, it answers every append that waits.
struct Ended<'a>(&'a Queue);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let cause = if std::thread::panicking() { Cause::Thread("it panicked".into()) } else { Cause::Closed };
        self.0.end(&cause);
    }
}

/// The segments in a directory, oldest first.
fn list(system: &dyn System, directory: &std::path::Path) -> Result<VecDeque<Segment>, Fault> {
    let names = system.list(directory).during("list", directory)?;
    let mut bases: Vec<u64> = names.iter().filter_map(|name| name.strip_suffix(SEGMENT_SUFFIX)?.parse().ok()).collect();
    bases.sort_unstable();
    let segment = |base| {
        let path = segment_path(directory, base);
        let length = system.open(&path, false).and_then(|file| file.length()).during("open", &path)?;
        Ok(Segment { base, length, timestamp_last_ms: None })
    };
    bases.into_iter().map(segment).collect()
}

/// The time of the last record of a segment whose records end before the offset `end`, found by hopping over its
/// heads; of the last one before damage, if there is any.
pub(crate) fn last_timestamp(
    system: &dyn System,
    directory: &std::path::Path,
    place: Place,
    segment: Segment,
    end: u64,
) -> Result<(Option<i64>, Option<Corrupt>), Fault> {
    let path = segment_path(directory, segment.base);
    let file = system.open(&path, false).during("open", &path)?;
    let mut walk = Walk::new(file.as_ref(), &path, place, (0, segment.base), segment.length);
    let mut last = None;
    let stop = loop {
        if walk.offset() >= end {
            return Ok((last, None));
        }
        match walk.head() {
            Ok(Some(head)) => {
                walk.step(&head);
                last = Some(head.timestamp_ms);
            }
            Ok(None) => break walk.short("the segment ends before the next one begins"),
            Err(stop) => break stop,
        }
    };
    match stop {
        Stop::Corrupt(damage) => Ok((last, Some(damage))),
        Stop::Fault(fault) => Err(fault),
    }
}
