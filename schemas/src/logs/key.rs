//! The key of an entry: made from its record alone, so that the same record gives the same keys whenever it is read.

use std::fmt;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Bytes of a key as it is stored.
pub const KEY_BYTES: usize = 48;
/// Bytes of a number: 57 decimal digits, what an event of CloudWatch or a sequence number of Kinesis has.
pub const NUMBER_BYTES: usize = 24;

/// Digits of the largest whole number of which every value has its own 24 bytes.
const DIGITS_MAX: usize = 57;
/// The first byte of a number that is a hash. No number of 57 digits begins with it.
const HASHED: u8 = 0x80;
/// Sources have these origins, whatever their hash is.
const SOURCE_MIN: u64 = 16;

/// What the number of an entry counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Events of CloudWatch, by their id.
    CloudWatch = 1,
    /// Entries of a producer that counts them.
    Producer = 2,
    /// Records of OTLP, by `log.record.uid`.
    Uid = 3,
}

/// The place of an entry in the order of its stream, and its identity. Fields in the order of comparing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// An [`Origin`], or from 16 on the source from which the record was read.
    pub origin: u64,
    /// Big-endian: an id, a count, or the position of the record.
    pub number: [u8; NUMBER_BYTES],
    /// The place within that: of an entry in its record, or of a part of an entry.
    pub index: u64,
}

impl Key {
    /// As it is stored: the bytes of two keys compare as the keys do.
    pub fn to_bytes(self) -> [u8; KEY_BYTES] {
        let mut bytes = [0; KEY_BYTES];
        let (time, rest) = bytes.split_at_mut(8);
        let (origin, rest) = rest.split_at_mut(8);
        let (number, index) = rest.split_at_mut(NUMBER_BYTES);
        // With the sign turned, negative times come first.
        time.copy_from_slice(&(self.time_ns ^ i64::MIN).to_be_bytes());
        origin.copy_from_slice(&self.origin.to_be_bytes());
        number.copy_from_slice(&self.number);
        index.copy_from_slice(&self.index.to_be_bytes());
        bytes
    }

    /// The key of these bytes; `None` unless there are 48.
    pub fn from_bytes(bytes: &[u8]) -> Option<Key> {
        let (time, rest) = bytes.split_first_chunk()?;
        let (origin, rest) = rest.split_first_chunk()?;
        let (number, index) = rest.split_first_chunk()?;
        Some(Key {
            time_ns: i64::from_be_bytes(*time) ^ i64::MIN,
            origin: u64::from_be_bytes(*origin),
            number: *number,
            index: u64::from_be_bytes(index.try_into().ok()?),
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Origin, number and first index of the entries of a record, or of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// See [`Key::origin`].
    pub origin: u64,
    /// See [`Key::number`].
    pub number: [u8; NUMBER_BYTES],
    /// See [`Key::index`].
    pub index: u64,
}

impl Place {
    /// The record at an offset of a source; see [`source`].
    pub fn offset(source: u64, offset: u64) -> Place {
        Place { origin: source, number: counted(0, offset), index: 0 }
    }

    /// The record at a position that is no offset: its first run of digits is the number, as of `at:495903..` of Kinesis.
    /// Records within a record follow in its last run (`at:495903..:7`).
    pub fn sequence(source: u64, position: &str) -> Place {
        let mut runs = position.split(|letter: char| !letter.is_ascii_digit()).filter(|run| !run.is_empty());
        let number = runs.next().map_or_else(|| hashed(position), numbered);
        let within: u32 = runs.next().and_then(|run| run.parse().ok()).unwrap_or_default();
        Place { origin: source, number, index: u64::from(within) << 32 }
    }

    /// An event of CloudWatch. An id that is no whole number of up to 57 digits is hashed.
    pub fn cloudwatch(id: &str) -> Place {
        Place { origin: Origin::CloudWatch as u64, number: numbered(id), index: 0 }
    }

    /// An entry of a producer that counts them.
    pub fn producer(producer: &[u8], count: u64) -> Place {
        Place { origin: Origin::Producer as u64, number: counted(xxh3_64(producer), count), index: 0 }
    }

    /// A record of OTLP that names itself.
    pub fn uid(uid: &[u8]) -> Place {
        Place { origin: Origin::Uid as u64, number: from_hash(xxh3_128(uid)), index: 0 }
    }

    /// The key of the entry `index` behind it.
    pub fn key(self, time_ns: i64, index: u64) -> Key {
        Key { time_ns, origin: self.origin, number: self.number, index: self.index.saturating_add(index) }
    }
}

/// The origin of what is read from one partition of one incarnation of a stream.
pub fn source(incarnation: &str, partition: &str) -> u64 {
    let hash = xxh3_64(&[incarnation.as_bytes(), b"\0", partition.as_bytes()].concat());
    if hash < SOURCE_MIN { hash + SOURCE_MIN } else { hash }
}

/// A whole number of up to 57 digits, or a hash.
fn numbered(text: &str) -> [u8; NUMBER_BYTES] {
    let is_number = (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return hashed(text);
    }
    let mut number = [0; NUMBER_BYTES];
    for digit in text.bytes() {
        let mut carry = u16::from(digit - b'0');
        for byte in number.iter_mut().rev() {
            carry += u16::from(*byte) * 10;
            *byte = carry as u8;
            carry >>= 8;
        }
    }
    number
}

fn hashed(text: &str) -> [u8; NUMBER_BYTES] {
    from_hash(xxh3_128(text.as_bytes()))
}

fn from_hash(hash: u128) -> [u8; NUMBER_BYTES] {
    let mut number = [0; NUMBER_BYTES];
    let (head, tail) = number.split_at_mut(NUMBER_BYTES - 16);
    tail.copy_from_slice(&hash.to_be_bytes());
    if let Some(first) = head.first_mut() {
        *first = HASHED;
    }
    number
}

/// Whose count, and the count.
fn counted(whose: u64, count: u64) -> [u8; NUMBER_BYTES] {
    let mut number = [0; NUMBER_BYTES];
    let (head, tail) = number.split_at_mut(NUMBER_BYTES - 8);
    tail.copy_from_slice(&count.to_be_bytes());
    if let Some(place) = head.first_chunk_mut() {
        *place = whose.to_be_bytes();
    }
    number
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Key> {
        let parts = (any::<i64>(), any::<u64>(), any::<[u8; NUMBER_BYTES]>(), any::<u64>());
        parts.prop_map(|(time_ns, origin, number, index)| Key { time_ns, origin, number, index })
    }

    proptest! {
        #[test]
        fn stored_keys_compare_as_keys_and_come_back(a in key(), b in key()) {
            prop_assert_eq!(a.to_bytes().cmp(&b.to_bytes()), a.cmp(&b));
            prop_assert_eq!(Key::from_bytes(&a.to_bytes()), Some(a));
        }

        #[test]
        fn ids_compare_as_numbers(a in 0..u128::MAX, b in 0..u128::MAX) {
            let place = |number: u128| Place::cloudwatch(&number.to_string());
            prop_assert_eq!(place(a).number.cmp(&place(b).number), a.cmp(&b));
        }
    }

    #[test]
    fn bytes_of_another_length_are_no_key() {
        for length in [0, 47, 49] {
            assert_eq!(Key::from_bytes(&vec![7; length]), None);
        }
    }

    #[test]
    fn an_id_of_57_digits_is_a_number_and_any_other_text_a_hash() {
        let largest = "9".repeat(57);
        assert!(Place::cloudwatch(&largest).number[0] < HASHED);
        assert_eq!(Place::cloudwatch("0000256"), Place::cloudwatch("256"));
        assert_eq!(Place::cloudwatch("256").number[22..], [1, 0]);
        for id in ["", "-1", "+1", "1.0", "x", &"9".repeat(58)] {
            assert_eq!(Place::cloudwatch(id).number[0], HASHED, "{id}");
        }
        assert_ne!(Place::cloudwatch("x"), Place::cloudwatch("y"));
    }

    #[test]
    fn sources_have_origins_of_their_own() {
        let sources = ["a", "b"].map(|incarnation| ["0", "1"].map(|partition| source(incarnation, partition)));
        let mut all = sources.concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
        assert!(all[0] >= SOURCE_MIN);
        assert_ne!(source("a", "b"), source("ab", ""));
    }

    #[test]
    fn records_of_a_record_follow_each_other() {
        let at = |position: &str| Place::sequence(20, position);
        let sequence = "49590338271490256608559692538361571095921575989136588898";
        assert_eq!(at(&format!("at:{sequence}")), Place { index: 0, ..at(&format!("at:{sequence}:3")) });
        assert!(at(&format!("at:{sequence}:3")).key(0, 99) < at(&format!("at:{sequence}:4")).key(0, 0));
        assert_eq!(at("oldest").number[0], HASHED);
        assert!(Place::offset(20, 7).key(0, 1) < Place::offset(20, 8).key(0, 0));
    }
}
