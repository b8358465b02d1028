//! Entries of one stream as our endpoint puts them into a record: packed already, so that neither the stream nor a
//! decoder has work with them.
//!
//! Format: the four bytes `ff 4d 4c 01`; the name of the stream and the producer, each with its length before it; the
//! number of the first entry and of its first part; then the sections `times`, `meta`, `extra` and `text`, each with its
//! length before it. Numbers are LEB128. A time of 0 is none. Keys are not stored: they follow from the record.

use bytes::Bytes;

use super::blob::Packer;
use super::entry::{ENTRY_BYTES_MAX, Entry, Flags};
use super::key::{Key, Place};
use super::record;
use super::time::Time;
use super::varint::{Input, put, put_piece};
use crate::refusal::{Refusal, RefusalReason};

/// How such a record begins. No text in UTF-8 has its first byte.
pub const MAGIC: [u8; 4] = [0xff, b'M', b'L', 1];

/// Bytes of the name of a producer.
pub const PRODUCER_BYTES_MAX: usize = 255;

/// One entry, before it has a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// Nanoseconds since 1970, as the origin said.
    pub time_ns: Option<i64>,
    /// What is known of it.
    pub flags: Flags,
    /// A JSON object with what the origin said beside the text.
    pub extra: Option<Bytes>,
    /// Its bytes, without the newline.
    pub text: Bytes,
}

/// Who counts the entries of a post, so that posting them again is harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// Its name.
    pub name: Bytes,
    /// The number of the first entry.
    pub first: u64,
    /// How many parts of that entry stand in records before this one.
    pub part: u64,
}

/// A record with entries of one stream. `None` if they are none, or more than a record can have.
pub fn pack(stream: &str, producer: Option<&Producer>, lines: &[Line], packer: &mut Packer) -> Option<Vec<u8>> {
    let entry = |line: &Line| Entry {
        key: Key { time_ns: line.time_ns.unwrap_or_default(), origin: 0, number: [0; 24], index: 0 },
        text: line.text.clone(),
        flags: line.flags,
        extra: line.extra.clone(),
    };
    let entries: Vec<Entry> = lines.iter().map(entry).collect();
    let sections = record::pack_in_any_order(&entries, packer)?;
    let mut out = MAGIC.to_vec();
    let name = producer.map(|producer| &*producer.name).unwrap_or_default();
    put_piece(&mut out, stream.as_bytes());
    put_piece(&mut out, name);
    put(&mut out, producer.map_or(0, |producer| producer.first));
    put(&mut out, producer.map_or(0, |producer| producer.part));
    for section in [&sections.times, &sections.meta, &sections.extra.unwrap_or_default(), &sections.text] {
        put_piece(&mut out, section);
    }
    Some(out)
}

/// The stream, and its entries. `place` is that of the record.
pub(super) fn unpack(payload: &[u8], place: Place, published_at_ms: i64) -> Result<(&str, Vec<Entry>), Refusal> {
    let bad = |what: &str| Refusal::new(RefusalReason::BadRecord, what);
    let mut input = Input(payload.get(MAGIC.len()..).unwrap_or_default());
    let stream = input.piece().ok_or_else(|| bad("its stream"))?;
    let producer = input.piece().filter(|name| name.len() <= PRODUCER_BYTES_MAX).ok_or_else(|| bad("its producer"))?;
    let stream = super::name::check(stream)?;
    let numbers = input.number().zip(input.number());
    let (first, first_part) = numbers.ok_or_else(|| bad("its numbers"))?;
    let sections = [input.piece(), input.piece(), input.piece(), input.piece()];
    let [Some(times), Some(meta), Some(extra), Some(text)] = sections else { return Err(bad("its sections")) };
    if !input.is_empty() {
        return Err(bad("bytes behind its sections"));
    }
    let extra = Some(extra).filter(|extra| !extra.is_empty());
    let lines = record::unpack_lines(times, meta, extra, text).map_err(|error| bad(&error.to_string()))?;
    let mut entries = Vec::with_capacity(lines.len());
    let mut number = first;
    let mut part = first_part;
    for (index, (own, mut entry)) in (0_u64..).zip(lines) {
        if entry.text.len() > ENTRY_BYTES_MAX {
            return Err(bad("an entry that is too long"));
        }
        let time = Time::of(own, published_at_ms);
        let counted = !producer.is_empty() && time.is_own();
        entry.key =
            if counted { Place::producer(producer, number).key(time.ns(), part) } else { place.key(time.ns(), index) };
        let (clock, said) = time.marks();
        // What our endpoint took has no such flag.
        entry.flags = entry.flags.without(Flags::CLOCK).and(clock);
        entry.extra = said.or(entry.extra);
        // An open entry is followed by its other parts.
        part = if entry.flags.has(Flags::OPEN) { part.saturating_add(1) } else { 0 };
        number = if part == 0 { number.saturating_add(1) } else { number };
        entries.push(entry);
    }
    Ok((stream, entries))
}

#[cfg(test)]
mod tests {
    use super::super::time::MS;
    use super::*;

    const PUBLISHED: i64 = 1_796_000_000_000;

    fn line(time_ns: Option<i64>, text: &'static str, flags: Flags) -> Line {
        Line { time_ns, flags, extra: None, text: Bytes::from_static(text.as_bytes()) }
    }

    fn read(lines: &[Line], producer: Option<&Producer>, offset: u64) -> Vec<Entry> {
        let record = pack("demo/train", producer, lines, &mut Packer::with_level(1).unwrap()).unwrap();
        let (stream, entries) = unpack(&record, Place::offset(77, offset), PUBLISHED).unwrap();
        assert_eq!(stream, "demo/train");
        entries
    }

    fn producer(first: u64, part: u64) -> Producer {
        Producer { name: Bytes::from_static(b"shipper-1"), first, part }
    }

    #[test]
    fn lines_come_back_with_keys_of_their_record() {
        let own = PUBLISHED * MS - 5;
        let lines = [
            line(Some(own), "first", Flags::default()),
            // Times of a post need no order.
            Line { extra: Some(Bytes::from_static(b"{}")), ..line(Some(own - 1), "earlier", Flags::STDERR) },
            line(None, "no time", Flags::OPEN),
        ];
        let entries = read(&lines, None, 9);
        let expected = [own, own - 1, PUBLISHED * MS];
        for (index, (entry, line)) in entries.iter().zip(&lines).enumerate() {
            assert_eq!(entry.key, Place::offset(77, 9).key(expected[index], index as u64));
            assert_eq!((&entry.text, entry.flags, &entry.extra), (&line.text, line.flags, &line.extra));
        }
        assert_eq!(entries.len(), 3);
    }

    #[test]
    fn counted_entries_have_the_same_keys_in_every_record() {
        let own = PUBLISHED * MS;
        let lines: Vec<Line> = (0..4).map(|_| line(Some(own), "x", Flags::default())).collect();
        let once = read(&lines, Some(&producer(7, 0)), 1);
        let again = read(&lines, Some(&producer(7, 0)), 2);
        assert_eq!(once, again);
        // Also where the posts are cut in another place.
        let rest = read(&lines[1..], Some(&producer(8, 0)), 3);
        assert_eq!(once[1..], rest[..]);
        // An entry without a time of its own cannot be told from another.
        let unknown = read(&[line(None, "x", Flags::default())], Some(&producer(7, 0)), 4);
        assert_eq!(unknown[0].key.origin, 77);
    }

    #[test]
    fn parts_of_an_entry_share_its_number() {
        let own = PUBLISHED * MS;
        let lines = ["a", "b"].map(|text| line(Some(own), text, Flags::OPEN));
        let first = read(&lines, Some(&producer(7, 0)), 1);
        let rest = [line(Some(own), "c", Flags::default()), line(Some(own), "d", Flags::default())];
        let second = read(&rest, Some(&producer(7, 2)), 2);
        let keys: Vec<(u8, u64)> =
            first.iter().chain(&second).map(|entry| (entry.key.number[23], entry.key.index)).collect();
        assert_eq!(keys, [(7, 0), (7, 1), (7, 2), (8, 0)]);
    }

    #[test]
    fn a_clock_that_is_ahead_is_marked_and_kept() {
        let own = i64::MAX;
        let entries = read(&[line(Some(own), "x", Flags::CLOCK)], Some(&producer(7, 0)), 1);
        assert_eq!(entries[0].key, Place::offset(77, 1).key(PUBLISHED * MS, 0));
        assert!(entries[0].flags.has(Flags::CLOCK));
        assert_eq!(entries[0].extra.as_deref(), Some(&b"{\"time_ns\":9223372036854775807}"[..]));
        let right = read(&[line(Some(PUBLISHED * MS), "x", Flags::CLOCK)], None, 1);
        assert_eq!((right[0].flags, &right[0].extra), (Flags::default(), &None));
    }

    #[test]
    fn what_is_cut_or_changed_is_refused_and_nothing_panics() {
        let lines = [line(Some(PUBLISHED * MS), "some text", Flags::default())];
        let record = pack("s", Some(&producer(1, 0)), &lines, &mut Packer::plain()).unwrap();
        let place = Place::offset(77, 1);
        for length in 0..record.len() {
            assert!(unpack(&record[..length], place, PUBLISHED).is_err(), "{length} bytes");
        }
        let longer = [&record[..], b"x"].concat();
        assert_eq!(unpack(&longer, place, PUBLISHED).unwrap_err().reason, RefusalReason::BadRecord);
        for bit in 0..record.len() * 8 {
            let mut changed = record.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            unpack(&changed, place, PUBLISHED).ok();
        }
    }
}
