//! Every limit one below, at, and one above.

use millstream_schemas::objects::Decoded;
use millstream_schemas::{Limits, Piece, RefusalReason};

use crate::support::{PUBLISHED_AT_MS, created, decode_with, pieces, refused};

/// `document(n)` has the size n in the respect that the limit `set` puts a bound on.
fn check(reason: RefusalReason, at: usize, set: impl Fn(&mut Limits, usize), document: impl Fn(usize) -> String) {
    let mut limits = Limits::default();
    set(&mut limits, at);
    for size in [at - 1, at, at + 1] {
        let text = document(size);
        let outcomes = decode_with(text.as_bytes(), &[], PUBLISHED_AT_MS, &limits);
        if size <= at {
            let events = outcomes.iter().all(|outcome| matches!(outcome, Decoded::Event(_)));
            assert!(events, "{reason} at {size} of {at}: {outcomes:?}");
        } else {
            assert_eq!(outcomes.len(), 1);
            assert_eq!(refused(&outcomes[0]), reason, "{text}");
        }
    }
}

fn object(members: &str) -> String {
    created(&format!(r#"{{"key":"k"{members}}}"#))
}

#[test]
fn limits_of_the_document() {
    use RefusalReason as R;
    let base = object(r#","x":"""#).len();
    check(
        R::RecordTooLarge,
        2000,
        |l, n| l.record_bytes_max = n,
        |n| object(&format!(r#","x":"{}""#, "a".repeat(n - base))),
    );
    // The object of the record is the fifth level: document, Records, record, s3, object.
    check(
        R::JsonTooDeep,
        20,
        |l, n| l.json_depth_max = n,
        |n| object(&format!(r#","x":{}{}"#, "[".repeat(n - 5), "]".repeat(n - 5))),
    );
    check(
        R::JsonTooManyKeys,
        10,
        |l, n| l.json_keys_max = n,
        |n| object(&format!(r#","x":{{{}}}"#, vec![r#""a":1"#; n].join(","))),
    );
    check(
        R::JsonStringTooLong,
        100,
        |l, n| l.json_string_bytes_max = n,
        |n| object(&format!(r#","x":"{}""#, "a".repeat(n))),
    );
    check(
        R::JsonStringTooLong,
        100,
        |l, n| l.json_string_bytes_max = n,
        |n| object(&format!(r#","{}":1"#, "a".repeat(n))),
    );
    check(
        R::JsonNumberTooLong,
        64,
        |l, n| l.json_number_digits_max = n,
        |n| object(&format!(r#","x":-{}.5e-10"#, "1".repeat(n - 3))),
    );
    let record = || r#"{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"k"}}}"#;
    check(
        R::TooManyEvents,
        5,
        |l, n| l.events_per_record_max = n,
        |n| format!(r#"{{"Records":[{}]}}"#, vec![record(); n].join(",")),
    );
}

#[test]
fn limits_of_the_fields() {
    use RefusalReason as R;
    let text = |name: &'static str| move |n: usize| object(&format!(r#",{name:?}:"{}""#, "a".repeat(n)));
    check(R::KeyTooLong, 1024, |l, n| l.key_bytes_max = n, |n| created(&format!(r#"{{"key":"{}"}}"#, "a".repeat(n))));
    // What counts is the key as decoded: three bytes each as written, one as decoded.
    check(R::KeyTooLong, 1024, |l, n| l.key_bytes_max = n, |n| created(&format!(r#"{{"key":"{}"}}"#, "%2B".repeat(n))));
    check(
        R::BucketTooLong,
        255,
        |l, n| l.bucket_bytes_max = n,
        |n| object("").replace(r#""name":"b""#, &format!(r#""name":"{}""#, "b".repeat(n))),
    );
    check(R::VersionIdTooLong, 1024, |l, n| l.version_id_bytes_max = n, text("versionId"));
    check(R::EtagTooLong, 1024, |l, n| l.etag_bytes_max = n, text("eTag"));
    check(R::ContentTypeTooLong, 1024, |l, n| l.content_type_bytes_max = n, text("contentType"));
    // {"a":".."} is eight bytes around the value.
    for name in ["userMetadata", "tags"] {
        check(
            R::MetadataTooLong,
            300,
            |l, n| l.metadata_bytes_max = n,
            |n| object(&format!(r#",{name:?}:{{"a":"{}"}}"#, "v".repeat(n - 8))),
        );
    }
}

#[test]
fn the_stack_is_bounded_whatever_the_limit_says() {
    let limits = Limits { json_depth_max: usize::MAX, ..Limits::default() };
    for open in ["[", "{\"data\":", "{\"a\":[", "{\"Records\":[{\"s3\":"] {
        let text = open.repeat(50_000);
        let outcomes = decode_with(text.as_bytes(), &[], PUBLISHED_AT_MS, &limits);
        assert_eq!(refused(&outcomes[0]), RefusalReason::JsonTooDeep, "{open}");
    }
}

#[test]
fn an_element_over_a_limit_does_not_hide_its_neighbours() {
    let good = object("");
    let deep = object(&format!(r#","x":{}"}}]"{}"#, "[".repeat(70), "]".repeat(70)));
    let long = object(&format!(r#","x":"{}\"]""#, "a".repeat(300_000)));
    let body = format!("[{good},{deep},{long} ,\n{good}]");
    let found = pieces(body.as_bytes(), "application/json", &Limits::default());
    let reasons: Vec<_> = found
        .iter()
        .map(|piece| match piece {
            Piece::Record { index, payload, .. } => (*index, None, payload.len()),
            Piece::Refused { index, reason, .. } => (*index, Some(*reason), 0),
        })
        .collect();
    let expected = [
        (0, None, good.len()),
        (1, Some(RefusalReason::JsonTooDeep), 0),
        (2, Some(RefusalReason::JsonStringTooLong), 0),
        (3, None, good.len()),
    ];
    assert_eq!(reasons, expected);
}
