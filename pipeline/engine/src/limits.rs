//! Every limit of the engine in one place, each with its reason.

use std::sync::Arc;
use std::time::Duration;

use crate::flood::FloodLimits;
use crate::gap::OnGap;
use crate::memory::Budget;

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

impl BatchLimits {
    /// The freshness goal that `linger` is seven tenths of; the rest is for the transaction.
    #[must_use]
    pub fn freshness(&self) -> Duration {
        self.linger * 10 / 7
    }
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
    /// Memory for records from reading to commit, over all lanes: those that wait and those that are being written. It
    /// does not count with a `budget`.
    pub memory_bytes: usize,
    /// The memory that this pipeline shares with others; `None` if it has its own.
    pub budget: Option<Arc<Budget>>,
    /// The longest wait between attempts while the database is away. Longer: slower to come back.
    pub retry_cap: Duration,
    /// The first wait between attempts.
    pub retry_base: Duration,
    /// How long a lane with work may stand still before the watchdog restarts it.
    pub stall: Duration,
    /// How many bad events are too many.
    pub flood: FloodLimits,
    /// What happens to a partition that lost records.
    pub on_gap: OnGap,
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
            budget: None,
            retry_cap: Duration::from_secs(10),
            retry_base: Duration::from_millis(100),
            stall: Duration::from_secs(30),
            flood: FloodLimits::default(),
            on_gap: OnGap::default(),
        }
    }
}

impl Limits {
    /// The budget that this pipeline's records count in: the shared one, or one of its own.
    #[must_use]
    pub fn budget(&self) -> Arc<Budget> {
        self.budget.clone().unwrap_or_else(|| Budget::new(self.memory_bytes))
    }

    /// The most bytes of records in a batch, if no other pipeline uses the memory.
    #[must_use]
    pub fn batch_bytes(&self) -> usize {
        let memory = self.budget.as_ref().map_or(self.memory_bytes, |budget| budget.bytes());
        self.batch.bytes_max.min(memory / 8 / self.writers.max(1))
    }
}
