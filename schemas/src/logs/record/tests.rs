use proptest::prelude::*;

use super::super::entry::{Level, sort};
use super::super::key::Place;
use super::*;

fn entry() -> impl Strategy<Value = Entry> {
    let time = prop_oneof![
        any::<i64>(),
        (0..3_000_i64).prop_map(|ms| 1_796_000_000_000_000_000 + ms * 1_000_000),
        (0..60_i64).prop_map(|seconds| seconds * 1_000_000_000),
    ];
    let place = prop_oneof![
        (16..18_u64, 0..40_u64, 0..3_u64)
            .prop_map(|(source, offset, index)| Place { index, ..Place::offset(source, offset) }),
        any::<u64>().prop_map(|count| Place::producer(b"p", count)),
        "[a-z0-9]{0,60}".prop_map(|id| Place::cloudwatch(&id)),
        (any::<u64>(), any::<[u8; 24]>(), any::<u64>()).prop_map(|(origin, number, index)| Place {
            origin,
            number,
            index
        }),
    ];
    let text = proptest::collection::vec(any::<u8>().prop_filter("ends entries", |byte| *byte != b'\n'), 0..40);
    let flags = (any::<bool>(), any::<bool>(), 0..8_usize).prop_map(|(open, stderr, level)| {
        let mut flags = Flags::of_level(Level::ALL.get(level).copied());
        for (is_set, flag) in [(open, Flags::OPEN), (stderr, Flags::STDERR)] {
            if is_set {
                flags = flags.and(flag);
            }
        }
        flags
    });
    let extra = proptest::option::weighted(0.2, "[{][a-z]{0,9}[}]".prop_map(Bytes::from));
    (time, place, text, flags, extra).prop_map(|(time_ns, place, text, flags, extra)| Entry {
        key: place.key(time_ns, 0),
        text: Bytes::from(text),
        flags,
        extra,
    })
}

fn entries(range: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Entry>> {
    proptest::collection::vec(entry(), range).prop_map(|mut entries| {
        sort(&mut entries);
        entries
    })
}

fn packed(entries: &[Entry]) -> Sections {
    pack(entries, &mut Packer::with_level(3).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn entries_come_back(entries in entries(1..60)) {
        let sections = packed(&entries);
        prop_assert_eq!(sections.unpack(), Ok(entries.clone()));
        prop_assert_eq!(times(&sections.times), Ok(entries.iter().map(|entry| entry.key.time_ns).collect()));
        let lengths: Vec<_> = meta(&sections.meta).unwrap().iter().map(|meta| meta.length).collect();
        prop_assert_eq!(lengths, entries.iter().map(|entry| entry.text.len()).collect::<Vec<_>>());
        prop_assert_eq!((sections.least, sections.greatest), (entries[0].key, entries.last().unwrap().key));
        prop_assert_eq!(sections.entries as usize, entries.len());
    }

    /// The sections of two records, each right for itself, make no third one.
    #[test]
    fn sections_of_another_record_are_not_taken_for_its_own(one in entries(2..20), other in entries(20..40)) {
        let [one, other] = [packed(&one), packed(&other)];
        for mixed in [
            Sections { times: other.times.clone(), ..one.clone() },
            Sections { meta: other.meta.clone(), ..one.clone() },
            Sections { keys: other.keys.clone(), ..one.clone() },
        ] {
            prop_assume!(one.entries != other.entries);
            prop_assert!(matches!(mixed.unpack(), Err(BlobError::Damaged(_))));
        }
    }

    #[test]
    fn any_bytes_can_be_read(parts: [Vec<u8>; 4], extra: Option<Vec<u8>>) {
        let mut packer = Packer::plain();
        let [times, meta, keys, text] = parts.map(|bytes| packer.pack(&bytes));
        let extra = extra.map(|bytes| packer.pack(&bytes));
        // It ends, and does not panic.
        unpack_all([&times, &meta, &keys, &text], extra.as_deref()).ok();
    }
}

fn line(offset: u64, index: u64, text: &str) -> Entry {
    let time_ns = 1_796_000_000_000_000_000 + offset.cast_signed() * 1_000_000;
    let key = Place::offset(77, offset).key(time_ns, index);
    Entry { key, text: Bytes::copy_from_slice(text.as_bytes()), flags: Flags::default(), extra: None }
}

#[test]
fn text_is_what_an_export_prints() {
    let mut entries = vec![line(1, 0, "a\r"), line(1, 1, ""), line(2, 0, "no newline"), line(3, 0, "end")];
    entries[2].flags = Flags::OPEN;
    let sections = packed(&entries);
    assert_eq!(unpack(&sections.text).unwrap(), b"a\r\n\nno newlineend\n");
    assert_eq!(sections.text_bytes, 18);
    assert_eq!(sections.extra, None);
}

#[test]
fn keys_and_times_of_regular_lines_take_next_to_nothing() {
    let of_one_record: Vec<Entry> = (0..10_000)
        .map(|index| Entry { key: Place::offset(77, 5).key(1_796_000_000_000_000_000, index), ..line(5, 0, "x") })
        .collect();
    let of_many: Vec<Entry> = (0..10_000).map(|offset| line(offset, 0, "x")).collect();
    for entries in [of_one_record, of_many] {
        let sections = packed(&entries);
        assert!(sections.keys.len() < 60, "{} bytes of keys", sections.keys.len());
        assert!(sections.times.len() < 200, "{} bytes of times", sections.times.len());
        assert_eq!(sections.unpack().unwrap(), entries);
    }
}

#[test]
fn a_run_that_is_longer_than_its_record_makes_no_room() {
    let sections = packed(&[line(1, 0, "a")]);
    let mut keys = Vec::new();
    super::super::varint::put(&mut keys, u64::MAX);
    keys.extend_from_slice(&[24, 0]);
    let keys = Packer::plain().pack(&keys);
    assert_eq!(Sections { keys, ..sections }.unpack(), Err(BlobError::Damaged("its keys")));
}

#[test]
fn nothing_and_too_much_are_no_record() {
    let mut packer = Packer::plain();
    assert_eq!(pack(&[], &mut packer), None);
    let long = Bytes::from(vec![b'x'; super::super::entry::ENTRY_BYTES_MAX]);
    let entries: Vec<Entry> = (0..25).map(|index| Entry { text: long.clone(), ..line(1, index, "") }).collect();
    assert_eq!(pack(&entries, &mut packer), None);
    assert!(pack(&entries[..23], &mut packer).is_some());
    let empty: Vec<Entry> = (0..=ENTRIES_MAX as u64).map(|index| line(1, index, "")).collect();
    assert_eq!(pack(&empty, &mut packer), None);
    assert_eq!(pack(&empty[1..], &mut packer).unwrap().unpack().unwrap().len(), ENTRIES_MAX);
}

#[test]
fn more_entries_than_a_record_has_are_damage() {
    let mut bytes = Vec::new();
    super::super::varint::put(&mut bytes, ENTRIES_MAX as u64 + 1);
    bytes.resize(bytes.len() + 2 * ENTRIES_MAX, 0);
    let section = Packer::plain().pack(&bytes);
    assert_eq!(times(&section), Err(BlobError::Damaged("its times")));
    assert_eq!(meta(&section), Err(BlobError::Damaged("its lengths and flags")));
}
