//! Tables in memory, and the writer and decoder that fill them.
//!
//! A payload is a word: `skip..` is filtered, `bad..` quarantined, anything else written. The key names the share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::batch::{Batch, Outcome, Range, Receipt};
use crate::decode::{Columns, Decode};
use crate::gap::Gap;
use crate::position::{Partition, Position};
use crate::share::{Pause, Share, Standing};
use crate::sink::{Held, SinkError};
use crate::source::Record;

/// The words of a batch.
#[derive(Debug, Default)]
pub struct Words {
    words: Vec<Bytes>,
}

impl Columns for Words {
    fn events(&self) -> usize {
        self.words.len()
    }

    fn unpacked_bytes(&self) -> usize {
        self.words.iter().map(Bytes::len).sum()
    }
}

/// Makes a word of each record.
#[derive(Clone, Copy, Debug)]
pub struct Decoder;

impl Decode for Decoder {
    type Columns = Words;

    fn share<'a>(&'a self, record: &'a Record) -> &'a str {
        std::str::from_utf8(&record.key).ok().filter(|name| !name.is_empty()).unwrap_or("none")
    }

    fn decode(&self, records: &[Record], _: &[bool]) -> Words {
        Words { words: records.iter().map(|record| record.payload.clone()).collect() }
    }
}

/// What is stored. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    shared: Arc<Mutex<Contents>>,
}

/// Everything in the tables, changed under one lock: a transaction.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    leases: BTreeMap<Partition, Lease>,
    tokens: u64,
    /// Words, in the order they were written.
    pub written: Vec<Bytes>,
    /// The places of bad records, and of those that were kept.
    pub quarantined: BTreeSet<(Partition, Position)>,
    /// How many of them were kept undecoded, by share.
    pub aside: BTreeMap<Share, u64>,
    /// The shares that are paused, and why.
    pub paused: BTreeMap<Share, String>,
    /// The gaps on record.
    pub gaps: Vec<Gap>,
}

#[derive(Clone, Debug, Default)]
struct Lease {
    token: u64,
    next: Option<Position>,
    era: Option<i64>,
    halted: Option<String>,
}

impl Contents {
    /// The position stored for a partition.
    pub fn next(&self, partition: &Partition) -> Option<&Position> {
        self.leases.get(partition)?.next.as_ref()
    }

    /// The stored positions of all partitions that have one.
    pub fn positions(&self) -> BTreeMap<Partition, Position> {
        self.leases.iter().filter_map(|(partition, lease)| Some((partition.clone(), lease.next.clone()?))).collect()
    }
}

impl Tables {
    /// A copy of everything stored, in one snapshot.
    pub fn contents(&self) -> Contents {
        self.lock().clone()
    }

    /// Resumes a share, as another process would.
    pub fn resume(&self, share: &Share) {
        self.lock().paused.remove(share);
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A writer of [`Tables`].
#[derive(Debug)]
pub struct Sink {
    tables: Tables,
    token: u64,
    held: Vec<Partition>,
    /// The last batch sent: if its answer was lost, the stored positions tell whether it took effect.
    pending: Option<(Vec<Range>, Outcome)>,
}

impl Sink {
    /// A writer that has no lease yet.
    pub fn new(tables: Tables) -> Self {
        Sink { tables, token: 0, held: Vec::new(), pending: None }
    }

    /// The transaction: all of it, or an error and nothing.
    fn transact(&mut self, batch: &Batch<Words>) -> Result<Outcome, SinkError> {
        let mut tables = self.tables.lock();
        if self.passed(&tables, batch.ranges())? {
            let sent = self.pending.as_ref().filter(|(ranges, _)| ranges == batch.ranges());
            return sent.map(|(_, outcome)| outcome.clone()).ok_or_else(|| moved(&tables, batch.ranges()));
        }
        let resumed = batch.paused().into_iter().find(|share| !tables.paused.contains_key(*share));
        if let Some(share) = resumed {
            return Err(SinkError::Resumed { share: Share::new(share) });
        }
        let mut outcome = Outcome::default();
        for range in batch.ranges() {
            let words = batch.columns().words.get(range.records.clone()).unwrap_or_default();
            let records = batch.records().get(range.records.clone()).unwrap_or_default();
            for ((word, record), at) in words.iter().zip(records).zip(range.records.clone()) {
                if batch.is_aside(at) {
                    outcome.quarantined += 1;
                    *tables.aside.entry(Share::new(batch.share_of(at))).or_default() += 1;
                    tables.quarantined.insert((range.partition.clone(), record.position.clone()));
                } else if word.starts_with(b"skip") {
                    outcome.filter("skip", 1);
                } else if word.starts_with(b"bad") {
                    outcome.quarantined += 1;
                    outcome.bad.extend(u32::try_from(at));
                    tables.quarantined.insert((range.partition.clone(), record.position.clone()));
                } else {
                    outcome.written += 1;
                    tables.written.push(word.clone());
                }
            }
            if let Some(lease) = tables.leases.get_mut(&range.partition) {
                lease.next = Some(range.next.clone());
                lease.era = range.era;
            }
        }
        self.pending = Some((batch.ranges().to_vec(), outcome.clone()));
        Ok(outcome)
    }

    /// Whether a batch is stored already; an error unless it is stored or comes next.
    fn passed(&self, tables: &Contents, ranges: &[Range]) -> Result<bool, SinkError> {
        let mut passed = 0;
        for range in ranges {
            let lease = tables.leases.get(&range.partition).filter(|lease| lease.token == self.token);
            let Some(lease) = lease else { return Err(SinkError::Fenced { partition: range.partition.clone() }) };
            match &lease.next {
                None => {}
                Some(next) if *next == range.from => {}
                Some(next) if *next == range.next => passed += 1,
                Some(_) => return Err(moved(tables, std::slice::from_ref(range))),
            }
        }
        if passed > 0 && passed < ranges.len() { Err(moved(tables, ranges)) } else { Ok(passed > 0) }
    }
}

fn moved(tables: &Contents, ranges: &[Range]) -> SinkError {
    // A range that was refused, or any of several that do not fit together.
    let at = |range: &&Range| tables.leases.get(&range.partition).and_then(|lease| lease.next.as_ref());
    let range = ranges.iter().find(|range| at(range) != Some(&range.from)).or(ranges.first());
    SinkError::Moved {
        partition: range.map_or_else(|| Partition::new(""), |range| range.partition.clone()),
        stored: range.and_then(|range| at(&range).cloned()),
    }
}

#[async_trait]
impl crate::Sink for Sink {
    type Columns = Words;

    async fn acquire(&mut self, partitions: &[Partition]) -> Result<Vec<Held>, SinkError> {
        tokio::task::yield_now().await;
        self.pending = None;
        self.held = partitions.to_vec();
        let held = {
            let mut tables = self.tables.lock();
            tables.tokens += 1;
            self.token = tables.tokens;
            let lease = |partition: &Partition| {
                let lease = tables.leases.entry(partition.clone()).or_default();
                lease.token = self.token;
                let Lease { next, era, halted, .. } = lease.clone();
                Held { partition: partition.clone(), next, era, halted }
            };
            partitions.iter().map(lease).collect()
        };
        tokio::task::yield_now().await;
        Ok(held)
    }

    async fn write(&mut self, batch: &Batch<Words>) -> Result<Receipt, SinkError> {
        // The request and the answer take a while, in which the caller may drop the call.
        tokio::task::yield_now().await;
        let outcome = self.transact(batch)?;
        tokio::task::yield_now().await;
        Ok(batch.receipt(outcome)?)
    }

    async fn confirm(&mut self) -> Result<(), SinkError> {
        let tables = self.tables.lock();
        let lost = |partition: &&Partition| tables.leases.get(*partition).is_none_or(|lease| lease.token != self.token);
        match self.held.iter().find(lost) {
            Some(partition) => Err(SinkError::Fenced { partition: partition.clone() }),
            None => Ok(()),
        }
    }

    async fn record_gap(&mut self, gap: &Gap) -> Result<(), SinkError> {
        let mut tables = self.tables.lock();
        if !tables.gaps.contains(gap) {
            tables.gaps.push(gap.clone());
        }
        tables.leases.entry(gap.partition.clone()).or_default().halted = Some(gap.to_string());
        Ok(())
    }

    async fn go_on(&mut self, gap: &Gap, to: &Position, era: Option<i64>) -> Result<(), SinkError> {
        let mut tables = self.tables.lock();
        if tables.leases.get(&gap.partition).is_some_and(|lease| lease.token != self.token) {
            return Err(SinkError::Fenced { partition: gap.partition.clone() });
        }
        if !tables.gaps.contains(gap) {
            tables.gaps.push(gap.clone());
        }
        let lease = tables.leases.entry(gap.partition.clone()).or_default();
        lease.next = Some(to.clone());
        lease.era = era;
        Ok(())
    }

    async fn shares(&mut self) -> Result<Option<Vec<Standing>>, SinkError> {
        let tables = self.tables.lock();
        let standings = tables.paused.iter().map(|(share, reason)| {
            let rows = tables.aside.get(share).copied().unwrap_or_default();
            let pause = Pause { since_ms: 0, reason: reason.clone(), is_resumed: false, rows };
            Standing { share: share.clone(), pause: Some(pause), rows, bytes: 0 }
        });
        Ok(Some(standings.collect()))
    }

    async fn pause_share(&mut self, share: &Share, reason: &str) -> Result<(), SinkError> {
        self.tables.lock().paused.entry(share.clone()).or_insert_with(|| reason.to_owned());
        Ok(())
    }
}
