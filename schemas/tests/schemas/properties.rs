//! For any input at all, and for any event that can be written.

use millstream_schemas::objects::{Decoded, Effect, Order, decode};
use millstream_schemas::{Input, Limits, Piece, split};
use proptest::prelude::*;

use crate::support::{PUBLISHED_AT_MS, aws, fixture, one};

const FIXTURES: &[&str] = &[
    "aws.json",
    "minio.json",
    "ceph.json",
    "scality.json",
    "lambda_sqs.json",
    "lambda_sns.json",
    "pubsub.json",
    "event_bridge.json",
    "sns_twice.json",
    "cloud_events_base64.json",
    "plain.json",
];

fn outcomes(payload: &[u8], headers: &[(&str, &[u8])]) -> usize {
    let mut count = 0;
    let input = Input { payload, headers, published_at_ms: PUBLISHED_AT_MS };
    decode(input, &Limits::default(), &mut |_| count += 1);
    split(payload, "", &Limits::default(), &mut |_| count += 1);
    split(payload, "application/x-ndjson", &Limits::default(), &mut |_| count += 1);
    count
}

/// Names of members that some dialect knows.
const NAMES: &[&str] = &[
    "Records",
    "EventName",
    "Event",
    "Type",
    "Message",
    "detail-type",
    "detail",
    "deletion-type",
    "specversion",
    "type",
    "time",
    "data",
    "data_base64",
    "eventName",
    "eventTime",
    "eventVersion",
    "s3",
    "bucket",
    "name",
    "object",
    "key",
    "size",
    "eTag",
    "versionId",
    "sequencer",
    "contentType",
    "userMetadata",
    "metadata",
    "tags",
    "opaqueData",
    "source",
    "val",
    "eventSource",
    "messageId",
    "body",
    "Sns",
    "message",
];

/// Documents that resemble the dialects: their own names with values of any type.
fn document() -> impl Strategy<Value = serde_json::Value> {
    let name = prop::sample::select(NAMES.to_vec());
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "\\PC{0,8}".prop_map(Into::into),
        prop::sample::select(vec![
            "s3:ObjectCreated:Put",
            "ObjectRemoved:Delete",
            "Object Created",
            "Object Deleted",
            "1.0",
            "2.1",
            "millstream.object.described",
            "com.amazonaws.s3.ObjectCreated:Put",
            "com.amazonaws.ObjectCreated:Put",
            "s3:ObjectCreated:PutTagging",
            "s3:ObjectRemoved:DeleteAllVersions",
            "minio:s3",
            "{\"Records\":[{\"body\":\"{}\"}]}",
            "e30=",
            "Notification",
            "s3:TestEvent",
            "2026-03-12T02:07:57Z",
            "69B21FFD0745EE4E",
            "%FF",
            "{\"Records\":[]}",
            "\u{0}",
        ])
        .prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 48, 8, move |inner| {
        prop_oneof![
            3 => prop::collection::vec((name.clone(), inner.clone()), 0..8).prop_map(|members| {
                serde_json::Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
            1 => prop::collection::vec(inner, 0..4).prop_map(Into::into),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_give_an_outcome(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(outcomes(&payload, &[]) >= 3);
        prop_assert!(outcomes(&payload, &[("ce_specversion", b"1.0"), ("ce_type", &payload)]) >= 3);
    }

    #[test]
    fn any_document_gives_an_outcome(document in document()) {
        prop_assert!(outcomes(document.to_string().as_bytes(), &[]) >= 3);
        let headers: [(&str, &[u8]); 2] = [("ce_specversion", b"1.0"), ("ce_type", b"com.amazonaws.s3.ObjectCreated:Put")];
        prop_assert!(outcomes(document.to_string().as_bytes(), &headers) >= 3);
    }

    #[test]
    fn any_damage_to_a_fixture_gives_an_outcome(
        name in prop::sample::select(FIXTURES),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..6),
    ) {
        let mut payload = fixture(name).into_bytes();
        for (index, byte, how) in edits {
            let at = index.index(payload.len());
            match how {
                0 => payload[at] = byte,
                1 => payload.insert(at, byte),
                _ => payload.truncate(at.max(1)),
            }
        }
        prop_assert!(outcomes(&payload, &[]) >= 3);
    }

    /// The reader takes exactly what serde_json takes; a strict second opinion on the grammar.
    #[test]
    fn json_is_what_serde_json_says_it_is(
        name in prop::sample::select(FIXTURES),
        tail in "[-+0-9.eE{}\\[\\]\",:\\\\u0dtrufalsn \\t\\n]{0,6}",
        at in any::<prop::sample::Index>(),
    ) {
        let mut text = fixture(name);
        let mut at = at.index(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.insert_str(at, &tail);
        let mut json = true;
        let input = Input { payload: text.as_bytes(), headers: &[], published_at_ms: PUBLISHED_AT_MS };
        decode(input, &Limits::default(), &mut |decoded| {
            // The text inside an envelope may be broken while the document is not; that detail names its place.
            if let Decoded::Refused(refusal) = decoded {
                json &= refusal.reason.as_str() != "not_json" || !refusal.detail.starts_with("at byte");
            }
        });
        prop_assert_eq!(json, serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{}", text);
    }

    #[test]
    fn order_is_total(times in prop::collection::vec(place(), 3)) {
        let [a, b, c] = [times[0], times[1], times[2]];
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a == b, a.cmp(&b).is_eq());
        prop_assert!(!(a <= b && b <= c) || a <= c);
        // What tables compare agrees with what is compared here.
        let key = |order: Order| (order.time_key(), order.sequencer_key());
        prop_assert!((a.time, a.sequencer) == (b.time, b.sequencer) || key(a).cmp(&key(b)) == a.cmp(&b));
        prop_assert!((a.time, a.sequencer) != (b.time, b.sequencer) || key(a) == key(b));
    }

    /// A timed event stays within a day of its own time whatever its sequencer says.
    #[test]
    fn a_sequencer_never_moves_an_event_by_more_than_a_day(seconds in 86_400_u32..2_000_000_000, sequencer in "[0-9A-F]{0,20}") {
        let own = Order::place(Some(&rfc3339(seconds)), None, i64::MAX).unwrap();
        let order = Order::place(Some(&rfc3339(seconds)), Some(&sequencer), i64::MAX).unwrap();
        prop_assert_eq!(own.time, u64::from(seconds) << 32);
        prop_assert!(own.time.abs_diff(order.time) <= 86_400 << 32);
    }

    /// One instant, however it is written.
    #[test]
    fn every_form_of_a_time_is_the_same_time(
        seconds in 100_000_000_u32..4_000_000_000,
        nanoseconds in 0_u32..1_000_000_000,
        minutes in -1_439_i64..1_440,
    ) {
        let local = u32::try_from(i64::from(seconds) + minutes * 60).unwrap();
        let extended = rfc3339(local);
        let extended = extended.trim_end_matches('Z');
        let basic = extended.replace(['-', ':'], "");
        let sign = if minutes < 0 { '-' } else { '+' };
        let hours = minutes.abs() / 60;
        let rest = minutes.abs() % 60;
        let place = |text: &str| Order::place(Some(text), None, i64::MAX).unwrap();
        let expected = place(&rfc3339(seconds).replace('Z', &format!(".{nanoseconds:09}Z")));
        prop_assert_eq!(expected.time >> 32, u64::from(seconds));
        for clock in [extended, &basic] {
            for point in ['.', ','] {
                for zone in [format!("{sign}{hours:02}:{rest:02}"), format!("{sign}{hours:02}{rest:02}")] {
                    prop_assert_eq!(place(&format!("{clock}{point}{nanoseconds:09}{zone}")), expected);
                }
                if rest == 0 {
                    prop_assert_eq!(place(&format!("{clock}{point}{nanoseconds:09}{sign}{hours:02}")), expected);
                }
            }
        }
    }

    /// The same documents give the same records, however they are packed into a body.
    #[test]
    fn every_packing_gives_the_same_records(
        names in prop::collection::vec(prop::sample::select(FIXTURES), 1..6),
        separators in prop::collection::vec("[ \t\r\n]{0,3}", 6),
        content_type in prop::sample::select(vec!["", "application/json", "application/x-ndjson"]),
    ) {
        let records = |body: &str, content_type: &str| {
            let mut records = Vec::new();
            split(body.as_bytes(), content_type, &Limits::default(), &mut |piece| {
                records.push(match piece {
                    Piece::Record { index, payload, subject } => {
                        // Indented or not is one document.
                        let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
                        (index, payload, subject.into_owned())
                    }
                    Piece::Refused { .. } => panic!("{piece:?}"),
                });
            });
            records
        };
        let compact = |name: &&str| serde_json::from_str::<serde_json::Value>(&fixture(name)).unwrap().to_string();
        let lines: Vec<String> = names.iter().map(compact).collect();
        let expected = records(&lines.join("\n"), "application/x-ndjson");
        let close: String = names.iter().zip(&separators).map(|(name, separator)| fixture(name) + separator).collect();
        prop_assert_eq!(&records(&close, content_type), &expected);
        let close: String = lines.iter().zip(&separators).map(|(line, separator)| line.clone() + separator).collect();
        prop_assert_eq!(&records(&close, content_type), &expected);
        prop_assert_eq!(&records(&format!("[{}]", lines.join(",")), content_type), &expected);
    }

    #[test]
    fn what_is_written_is_read(
        key in "\\PC{1,40}",
        size in 0..i64::MAX,
        etag in "[0-9a-f]{32}",
        version in "[A-Za-z0-9._-]{0,32}",
        metadata in prop::collection::btree_map("[a-z0-9-]{1,8}", "\\PC{0,12}", 0..4),
        seconds in 100_000_000_u32..1_700_000_000,
        fraction in any::<u32>(),
    ) {
        prop_assume!(version != "null" && key.len() <= 1024 && !metadata.contains_key("content-type"));
        let encoded: String = key.bytes().map(|byte| match byte {
            b' ' => "+".to_owned(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        }).collect();
        let object = serde_json::json!({
            "key": encoded, "size": size, "eTag": etag, "versionId": version, "userMetadata": metadata,
            "sequencer": format!("00{seconds:08X}{fraction:08X}"),
        });
        let text = aws("ObjectCreated:Put", &rfc3339(seconds), &object.to_string());
        let Decoded::Event(event) = one(&text) else { return Err(TestCaseError::fail(text)) };
        prop_assert_eq!(event.effect, Effect::Create);
        prop_assert_eq!((&*event.key, event.size, &*event.etag, &*event.version_id), (&*key, Some(size), &*etag, &*version));
        prop_assert_eq!(event.order.time, (u64::from(seconds) << 32) | u64::from(fraction));
        let json = event.description.unwrap().metadata.unwrap();
        let read: std::collections::BTreeMap<String, String> = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(read, metadata);
    }
}

fn place() -> impl Strategy<Value = Order> {
    // Few distinct values, so that ties and near ties are common.
    let time = prop_oneof![Just(None), (1_000_000_u32..1_000_003).prop_map(Some)];
    let sequencer = prop_oneof![Just(None), "[0-2]{1,2}".prop_map(Some), "000F424[0-2]0000000[01]".prop_map(Some)];
    (time, sequencer, 0_i64..3).prop_map(|(time, sequencer, published)| {
        let time = time.map(rfc3339);
        Order::place(time.as_deref(), sequencer.as_deref(), 2_000_000_000_000 + published * 1000).unwrap()
    })
}

/// Written by walking the calendar day by day, unlike the reader, which computes.
fn rfc3339(seconds: u32) -> String {
    let mut days = seconds / 86_400;
    let second = seconds % 86_400;
    let leap = |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u32::from(leap(year)) {
        days -= 365 + u32::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u32::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    format!(
        "{year:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        month + 1,
        days + 1,
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}
