//! Writers, batches made by hand, and what must be stored after them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::{Fixture, Stored};
use crate::batch::{Batch, Outcome, Taken};
use crate::clock::now_ms;
use crate::share::Aside;
use crate::{Decode, Gap, Held, Partition, Position, Record, Recovery, Sink, SinkError};

/// Attempts at a write that the sink asks to retry; after a dropped call the database may still be cleaning up.
const ATTEMPTS_MAX: u32 = 100;

pub(super) type Writer<C> = Box<dyn Sink<Columns = C>>;

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Good(u64),
    /// Bad in one of the ways that the fixture knows.
    Bad(usize),
    Filtered,
}

pub(super) use Word::{Bad, Filtered, Good};

/// The records of one partition in a batch: the first at place `from`, the others behind it.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) partition: Partition,
    pub(super) from: u64,
    pub(super) next: u64,
    pub(super) era: Option<i64>,
    pub(super) words: Vec<Word>,
}

impl Part {
    /// The words at the places from `from` on, and nothing behind them.
    pub(super) fn new(partition: &str, from: u64, words: impl Into<Vec<Word>>) -> Self {
        let words = words.into();
        Part { partition: Partition::new(partition), from, next: from + words.len() as u64, era: None, words }
    }

    /// The same part, ending in an era of its partition.
    pub(super) fn of_era(self, era: i64) -> Self {
        Part { era: Some(era), ..self }
    }

    /// The same part, with places behind it that hold no record.
    pub(super) fn until(self, next: u64) -> Self {
        Part { next, ..self }
    }
}

/// Good events with these numbers.
pub(super) fn good(numbers: std::ops::Range<u64>) -> Vec<Word> {
    numbers.map(Good).collect()
}

/// A fixture with what its tables must hold by now.
pub(super) struct Bench<'a, F: Fixture> {
    fixture: &'a mut F,
    decoder: Box<dyn Decode<Columns = F::Columns>>,
    pub(super) bad: Vec<Bytes>,
    position: fn(u64) -> Position,
    pub(super) expected: Stored,
    /// The eras of the stored positions, where they have one.
    eras: BTreeMap<Partition, i64>,
    /// Gaps that halt nothing.
    passed: Vec<Gap>,
}

impl<'a, F: Fixture> Bench<'a, F> {
    pub(super) fn new(fixture: &'a mut F) -> Self {
        let decoder = fixture.decoder();
        let bad = fixture.bad();
        assert!(!bad.is_empty(), "a fixture knows a bad payload");
        Bench {
            fixture,
            decoder,
            bad,
            position: Position::Offset,
            expected: Stored::default(),
            eras: BTreeMap::new(),
            passed: Vec::new(),
        }
    }

    /// The same bench, with places written as other positions.
    pub(super) fn with_positions(fixture: &'a mut F, position: fn(u64) -> Position) -> Self {
        Bench { position, ..Bench::new(fixture) }
    }

    /// A writer without leases.
    pub(super) async fn open(&mut self) -> Writer<F::Columns> {
        self.fixture.open().await
    }

    /// A writer with leases of these partitions, which must be stored where they are expected to be.
    pub(super) async fn writer(&mut self, partitions: &[&str]) -> Writer<F::Columns> {
        let mut writer = self.open().await;
        self.acquire(&mut writer, partitions).await;
        writer
    }

    /// Takes leases; the returned positions must be the stored ones.
    pub(super) async fn acquire(&self, writer: &mut Writer<F::Columns>, partitions: &[&str]) {
        let mut held = writer.acquire(&names(partitions)).await.expect("take leases");
        held.sort_by(|a, b| a.partition.cmp(&b.partition));
        let mut expected: Vec<Held> = names(partitions).into_iter().map(|partition| self.held(partition)).collect();
        expected.sort_by(|a, b| a.partition.cmp(&b.partition));
        assert_eq!(held, expected, "every lease asked for, where its partition is stored");
    }

    fn held(&self, partition: Partition) -> Held {
        let next = self.expected.positions.get(&partition).cloned();
        let halts = |gap: &&Gap| gap.partition == partition && !self.passed.contains(gap);
        let gap = self.expected.gaps.iter().rfind(halts);
        let era = self.eras.get(&partition).copied();
        let halted = gap.map(ToString::to_string);
        Held { partition, next, era, halted }
    }

    pub(super) fn batch(&self, parts: &[Part]) -> Batch<F::Columns> {
        let taken = parts.iter().map(|part| {
            let record = |(word, at): (&Word, u64)| Record {
                position: (self.position)(at),
                published_at_ms: now_ms(),
                key: Bytes::from_static(b"key"),
                headers: Vec::new(),
                payload: self.payload(*word),
            };
            Taken {
                partition: part.partition.clone(),
                from: (self.position)(part.from),
                next: (self.position)(part.next),
                era: part.era,
                records: part.words.iter().zip(part.from..).map(record).collect(),
            }
        });
        Batch::decode(taken.collect(), &*self.decoder, &Aside::new())
    }

    fn payload(&self, word: Word) -> Bytes {
        match word {
            Good(number) => self.fixture.good(number),
            Bad(way) => self.bad.get(way % self.bad.len()).cloned().unwrap_or_default(),
            Filtered => self.fixture.filtered(),
        }
    }

    /// What must be stored after these parts.
    pub(super) fn after(&self, parts: &[Part]) -> Stored {
        let mut stored = self.expected.clone();
        for part in parts {
            stored.positions.insert(part.partition.clone(), (self.position)(part.next));
            for (word, at) in part.words.iter().zip(part.from..) {
                match word {
                    Good(number) => stored.written.push(*number),
                    Bad(_) => stored.quarantined.push((part.partition.clone(), (self.position)(at))),
                    Filtered => {}
                }
            }
        }
        stored.written.sort_unstable();
        stored.quarantined.sort();
        stored.effects = stored.written.len() as u64;
        stored
    }

    /// Goes on after a gap at its end, which must be accepted, and checks the tables.
    pub(super) async fn go_on(&mut self, writer: &mut Writer<F::Columns>, gap: &Gap, era: Option<i64>) {
        writer.go_on(gap, &gap.to, era).await.expect("go on after a gap");
        if !self.expected.gaps.contains(gap) {
            self.expected.gaps.push(gap.clone());
            self.passed.push(gap.clone());
        }
        self.expected.positions.insert(gap.partition.clone(), gap.to.clone());
        match era {
            Some(era) => self.eras.insert(gap.partition.clone(), era),
            None => self.eras.remove(&gap.partition),
        };
        self.check("after going on").await;
    }

    /// The present contents of the tables.
    pub(super) async fn stored(&mut self) -> Stored {
        self.fixture.stored().await
    }

    /// Fails unless the tables hold exactly what they must.
    pub(super) async fn check(&mut self, why: &str) {
        assert_eq!(self.stored().await, self.expected, "{why}");
    }

    /// Writes parts that must be accepted, and checks the receipt and the tables.
    pub(super) async fn write(&mut self, writer: &mut Writer<F::Columns>, parts: &[Part]) {
        let batch = self.batch(parts);
        let (outcome, positions) = settle(writer, &batch).await.expect("write a batch");
        account(parts, &outcome);
        let next = |part: &Part| (part.partition.clone(), (self.position)(part.next));
        let mut told: Vec<(Partition, Position)> = parts.iter().map(next).collect();
        told.sort();
        assert_eq!(positions, told, "the receipt moves each partition to where the batch ends");
        self.expected = self.after(parts);
        for part in parts {
            match part.era {
                Some(era) => self.eras.insert(part.partition.clone(), era),
                None => self.eras.remove(&part.partition),
            };
        }
        self.check("after a write").await;
    }

    /// Tries to write parts that must be refused, and checks that nothing was written.
    pub(super) async fn refused(&mut self, writer: &mut Writer<F::Columns>, parts: &[Part]) -> SinkError {
        let batch = self.batch(parts);
        let refused = settle(writer, &batch).await.expect_err("this batch must be refused");
        self.check("a batch that is refused writes nothing").await;
        refused
    }
}

/// Writes as the engine does: retries while the sink asks for that. Returns the outcome of the receipt.
pub(super) async fn settle<C>(
    writer: &mut Writer<C>,
    batch: &Batch<C>,
) -> Result<(Outcome, Vec<(Partition, Position)>), SinkError>
where
    C: crate::decode::Columns,
{
    for attempt in 1.. {
        match writer.write(batch).await {
            Ok(receipt) => {
                let positions = receipt.checkpoint();
                let positions = positions.positions().map(|(partition, next)| (partition.clone(), next.clone()));
                return Ok((receipt.outcome().clone(), positions.collect()));
            }
            Err(error @ SinkError::Failed { .. }) if attempt < ATTEMPTS_MAX => {
                assert!(matches!(error.recovery(), Recovery::Retry), "nothing is wrong with the tables: {error:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => return Err(error),
        }
    }
    unreachable!("the last attempt returns")
}

/// Fails unless every event ended as it must.
pub(super) fn account(parts: &[Part], outcome: &Outcome) {
    let count =
        |is: fn(&Word) -> bool| parts.iter().flat_map(|part| &part.words).filter(|word| is(word)).count() as u64;
    let expected = (
        count(|word| matches!(word, Good(_))),
        count(|word| matches!(word, Filtered)),
        count(|word| matches!(word, Bad(_))),
    );
    let filtered = outcome.filtered.values().sum::<u64>();
    assert_eq!((outcome.written, filtered, outcome.quarantined), expected, "written, filtered, quarantined");
}

pub(super) fn names(partitions: &[&str]) -> Vec<Partition> {
    partitions.iter().map(Partition::new).collect()
}
