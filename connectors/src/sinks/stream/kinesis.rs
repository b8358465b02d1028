//! Amazon Kinesis Data Streams.
//!
//! Kinesis has keys of 1 to 256 characters and no headers. A record without headers whose key is such a key is put
//! unchanged: its bytes are the data. Every other record is put in the format of the Kinesis Producer Library, as the
//! only one of its aggregate, with its own key and its headers as tags; the hash of its own key still selects its
//! shard. Our source returns both kinds as they were appended. Other readers that know the format get the bytes and the
//! key.
//!
//! `PutRecords` promises no order among the records of one call, and may take some of them and refuse others. So a call
//! has at most one record of a key, and the next record of that key waits until the one before is in the stream. For
//! that reason many records of one key in one append are slow: one call each.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_engine::retry::Backoff;

use super::{Append, AppendError, NewRecord};
use crate::kinesis::Address;
use crate::kinesis::aggregate::{MARK, User, hash_of_key, wrap};
use crate::kinesis::client::{Client, Entry};
use crate::kinesis::failure::{Failure, Kind};

/// Records in a call, and their bytes with keys. Kinesis takes no more.
const CALL_RECORDS: usize = 500;
const CALL_BYTES: usize = 5 << 20;

/// Bytes of a record with its key. A stream can be set to take more; this is what every stream takes.
const RECORD_BYTES: usize = 1 << 20;

/// Characters of a partition key.
const KEY_CHARS: usize = 256;

/// Attempts to put one record before the append fails: about 7 s, which a busy shard sometimes needs.
const ATTEMPTS_MAX: u32 = 8;
const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(3);

/// Interval and number of the checks whether a new stream is ready.
const READY_LOOK: Duration = Duration::from_millis(200);
const READY_LOOKS: u32 = 300;

/// Puts records into a stream of Kinesis.
#[derive(Debug)]
pub struct KinesisProducer {
    client: Client,
}

/// A record that is not in the stream yet.
#[derive(Debug)]
struct Pending {
    /// Its place in the append.
    number: usize,
    key: Bytes,
    entry: Entry,
    attempts: u32,
}

impl KinesisProducer {
    /// A producer that connects when it is first used.
    #[must_use]
    pub fn new(address: Address) -> Self {
        KinesisProducer { client: Client::new(address) }
    }
}

#[async_trait]
impl Append for KinesisProducer {
    async fn append(&self, records: Vec<NewRecord>) -> Result<(), AppendError> {
        let pending = |(number, record): (usize, NewRecord)| {
            let key = record.key.clone();
            Ok(Pending { number, key, entry: entry(record)?, attempts: 0 })
        };
        let mut pending: Vec<Pending> = records.into_iter().enumerate().map(pending).collect::<Result<_, _>>()?;
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
        while !pending.is_empty() {
            let (now, mut later) = choose(pending);
            let entries: Vec<Entry> = now.iter().map(|pending| pending.entry.clone()).collect();
            let results = match self.client.put(&entries).await {
                Ok(results) => {
                    results.into_iter().map(|failed| failed.map(|failure| (failure.kind, say(&failure)))).collect()
                }
                Err(failure) => vec![Some((failure.kind, say(&failure))); now.len()],
            };
            let before = later.len();
            for (mut pending, failed) in now.into_iter().zip(results) {
                let Some((kind, said)) = failed else { continue };
                pending.attempts += 1;
                if pending.attempts >= ATTEMPTS_MAX || !matches!(kind, Kind::Throttled | Kind::Away) {
                    let attempts = pending.attempts;
                    return Err(AppendError::NotDurable(format!("{said}; tried {attempts} times")));
                }
                later.push(pending);
            }
            if later.len() > before {
                tokio::time::sleep(backoff.next_wait()).await;
            } else {
                backoff.reset();
            }
            later.sort_unstable_by_key(|pending| pending.number);
            pending = later;
        }
        Ok(())
    }
}

/// Splits records into those of the next call and those that wait; records of one key keep their order.
fn choose(pending: Vec<Pending>) -> (Vec<Pending>, Vec<Pending>) {
    let mut now = Vec::new();
    let mut later = Vec::new();
    let mut bytes = 0;
    let mut seen: HashSet<Bytes> = HashSet::new();
    for pending in pending {
        let cost = pending.entry.data.len() + pending.entry.key.len();
        let is_first = seen.insert(pending.key.clone());
        if is_first && now.len() < CALL_RECORDS && bytes + cost <= CALL_BYTES {
            bytes += cost;
            now.push(pending);
        } else {
            later.push(pending);
        }
    }
    (now, later)
}

/// A record in the form that Kinesis takes.
fn entry(record: NewRecord) -> Result<Entry, AppendError> {
    let NewRecord { key, headers, payload } = record;
    let text = std::str::from_utf8(&key).ok().filter(|text| (1..=KEY_CHARS).contains(&text.chars().count()));
    let entry = match text {
        // Readers would split a payload that looks like an aggregate.
        Some(text) if headers.is_empty() && !payload.starts_with(&MARK) => {
            Entry { key: text.to_owned(), hash: None, data: payload }
        }
        text => {
            if let Some((name, _)) = headers.iter().find(|(_, value)| std::str::from_utf8(value).is_err()) {
                // Readers of the format expect tags to be text, and would refuse the whole record.
                return Err(AppendError::Refused(format!("the header {name} is no text, which Kinesis cannot carry")));
            }
            let hash = hash_of_key(&key);
            let short = text.map_or_else(|| format!("{hash:032x}"), str::to_owned);
            Entry { key: short, hash: Some(hash), data: wrap(User { key, hash, headers, data: payload }) }
        }
    };
    let bytes = entry.data.len() + entry.key.len();
    if bytes > RECORD_BYTES {
        return Err(AppendError::Refused(format!("a record of {bytes} bytes, where Kinesis takes {RECORD_BYTES}")));
    }
    Ok(entry)
}

/// An error with its causes, in one line.
fn say(failure: &Failure) -> String {
    let causes = std::iter::successors(Some(failure as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Creates a stream with `shards` shards, and waits until it can be used.
///
/// # Errors
/// The error of Kinesis, also if the stream exists; or that it was not ready in time.
pub async fn create_stream(address: &Address, shards: u32) -> Result<(), AppendError> {
    let client = Client::new(address.clone());
    let failed = |error: Failure| AppendError::NotDurable(error.to_string());
    client.create(i32::try_from(shards).unwrap_or(i32::MAX)).await.map_err(failed)?;
    for _ in 0..READY_LOOKS {
        if client.describe().await.map_err(failed)?.is_ready {
            return Ok(());
        }
        tokio::time::sleep(READY_LOOK).await;
    }
    Err(AppendError::NotDurable(format!("stream {} was not ready in time", address.stream)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinesis::aggregate::split;

    fn record(key: &str, payload: &[u8]) -> NewRecord {
        NewRecord { key: Bytes::copy_from_slice(key.as_bytes()), headers: Vec::new(), payload: payload.to_vec().into() }
    }

    #[test]
    fn what_kinesis_can_carry_is_put_as_it_is() {
        let put = entry(record("bucket/\u{fc}", b"{}")).unwrap();
        assert_eq!((&*put.key, put.hash, &*put.data), ("bucket/\u{fc}", None, &b"{}"[..]));
        let longest = "\u{fc}".repeat(KEY_CHARS);
        assert_eq!(entry(record(&longest, b"{}")).unwrap().key, longest);
    }

    #[test]
    fn everything_else_is_wrapped_and_comes_out_as_it_was() {
        let headers: Vec<(Box<str>, Bytes)> = vec![("store".into(), "minio".into())];
        let records = [
            record("", b"{}"),
            record(&"k".repeat(KEY_CHARS + 1), b"{}"),
            record("key", &[&MARK[..], b"rest"].concat()),
            NewRecord { headers, ..record("key", b"{}") },
            NewRecord { key: Bytes::from_static(b"\xff"), ..record("", b"{}") },
        ];
        for record in records {
            let put = entry(record.clone()).unwrap();
            assert!((1..=KEY_CHARS).contains(&put.key.len()), "{record:?}");
            assert_eq!(put.hash, Some(hash_of_key(&record.key)));
            let hash = hash_of_key(&record.key);
            let user = User { key: record.key, hash, headers: record.headers, data: record.payload };
            assert_eq!(split(&put.data), Some(vec![user]));
        }
    }

    #[test]
    fn what_can_never_be_put_is_refused() {
        let large = entry(record("k", &vec![b'x'; RECORD_BYTES]));
        assert!(matches!(&large, Err(AppendError::Refused(why)) if why.contains("1048577")), "{large:?}");
        assert!(entry(record("k", &vec![b'x'; RECORD_BYTES - 1])).is_ok());
        let headers = vec![("h".into(), Bytes::from_static(b"\xff"))];
        assert!(matches!(entry(NewRecord { headers, ..record("k", b"") }), Err(AppendError::Refused(_))));
    }

    #[test]
    fn a_call_holds_one_record_of_a_key_and_keeps_to_the_limits() {
        let pending = |number: usize, key: &str, bytes: usize| Pending {
            number,
            key: Bytes::copy_from_slice(key.as_bytes()),
            entry: Entry { key: key.to_owned(), hash: None, data: vec![0; bytes].into() },
            attempts: 0,
        };
        let numbers = |pending: &[Pending]| pending.iter().map(|pending| pending.number).collect::<Vec<_>>();
        let (now, later) = choose(vec![pending(0, "a", 1), pending(1, "b", 1), pending(2, "a", 1), pending(3, "c", 1)]);
        assert_eq!((numbers(&now), numbers(&later)), (vec![0, 1, 3], vec![2]));
        // 1 has no room, so 2 of the same key has to wait although there is room for it.
        let (now, later) = choose(vec![
            pending(0, "a", CALL_BYTES - 100),
            pending(1, "b", 200),
            pending(2, "b", 1),
            pending(3, "c", 1),
        ]);
        assert_eq!((numbers(&now), numbers(&later)), (vec![0, 3], vec![1, 2]));
        let (now, later) =
            choose((0..CALL_RECORDS + 7).map(|number| pending(number, &number.to_string(), 1)).collect());
        assert_eq!((now.len(), later.len()), (CALL_RECORDS, 7));
    }
}
