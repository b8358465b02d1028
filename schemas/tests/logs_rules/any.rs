//! Whatever is sent: no panic, and the same record always gives the same entries.

use millstream_schemas::logs::blob::Packer;
use millstream_schemas::logs::entry::sort;
use millstream_schemas::logs::{Entry, Flags, packed, record};
use proptest::prelude::*;

use crate::support::{entries, gzip, read};

/// Bytes that often begin like a dialect.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![
        Just(packed::MAGIC.to_vec()),
        Just(vec![0x1f, 0x8b, 8]),
        Just(b"{\"messageType\":\"DATA_MESSAGE\",\"logGroup\":\"g\",\"logStream\":\"s\",\"logEvents\":[".to_vec()),
        Just(b"{\"awslogs\":{\"data\":\"".to_vec()),
        Just(Vec::new()),
    ];
    (start, any::<Vec<u8>>()).prop_map(|(start, rest)| [start, rest].concat())
}

/// A line of a stream: its offset, and its text.
fn lines() -> impl Strategy<Value = Vec<(u64, String)>> {
    proptest::collection::vec((0..20_u64, "[a-c\n]{0,6}"), 1..12)
}

proptest! {
    #[test]
    fn any_bytes_have_an_outcome(payload in payload(), key in "[a-z]{0,3}") {
        let first = read(&payload, &key, 1);
        prop_assert_eq!(&first, &read(&payload, &key, 1));
        read(&gzip(&payload), &key, 1);
    }

    /// Any order, repetition and split of the same records, packed and merged in any way, is the same stream.
    #[test]
    fn order_repetition_and_merges_do_not_matter(lines in lines(), seed: u64, cut in 0..12_usize) {
        let mut at_offset = std::collections::BTreeMap::new();
        for (offset, text) in &lines {
            at_offset.entry(*offset).or_insert(text);
        }
        let decoded: Vec<Vec<Entry>> =
            at_offset.iter().map(|(offset, text)| entries(text.as_bytes(), "s", *offset).1).collect();
        let mut expected: Vec<Entry> = decoded.concat();
        sort(&mut expected);
        prop_assert_eq!(expected.len(), decoded.iter().map(Vec::len).sum::<usize>(), "no entry is another's double");

        let mut shuffled = decoded.clone();
        shuffled.extend(decoded.iter().take(cut).cloned());
        let turn = seed as usize % shuffled.len().max(1);
        shuffled.rotate_left(turn);
        let parts = shuffled.split_at(cut.min(shuffled.len()));
        let mut merged = Vec::new();
        for part in [parts.0, parts.1] {
            let mut part: Vec<Entry> = part.concat();
            sort(&mut part);
            if let Some(sections) = record::pack(&part, &mut Packer::with_level(1).unwrap()) {
                merged.extend(sections.unpack().unwrap());
            }
        }
        sort(&mut merged);
        prop_assert_eq!(merged, expected);
    }

    /// What our endpoint packs is read as it was, whatever the text is.
    #[test]
    fn what_is_packed_is_read(texts in proptest::collection::vec(any::<Vec<u8>>(), 1..8), open: bool) {
        let lines: Vec<packed::Line> = texts
            .iter()
            .map(|text| packed::Line {
                text: text.clone().into(),
                flags: if open { Flags::OPEN } else { Flags::default() },
                ..packed::Line::default()
            })
            .collect();
        let record = packed::pack("demo/serve", None, &lines, &mut Packer::plain()).unwrap();
        let (stream, entries) = crate::support::entries(&record, "another", 1);
        prop_assert_eq!(stream, "demo/serve");
        prop_assert_eq!(entries.iter().map(|entry| entry.text.to_vec()).collect::<Vec<_>>(), texts);
    }
}
