//! Logs of OpenTelemetry, as its own library writes them.

use millstream_schemas::RefusalReason;
use millstream_schemas::logs::name::Template;
use millstream_schemas::logs::otlp::protobuf;
use millstream_schemas::logs::{Decoded, Flags, Level, Part, Place};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Kind;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use serde_json::{Value, json};

use crate::support::{PUBLISHED, SOURCE, gzip, read, refused};

const NOW: u64 = PUBLISHED as u64 * 1_000_000 - 7;

fn any(value: Kind) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn text(text: &str) -> AnyValue {
    any(Kind::StringValue(text.to_owned()))
}

fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn record(body: AnyValue) -> LogRecord {
    LogRecord { time_unix_nano: NOW, body: Some(body), ..LogRecord::default() }
}

fn resource(service: &str, instance: &str, log_records: Vec<LogRecord>) -> ResourceLogs {
    let attributes = vec![attribute("service.name", text(service)), attribute("service.instance.id", text(instance))];
    let scope = InstrumentationScope { name: "app".to_owned(), ..InstrumentationScope::default() };
    ResourceLogs {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_logs: vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    }
}

/// What the request holds, which must be the same in both encodings.
fn parts(resource_logs: Vec<ResourceLogs>) -> Vec<Part> {
    let request = ExportLogsServiceRequest { resource_logs };
    let place = Place::offset(SOURCE, 1);
    let packed = protobuf(&request.encode_to_vec(), &Template::default(), place, PUBLISHED).unwrap();
    let document = serde_json::to_vec(&request).unwrap();
    assert_eq!(read(&document, "", 1), Decoded::Entries(packed.clone()), "{}", String::from_utf8_lossy(&document));
    assert_eq!(read(&gzip(&document), "", 1), Decoded::Entries(packed.clone()));
    packed
}

fn extra(part: &Part, entry: usize) -> Value {
    serde_json::from_slice(part.entries[entry].extra.as_ref().unwrap()).unwrap()
}

#[test]
fn each_resource_is_a_stream_and_each_record_an_entry() {
    let parts = parts(vec![
        resource("train", "0", vec![record(text("one")), record(text("two\nlines"))]),
        resource("serve", "1", vec![record(text("three"))]),
        resource("train", "0", vec![record(text("four"))]),
    ]);
    let texts =
        |part: &Part| part.entries.iter().map(|entry| String::from_utf8(entry.text.to_vec()).unwrap()).collect();
    let found: Vec<(&str, Vec<String>)> = parts.iter().map(|part| (part.stream.as_str(), texts(part))).collect();
    let expected = [("serve/1", vec!["three"]), ("train/0", vec!["one", "two\nlines", "four"])];
    assert_eq!(found, expected.map(|(stream, texts)| (stream, texts.into_iter().map(str::to_owned).collect())));
    // No two entries of the record have one key, in whichever stream they are.
    let mut keys: Vec<_> = parts.iter().flat_map(|part| &part.entries).map(|entry| entry.key).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..4).map(|index| Place::offset(SOURCE, 1).key(NOW as i64, index)).collect::<Vec<_>>());
    assert_eq!(extra(&parts[0], 0), json!({ "scope": "app" }));
}

#[test]
fn a_body_of_any_kind_becomes_text() {
    let list = |values| KeyValueList { values };
    let map =
        any(Kind::KvlistValue(list(vec![attribute("a", any(Kind::IntValue(i64::MIN))), attribute("b", text("x"))])));
    let array =
        any(Kind::ArrayValue(ArrayValue { values: vec![any(Kind::BoolValue(true)), any(Kind::DoubleValue(0.5))] }));
    let bodies = [map, array, any(Kind::BytesValue(vec![0, 0xff])), any(Kind::IntValue(7)), text("")];
    let records = bodies.into_iter().map(record).chain([LogRecord { body: None, ..record(text("")) }]);
    let parts = parts(vec![resource("s", "0", records.collect())]);
    let found: Vec<&[u8]> = parts[0].entries.iter().map(|entry| &entry.text[..]).collect();
    let expected: [&[u8]; 6] = [br#"{"a":-9223372036854775808,"b":"x"}"#, b"[true,0.5]", b"\0\xff", b"7", b"", b""];
    assert_eq!(found, expected);
}

#[test]
fn times_levels_and_ids_are_those_of_the_record() {
    let with = |change: fn(&mut LogRecord)| {
        let mut record = record(text("x"));
        change(&mut record);
        record
    };
    let parts = parts(vec![resource(
        "s",
        "0",
        vec![
            with(|record| record.severity_number = 17),
            with(|record| record.severity_text = "WARN".to_owned()),
            with(|record| (record.time_unix_nano, record.observed_time_unix_nano) = (0, NOW - 1)),
            with(|record| record.time_unix_nano = 0),
            with(|record| record.time_unix_nano = u64::MAX),
            with(|record| record.attributes = vec![attribute("log.record.uid", text("01JB"))]),
            with(|record| {
                record.time_unix_nano = 0;
                record.attributes = vec![attribute("log.record.uid", text("01JB"))];
            }),
            with(|record| (record.trace_id, record.span_id) = (vec![1; 16], vec![0xab; 8])),
        ],
    )]);
    let entries = &parts[0].entries;
    let levels: Vec<_> = entries.iter().map(|entry| entry.flags.level()).collect();
    assert_eq!(levels[..3], [Some(Level::Error), Some(Level::Warning), None]);
    let published = PUBLISHED * 1_000_000;
    let times: Vec<i64> = entries.iter().map(|entry| entry.key.time_ns).collect();
    assert_eq!(times[2..5], [NOW as i64 - 1, published, published]);
    assert!(entries[4].flags.has(Flags::CLOCK));
    assert_eq!(entries[5].key, Place::uid(b"01JB").key(NOW as i64, 0));
    assert_eq!(entries[6].key.origin, SOURCE, "an id counts only with a time of its own");
    let ids = extra(&parts[0], 7);
    assert_eq!((ids["trace_id"].as_str(), ids["span_id"].as_str()), (Some(&*"01".repeat(16)), Some(&*"ab".repeat(8))));
}

#[test]
fn attributes_are_kept_up_to_a_limit_and_then_counted() {
    let many = (0..10_000).map(|number| attribute(&format!("attribute-{number:05}"), text("value"))).collect();
    let few = vec![attribute("rank", any(Kind::IntValue(3)))];
    let records = [few, many].map(|attributes| LogRecord { attributes, ..record(text("x")) });
    let parts = parts(vec![resource("s", "0", records.to_vec())]);
    assert_eq!(extra(&parts[0], 0)["attributes"], json!({ "rank": 3 }));
    let kept = extra(&parts[0], 1)["attributes"].as_object().unwrap().len() as u64;
    assert!(kept > 1_000 && parts[0].entries[1].extra.as_ref().unwrap().len() < 100_000);
    assert_eq!(extra(&parts[0], 1)["attributes_dropped"], json!(10_000 - kept));
}

#[test]
fn a_stream_has_the_name_of_the_template() {
    let request = ExportLogsServiceRequest { resource_logs: vec![resource("a/b", "7", vec![record(text("x"))])] };
    let bytes = request.encode_to_vec();
    let named = |template: &str| {
        let template = Template::parse(template).unwrap();
        protobuf(&bytes, &template, Place::offset(SOURCE, 1), PUBLISHED).map(|parts| parts[0].stream.clone())
    };
    assert_eq!(named("otlp/{service.name}/{host.name}").unwrap(), "otlp/a/b/unknown");
    assert_eq!(named("\n{service.name}").unwrap_err().reason, RefusalReason::BadName);
    let nobody = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource: None, ..request.resource_logs[0].clone() }],
    };
    let parts = protobuf(&nobody.encode_to_vec(), &Template::default(), Place::offset(SOURCE, 1), PUBLISHED).unwrap();
    assert_eq!(parts[0].stream, "unknown/unknown");
}

#[test]
fn what_is_cut_is_refused() {
    let request = ExportLogsServiceRequest { resource_logs: vec![resource("s", "0", vec![record(text("some text"))])] };
    let bytes = request.encode_to_vec();
    for length in 1..bytes.len() {
        let cut = protobuf(&bytes[..length], &Template::default(), Place::offset(SOURCE, 1), PUBLISHED);
        assert_eq!(cut.unwrap_err().reason, RefusalReason::BadRecord, "{length} bytes");
    }
    assert_eq!(refused(&gzip(br#"{"resourceLogs":7}"#), ""), RefusalReason::NotJson);
}
