//! Plain text, keyed by its stream.

use millstream_schemas::RefusalReason;
use millstream_schemas::logs::{ENTRY_BYTES_MAX, Flags, Place};

use crate::support::{PUBLISHED, SOURCE, entries, exported, refused};

#[test]
fn every_text_is_exported_byte_by_byte() {
    let long = [vec![b'.'; 5 * 1_024 * 1_024], b"\r\n".to_vec()].concat();
    let texts = [
        &b"one\ntwo\n"[..],
        b"no end",
        b"\n",
        b"\0\xff\xfe\x1b]52;c;aGk=\x07\n",
        b"10%\r20%\r30%",
        b"{\"looks\": \"like JSON\"}\n",
        b"{\"messageType\": 7}\n",
        &long,
    ];
    for text in texts {
        let (stream, found) = entries(text, "demo/train", 4);
        assert_eq!(
            (stream.as_str(), exported(&found) == text),
            ("demo/train", true),
            "{:?}",
            &text[..text.len().min(40)]
        );
        for (index, entry) in (0..).zip(&found) {
            assert_eq!(entry.key, Place::offset(SOURCE, 4).key(PUBLISHED * 1_000_000, index));
            assert!(entry.text.len() <= ENTRY_BYTES_MAX && entry.extra.is_none());
        }
    }
    let (_, cut) = entries(&long, "s", 1);
    assert_eq!(cut.iter().filter(|entry| !entry.flags.has(Flags::OPEN)).count(), 1, "one line of many parts");
}

#[test]
fn a_text_without_the_name_of_its_stream_is_refused() {
    assert_eq!(refused(b"text", ""), RefusalReason::UnknownShape);
    assert_eq!(refused(b"text", "a\nb"), RefusalReason::BadName);
    assert_eq!(refused(b"text", &"x".repeat(1_025)), RefusalReason::BadName);
    assert_eq!(entries(b"text", "../%2F:", 1).0, "../%2F:");
}

#[test]
fn a_text_of_nothing_has_no_entries() {
    assert_eq!(entries(b"", "s", 1).1, []);
}

#[test]
fn a_record_of_nothing_but_newlines_has_a_limit() {
    let most = millstream_schemas::logs::decoded::ENTRIES_MAX;
    assert_eq!(entries(&vec![b'\n'; most], "s", 1).1.len(), most);
    assert_eq!(refused(&vec![b'\n'; most + 1], "s"), RefusalReason::TooManyEvents);
}
