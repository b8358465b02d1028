//! Each dialect by its fixture, hand-written or captured from a real emitter.

use millstream_schemas::objects::{Decoded, Dialect, Effect, FilterReason, OrderClass, decode_with_entities};
use millstream_schemas::{Input, Limits};

use crate::support::{PUBLISHED_AT_MS, created, decode_all, decode_with, event, filtered, fixture, one};

/// A fixture of one event: dialect, effect, class, key, version, size, etag.
type Row = (&'static str, Dialect, Effect, OrderClass, &'static str, &'static str, Option<i64>, &'static str);

const JPG: &str = "in/red flower+1.jpg";
const EMPTY: &str = "d41d8cd98f00b204e9800998ecf8427e";

#[rustfmt::skip]
const ROWS: &[Row] = {
    use Dialect::{Aws, Ceph, CloudEvents, EventBridge, Minio, Plain, Scality};
    use Effect::{Create, Delete, Describe, Marker};
    use OrderClass::{Clock, Strong, Weak};
    &[
        ("aws_record.json", Aws, Create, Strong, "in/big.bin", "", Some(5_368_709_120), "bccb8986cc6b395e4f045d410c776698-320"),
        ("event_bridge.json", EventBridge, Create, Strong, JPG, "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e", Some(5), "b57f9512698f4b09e608f4f2a65852e5"),
        ("event_bridge_deleted.json", EventBridge, Marker, Strong, JPG, "1QW9g1Z99LUNbvaaYVpW9xDlOLU.qxgF", None, ""),
        ("sns.json", Aws, Create, Strong, "in/copy.jpg", "", Some(7), "7215ee9c7d9dc229d2921a40e899ec5f"),
        ("sns_twice.json", Aws, Create, Strong, "in/copy.jpg", "", Some(7), "7215ee9c7d9dc229d2921a40e899ec5f"),
        ("lambda_sqs.json", Aws, Create, Strong, "in/big.bin", "", Some(5_368_709_120), "bccb8986cc6b395e4f045d410c776698-320"),
        ("lambda_sns.json", Aws, Create, Strong, "in/big.bin", "", Some(5_368_709_120), "bccb8986cc6b395e4f045d410c776698-320"),
        ("pubsub.json", Aws, Create, Strong, "in/big.bin", "", Some(5_368_709_120), "bccb8986cc6b395e4f045d410c776698-320"),
        ("minio.json", Minio, Create, Clock, JPG, "8f1f9d1c-6f4c-4b11-8d3e-0e7b8a4f2c11", Some(1024), EMPTY),
        ("minio_marker.json", Minio, Marker, Clock, JPG, "0f1e2d3c-6f4c-4b11-8d3e-0e7b8a4f2c11", None, ""),
        ("rustfs.json", Minio, Create, Clock, JPG, "8f1f9d1c-6f4c-4b11-8d3e-0e7b8a4f2c11", Some(1024), EMPTY),
        ("ceph.json", Ceph, Create, Clock, "in/a+b 100%.jpg", "", Some(1024), "37b51d194a7513e45b56f6524f2d51f2"),
        ("scality.json", Scality, Create, Weak, "in/a+b 100%41.jpg", "", Some(2), ""),
        ("cloud_events.json", CloudEvents, Create, Strong, JPG, "", Some(1024), EMPTY),
        ("cloud_events_base64.json", CloudEvents, Create, Strong, JPG, "", Some(1024), EMPTY),
        ("plain.json", Plain, Create, Weak, JPG, "3", Some(1024), EMPTY),
        ("plain_deleted.json", Plain, Delete, Weak, JPG, "3", None, ""),
        ("plain_described.json", Plain, Describe, Weak, JPG, "3", None, ""),
        ("captured/ministack-s3-objectcreated-put.json", Aws, Create, Clock, "plain.txt", "", Some(5), "5d41402abc4b2a76b9719d911017c592"),
        ("captured/ministack-s3-objectcreated-copy.json", Aws, Create, Clock, "copy.txt", "", Some(5), "5d41402abc4b2a76b9719d911017c592"),
        ("captured/ministack-s3-objectcreated-completemultipartupload.json", Aws, Create, Clock, "mp.bin", "", Some(100), "bccb8986cc6b395e4f045d410c776698-1"),
        ("captured/ministack-s3-objectremoved-delete.json", Aws, Delete, Clock, "plus+sign.txt", "", None, ""),
        ("captured/ministack-s3-versioned-objectcreated-put.json", Aws, Create, Clock, "v.txt", "5947b262-3c79-492f-b083-0152dc95d292", Some(2), "b6d767d2f8ed5d21a44b0e5886680cb9"),
        ("captured/ministack-s3-versioned-objectremoved-delete.json", Aws, Delete, Clock, "v.txt", "ca678ac8-b8f9-4164-bb87-f083ed47f777", None, ""),
        ("captured/ministack-s3-versioned-objectremoved-deletemarkercreated.json", Aws, Marker, Clock, "v.txt", "b2ad3444-bd9f-4d2e-a1e6-db7dfac315ee", None, ""),
        ("captured/ministack-s3-via-eventbridge-objectcreated.json", EventBridge, Create, Clock, "dir/with space+plus%é.txt", "", Some(1), "c4ca4238a0b923820dcc509a6f75849b"),
        ("captured/ministack-s3-via-eventbridge-objectdeleted.json", EventBridge, Marker, Clock, "dir/with space+plus%é.txt", "", None, ""),
        ("captured/ministack-s3-via-sns-sqs.json", Aws, Create, Clock, "logs/a.gz", "", Some(1), "c4ca4238a0b923820dcc509a6f75849b"),
    ]
};

#[test]
fn every_fixture_gives_the_event_it_was_written_for() {
    for &(name, dialect, effect, class, key, version, size, etag) in ROWS {
        let found = event(&fixture(name));
        let facts = (found.dialect, found.effect, found.order.class, &*found.key, &*found.version_id, found.size);
        assert_eq!(facts, (dialect, effect, class, key, version, size), "{name}");
        assert_eq!(found.etag, etag, "{name}");
        assert!(name.starts_with("captured") || found.bucket == "uploads", "{name}");
    }
}

#[test]
fn a_notification_gives_one_outcome_per_record() {
    let outcomes = decode_all(&fixture("aws.json"));
    let [Decoded::Event(put), Decoded::Event(deleted), tagged] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!((&*put.key, put.effect), (JPG, Effect::Create));
    assert_eq!((&*deleted.key, deleted.effect), ("in/old.jpg", Effect::Delete));
    assert_eq!(filtered(tagged), (FilterReason::Tagging, "ObjectTagging:Put".into()));
    assert!(put.order < deleted.order);
}

#[test]
fn a_bad_record_does_not_touch_its_neighbours() {
    let text = fixture("aws.json").replacen("\"size\": 1024", "\"size\": -1", 1);
    let outcomes = decode_all(&text);
    assert!(matches!(&outcomes[..], [Decoded::Refused(_), Decoded::Event(_), Decoded::Filtered { .. }]));
}

#[test]
fn what_is_none_of_ours_is_filtered_with_its_name() {
    let rows = [
        ("aws_test_event.json", FilterReason::TestEvent, "s3:TestEvent"),
        ("captured/ministack-s3-testevent.json", FilterReason::TestEvent, "s3:TestEvent"),
        ("sns_confirmation.json", FilterReason::SubscriptionConfirmation, "SubscriptionConfirmation"),
    ];
    for (name, reason, counted) in rows {
        assert_eq!(filtered(&one(&fixture(name))), (reason, counted.to_owned()), "{name}");
    }
    let ecs = r#"{"detail-type":"ECS Task State Change","time":5,"detail":{"bucket":[],"deletion-type":7}}"#;
    assert_eq!(filtered(&one(ecs)), (FilterReason::OtherKind, "ECS Task State Change".into()));
    let machine = ecs.replace("ECS Task", "EC2 Instance");
    assert_eq!(filtered(&one(&machine)), (FilterReason::UnsupportedKind, "EC2 Instance State Change".into()));
    let other = r#"{"specversion":"1.0","type":"com.example.other","data":[1]}"#;
    assert_eq!(filtered(&one(other)), (FilterReason::UnsupportedKind, "com.example.other".into()));
    assert_eq!(filtered(&one(r#"{"Records":[]}"#)).0, FilterReason::EmptyNotification);
}

#[test]
fn a_counted_name_is_bounded_and_printable() {
    let long = format!(r#"{{"detail-type":"{}\u0000"}}"#, "é".repeat(500));
    assert_eq!(crate::support::refused(&one(&long)).as_str(), "nul_in_text");
    let long = format!(r#"{{"detail-type":"\n{}"}}"#, "é".repeat(500));
    let (_, name) = filtered(&one(&long));
    assert!(name.len() <= 128 && name.starts_with("?é"), "{name}");
}

#[test]
fn binary_cloud_events_read_attributes_from_headers() {
    let structured: serde_json::Value = serde_json::from_str(&fixture("cloud_events.json")).unwrap();
    let data = structured["data"].to_string();
    for prefix in ["ce_", "ce-", "CE-"] {
        let names = ["specversion", "type", "time"].map(|name| format!("{prefix}{name}"));
        let values: [&[u8]; 3] = [b"1.0", b"com.amazonaws.s3.ObjectCreated:Put", b"2026-03-12T02:07:57.412Z"];
        let headers: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(values).collect();
        let outcomes = decode_with(data.as_bytes(), &headers, PUBLISHED_AT_MS, &Limits::default());
        assert_eq!(outcomes, vec![Decoded::Event(event(&fixture("cloud_events.json")))]);
    }
}

#[test]
fn cloud_events_take_whole_notifications_and_records_as_data() {
    let record = fixture("aws_record.json");
    for data in [record.clone(), format!(r#"{{"Records":[{record}]}}"#)] {
        let text = format!(r#"{{"specversion":"1.0","type":"com.amazonaws.s3.ObjectCreated:Put","data":{data}}}"#);
        let found = event(&text);
        assert_eq!((&*found.key, found.dialect), ("in/big.bin", Dialect::CloudEvents));
        assert_eq!(found.order, event(&record).order);
    }
}

#[test]
fn keys_are_decoded_by_their_envelope_exactly_once() {
    let rows = [
        ("pct%2541.txt", "pct%41.txt"),
        ("with+space.txt", "with space.txt"),
        ("plus%2Bsign.txt", "plus+sign.txt"),
        ("%C3%BCn%C3%AFcode-%E6%97%A5%E6%9C%AC.txt", "ünïcode-日本.txt"),
        ("a%2Fb%3Dc%26d%3Fe%23f.txt", "a/b=c&d?e#f.txt"),
        // Stores that do not encode give themselves away by what no encoder writes.
        ("with space+plus.txt", "with space+plus.txt"),
        ("100%+.txt", "100%+.txt"),
        ("ü+%41", "ü+%41"),
    ];
    for (written, key) in rows {
        assert_eq!(event(&created(&format!(r#"{{"key":{written:?}}}"#))).key, key);
    }
    let raw = fixture("event_bridge.json").replace(JPG, "pct%41+.txt");
    assert_eq!(event(&raw).key, "pct%41+.txt");
}

#[test]
fn descriptions_are_canonical() {
    let found = event(&fixture("minio.json")).description.unwrap();
    assert_eq!(found.content_type.as_deref(), Some("image/jpeg"));
    assert_eq!(found.metadata.as_deref(), Some(r#"{"camera":"X100","taken-by":"ann"}"#));
    assert_eq!(found.tags, None);
    let found = event(&fixture("ceph.json")).description.unwrap();
    assert_eq!(found.metadata.as_deref(), Some(r#"{"meta1":"This is my metadata value"}"#));
    assert_eq!(found.tags.as_deref(), Some(r#"{"Stage":"raw"}"#));
    let found = event(&fixture("plain_described.json")).description.unwrap();
    assert_eq!((found.metadata, found.tags.as_deref()), (None, Some("{}")));

    let describe = |object: &str| event(&created(object)).description;
    assert_eq!(describe(r#"{"key":"k","userMetadata":null,"contentType":""}"#), None);
    let clash =
        r#"{"key":"k","userMetadata":{"X-Amz-Meta-Cache-Control":"mine","cache-control":"header","Expires":"0"}}"#;
    assert_eq!(describe(clash).unwrap().metadata.unwrap(), r#"{"cache-control":"mine","expires":"0"}"#);
    let hidden = r#"{"key":"k","userMetadata":{"Content-Type":"a/b","x-amz-meta-content-type":"c/d"}}"#;
    let hidden = describe(hidden).unwrap();
    assert_eq!(
        (hidden.content_type.as_deref(), hidden.metadata.as_deref()),
        (Some("a/b"), Some(r#"{"content-type":"c/d"}"#))
    );
    let escaped = describe(r#"{"key":"k","userMetadata":{"q":"\"\\\u0001\ud83d\ude00\/"}}"#).unwrap().metadata.unwrap();
    assert_eq!(escaped, "{\"q\":\"\\\"\\\\\\u0001\u{1f600}/\"}");
}

#[test]
fn empty_arrays_of_ceph_say_nothing() {
    let text = fixture("ceph.json");
    let start = text.find("\"metadata\"").unwrap();
    let end = text[start..].find("\"eventId\"").unwrap() + start;
    let text = format!("{}\"metadata\":[],\"tags\":[]}}}},{}", &text[..start], &text[end..]);
    assert_eq!(event(&text).description, None);
}

#[test]
fn facts_of_a_deletion_and_the_null_version_are_normalised() {
    let removed = crate::support::aws(
        "ObjectRemoved:Delete",
        "2026-03-12T02:07:57Z",
        r#"{"key":"k","size":9,"eTag":"x","versionId":"null","contentType":"a/b"}"#,
    );
    let found = event(&removed);
    assert_eq!((found.size, &*found.etag, &*found.version_id, found.description), (None, "", "", None));
    assert_eq!(event(&created(r#"{"key":"k","eTag":"\"abc\""}"#)).etag, "abc");
    assert_eq!(event(&created(r#"{"key":"k","eTag":"\""}"#)).etag, "\"");
    assert_eq!(event(&created(r#"{"key":"k","size":"1024"}"#)).size, Some(1024));
}

#[test]
fn names_of_members_may_be_escaped_and_unknown_ones_are_ignored() {
    let text = created(r#"{"k\u0065y":"k","\ud800":{"\ud800":"\u0000"},"new":[{"deep":[1e5,true,null]}]}"#);
    assert_eq!(event(&text).key, "k");
}

/// The name alone tells that the whole key is gone: no version that the event names holds it to that one.
#[test]
fn a_removal_of_the_whole_key_names_no_version() {
    for name in ["s3:ObjectRemoved:DeleteAllVersions", "s3:LifecycleDelMarkerExpiration:Delete"] {
        for version in ["\"v1\"", "\"null\"", "null", "7"] {
            let object = format!(r#"{{"key":"k","size":9,"eTag":"x","contentType":"a/b","versionId":{version}}}"#);
            let found = event(&crate::support::aws(name, "2026-03-12T02:07:57Z", &object));
            assert_eq!((found.effect, &*found.version_id), (Effect::RemoveKey, ""), "{name} {version}");
            assert_eq!((found.size, &*found.etag, found.description), (None, "", None), "{name} {version}");
        }
    }
    for version in ["\"\"", "\"null\"", "null"] {
        let removed = format!(r#"{{"key":"k","versionId":{version}}}"#);
        let found = event(&crate::support::aws("ObjectRemoved:Delete", "2026-03-12T02:07:57Z", &removed));
        assert_eq!((found.effect, &*found.version_id), (Effect::Delete, ""), "{version}");
    }
}

/// A filtered or refused event may name its object all the same.
#[test]
fn each_outcome_comes_with_its_object() {
    let entities = |text: &str| {
        let mut found = Vec::new();
        let input = Input { payload: text.as_bytes(), headers: &[], published_at_ms: PUBLISHED_AT_MS };
        decode_with_entities(input, &Limits::default(), &mut |_, entity| {
            found.push((entity.bucket.into_owned(), entity.key.into_owned()));
        });
        found
    };
    let of = |bucket: &str, key: &str| (bucket.to_owned(), key.to_owned());
    for &(name, .., key, _, _, _) in ROWS {
        let found = event(&fixture(name));
        assert_eq!(entities(&fixture(name)), [of(&found.bucket, key)], "{name}");
    }
    let [put, deleted, tagged] = &entities(&fixture("aws.json"))[..] else { panic!() };
    assert_eq!((put, deleted), (&of("uploads", JPG), &of("uploads", "in/old.jpg")));
    assert_eq!(tagged.0, "uploads");
    let refused = created(r#"{"key":"a+b","size":-1}"#);
    assert_eq!(entities(&refused), [of("b", "a b")]);
    let sns = serde_json::json!({ "Type": "Notification", "Message": refused }).to_string();
    assert_eq!(entities(&sns), [of("b", "a b")]);
    let unknown = created(r#"{"key":"a+b"}"#).replace("ObjectCreated:Put", "ObjectAccessed:Get");
    assert_eq!(entities(&unknown), [of("b", "a b")]);
    assert_eq!(entities("hello"), [of("", "")]);
    let other = r#"{"detail-type":"Object Tags Added","detail":{"bucket":{"name":"b"},"object":{"key":"a+b"}}}"#;
    assert_eq!(entities(other), [of("b", "a+b")]);
    let plain = r#"{"specversion":"1.0","type":"millstream.object.created","data":{"bucket":"b","key":"k","size":-1}}"#;
    assert_eq!(entities(plain), [of("b", "k")]);
}
