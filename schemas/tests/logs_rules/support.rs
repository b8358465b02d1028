//! Records, and what they decode to.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use millstream_schemas::RefusalReason;
use millstream_schemas::logs::{Decoded, Entry, Input, Options, Part, Place, decode};

/// When every record was published: 2026-11-30T08:53:20Z.
pub(crate) const PUBLISHED: i64 = 1_796_028_800_000;
/// The source of every record.
pub(crate) const SOURCE: u64 = 77;

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What the record at this offset holds.
pub(crate) fn read(payload: &[u8], key: &str, offset: u64) -> Decoded {
    let place = Place::offset(SOURCE, offset);
    decode(Input { payload, key: key.as_bytes(), place, published_at_ms: PUBLISHED }, &Options::default())
}

/// Its stream and entries.
pub(crate) fn entries(payload: &[u8], key: &str, offset: u64) -> (String, Vec<Entry>) {
    match read(payload, key, offset) {
        Decoded::Entries(mut parts) => {
            assert_eq!(parts.len(), 1, "{parts:?}");
            let Part { stream, entries, .. } = parts.remove(0);
            (stream, entries)
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn refused(payload: &[u8], key: &str) -> RefusalReason {
    match read(payload, key, 1) {
        Decoded::Refused(refusal) => refusal.reason,
        other => panic!("{other:?}"),
    }
}

/// What an export of these entries prints.
pub(crate) fn exported(entries: &[Entry]) -> Vec<u8> {
    let line = |entry: &Entry| {
        let mut line = entry.text.to_vec();
        if entry.text_bytes() > line.len() {
            line.push(b'\n');
        }
        line
    };
    entries.iter().flat_map(line).collect()
}
