//! Shares: the parts of a stream that different parties answer for, so that a flood of bad records of one party stops
//! no other. The domain decides what a share stands for; here it is a name.
//!
//! A share with too many bad records is paused: its records are quarantined whole and undecoded, until a person
//! resumes it. That decision is on record in the sink, so that it survives a restart and holds for every process.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::decode::{Columns, Decode};
use crate::source::Record;

/// The name of a share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(Arc<str>);

/// The shares that are paused at one moment.
pub type Aside = BTreeSet<Share>;

/// What is on record of a share, for every process that writes the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub share: Share,
    /// The pause, if too many of its records were bad.
    pub pause: Option<Pause>,
    /// Rows of the share in quarantine.
    pub rows: u64,
    /// The bytes that these rows keep.
    pub bytes: u64,
}

/// A share that is paused, or that is being resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it was paused, in milliseconds since 1970.
    pub since_ms: i64,
    /// Why.
    pub reason: String,
    /// The share is being resumed: new records are written again, and those that were kept are being written.
    pub is_resumed: bool,
    /// Records that were kept and are not written yet.
    pub rows: u64,
}

/// The share of each record of a batch.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    names: Vec<Share>,
    /// Index into `names`, by record.
    of: Vec<u16>,
    /// Whether each record is kept; empty if none is.
    pub(crate) aside: Vec<bool>,
}

/// What a batch held of one share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Records that were decoded.
    pub(crate) records: u64,
    /// Decoded records of which an event was quarantined.
    pub(crate) bad: u64,
    /// Records that were kept undecoded.
    pub(crate) aside: u64,
    /// Payload bytes of the bad records and of those that were kept.
    pub(crate) kept_bytes: u64,
}

impl Share {
    /// Names a share.
    pub fn new(name: &str) -> Self {
        Share(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Share {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Shares {
    /// Asks the decoder for the share of each record.
    pub(crate) fn of<C: Columns>(records: &[Record], decoder: &dyn Decode<Columns = C>, aside: &Aside) -> Self {
        let mut shares = Shares { of: Vec::with_capacity(records.len()), ..Shares::default() };
        for record in records {
            let index = shares.index(decoder.share(record));
            shares.of.push(index);
        }
        let is_aside: Vec<bool> = shares.names.iter().map(|name| aside.contains(name)).collect();
        if is_aside.contains(&true) {
            let of = shares.of.iter().map(|index| is_aside.get(usize::from(*index)).copied().unwrap_or_default());
            shares.aside = of.collect();
        }
        shares
    }

    /// The index of a name. A search is enough: neighbours are mostly of one share, and a batch has records of few.
    fn index(&mut self, name: &str) -> u16 {
        let last = self.of.last().copied().filter(|last| self.name(*last).is_some_and(|known| known == name));
        let known = || self.names.iter().position(|known| known.as_str() == name);
        let index = last.map(usize::from).or_else(known).unwrap_or_else(|| {
            self.names.push(Share::new(name));
            self.names.len() - 1
        });
        u16::try_from(index).unwrap_or(u16::MAX)
    }

    fn name(&self, index: u16) -> Option<&str> {
        self.names.get(usize::from(index)).map(Share::as_str)
    }

    /// The share of a record.
    pub(crate) fn name_of(&self, record: usize) -> &str {
        self.of.get(record).and_then(|index| self.name(*index)).unwrap_or_default()
    }

    pub(crate) fn is_aside(&self, record: usize) -> bool {
        self.aside.get(record).copied().unwrap_or_default()
    }

    /// The shares of which records are kept.
    pub(crate) fn paused(&self) -> Vec<&str> {
        let indices: BTreeSet<u16> =
            self.of.iter().zip(&self.aside).filter(|(_, aside)| **aside).map(|(index, _)| *index).collect();
        indices.into_iter().filter_map(|index| self.name(index)).collect()
    }

    /// Counts the records of each share; `bad` are the records of which an event was quarantined.
    pub(crate) fn tally(&self, records: &[Record], bad: &BTreeSet<u32>) -> Vec<(Share, Tally)> {
        let mut tallies = vec![Tally::default(); self.names.len()];
        for (at, (index, record)) in self.of.iter().zip(records).enumerate() {
            let Some(tally) = tallies.get_mut(usize::from(*index)) else { continue };
            let is_aside = self.is_aside(at);
            let is_bad = !is_aside && u32::try_from(at).is_ok_and(|at| bad.contains(&at));
            tally.records += u64::from(!is_aside);
            tally.aside += u64::from(is_aside);
            tally.bad += u64::from(is_bad);
            tally.kept_bytes += if is_aside || is_bad { record.payload.len() as u64 } else { 0 };
        }
        self.names.iter().cloned().zip(tallies).collect()
    }
}
