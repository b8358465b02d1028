//! Envelopes change nothing of what they hold: each dialect decodes to the same event in each of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millstream_schemas::objects::{Decoded, Dialect, FilterReason};
use millstream_schemas::{Limits, RefusalReason};
use serde_json::{Value, json};

use crate::support::{
    PUBLISHED_AT_MS, created, decode_all, decode_with, event, filtered, fixture, minio, one, refused,
};

type Wrap = fn(&str) -> String;

/// Envelopes by their names.
fn envelopes() -> Vec<(&'static str, Wrap)> {
    vec![
        ("sns", |inner| json!({ "Type": "Notification", "MessageId": "1", "Message": inner }).to_string()),
        ("sqs to lambda", |inner| json!({ "Records": [sqs(inner)] }).to_string()),
        ("sqs by itself", |inner| sqs(inner).to_string()),
        ("sns to lambda", |inner| json!({ "Records": [sns_of_lambda(inner)] }).to_string()),
        ("sns of lambda by itself", |inner| sns_of_lambda(inner).to_string()),
        ("pub/sub", |inner| pubsub(inner).to_string()),
        ("eventarc", |inner| {
            let data = pubsub(inner);
            json!({ "specversion": "1.0", "type": "google.cloud.pubsub.topic.v1.messagePublished", "data": data })
                .to_string()
        }),
        ("pipe that reads the body", |inner| {
            json!({ "messageId": "m", "body": serde_json::from_str::<Value>(inner).unwrap() }).to_string()
        }),
    ]
}

fn sqs(inner: &str) -> Value {
    json!({
        "messageId": "m", "receiptHandle": "r", "body": inner, "attributes": { "SentTimestamp": "1" },
        "messageAttributes": {}, "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:1:q", "awsRegion": "r",
    })
}

fn sns_of_lambda(inner: &str) -> Value {
    json!({
        "EventSource": "aws:sns", "EventVersion": "1.0", "EventSubscriptionArn": "arn:aws:sns:eu-west-1:1:t:s",
        "Sns": { "Type": "Notification", "MessageId": "m", "Subject": "Amazon S3 Notification", "Message": inner },
    })
}

fn pubsub(inner: &str) -> Value {
    let data = STANDARD.encode(inner);
    json!({ "message": { "data": data, "messageId": "1", "attributes": {} }, "subscription": "projects/p/subscriptions/s" })
}

#[test]
fn every_dialect_is_the_same_in_every_envelope() {
    let names = [
        "aws.json",
        "aws_record.json",
        "minio.json",
        "rustfs.json",
        "ceph.json",
        "scality.json",
        "event_bridge.json",
        "cloud_events.json",
        "plain.json",
        "aws_test_event.json",
    ];
    for name in names {
        let alone = decode_all(&fixture(name));
        for (envelope, wrap) in envelopes() {
            assert_eq!(decode_all(&wrap(&fixture(name))), alone, "{name} in {envelope}");
        }
    }
}

#[test]
fn a_batch_of_messages_gives_the_events_of_each() {
    let first = fixture("aws.json");
    let second = fixture("minio.json");
    let batch = json!({ "Records": [sqs(&first), sqs("hello"), sns_of_lambda(&second), sqs("{\"a\":1}")] }).to_string();
    let mut expected = decode_all(&first);
    let outcomes = decode_all(&batch);
    assert_eq!(outcomes[..expected.len()], expected);
    assert_eq!(refused(&outcomes[expected.len()]), RefusalReason::NotJson);
    expected = decode_all(&second);
    assert_eq!(outcomes[4..5], expected);
    let Decoded::Refused(refusal) = &outcomes[5] else { panic!("{outcomes:?}") };
    assert_eq!(
        (refusal.reason, &*refusal.detail),
        (RefusalReason::UnknownShape, "in body: none of the accepted dialects")
    );
}

#[test]
fn an_envelope_that_holds_nothing_of_ours_says_so_by_its_name() {
    let rows = [
        (r#"{"Records":[{"messageId":"m","body":""}]}"#, "missing_field: body"),
        (r#"{"Records":[{"messageId":"m","body":7}]}"#, "wrong_type: body"),
        (r#"{"messageId":"m","body":"[1]"}"#, "unknown_shape: in body: none of the accepted dialects"),
        (r#"{"message":{"data":"?"}}"#, "bad_base64: message.data: Invalid symbol 63, offset 0."),
        (r#"{"message":{"data":""}}"#, "missing_field: message.data"),
        (r#"{"message":{"data":"eyJhIjo="}}"#, "not_json: in message.data: at byte 5"),
        (r#"{"Type":"Notification","Message":"{}"}"#, "unknown_shape: in Message: none of the accepted dialects"),
    ];
    for (text, expected) in rows {
        let Decoded::Refused(refusal) = one(text) else { panic!("{text}") };
        assert_eq!(refusal.to_string(), expected, "{text}");
    }
    // A `body` or a `message` of something else is none.
    for text in [r#"{"body":"{\"Records\":[]}"}"#, r#"{"message":"hello"}"#, r#"{"message":{"text":"hello"}}"#] {
        assert_eq!(refused(&one(text)), RefusalReason::UnknownShape, "{text}");
    }
}

#[test]
fn what_is_carried_is_bounded_like_what_carries_it() {
    let limits = Limits { events_per_record_max: 10, ..Limits::default() };
    let inner = |events: usize| json!({ "Records": vec![json!({}); events] }).to_string();
    let batch = |events: &[usize]| {
        let messages: Vec<Value> = events.iter().map(|events| sqs(&inner(*events))).collect();
        decode_with(json!({ "Records": messages }).to_string().as_bytes(), &[], PUBLISHED_AT_MS, &limits)
    };
    assert_eq!(batch(&[5, 5]).len(), 10);
    let outcomes = batch(&[5, 6, 5]);
    assert_eq!(outcomes.len(), 11, "{outcomes:?}");
    assert_eq!(refused(&outcomes[5]), RefusalReason::TooManyEvents);
}

/// What the type of the CloudEvent says is only a name: the record inside tells how it is to be read.
#[test]
fn a_store_keeps_its_rules_inside_of_cloud_events() {
    for name in ["minio.json", "rustfs.json", "ceph.json", "scality.json"] {
        let alone = event(&fixture(name));
        let data: Value = serde_json::from_str(&fixture(name)).unwrap();
        let record = data["Records"][0].clone();
        let event_name = record["eventName"].as_str().unwrap().trim_start_matches("s3:").to_owned();
        for kind in ["com.amazonaws.s3.", "com.amazonaws.", "com.amazonaws.s3:"] {
            for data in [&data, &record] {
                let event_type = format!("{kind}{event_name}");
                let structured =
                    json!({ "specversion": "1.0", "id": "1", "source": "x", "type": event_type, "data": data });
                assert_eq!(event(&structured.to_string()), alone, "{name} {event_type}");
                let encoded = STANDARD.encode(data.to_string());
                let structured = json!({ "specversion": "1.0", "id": "1", "type": event_type, "data_base64": encoded });
                assert_eq!(event(&structured.to_string()), alone, "{name} {event_type}");
                let headers: [(&str, &[u8]); 3] = [
                    ("ce-specversion", b"1.0"),
                    ("ce-type", event_type.as_bytes()),
                    ("content-type", b"application/json"),
                ];
                let binary = decode_with(data.to_string().as_bytes(), &headers, PUBLISHED_AT_MS, &Limits::default());
                assert_eq!(binary, [Decoded::Event(alone.clone())], "{name} {event_type}");
            }
        }
    }
}

/// The `s3` member alone tells nothing of its store, the source of the CloudEvent does.
#[test]
fn the_source_tells_the_store_of_data_that_do_not() {
    let data = |key: &str| json!({ "bucket": { "name": "b" }, "object": { "key": key } });
    let rows = [
        ("ceph:s3.zg1.b", Dialect::Ceph, "a+b%41", None),
        ("scality:s3.r.b", Dialect::Scality, "a+b%41", None),
        ("minio:s3.r.b", Dialect::Minio, "a bA", Some(0)),
        ("aws:s3.r.b", Dialect::CloudEvents, "a bA", None),
    ];
    for (source, dialect, key, size) in rows {
        let event_type = "com.amazonaws.s3.ObjectCreated:Put";
        let text = json!({ "specversion": "1.0", "source": source, "type": event_type, "data": data("a+b%41") });
        let found = event(&text.to_string());
        assert_eq!((found.dialect, &*found.key, found.size), (dialect, key, size), "{source}");
        let headers: [(&str, &[u8]); 3] =
            [("ce_specversion", b"1.0"), ("ce_type", event_type.as_bytes()), ("ce_source", source.as_bytes())];
        let body = data("a+b%41").to_string();
        assert_eq!(
            decode_with(body.as_bytes(), &headers, PUBLISHED_AT_MS, &Limits::default()),
            [Decoded::Event(found)]
        );
    }
}

/// Bridges and vendors call it what they like; a notification names its events itself.
#[test]
fn a_notification_is_read_whatever_the_type_around_it() {
    for name in ["aws.json", "aws_record.json", "minio.json", "ceph.json", "scality.json"] {
        let data: Value = serde_json::from_str(&fixture(name)).unwrap();
        let text = json!({ "specversion": "1.0", "type": "com.amazon.s3.objectcreated", "time": "2020-01-01T00:00:00Z", "data": data });
        let outcomes = decode_all(&text.to_string());
        let mut alone = decode_all(&fixture(name));
        for outcome in &mut alone {
            if let Decoded::Event(event) = outcome
                && event.dialect == Dialect::Aws
            {
                event.dialect = Dialect::CloudEvents;
            }
        }
        assert_eq!(outcomes, alone, "{name}");
    }
    for data in
        [json!({ "Records": [] }), json!({ "Records": [{ "a": 1 }] }), json!({ "bucket": "b", "key": "k" }), json!([1])]
    {
        let text = json!({ "specversion": "1.0", "type": "com.example.other", "data": data }).to_string();
        assert_eq!(filtered(&one(&text)), (FilterReason::UnsupportedKind, "com.example.other".into()), "{text}");
    }
}

#[test]
fn types_of_other_services_are_not_taken_for_s3() {
    for event_type in ["com.amazonaws.ec2", "com.amazonaws.", "com.amazonaws.ecs.taskStopped", "com.amazonaws"] {
        let text = json!({ "specversion": "1.0", "type": event_type, "data": { "a": 1 } }).to_string();
        assert_eq!(filtered(&one(&text)), (FilterReason::UnsupportedKind, event_type.to_owned()));
    }
}

#[test]
fn the_content_type_tells_the_mode_of_a_cloud_event() {
    let text = fixture("plain.json");
    let attributes: [(&str, &[u8]); 3] =
        [("ce-specversion", b"1.0"), ("ce-type", b"millstream.object.created"), ("ce-time", b"2020-01-01T00:00:00Z")];
    let types: [&[u8]; 4] = [
        b"application/cloudevents+json",
        b"application/cloudevents+json; charset=utf-8",
        b"Application/CloudEvents+JSON",
        b" application/cloudevents-batch+json",
    ];
    for content_type in types {
        for name in ["content-type", "Content-Type"] {
            let headers = [attributes.as_slice(), &[(name, content_type)]].concat();
            let found = decode_with(text.as_bytes(), &headers, PUBLISHED_AT_MS, &Limits::default());
            assert_eq!(found, [Decoded::Event(event(&text))]);
        }
    }
}

#[test]
fn every_1_x_of_cloud_events_is_read() {
    for version in ["1.0", "1.0.2", "1.1", "1"] {
        let text = fixture("plain.json").replacen("\"1.0\"", &format!("\"{version}\""), 1);
        assert_eq!(event(&text), event(&fixture("plain.json")), "{version}");
    }
    for version in ["0.3", "2.0", "10.0", ""] {
        let text = fixture("plain.json").replacen("\"1.0\"", &format!("\"{version}\""), 1);
        assert!(matches!(one(&text), Decoded::Refused(_)), "{version}");
    }
}

#[test]
fn a_notification_in_a_bus_is_read_as_one() {
    for name in ["minio.json", "ceph.json", "aws.json"] {
        let detail: Value = serde_json::from_str(&fixture(name)).unwrap();
        let text = json!({ "detail-type": "store event", "source": "my.store", "time": "2020-01-01T00:00:00Z", "detail": detail });
        assert_eq!(decode_all(&text.to_string()), decode_all(&fixture(name)), "{name}");
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_document() {
    for name in ["aws.json", "sns.json", "plain.json", "event_bridge.json"] {
        assert_eq!(decode_all(&format!("\u{feff}{}", fixture(name))), decode_all(&fixture(name)), "{name}");
        let marked = json!({ "messageId": "m", "body": format!("\u{feff}{}", fixture(name)) }).to_string();
        assert_eq!(decode_all(&marked), decode_all(&fixture(name)), "{name}");
    }
}

/// Stores that copy AWS count their versions as they like.
#[test]
fn the_version_of_a_notification_decides_nothing_unless_it_is_known_to_be_another_format() {
    for version in
        [r#""0.1""#, r#""1.0""#, r#""2.0""#, r#""2.6""#, r#""2""#, r#""2.10""#, r#""""#, "null", "2.1", r#""x""#, "[]"]
    {
        let text = created(r#"{"key":"k"}"#).replacen("\"2.6\"", version, 1);
        assert_eq!(event(&text).key, "k", "{version}");
    }
    for version in ["3.0", "4", "10.1"] {
        let text = created(r#"{"key":"k"}"#).replacen("\"2.6\"", &format!("{version:?}"), 1);
        assert_eq!(refused(&one(&text)), RefusalReason::UnsupportedVersion, "{version}");
    }
}

#[test]
fn keys_of_stores_that_do_not_encode_are_taken_as_they_are() {
    let rows = [
        (r#""eventSource":"ceph:s3""#, "a+b%41"),
        (r#""eventSource":"scality:s3""#, "a+b%41"),
        (r#""opaqueData":"""#, "a+b%41"),
        (r#""eventSource":"aws:s3""#, "a bA"),
        (r#""eventSource":"minio:s3""#, "a bA"),
        (r#""eventSource":7"#, "a bA"),
    ];
    for (mark, key) in rows {
        let text = created(r#"{"key":"a+b%41"}"#).replacen("\"eventVersion\"", &format!("{mark},\"eventVersion\""), 1);
        assert_eq!(event(&text).key, key, "{mark}");
    }
}

/// RustFS wrote these names before its release 1.0.
#[test]
fn names_with_a_low_line_are_read() {
    let object =
        r#"{"key":"k","size":1,"etag":"e","version_id":"v","content_type":"a/b","user_metadata":{"x-amz-meta-a":"1"}}"#;
    let found = event(&minio("s3:ObjectCreated:Put", "2026-03-12T02:07:57Z", object));
    assert_eq!((&*found.version_id, &*found.etag), ("v", "e"));
    let description = found.description.unwrap();
    assert_eq!(
        (description.content_type.as_deref(), description.metadata.as_deref()),
        (Some("a/b"), Some(r#"{"a":"1"}"#))
    );
}

#[test]
fn an_empty_time_is_none() {
    let plain = r#"{"specversion":"1.0","type":"millstream.object.created","time":"","data":{"bucket":"b","key":"k"}}"#;
    let bus = fixture("event_bridge.json").replacen("2026-03-12T02:07:57Z", "", 1);
    for text in [plain, &bus, &created(r#"{"key":"k"}"#).replacen("2026-03-12T02:07:57Z", "", 1)] {
        assert_eq!(event(text).order.class, millstream_schemas::objects::OrderClass::Undated, "{text}");
    }
}
