//! Reads a partition as a lane does, and checks every answer.

use std::time::Duration;

use tokio::time::Instant;

use super::{Abilities, NewRecord};
use crate::{Partition, Position, Record, Source, SourceError, Want};

/// Enough for everything that most checks publish.
pub(super) const PLENTY: usize = 8 << 20;

/// A place in a partition from which reading goes on.
pub(super) struct Reader<'a> {
    source: &'a dyn Source,
    abilities: Abilities,
    pub(super) partition: Partition,
    pub(super) next: Position,
}

impl<'a> Reader<'a> {
    /// Begins where the source says, given a stored position.
    pub(super) async fn start(
        source: &'a dyn Source,
        abilities: &Abilities,
        partition: &Partition,
        stored: Option<&Position>,
    ) -> Self {
        let next = source.start(partition, stored, None).await.expect("begin to read");
        if let Some(stored) = stored {
            assert_eq!(next, *stored, "reading goes on exactly where the tables are");
        }
        Reader { source, abilities: abilities.clone(), partition: partition.clone(), next }
    }

    pub(super) fn want(&self, bytes_max: usize) -> Want {
        Want { partition: self.partition.clone(), from: self.next.clone(), bytes_max }
    }

    /// One fetch that waits up to `wait`; checks the answer and goes on behind it.
    pub(super) async fn fetch(&mut self, bytes_max: usize, wait: Duration) -> Result<Vec<Record>, SourceError> {
        let batches = self.source.fetch(&[self.want(bytes_max)], wait).await?;
        let mut records = Vec::new();
        for batch in batches {
            assert_eq!(batch.partition, self.partition, "only what was asked for");
            self.accept(&batch.records, batch.next);
            records.extend(batch.records);
        }
        let bytes: usize = records.iter().map(Record::cost_bytes).sum();
        let limit = bytes_max + self.abilities.overshoot_bytes;
        assert!(
            bytes <= limit || records.len() == 1,
            "{bytes} bytes in {} records, asked for {bytes_max}",
            records.len()
        );
        Ok(records)
    }

    /// Goes on behind records, which must fit the present position.
    fn accept(&mut self, records: &[Record], next: Position) {
        let mut expected = self.next.clone();
        for record in records {
            match (&expected, &record.position) {
                (Position::Offset(expected), Position::Offset(at)) if self.abilities.dense => assert_eq!(at, expected),
                (Position::Offset(expected), Position::Offset(at)) => assert!(at >= expected, "{at} after {expected}"),
                _ => {}
            }
            expected = match &record.position {
                Position::Offset(at) => Position::Offset(at + 1),
                text => text.clone(),
            };
        }
        match (&expected, &next) {
            (Position::Offset(expected), Position::Offset(next)) if self.abilities.dense => assert_eq!(next, expected),
            (Position::Offset(expected), Position::Offset(next)) => {
                assert!(next >= expected, "{next} after {expected}")
            }
            (_, next) => assert!(records.is_empty() || *next != self.next, "records move the position"),
        }
        self.next = next;
    }

    /// Reads until it has `count` records, by fetches of `bytes_max` bytes.
    pub(super) async fn read(&mut self, count: usize, bytes_max: usize) -> Vec<Record> {
        let mut records = Vec::new();
        let mut seen = Instant::now();
        while records.len() < count {
            let fetched = self.fetch(bytes_max, self.abilities.patience).await.expect("fetch");
            if !fetched.is_empty() {
                seen = Instant::now();
            }
            records.extend(fetched);
            let waited = seen.elapsed();
            assert!(waited < self.abilities.patience, "{} of {count} records came, then nothing", records.len());
        }
        records
    }

    /// Reads what was published, no more and no less, and gives the records.
    pub(super) async fn expect(&mut self, published: &[NewRecord]) -> Vec<Record> {
        let records = self.read(published.len(), PLENTY).await;
        same(&records, published, &self.abilities);
        records
    }

    /// Reads what was published, and gives it in the order in which this stream has it.
    pub(super) async fn order(&mut self, published: &[NewRecord]) -> Vec<NewRecord> {
        let read = self.expect(published).await;
        if self.abilities.ordered { published.to_vec() } else { read.iter().map(as_published).collect() }
    }

    /// Makes sure that there is nothing more.
    pub(super) async fn expect_end(&mut self) {
        let rest = self.fetch(PLENTY, Duration::from_millis(50)).await.expect("fetch at the end");
        assert!(rest.is_empty(), "{} records more than were published", rest.len());
    }
}

/// Fails unless these are the records that were published.
pub(super) fn same(records: &[Record], published: &[NewRecord], abilities: &Abilities) {
    let mut read: Vec<NewRecord> = records.iter().map(as_published).collect();
    let mut published = published.to_vec();
    if !abilities.ordered {
        read.sort();
        published.sort();
    }
    for (number, (read, published)) in read.into_iter().zip(&published).enumerate() {
        let headers = if abilities.headers { published.headers.clone() } else { Vec::new() };
        assert_eq!(read, NewRecord { headers, ..published.clone() }, "record {number} is not what was published");
    }
    assert_eq!(records.len(), published.len(), "as many records as were published");
}

fn as_published(record: &Record) -> NewRecord {
    NewRecord { key: record.key.clone(), headers: record.headers.clone(), payload: record.payload.clone() }
}
