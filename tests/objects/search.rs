//! What an application that looks for objects may rely on.

mod cost;
mod filters;
mod pages;

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_tests::event::lines;
use millstream_tests::{Description, Dialect, Event, Millstream};
use serde_json::Value;

const OBJECTS: &str = "/v1/buckets/uploads/objects";

fn described(key: &str, at_ns: u64, size: Option<i64>, metadata: &[(&str, &str)]) -> Event {
    let metadata: BTreeMap<String, String> =
        metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let description = Description { content_type: None, metadata: Some(metadata), tags: None };
    Event { description: Some(description), dialect: Dialect::Plain, size, ..Event::create("uploads", key, at_ns, 0) }
}

/// Everything but letters and digits, so that every rule of addresses is met; `/` too.
fn encoded(text: &str) -> String {
    let byte =
        |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}

async fn put(millstream: &Millstream, events: &[Event]) {
    for part in events.chunks(500) {
        let answer = millstream.post(lines(part)).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.json()["accepted"].as_u64()), (202, Some(part.len() as u64)));
    }
    millstream.caught_up(Duration::from_secs(60)).await;
}

async fn answer_to(millstream: &Millstream, path: &str) -> Value {
    let answer = millstream.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

fn keys(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
}

/// All pages of a list.
async fn walk(millstream: &Millstream, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    for _ in 0..1_000 {
        let list = answer_to(millstream, &format!("{path}{cursor}")).await;
        items.extend(list["items"].as_array().unwrap().iter().cloned());
        let Some(next) = list["next"].as_str() else { return items };
        cursor = format!("&cursor={next}");
    }
    panic!("{path} does not end");
}
