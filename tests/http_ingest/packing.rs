//! Every way to pack events.

use std::time::Duration;

use millstream_tests::event::lines;
use millstream_tests::{Dialect, Event, Model, Setup, compare, database};
use serde_json::{Value, json};

use super::{accepted, event, packed, post};

/// An event of a dialect that tells no description.
fn bare(key: &str, dialect: Dialect) -> Event {
    Event { description: None, dialect, ..event(key) }
}

/// Envelopes of AWS around one document.
const ENVELOPES: [fn(&str) -> Value; 4] = [
    |inner| json!({ "Type": "Notification", "MessageId": "1", "Message": inner }),
    |inner| json!({ "Records": [{ "messageId": "m", "receiptHandle": "r", "body": inner, "eventSource": "aws:sqs" }] }),
    |inner| json!({ "Records": [{ "EventSource": "aws:sns", "Sns": { "Type": "Notification", "Message": inner } }] }),
    |inner| json!([{ "messageId": "m", "body": inner }]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dialect_in_every_packing_arrives() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    let mut all = Vec::new();
    let mut send = async |content_type: &str, more: &[(&str, &str)], body: Vec<u8>, events: Vec<Event>| {
        let headers = [&[("content-type", content_type)], more].concat();
        let answer = post(&millstream, "/v1/events", &headers, body).await;
        assert_eq!(answer.status, 202, "{content_type}: {}", answer.text());
        // To one CloudEvent a body would be an event in return.
        if content_type.starts_with("application/cloudevents+json") || !more.is_empty() && more[0].0 == "ce-specversion"
        {
            assert_eq!(answer.text(), "");
        } else {
            assert_eq!(answer.json(), json!({ "accepted": events.len(), "refused": [] }));
        }
        all.extend(events);
    };
    for (name, dialect) in [("minio", Dialect::Minio), ("aws", Dialect::Aws), ("bridge", Dialect::EventBridge)] {
        let one = bare(&format!("one/{name} +ü.jpg"), dialect);
        send("application/json", &[], one.json(), vec![one]).await;
    }
    let plain = bare("one/plain", Dialect::Plain);
    send("application/cloudevents+json; charset=utf-8", &[], plain.json(), vec![plain]).await;

    let list = [bare("array/a", Dialect::Aws), bare("array/b", Dialect::Plain), bare("array/c", Dialect::Minio)];
    let array: Vec<Value> = list.iter().map(|event| serde_json::from_slice(&event.json()).unwrap()).collect();
    send("application/cloudevents-batch+json", &[], json!(array).to_string().into_bytes(), list.to_vec()).await;

    let several = [bare("several/a", Dialect::Aws), bare("several/b", Dialect::Aws)];
    send("text/plain; charset=UTF-8", &[], millstream_tests::dialect::notification(&several), several.to_vec()).await;

    let list: Vec<Event> = (0..700).map(|number| event(&format!("lines/{number}"))).collect();
    send("application/x-ndjson", &[], lines(&list), list).await;
    let list: Vec<Event> = (0..300).map(|number| event(&format!("packed/{number}"))).collect();
    send("application/json", &[("content-encoding", "gzip")], packed(&lines(&list)), list).await;

    let binary = bare("binary", Dialect::Plain);
    let mut envelope: Value = serde_json::from_slice(&binary.json()).unwrap();
    let data = envelope["data"].take().to_string().into_bytes();
    let time = envelope["time"].as_str().unwrap().to_owned();
    let kind = ("ce-type", "millstream.object.created");
    let attributes = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/test"), kind, ("ce-time", &*time)];
    send("application/json", &attributes, data, vec![binary]).await;

    // The content type says that the body holds the whole event, so that the headers beside it mean nothing.
    let structured = bare("structured", Dialect::Plain);
    let stray = [&attributes[..4], &[("ce-time", "2020-01-01T00:00:00Z")]].concat();
    send("application/cloudevents+json; charset=utf-8", &stray, structured.json(), vec![structured]).await;

    let text = |event: &Event| String::from_utf8(event.json()).unwrap();
    for (number, envelope) in ENVELOPES.into_iter().enumerate() {
        let carried = bare(&format!("carried/{number}"), Dialect::Minio);
        send("text/plain", &[], envelope(&text(&carried)).to_string().into_bytes(), vec![carried]).await;
    }
    let list: Vec<Event> = (0..3).map(|number| bare(&format!("batch/{number}"), Dialect::Aws)).collect();
    let messages: Vec<Value> = list.iter().map(|event| json!({ "messageId": "m", "body": text(event) })).collect();
    send("application/json", &[], json!({ "Records": messages }).to_string().into_bytes(), list).await;

    let list: Vec<Event> = (0..3).map(|number| bare(&format!("close/{number}"), Dialect::Aws)).collect();
    let close: String = list.iter().map(text).collect();
    send("application/json", &[], format!("\u{feff}{close}").into_bytes(), list).await;

    millstream.caught_up(Duration::from_secs(30)).await;
    assert_eq!(accepted(&millstream).await, all.len() as u64);
    compare(&database, &Model::of(&all)).await;
    millstream.finish().await;
}
