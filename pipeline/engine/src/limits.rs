//! Every limit of the engine in one place, each with its reason.

use std::time::Duration;

use crate::flood::FloodLimits;

/// What one transaction may hold, and how long a record may wait for others.
#[derive(Clone, Debug)]
pub struct BatchLimits {
    /// Records. More: longer locks and more to redo after a failure. Fewer: neighbours in the index meet less often in
    /// one transaction, and counters are written more often. Reached only with a backlog.
    pub records_max: usize,
    /// Bytes of records. Bounds the memory of a batch whose records are large.
    pub bytes_max: usize,
    /// How long the first record waits for others at most: the part of the freshness goal that batching may spend.
    pub linger: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        BatchLimits { records_max: 10_000, bytes_max: 16 << 20, linger: Duration::from_millis(100) }
    }
}

/// The limits of one pipeline.
#[derive(Clone, Debug)]
pub struct Limits {
    /// What one transaction may hold.
    pub batch: BatchLimits,
    /// Lanes, and so the most transactions at a time; the controller finds the best number up to this.
    pub writers: usize,
    /// Lanes that keep partitions even when there is little to do.
    pub writers_min: usize,
    /// How long a transaction may take: bounds locks and what a failure undoes. The controller keeps batches below it.
    pub transaction_max: Duration,
    /// Records per second that may be written; 0 for no cap.
    pub records_per_second_max: u64,
    /// Memory for records from reading to commit, over all lanes: those that wait and those that are being written.
    pub memory_bytes: usize,
    /// The longest wait between attempts while the database is away. Longer: slower to come back.
    pub retry_cap: Duration,
    /// The first wait between attempts.
    pub retry_base: Duration,
    /// How long a lane with work may stand still before the watchdog restarts it.
    pub stall: Duration,
    /// How many bad events are too many.
    pub flood: FloodLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            batch: BatchLimits::default(),
            writers: 4,
            writers_min: 1,
            transaction_max: Duration::from_secs(2),
            records_per_second_max: 0,
            memory_bytes: 256 << 20,
            retry_cap: Duration::from_secs(10),
            retry_base: Duration::from_millis(100),
            stall: Duration::from_secs(30),
            flood: FloodLimits::default(),
        }
    }
}

impl Limits {
    /// Bytes that may wait in one lane: a quarter of the memory over all of them.
    #[must_use]
    pub fn queue_bytes(&self) -> usize {
        self.memory_bytes / 4 / self.writers.max(1)
    }

    /// Bytes of records in a batch. While a batch is written it is in memory about three times: as records, as columns
    /// and as what is sent. So an eighth of the memory over all lanes leaves a quarter of it for the process itself.
    #[must_use]
    pub fn batch_bytes(&self) -> usize {
        self.batch.bytes_max.min(self.memory_bytes / 8 / self.writers.max(1))
    }
}
