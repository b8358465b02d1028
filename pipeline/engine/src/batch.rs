//! Stage 3: what is written in one transaction, and the proof that it was.
//!
//! A [`Batch`] knows the exact range of positions it covers in each partition. Only it can mint the [`Receipt`] that
//! lets those positions move, and only if the outcome accounts for every event. Dropping a batch moves nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::commit::Checkpoint;
use crate::decode::{Columns, Decode};
use crate::named::Named;
use crate::position::{Partition, Position};
use crate::share::{Aside, Share, Shares, Tally};
use crate::source::Record;

/// Records of one partition on their way into a batch.
#[derive(Debug)]
pub struct Taken {
    pub(crate) partition: Partition,
    pub(crate) from: Position,
    pub(crate) next: Position,
    pub(crate) era: Option<i64>,
    pub(crate) records: Vec<Record>,
}

/// The positions of one partition that a batch covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The partition.
    pub partition: Partition,
    /// The first position covered: the transaction checks that the stored position equals it.
    pub from: Position,
    /// The position after the last one covered.
    pub next: Position,
    /// The era of `next`, to be stored with it.
    pub era: Option<i64>,
    /// Index range of this partition's records in [`Batch::records`].
    pub records: std::ops::Range<usize>,
}

/// Everything one transaction writes.
#[derive(Debug)]
pub struct Batch<C> {
    ranges: Vec<Range>,
    records: Vec<Record>,
    shares: Shares,
    columns: C,
}

impl<C: Columns> Batch<C> {
    /// Decodes the taken records, except those of shares that are paused, and keeps them together with the positions
    /// they cover.
    pub fn decode(taken: Vec<Taken>, decoder: &dyn Decode<Columns = C>, aside: &Aside) -> Self {
        let mut records = Vec::with_capacity(taken.iter().map(|taken| taken.records.len()).sum());
        let mut ranges = Vec::with_capacity(taken.len());
        for part in taken {
            let start = records.len();
            records.extend(part.records);
            let Taken { partition, from, next, era, .. } = part;
            ranges.push(Range { partition, from, next, era, records: start..records.len() });
        }
        // Lease rows are locked in this order, so that two writers cannot wait for each other.
        ranges.sort_by(|a, b| a.partition.cmp(&b.partition));
        let shares = Shares::of(&records, decoder, aside);
        let columns = decoder.decode(&records, &shares.aside);
        Batch { ranges, records, shares, columns }
    }

    /// The records and the positions they cover, so that they can be batched again, with other records.
    pub(crate) fn into_taken(self) -> Vec<Taken> {
        let Batch { mut ranges, mut records, .. } = self;
        // From the back, so that each split cuts off the records of exactly one partition.
        ranges.sort_by_key(|range| std::cmp::Reverse((range.records.start, range.records.end)));
        let taken = ranges.into_iter().map(|range| {
            let Range { partition, from, next, era, records: place } = range;
            Taken { partition, from, next, era, records: records.split_off(place.start) }
        });
        taken.collect()
    }

    /// The positions covered, sorted by partition.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// The raw records: a quarantined record is kept as it came.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The decoded events.
    pub fn columns(&self) -> &C {
        &self.columns
    }

    /// The share that a record of [`Batch::records`] belongs to.
    pub fn share_of(&self, record: usize) -> &str {
        self.shares.name_of(record)
    }

    /// Whether a record of [`Batch::records`] was kept undecoded.
    pub fn is_aside(&self, record: usize) -> bool {
        self.shares.is_aside(record)
    }

    /// The shares that the batch takes as paused. The sink's transaction MUST check that they still are paused.
    pub fn paused(&self) -> Vec<&str> {
        self.shares.paused()
    }

    /// The range that a record of [`Batch::records`] belongs to.
    pub fn range_of(&self, record: usize) -> Option<&Range> {
        self.ranges.iter().find(|range| range.records.contains(&record))
    }

    /// Mints the proof that this batch is in the sink.
    ///
    /// # Errors
    /// [`Unbalanced`] if the outcome does not account for every event exactly once: the positions must not move.
    pub fn receipt(&self, outcome: Outcome) -> Result<Receipt, Unbalanced> {
        let events = self.columns.events() as u64;
        let accounted = outcome.total();
        if events != accounted {
            return Err(Unbalanced { events, accounted });
        }
        let published_at_ms = self.records.iter().map(|record| record.published_at_ms).collect();
        let tallies = self.shares.tally(&self.records, &outcome.bad);
        Ok(Receipt { ranges: self.ranges.clone(), records: self.records.len(), published_at_ms, outcome, tallies })
    }
}

/// How many events of a batch ended in each of the three ways: written, filtered or quarantined. There is no fourth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Events that changed a table.
    pub written: u64,
    /// Events that rightly changed nothing, by reason.
    pub filtered: BTreeMap<&'static str, u64>,
    /// The filtered events that have a name, each counted once.
    pub named: Named,
    /// Events kept in the quarantine table.
    pub quarantined: u64,
    /// Indices of the batch's records of which an event was quarantined, without the records that were kept.
    pub bad: BTreeSet<u32>,
    /// Attempts by which the sink isolated the records it refused; 0 if it refused none. Not a number of events.
    pub isolating_tries: u64,
    /// Rows that were removed from the quarantine, the oldest first, because it held too much of their share. They stand
    /// for earlier events, which are counted as quarantined already.
    pub dropped: u64,
}

impl Outcome {
    /// The number of written, filtered and quarantined events.
    pub fn total(&self) -> u64 {
        self.written + self.filtered.values().sum::<u64>() + self.quarantined
    }

    /// Counts events filtered for one reason.
    pub fn filter(&mut self, reason: &'static str, events: u64) {
        if events > 0 {
            *self.filtered.entry(reason).or_default() += events;
        }
    }
}

/// The outcome of a batch did not account for all of its events: a bug in the sink, never a reason to move on.
#[derive(Debug, thiserror::Error)]
#[error("the sink accounted for {accounted} of {events} events")]
pub struct Unbalanced {
    events: u64,
    accounted: u64,
}

/// Proof that every record of a batch is in the sink. Made only by [`Batch::receipt`].
#[must_use = "positions move only with the receipt"]
#[derive(Debug)]
pub struct Receipt {
    ranges: Vec<Range>,
    records: usize,
    published_at_ms: Vec<i64>,
    outcome: Outcome,
    tallies: Vec<(Share, Tally)>,
}

impl Receipt {
    /// What became of the events.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// How many records it covers.
    pub fn records(&self) -> usize {
        self.records
    }

    /// When the stream accepted each record, for freshness.
    pub fn published_at_ms(&self) -> &[i64] {
        &self.published_at_ms
    }

    /// What the batch held of each share.
    pub(crate) fn tallies(&self) -> &[(Share, Tally)] {
        &self.tallies
    }

    /// The positions it covers.
    pub(crate) fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// The positions that may now be committed to the source.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint::new(self.ranges.iter().map(|range| (range.partition.clone(), range.next.clone())).collect())
    }
}
