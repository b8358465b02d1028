//! Lines as shippers write them into topics.

use millstream_schemas::RefusalReason;
use millstream_schemas::logs::{Flags, Level, Place};
use serde_json::{Value, json};

use crate::support::{PUBLISHED, SOURCE, entries, exported, refused};

fn line(object: &Value, key: &str) -> (String, String, i64, Flags) {
    let (stream, entries) = entries(object.to_string().as_bytes(), key, 1);
    assert_eq!(entries.len(), 1);
    let entry = &entries[0];
    assert_eq!(entry.key, Place::offset(SOURCE, 1).key(entry.key.time_ns, 0));
    (stream, String::from_utf8(entry.text.to_vec()).unwrap(), entry.key.time_ns, entry.flags)
}

#[test]
fn each_shipper_is_read_as_it_writes() {
    let kubernetes = json!({ "namespace_name": "ml", "pod_name": "train-0", "container_name": "main" });
    let fluent_bit = json!({
        "@timestamp": 1_796_000_000.25, "log": "epoch 1", "stream": "stderr", "logtag": "P", "kubernetes": kubernetes,
    });
    let expected = ("ml/train-0/main".to_owned(), "epoch 1".to_owned(), 1_796_000_000_250_000_000);
    let flags = Flags::STDERR.and(Flags::OPEN);
    assert_eq!(line(&fluent_bit, "any"), (expected.0, expected.1, expected.2, flags));

    let vector = json!({
        "message": "started", "timestamp": "2026-11-30T08:00:00.123456789Z", "level": "WARN", "host": "h",
    });
    let time = 1_796_025_600_123_456_789;
    let flags = Flags::of_level(Some(Level::Warning));
    assert_eq!(line(&vector, "demo/train"), ("demo/train".to_owned(), "started".to_owned(), time, flags));

    let docker = json!({ "log": "a\n", "stream": "stdout", "time": "2026-11-30T08:00:00Z" });
    let (_, text, time, flags) = line(&docker, "s");
    assert_eq!((text.as_str(), time, flags), ("a", 1_796_025_600_000_000_000, Flags::default()));
}

#[test]
fn a_time_that_cannot_be_read_is_that_of_publishing() {
    for time in [json!("yesterday"), json!({}), json!(null), json!(-5), json!(0.0), json!("0001-01-01T00:00:00Z")] {
        let (_, _, found, flags) = line(&json!({ "message": "x", "timestamp": time }), "s");
        assert_eq!((found, flags), (PUBLISHED * 1_000_000, Flags::default()), "{time}");
    }
    for ahead in [json!(1e300), json!("9999-12-31T23:59:59Z")] {
        let (_, _, found, flags) = line(&json!({ "message": "x", "timestamp": ahead }), "s");
        assert_eq!((found, flags.has(Flags::CLOCK)), (PUBLISHED * 1_000_000, true), "{ahead}");
    }
}

#[test]
fn other_objects_and_files_of_objects_are_plain_text() {
    for text in
        ["{\"a\":1}", "{\"message\":7}", "{\"message\":\"x\"}\n", "{\"message\":\"x\"}\n{\"message\":\"y\"}", "{"]
    {
        assert_eq!(exported(&entries(text.as_bytes(), "s", 1).1), text.as_bytes(), "{text}");
    }
    assert_eq!(refused(b"{\"message\":\"x\"}", ""), RefusalReason::UnknownShape);
    assert_eq!(refused(b"{\"message\":\"x\"}", "a\tb"), RefusalReason::BadName);
}
