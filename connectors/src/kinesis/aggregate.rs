//! The format of the Kinesis Producer Library, in which one stored record holds several records of users.
//!
//! Four bytes of mark, a protobuf message, and its MD5 (the "KPL aggregated record format"). The message keeps each key
//! once in a table. Its tags, which the library leaves unused, carry the headers of our own records.

use bytes::Bytes;
use md5::{Digest as _, Md5};
use prost::Message as _;
use prost::bytes::Buf as _;

/// The first bytes of an aggregated record.
pub(crate) const MARK: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

const DIGEST_BYTES: usize = 16;

/// Records of users in one stored record. A stored record of 1 MiB holds at most 170,000 empty ones, whose bookkeeping
/// would take more than 20 MB; producers aggregate some hundreds.
const USERS_MAX: usize = 100_000;

/// A record as a producer put it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) key: Bytes,
    /// The hash that selected its shard.
    pub(crate) hash: u128,
    pub(crate) headers: Vec<(Box<str>, Bytes)>,
    pub(crate) data: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Aggregated {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    keys: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    hashes: Vec<Bytes>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<Inner>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Inner {
    #[prost(uint64, optional, tag = "1")]
    key: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    hash: Option<u64>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    data: Option<Bytes>,
    #[prost(message, repeated, tag = "4")]
    tags: Vec<Tag>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Tag {
    #[prost(bytes = "bytes", optional, tag = "1")]
    name: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    value: Option<Bytes>,
}

/// The hash by which Kinesis chooses a shard for a key.
pub(crate) fn hash_of_key(key: &[u8]) -> u128 {
    u128::from_be_bytes(Md5::digest(key).into())
}

/// The user records in stored bytes; `None` if these are no whole aggregate, and so a record by themselves.
pub(crate) fn split(stored: &Bytes) -> Option<Vec<User>> {
    let end = stored.len().checked_sub(DIGEST_BYTES).filter(|end| *end > MARK.len())?;
    if !stored.starts_with(&MARK) {
        return None;
    }
    let message = stored.slice(MARK.len()..end);
    if stored.get(end..)? != Md5::digest(&message).as_slice() || count(message.clone())? > USERS_MAX {
        return None;
    }
    let Aggregated { keys, hashes, records } = Aggregated::decode(message).ok()?;
    // An aggregate without records would vanish: the decoder gets it as a record.
    if records.is_empty() {
        return None;
    }
    let at = |table: &[Bytes], place: u64| table.get(usize::try_from(place).ok()?).cloned();
    let user = |record: Inner| {
        let key = at(&keys, record.key?)?;
        let hash = match record.hash {
            Some(place) => std::str::from_utf8(&at(&hashes, place)?).ok()?.parse().ok()?,
            None => hash_of_key(&key),
        };
        let header = |tag: Tag| {
            let name = String::from_utf8(tag.name?.into()).ok()?;
            Some((name.into_boxed_str(), tag.value.unwrap_or_default()))
        };
        let headers: Option<Vec<_>> = record.tags.into_iter().map(header).collect();
        Some(User { key, hash, headers: headers?, data: record.data? })
    };
    records.into_iter().map(user).collect()
}

/// The number of records in a message, counted without allocating them.
fn count(mut message: Bytes) -> Option<usize> {
    let mut count = 0;
    while message.has_remaining() {
        let (tag, wire) = prost::encoding::decode_key(&mut message).ok()?;
        prost::encoding::skip_field(wire, tag, &mut message, prost::encoding::DecodeContext::default()).ok()?;
        count += usize::from(tag == 3);
    }
    Some(count)
}

/// One record as an aggregate. Its hash is included where the key alone would select another shard.
pub(crate) fn wrap(record: User) -> Bytes {
    let own = hash_of_key(&record.key) == record.hash;
    let tag = |(name, value): (Box<str>, Bytes)| Tag { name: Some(name.into_string().into()), value: Some(value) };
    let message = Aggregated {
        keys: vec![record.key],
        hashes: if own { Vec::new() } else { vec![record.hash.to_string().into()] },
        records: vec![Inner {
            key: Some(0),
            hash: (!own).then_some(0),
            data: Some(record.data),
            tags: record.headers.into_iter().map(tag).collect(),
        }],
    }
    .encode_to_vec();
    [&MARK, &*message, &Md5::digest(&message)].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two records of one key and one with a hash of its own, byte by byte as the format's description has them.
    fn vector() -> Vec<u8> {
        let mut message = Vec::new();
        message.extend(b"\x0a\x03one\x0a\x03two");
        message.extend(b"\x12\x02\x34\x32");
        message.extend(b"\x1a\x05\x08\x00\x1a\x01a");
        message.extend(b"\x1a\x07\x08\x01\x10\x00\x1a\x01b");
        message.extend(b"\x1a\x04\x08\x00\x1a\x00");
        seal(&message)
    }

    fn seal(message: &[u8]) -> Vec<u8> {
        [&MARK, message, &Md5::digest(message)].concat()
    }

    #[test]
    fn users_come_out_in_order_with_their_keys_and_hashes() {
        let users = split(&vector().into()).unwrap();
        let user = |key: &'static str, hash, data: &'static str| User {
            key: key.into(),
            hash,
            headers: Vec::new(),
            data: data.into(),
        };
        let one = hash_of_key(b"one");
        assert_eq!(users, [user("one", one, "a"), user("two", 42, "b"), user("one", one, "")]);
        // The first 16 bytes of md5("one") as a number: what Kinesis documents.
        assert_eq!(format!("{one:032x}"), "f97c5d29941bfb1b2fdab0874906ab82");
    }

    /// As `aws_kinesis_agg` 1.2.3, the library that AWS publishes for Python, writes three records.
    #[test]
    fn what_the_library_of_aws_writes_comes_out() {
        let hex = "f3899ac20a036f6e650a0374776f120234321a0508001a01611a07080110001a01621a0608001a02c3bc4ab36108f9b56c03713a85d864e57a27";
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let users = split(&bytes.into()).unwrap();
        let read: Vec<(&[u8], u128, &[u8])> = users.iter().map(|user| (&*user.key, user.hash, &*user.data)).collect();
        let one = hash_of_key(b"one");
        assert_eq!(read, [(&b"one"[..], one, &b"a"[..]), (b"two", 42, b"b"), (b"one", one, "\u{fc}".as_bytes())]);
    }

    #[test]
    fn what_does_not_parse_is_no_aggregate() {
        let whole = vector();
        for length in 0..whole.len() {
            assert_eq!(split(&whole[..length].to_vec().into()), None, "cut to {length}");
        }
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            assert_eq!(split(&changed.into()), None, "changed at {place}");
        }
        let broken: [&[u8]; 9] = [
            b"",
            // No records; a key that is not in the table; none at all; no data; a hash that is not in the table.
            b"\x0a\x03one",
            b"\x0a\x03one\x1a\x05\x08\x01\x1a\x01a",
            b"\x0a\x03one\x1a\x03\x1a\x01a",
            b"\x0a\x03one\x1a\x02\x08\x00",
            b"\x0a\x03one\x1a\x07\x08\x00\x10\x00\x1a\x01a",
            // A hash that is no number; a field without an end; a length beyond the end.
            b"\x0a\x03one\x12\x01x\x1a\x07\x08\x00\x10\x00\x1a\x01a",
            b"\x0a",
            b"\x0a\x03one\x1a\xff\xff\xff\xff\x0f",
        ];
        for message in broken {
            assert_eq!(split(&seal(message).into()), None, "{message:?}");
        }
        let crowd = b"\x1a\x04\x08\x00\x1a\x00".repeat(USERS_MAX);
        let crowd = |more: &[u8]| seal(&[b"\x0a\x01k", &*crowd, more].concat());
        assert_eq!(split(&crowd(b"").into()).map(|users| users.len()), Some(USERS_MAX));
        assert_eq!(split(&crowd(b"\x1a\x04\x08\x00\x1a\x00").into()), None);
    }

    #[test]
    fn what_was_wrapped_comes_out_as_it_was() {
        let headers: Vec<(Box<str>, Bytes)> = vec![("b".into(), "2".into()), ("b".into(), Bytes::new())];
        for hash in [hash_of_key(b"key"), 7] {
            let record = User { key: "key".into(), hash, headers: headers.clone(), data: "data".into() };
            assert_eq!(split(&wrap(record.clone())), Some(vec![record]));
        }
    }
}
