//! What is refused, each with its exact reason.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millstream_schemas::objects::{Decoded, decode};
use millstream_schemas::{Input, Limits, RefusalReason};

use crate::support::{PUBLISHED_AT_MS, aws, created, decode_with, fixture, one, refused};

#[test]
fn each_fault_has_its_reason() {
    let rows: &[(&str, &str)] = &[
        ("", "not_json"),
        ("{", "not_json"),
        ("nul", "not_json"),
        ("{\"Records\":[]} x", "not_json"),
        ("{\"Records\":[],}", "not_json"),
        ("{'Records':[]}", "not_json"),
        ("{\"a\":\"\t\"}", "not_json"),
        ("{\"abcdefgh\u{1f}ijklmnopq\":1}", "not_json"),
        ("{\"abcdefgh ijklmnopq\":1}", "unknown_shape"),
        ("{\"a\":\"\\x\"}", "not_json"),
        ("{\"a\":01}", "not_json"),
        ("{\"a\":1.}", "not_json"),
        ("{\"a\":+1}", "not_json"),
        ("\u{feff}{}", "unknown_shape"),
        ("{}\u{feff}", "not_json"),
        ("{}", "unknown_shape"),
        ("[]", "unknown_shape"),
        ("7", "unknown_shape"),
        (r#"{"s3":{}}"#, "unknown_shape"),
        (r#"{"Event":"s3:Other"}"#, "unknown_shape"),
        (r#"{"Records":7}"#, "wrong_type"),
        (r#"{"Records":[7]}"#, "wrong_type"),
        (r#"{"Records":[],"Records":[]}"#, "duplicate_field"),
        (r#"{"Records":[{}]}"#, "missing_field"),
        (r#"{"Records":[{"eventVersion":"3.0","eventName":"ObjectCreated:Put"}]}"#, "unsupported_version"),
        (r#"{"specversion":"0.3","type":"millstream.object.created"}"#, "unsupported_version"),
        (r#"{"specversion":"1.0"}"#, "missing_field"),
        (r#"{"specversion":"1.0","type":"millstream.object.created"}"#, "missing_field"),
        (r#"{"specversion":"1.0","type":"millstream.object.created","data":"x"}"#, "wrong_type"),
        (r#"{"specversion":"1.0","type":"millstream.object.created","data_base64":"?"}"#, "bad_base64"),
        (
            r#"{"specversion":"1.0","type":"millstream.object.described","data":{"bucket":"b","key":"k"}}"#,
            "missing_field",
        ),
        (r#"{"detail-type":"Object Created"}"#, "missing_field"),
        (r#"{"detail-type":"Object Created","detail":[]}"#, "wrong_type"),
        (r#"{"detail-type":"Object Created","detail":{"bucket":{"name":"b"},"object":{}}}"#, "missing_field"),
        (r#"{"Type":"Notification"}"#, "missing_field"),
        (r#"{"Type":"Notification","Message":"hello"}"#, "not_json"),
    ];
    for (text, reason) in rows {
        assert_eq!(refused(&one(text)).as_str(), *reason, "{text}");
    }
}

#[test]
fn each_bad_field_of_an_object_has_its_reason() {
    let rows = [
        (r#"{}"#, "missing_field"),
        (r#"{"key":""}"#, "missing_field"),
        (r#"{"key":null}"#, "missing_field"),
        (r#"{"key":7}"#, "wrong_type"),
        (r#"{"key":"a","key":"b"}"#, "duplicate_field"),
        (r#"{"key":"a\u0000b"}"#, "nul_in_text"),
        (r#"{"key":"a%00b"}"#, "nul_in_text"),
        (r#"{"key":"a%FFb"}"#, "invalid_utf8"),
        (r#"{"key":"a\ud800b"}"#, "lone_surrogate"),
        (r#"{"key":"a\udc00\ud800b"}"#, "lone_surrogate"),
        (r#"{"key":"k","size":-1}"#, "bad_size"),
        (r#"{"key":"k","size":1.5}"#, "bad_size"),
        (r#"{"key":"k","size":1e3}"#, "bad_size"),
        (r#"{"key":"k","size":"+5"}"#, "bad_size"),
        (r#"{"key":"k","size":9223372036854775808}"#, "bad_size"),
        (r#"{"key":"k","size":true}"#, "wrong_type"),
        (r#"{"key":"k","size":1,"size":1}"#, "duplicate_field"),
        (r#"{"key":"k","eTag":[]}"#, "wrong_type"),
        (r#"{"key":"k","eTag":"a","etag":"a"}"#, "duplicate_field"),
        (r#"{"key":"k","versionId":5}"#, "wrong_type"),
        (r#"{"key":"k","sequencer":5}"#, "wrong_type"),
        (r#"{"key":"k","userMetadata":{"a":"\u0000"}}"#, "nul_in_text"),
        (r#"{"key":"k","userMetadata":{"a":"\ud800"}}"#, "lone_surrogate"),
        (r#"{"key":"k","tags":[{"key":7,"val":"a"},{"key":"a","val":"\u0000"}]}"#, "nul_in_text"),
        (r#"{"key":"k","userMetadata":7,"tags":{"\u0000":"1"}}"#, "nul_in_text"),
        (r#"{"key":"k","contentType":"\u0000","tags":7}"#, "nul_in_text"),
    ];
    for (object, reason) in rows {
        assert_eq!(refused(&one(&created(object))).as_str(), reason, "{object}");
    }
    let late = aws("ObjectCreated:Put", "2026-11-25T00:00:01Z", r#"{"key":"k"}"#);
    assert_eq!(refused(&one(&late)), RefusalReason::TimeInFuture);
    assert_eq!(refused(&one(&late.replace("2026-11-25T00:00:01Z", "soon"))), RefusalReason::BadTime);
}

/// An event that describes and does nothing else has nothing to save from a fault in its description.
#[test]
fn each_bad_field_of_a_description_has_its_reason() {
    let rows = [
        (r#""metadata":"a""#, "wrong_type"),
        (r#""metadata":[1]"#, "wrong_type"),
        (r#""metadata":[{"val":"a"}]"#, "missing_field"),
        (r#""metadata":{"a":"\u0000"}"#, "nul_in_text"),
        (r#""metadata":{"a":"\ud800"}"#, "lone_surrogate"),
        (r#""metadata":{},"userMetadata":{}"#, "duplicate_field"),
        (r#""tags":true"#, "wrong_type"),
        (r#""contentType":{}"#, "wrong_type"),
        (r#""tags":null"#, "missing_field"),
    ];
    for (members, reason) in rows {
        let text = format!(
            r#"{{"specversion":"1.0","type":"millstream.object.described","data":{{"bucket":"b","key":"k",{members}}}}}"#
        );
        assert_eq!(refused(&one(&text)).as_str(), reason, "{members}");
    }
}

#[test]
fn a_wrong_value_that_is_not_needed_refuses_nothing() {
    let text = created(r#"{"key":"k"}"#).replacen(
        "{\"Records\"",
        "{\"time\":7,\"time\":8,\"tags\":\"x\",\"data\":[],\"Records\"",
        1,
    );
    assert!(matches!(one(&text), Decoded::Event(_)));
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    let outcomes = decode_with(b"{\"Records\":[\"\xff\"]}", &[], PUBLISHED_AT_MS, &Limits::default());
    assert_eq!(refused(&outcomes[0]), RefusalReason::InvalidUtf8);
    let headers: [(&str, &[u8]); 2] = [("ce_specversion", b"1.0"), ("ce_type", b"\xff")];
    let outcomes = decode_with(b"{}", &headers, PUBLISHED_AT_MS, &Limits::default());
    assert_eq!(refused(&outcomes[0]), RefusalReason::InvalidUtf8);
    let outcomes = decode_with(b"{}", &headers[..1], PUBLISHED_AT_MS, &Limits::default());
    assert_eq!(refused(&outcomes[0]), RefusalReason::MissingField);
}

#[test]
fn three_envelopes_are_too_many() {
    let text = |inner: &str| serde_json::to_string(inner).unwrap();
    let wraps: [&dyn Fn(&str) -> String; 3] = [
        &|inner| format!(r#"{{"Type":"Notification","Message":{}}}"#, text(inner)),
        &|inner| format!(r#"{{"Records":[{{"messageId":"m","body":{}}}]}}"#, text(inner)),
        &|inner| format!(r#"{{"message":{{"data":"{}"}}}}"#, STANDARD.encode(inner)),
    ];
    let twice = fixture("sns_twice.json");
    assert!(matches!(one(&twice), Decoded::Event(_)));
    for outer in wraps {
        assert_eq!(refused(&one(&outer(&twice))), RefusalReason::TooManyEnvelopes);
        for inner in wraps {
            assert!(matches!(one(&outer(&inner(&created(r#"{"key":"k"}"#)))), Decoded::Event(_)));
        }
    }
}

/// A place in the document and one in the text it holds must not be taken for each other.
#[test]
fn a_broken_document_inside_another_is_named_by_its_field() {
    let rows = [
        (r#"{"Type":"Notification","Message":"{\"Records\":["}"#, "in Message: at byte 12"),
        // The two bytes are `{` and a tab.
        (
            r#"{"specversion":"1.0","type":"millstream.object.created","data_base64":"ewk="}"#,
            "in data_base64: at byte 2",
        ),
        (r#"{"specversion":"1.0","type":"millstream.object.created","data":{"#, "at byte 64"),
    ];
    for (text, detail) in rows {
        let Decoded::Refused(refusal) = one(text) else { panic!("{text}") };
        assert_eq!((refusal.reason, &*refusal.detail), (RefusalReason::NotJson, detail), "{text}");
    }
}

/// Nothing may be copied for the shape that is seen most, or the hot path allocates per event.
#[test]
fn text_without_escapes_is_borrowed() {
    let text = fixture("event_bridge.json");
    let input = Input { payload: text.as_bytes(), headers: &[], published_at_ms: PUBLISHED_AT_MS };
    decode(input, &Limits::default(), &mut |decoded| {
        let Decoded::Event(event) = decoded else { panic!("{decoded:?}") };
        for text in [event.bucket, event.key, event.version_id, event.etag] {
            assert!(matches!(text, std::borrow::Cow::Borrowed(_)), "{text}");
        }
    });
}
