//! The options of a log.

use std::time::Duration;

/// Most bytes of a record, a frame or a queue, so that the 32-bit lengths on disk hold them with room to spare.
pub(crate) const RECORD_BYTES_LIMIT: usize = 256 << 20;

/// Settings of a log; the same for all of its topics.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes after which a partition begins a new segment file. `None` chooses 64 MiB, or 16 MiB for topics of 16
    /// partitions and more: opening reads the last segment of every partition, and retention frees whole segments.
    pub segment_bytes: Option<u64>,
    /// Which segments may be removed.
    pub retention: Retention,
    /// The largest record (key, headers and payload together); a larger one is refused before anything is stored.
    pub record_bytes_max: usize,
    /// Uncompressed bytes in one frame. A reader decompresses whole frames, so this bounds its memory from below;
    /// small frames compress badly.
    pub group_bytes_max: usize,
    /// Uncompressed bytes that may wait in one topic; further appends wait for room.
    pub queue_bytes_max: usize,
    /// How long a partition's group waits for more when several appends shared the last one. Appends that spread over
    /// many partitions make many small groups; with 12 of them, 1 ms more than halves the syncs. Longer only delays.
    pub linger: Duration,
    /// Compression level; default 1: level 3 saves no bytes of such records and costs more.
    pub zstd_level: i32,
    /// After the disk was full, how long appends fail at once before the next one is tried.
    /// `None` leaves it to [`crate::Topic::mend`]. Other faults always wait for `mend` or a restart.
    pub mend_delay: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: None,
            retention: Retention::default(),
            record_bytes_max: 8 << 20,
            group_bytes_max: 1 << 20,
            queue_bytes_max: 64 << 20,
            linger: Duration::from_millis(1),
            zstd_level: 1,
            mend_delay: Some(Duration::from_secs(1)),
        }
    }
}

impl Options {
    pub(crate) fn segment_bytes_for(&self, partitions: u32) -> u64 {
        let chosen = if partitions >= 16 { 16 << 20 } else { 64 << 20 };
        self.segment_bytes.unwrap_or(chosen)
    }

    /// Brings every value into the range the format can hold.
    pub(crate) fn clamped(mut self) -> Self {
        self.record_bytes_max = self.record_bytes_max.clamp(1, RECORD_BYTES_LIMIT);
        self.group_bytes_max = self.group_bytes_max.clamp(1, RECORD_BYTES_LIMIT);
        self.queue_bytes_max = self.queue_bytes_max.clamp(1, 1 << 30);
        self
    }
}

/// Which whole segments may be removed, oldest first. By default nothing is.
///
/// A limit is kept to within one segment: the one being written is never removed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retention {
    /// Records older than this may go.
    pub age: Option<Duration>,
    /// Stored (compressed) bytes per partition beyond which the oldest may go.
    pub bytes: Option<u64>,
}
