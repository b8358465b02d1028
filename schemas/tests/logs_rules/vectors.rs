//! Vectors for readers in other languages: keys, and a record section by section. They change with the format alone.

use bytes::Bytes;
use millstream_schemas::logs::blob::{Packer, unpack};
use millstream_schemas::logs::record::{Sections, pack};
use millstream_schemas::logs::{Entry, Flags, Key, Level, Place, source};
use serde_json::{Value, json};

const FILE: &str = include_str!("../../fixtures/logs/vectors.json");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn keys() -> Value {
    let time = 1_796_028_800_123_456_789;
    let of = |why: &str, key: Key| json!({ "why": why, "key": key.to_string() });
    json!([
        of("a record of a source, by its offset", Place::offset(source("incarnation", "objects/0"), 7).key(time, 2)),
        of("before 1970", Place::offset(16, 0).key(-1, 0)),
        of(
            "an event of CloudWatch",
            Place::cloudwatch("36568123980095166991926205101937278246648320444233383935").key(time, 0)
        ),
        of("an id that is no number", Place::cloudwatch("x-1").key(time, 0)),
        of("the tenth entry of a producer", Place::producer(b"shipper-1", 10).key(time, 0)),
        of("a record of OTLP that names itself", Place::uid(b"01JB7").key(time, 0)),
        of(
            "a record within a record of Kinesis",
            Place::sequence(16, "at:49590338271490256608559692538361571095921575989136588898:3").key(time, 1)
        ),
    ])
}

fn entries() -> Vec<Entry> {
    let key = |offset: u64, index| {
        Place::offset(77, offset).key(1_796_028_800_000_000_000 + offset as i64 * 1_000_000, index)
    };
    let entry = |key, text: &'static [u8], flags| Entry { key, text: Bytes::from_static(text), flags, extra: None };
    vec![
        entry(key(1, 0), b"10%\r", Flags::OPEN),
        entry(key(2, 0), b"20%", Flags::default()),
        entry(key(2, 1), b"\xff\0", Flags::STDERR.and(Flags::of_level(Some(Level::Error)))),
        Entry { extra: Some(Bytes::from_static(br#"{"rank":0}"#)), ..entry(key(9, 0), b"", Flags::default()) },
    ]
}

fn record() -> Value {
    let sections = pack(&entries(), &mut Packer::plain()).unwrap();
    json!({
        "times": hex(&sections.times), "meta": hex(&sections.meta), "keys": hex(&sections.keys),
        "extra": hex(sections.extra.as_deref().unwrap()), "text": hex(&sections.text),
        "least": sections.least.to_string(), "greatest": sections.greatest.to_string(),
    })
}

#[test]
fn keys_and_sections_are_those_of_the_file() {
    let made = json!({ "keys": keys(), "record": record() });
    let file: Value = serde_json::from_str(FILE).unwrap();
    assert_eq!(file, made, "{}", serde_json::to_string_pretty(&made).unwrap());
}

/// Also those that were packed by zstd, whose bytes may be others with each of its releases.
#[test]
fn a_record_of_the_file_is_read() {
    let file: Value = serde_json::from_str(FILE).unwrap();
    let section = |name: &str| {
        let text = file["record"][name].as_str().unwrap();
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect::<Vec<u8>>()
    };
    let least = entries()[0].key;
    let sections = Sections {
        times: section("times"),
        meta: section("meta"),
        keys: section("keys"),
        extra: Some(section("extra")),
        text: section("text"),
        entries: 4,
        text_bytes: 0,
        least,
        greatest: least,
    };
    assert_eq!(sections.unpack(), Ok(entries()));
    let packed = pack(&entries(), &mut Packer::with_level(19).unwrap()).unwrap();
    assert_eq!(packed.unpack(), Ok(entries()));
    assert_eq!(unpack(&sections.text), unpack(&packed.text));
}
