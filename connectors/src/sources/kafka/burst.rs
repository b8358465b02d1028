//! Messages copied out of the client, whose limits do not count the messages that we hold.
//!
//! Those of one partition share one piece of memory: they are used and freed together, and a million small pieces that
//! one thread allocates and another frees would fragment the heap.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use millstream_engine::{Position, Record};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

/// Messages in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Burst {
    /// The bytes, by partition.
    bytes: BTreeMap<i32, Vec<u8>>,
    pieces: Vec<Piece>,
    total: usize,
}

/// A message whose bytes lie with those of its partition.
#[derive(Debug)]
struct Piece {
    partition: i32,
    offset: u64,
    /// The epoch of the leader that wrote it.
    epoch: Option<i32>,
    published_at_ms: i64,
    key: Range<usize>,
    payload: Range<usize>,
    headers: Vec<(Box<str>, Range<usize>)>,
}

impl Burst {
    /// Copies one message.
    pub(super) fn add(&mut self, message: &BorrowedMessage<'_>) {
        let bytes = self.bytes.entry(message.partition()).or_default();
        let before = bytes.len();
        let mut copy = |part: Option<&[u8]>| {
            let start = bytes.len();
            bytes.extend_from_slice(part.unwrap_or_default());
            start..bytes.len()
        };
        let key = copy(message.key());
        let payload = copy(message.payload());
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|header| (header.key.into(), copy(header.value))).collect()
        });
        self.total += bytes.len() - before;
        self.pieces.push(Piece {
            partition: message.partition(),
            offset: u64::try_from(message.offset()).unwrap_or(0),
            epoch: millstream_kafka::leader_epoch(message),
            published_at_ms: published_at_ms(message.timestamp().to_millis(), now_ms()),
            key,
            payload,
            headers,
        });
    }

    /// The number of messages.
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.total
    }

    /// Each with its partition, offset and the epoch of its leader.
    pub(super) fn into_records(self) -> impl Iterator<Item = (i32, u64, Option<i32>, Record)> {
        let whole = |(partition, mut bytes): (i32, Vec<u8>)| {
            bytes.shrink_to_fit();
            (partition, Bytes::from(bytes))
        };
        let shared: BTreeMap<i32, Bytes> = self.bytes.into_iter().map(whole).collect();
        self.pieces.into_iter().filter_map(move |piece| {
            let bytes = shared.get(&piece.partition)?;
            let headers = piece.headers.into_iter().map(|(name, value)| (name, bytes.slice(value))).collect();
            let record = Record {
                position: Position::Offset(piece.offset),
                published_at_ms: piece.published_at_ms,
                key: bytes.slice(piece.key),
                headers,
                payload: bytes.slice(piece.payload),
            };
            Some((piece.partition, piece.offset, piece.epoch, record))
        })
    }
}

/// When a record was published: the producer's time, which may be missing or wrong; never later than now.
fn published_at_ms(told: Option<i64>, now_ms: i64) -> i64 {
    told.filter(|at_ms| *at_ms >= 0).map_or(now_ms, |at_ms| at_ms.min(now_ms))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::published_at_ms;

    #[test]
    fn no_record_is_of_the_future_or_of_before_1970() {
        let told = [None, Some(-1), Some(5), Some(1_000), Some(1_001), Some(i64::MAX)];
        assert_eq!(told.map(|told| published_at_ms(told, 1_000)), [1_000, 1_000, 5, 1_000, 1_000, 1_000]);
    }
}
