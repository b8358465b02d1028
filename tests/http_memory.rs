//! What a request takes in memory is bounded by the size of its body, whatever the body holds.

use std::time::Duration;

use hyper::Method;
use millstream_tests::event::lines;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Event, Millstream, Model, Setup, compare, database};

/// The largest body that is taken.
const BODY_BYTES: usize = 16 << 20;

/// The most memory that the process ever had.
fn peak_bytes(millstream: &Millstream) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", millstream.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// `one` as often as it fits between two ends.
fn filled(start: &str, one: &str, end: &str) -> Vec<u8> {
    let count = (BODY_BYTES - start.len() - end.len()) / one.len();
    [start, &one.repeat(count), end].concat().into_bytes()
}

/// A notification of a thousand records that say nothing.
fn empty_records() -> String {
    format!(r#"{{"Records":[{}{{}}]}}"#, "{},".repeat(999))
}

/// Such notifications inside each other, as deep as documents may be.
fn nested_records() -> String {
    let records = format!("[{}{{}}]", "{},".repeat(999));
    let open = format!(r#"{{"Records":{records},"data":"#);
    format!("{}0{}", open.repeat(60), "}".repeat(60))
}

/// Bodies of the largest size, each the worst of its kind: what it is, its type, its bytes, and the answer.
fn worst_bodies() -> Vec<(&'static str, &'static str, Vec<u8>, u16)> {
    let json = "application/json";
    let lines = "application/x-ndjson";
    let mut torn = filled("[", r#"{"Records":[{}]},"#, r#"{"Records""#);
    // Below the number of parts that is refused at once.
    torn.truncate(99_000 * r#"{"Records":[{}]},"#.len());
    vec![
        ("numbers in an array", json, filled("[", "1,", "1]"), 413),
        ("numbers in lines", lines, filled("", "1\n", ""), 413),
        ("lines that do not say so", json, filled("{}\n", "1\n", ""), 413),
        ("records in lines", lines, filled("", &format!("{}\n", empty_records()), ""), 413),
        ("records in an array", json, filled("[", &format!("{},", empty_records()), "{}]"), 413),
        ("records in each other", json, filled("[", &format!("{},", nested_records()), "]"), 422),
        ("brackets that never close", json, filled("", "[", ""), 422),
        ("brackets inside each other", json, filled(&"[".repeat(BODY_BYTES / 2 - 1), "]", ""), 422),
        ("names in one object", json, filled("{", r#""a":1,"#, r#""a":1}"#), 422),
        ("one long text", json, filled("\"", "\\u0041", "\""), 422),
        ("an array that is torn", json, torn, 422),
        ("no JSON at all", lines, filled("", "\u{1f980}", ""), 422),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_body_takes_more_than_a_few_times_its_size() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    let before = peak_bytes(&millstream);
    for (what, content_type, body, status) in worst_bodies() {
        assert!(body.len() <= BODY_BYTES);
        let headers = [("content-type", content_type)];
        let answer = millstream.send(Method::POST, "/v1/events", &headers, body).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{what}: {}", answer.text());
        assert!(answer.body.len() < 256 << 10, "{what}: an answer of {} bytes", answer.body.len());
        let grown = peak_bytes(&millstream) - before;
        println!("{what}: at most {} MiB so far", grown >> 20);
        assert!(grown < 4 * BODY_BYTES as u64, "{what}: {} MiB", grown >> 20);
    }
    let status = millstream.get("/v1/status").await.json();
    assert_eq!(status["pipelines"][0]["lag_records"], 0, "nothing of them was stored: {status}");

    // What is accepted passes through the stream and the pipeline as well, which have bounds of their own.
    let records = r#"{"Records":[]}"#.to_owned() + "\n";
    let answer = millstream.post(records.repeat(100_000)).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.json()["accepted"]), (202, &100_000.into()));
    let event = |number: u64| Event::create("uploads", &format!("in/{number}"), DAY_NS + number, 5);
    let events: Vec<Event> = (0..BODY_BYTES as u64 / 1200).map(event).collect();
    assert_eq!(millstream.post(lines(&events)).await.unwrap().status, 202);
    millstream.caught_up(Duration::from_secs(60)).await;
    let grown = peak_bytes(&millstream) - before;
    println!("accepted and written: at most {} MiB", grown >> 20);
    assert!(grown < 8 * BODY_BYTES as u64, "{} MiB", grown >> 20);
    compare(&database, &Model::of(&events)).await;
    millstream.finish().await;
}
