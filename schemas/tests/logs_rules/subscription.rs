//! Subscriptions of CloudWatch Logs, beside another program's reading of them.

use aws_lambda_events::event::cloudwatch_logs::LogsEvent;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millstream_schemas::RefusalReason;
use millstream_schemas::logs::{Decoded, ENTRY_BYTES_MAX, FilterReason, Flags, Part, Place};
use serde_json::{Value, json};

use crate::support::{PUBLISHED, SOURCE, entries, gzip, read, refused};

fn payload(events: &Value) -> Value {
    json!({
        "messageType": "DATA_MESSAGE", "owner": "123456789012", "logGroup": "/ecs/app", "logStream": "task/9f0c",
        "subscriptionFilters": ["all"], "logEvents": events, "policyLevel": "ACCOUNT_LEVEL_POLICY",
    })
}

fn packed(events: &Value) -> Vec<u8> {
    gzip(payload(events).to_string().as_bytes())
}

#[test]
fn a_sample_of_aws_is_read_as_another_program_reads_it() {
    let sample = include_bytes!("../../fixtures/logs/lambda_awslogs.json");
    let expected: LogsEvent = serde_json::from_slice(sample).unwrap();
    let expected = expected.aws_logs.data;
    assert!(!expected.log_events.is_empty());
    let wrapped: Value = serde_json::from_slice(sample).unwrap();
    let raw = STANDARD.decode(wrapped["awslogs"]["data"].as_str().unwrap()).unwrap();
    let mut unpacked = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&raw[..]), &mut unpacked).unwrap();
    for bytes in [&sample[..], &raw, unpacked.as_bytes()] {
        let Decoded::Entries(parts) = read(bytes, "", 1) else { panic!("{:?}", read(bytes, "", 1)) };
        let [Part { stream, owner, entries }] = &parts[..] else { panic!("{parts:?}") };
        assert_eq!(*stream, format!("{}:{}", expected.log_group, expected.log_stream));
        assert_eq!(owner.as_ref(), Some(&expected.owner));
        assert_eq!(entries.len(), expected.log_events.len());
        for (entry, event) in entries.iter().zip(&expected.log_events) {
            assert_eq!(entry.text, event.message.as_bytes());
            assert_eq!(entry.key, Place::cloudwatch(&event.id).key(event.timestamp * 1_000_000, 0));
        }
    }
}

#[test]
fn an_id_is_a_number_quoted_or_not_and_any_other_text_counts_too() {
    let at = PUBLISHED - 1_000;
    let id = "36568123980095166991926205101937278246648320444233383935";
    let text = packed(&json!([
        { "id": id, "timestamp": at, "message": "a" },
        { "id": "x-1", "timestamp": at, "message": "b" },
        { "id": "", "timestamp": at, "message": "c" },
        { "timestamp": at, "message": "d" },
        { "id": id, "message": "e" },
        { "id": id, "timestamp": 0, "message": "f" },
    ]));
    let number = payload(&json!([{ "id": "ID", "timestamp": at, "message": "a" }])).to_string();
    let number = gzip(number.replace("\"ID\"", id).as_bytes());
    let (_, found) = entries(&text, "", 1);
    let own = at * 1_000_000;
    let published = PUBLISHED * 1_000_000;
    let record = Place::offset(SOURCE, 1);
    let expected = [
        Place::cloudwatch(id).key(own, 0),
        Place::cloudwatch("x-1").key(own, 0),
        // Without an id, or without a time of their own, they have the place in their record.
        record.key(own, 2),
        record.key(own, 3),
        record.key(published, 4),
        record.key(published, 5),
    ];
    assert_eq!(found.iter().map(|entry| entry.key).collect::<Vec<_>>(), expected);
    assert_eq!(entries(&number, "", 2).1[0].key, expected[0], "a number of 56 digits is not rounded");
}

#[test]
fn times_that_are_none_and_clocks_that_are_ahead_do_not_stop_a_record() {
    let ahead = PUBLISHED + 2 * 3_600_000 + 1;
    let events = json!([
        { "id": "1", "timestamp": ahead, "message": "ahead" },
        { "id": "2", "timestamp": "2026-11-30T00:00:00Z", "message": "text" },
        { "id": "3", "timestamp": PUBLISHED.to_string(), "message": "quoted" },
        { "id": "4", "timestamp": -1, "message": "before" },
        { "id": "5", "timestamp": 253_402_300_799_000_i64, "message": "9999" },
        { "id": "6", "timestamp": null, "message": "null" },
    ]);
    let (_, found) = entries(&packed(&events), "", 1);
    let published = PUBLISHED * 1_000_000;
    assert!(found.iter().all(|entry| entry.key.time_ns == published));
    let has_clock: Vec<bool> = found.iter().map(|entry| entry.flags.has(Flags::CLOCK)).collect();
    assert_eq!(has_clock, [true, false, false, false, true, false]);
    let extra: Value = serde_json::from_slice(found[0].extra.as_ref().unwrap()).unwrap();
    assert_eq!(extra, json!({ "time_ns": ahead * 1_000_000 }));
    // Only the one with a time of its own is known by its id.
    let origins: Vec<u64> = found.iter().map(|entry| entry.key.origin).collect();
    assert_eq!(origins, [SOURCE, SOURCE, 1, SOURCE, SOURCE, SOURCE]);
}

#[test]
fn the_parts_of_a_long_event_follow_each_other() {
    let message = "x".repeat(ENTRY_BYTES_MAX + 5);
    let events = json!([
        { "id": "7", "timestamp": PUBLISHED, "message": message },
        { "message": message, "extractedFields": { "status": "500" } },
        { "message": "last\n" },
    ]);
    let (_, found) = entries(&packed(&events), "", 1);
    let seen: Vec<(usize, bool, u64)> =
        found.iter().map(|entry| (entry.text.len(), entry.flags.has(Flags::OPEN), entry.key.index)).collect();
    let most = ENTRY_BYTES_MAX;
    assert_eq!(seen, [(most, true, 0), (5, false, 1), (most, true, 2), (5, false, 3), (4, false, 4)]);
    assert_eq!(found[2].extra.as_deref(), Some(&br#"{"extractedFields":{"status":"500"}}"#[..]));
    assert_eq!(found[3].extra, None);
}

#[test]
fn what_is_no_log_is_filtered_and_what_is_broken_is_refused_as_a_whole() {
    let kind = |kind: &str| {
        let mut payload = payload(&json!([{ "id": "1", "timestamp": 0, "message": "reach" }]));
        payload["messageType"] = kind.into();
        gzip(payload.to_string().as_bytes())
    };
    assert_eq!(read(&kind("CONTROL_MESSAGE"), "", 1), Decoded::Filtered(FilterReason::ControlMessage));
    assert_eq!(read(&kind("OTHER_MESSAGE"), "", 1), Decoded::Filtered(FilterReason::UnsupportedKind));
    for (bytes, reason) in [
        (gzip(b"no JSON"), RefusalReason::NotJson),
        (gzip(b"{\"messageType\":\"DATA_MESSAGE\"}"), RefusalReason::MissingField),
        (packed(&json!([{ "id": "1", "timestamp": 1, "message": 7 }])), RefusalReason::NotJson),
        (b"\x1f\x8bno gzip".to_vec(), RefusalReason::BadGzip),
        (gzip(&vec![b' '; 40 << 20]), RefusalReason::TooLargeUnpacked),
        (br#"{"awslogs":{"data":"%%"}}"#.to_vec(), RefusalReason::BadBase64),
    ] {
        assert_eq!(refused(&bytes, "key"), reason);
    }
    let empty = vec![json!({ "message": "" }); millstream_schemas::logs::decoded::ENTRIES_MAX + 1];
    assert_eq!(refused(payload(&empty.into()).to_string().as_bytes(), ""), RefusalReason::UnknownShape);
    let mut named = payload(&json!([]));
    named["logStream"] = "a\nb".into();
    assert_eq!(refused(&gzip(named.to_string().as_bytes()), ""), RefusalReason::BadName);
}
