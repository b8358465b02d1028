//! Records, and how they lie in a frame.
//!
//! A frame's payload is its records one after another, each as: key, number of headers, (name, value) per header,
//! payload. Byte strings are preceded by their length; all numbers are LEB128 of at most 32 bits.

use bytes::Bytes;

/// A record to append.
#[derive(Debug, Clone, Default)]
pub struct NewRecord {
    /// Where it goes; `None` lets the key decide (see [`crate::Topic::partition_for`]).
    pub partition: Option<u32>,
    /// Records of one key keep their order.
    pub key: Bytes,
    /// Name and value, in order; names may repeat.
    pub headers: Vec<(Box<str>, Bytes)>,
    /// The event itself.
    pub payload: Bytes,
}

/// A durable record. Its parts are slices of the one buffer its frame was decompressed into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Position in the partition, counted from 0 without gaps.
    pub offset: u64,
    /// When it was stored, in milliseconds since 1970; never less than that of the record before.
    pub timestamp_ms: i64,
    /// As appended.
    pub key: Bytes,
    /// As appended.
    pub headers: Vec<(Box<str>, Bytes)>,
    /// As appended.
    pub payload: Bytes,
}

/// A length takes at most this many bytes.
const LENGTH_BYTES_MAX: usize = 5;

impl NewRecord {
    /// What counts against `record_bytes_max`.
    pub(crate) fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.len() + headers + self.payload.len()
    }

    /// An upper bound of what [`NewRecord::encode`] adds.
    pub(crate) fn encoded_bytes_max(&self) -> usize {
        self.bytes() + LENGTH_BYTES_MAX * (3 + 2 * self.headers.len())
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_slice(out, &self.key);
        put_number(out, self.headers.len());
        for (name, value) in &self.headers {
            put_slice(out, name.as_bytes());
            put_slice(out, value);
        }
        put_slice(out, &self.payload);
    }
}

/// Takes `count` records off a frame's payload; `None` unless they fill it exactly.
///
/// The first `skip` are parsed and left out.
pub(crate) fn decode(raw: &Bytes, base: u64, count: u32, timestamp_ms: i64, skip: u64) -> Option<Vec<Record>> {
    let mut cursor = Cursor { raw, at: 0 };
    // A record takes three bytes at least, so a forged count cannot make this reserve more than the frame's size.
    let kept = u64::from(count).saturating_sub(skip).min(raw.len() as u64 / 3);
    let mut records = Vec::with_capacity(usize::try_from(kept).ok()?);
    for index in 0..u64::from(count) {
        let record = cursor.record(base.checked_add(index)?, timestamp_ms)?;
        if index >= skip {
            records.push(record);
        }
    }
    (cursor.at == raw.len()).then_some(records)
}

struct Cursor<'a> {
    raw: &'a Bytes,
    at: usize,
}

impl Cursor<'_> {
    fn record(&mut self, offset: u64, timestamp_ms: i64) -> Option<Record> {
        let key = self.slice()?;
        let count = self.number()?;
        // Two bytes at least per header.
        let mut headers = Vec::with_capacity(count.min((self.raw.len() - self.at) / 2));
        for _ in 0..count {
            let name = self.slice()?;
            let name = std::str::from_utf8(&name).ok()?.into();
            headers.push((name, self.slice()?));
        }
        Some(Record { offset, timestamp_ms, key, headers, payload: self.slice()? })
    }

    fn slice(&mut self) -> Option<Bytes> {
        let length = self.number()?;
        let end = self.at.checked_add(length)?;
        if end > self.raw.len() {
            return None;
        }
        let slice = self.raw.slice(self.at..end);
        self.at = end;
        Some(slice)
    }

    fn number(&mut self) -> Option<usize> {
        let mut value: u64 = 0;
        for index in 0..LENGTH_BYTES_MAX {
            let byte = *self.raw.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return usize::try_from(u32::try_from(value).ok()?).ok();
            }
        }
        None
    }
}

fn put_slice(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
    }

    fn record() -> impl Strategy<Value = NewRecord> {
        let header = (".{0,8}", bytes()).prop_map(|(name, value)| (name.into_boxed_str(), value));
        (bytes(), prop::collection::vec(header, 0..4), bytes()).prop_map(|(key, headers, payload)| NewRecord {
            partition: None,
            key,
            headers,
            payload,
        })
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(records in prop::collection::vec(record(), 0..6), skip in 0_u64..8) {
            let mut raw = Vec::new();
            for record in &records {
                let before = raw.len();
                record.encode(&mut raw);
                prop_assert!(raw.len() - before <= record.encoded_bytes_max());
            }
            let decoded = decode(&raw.into(), 7, records.len() as u32, 5, skip).unwrap();
            let expected = records.into_iter().enumerate().skip(skip as usize).map(|(index, record)| Record {
                offset: 7 + index as u64,
                timestamp_ms: 5,
                key: record.key,
                headers: record.headers,
                payload: record.payload,
            });
            prop_assert_eq!(decoded, expected.collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_decode_or_are_refused(raw in prop::collection::vec(any::<u8>(), 0..200), count in any::<u32>()) {
            let raw = Bytes::from(raw);
            if let Some(records) = decode(&raw, u64::MAX - 3, count, 0, 0) {
                prop_assert_eq!(records.len(), count as usize);
            }
        }
    }
}
