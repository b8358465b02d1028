//! What became of each event, as a terminal may show it.

use millstream_tests::{Setup, database};
use serde_json::Value;

use super::{WITHIN, command, event, quarantined, with_refused};

#[tokio::test]
async fn why_tells_what_became_of_each_event() {
    let database = database().await;
    let setup = Setup::new(&database);
    let old = event("in/k", 1, 10);
    let new = event("in/k", 3, 30);
    let events = [old.clone(), new.clone(), old.clone(), event("in/k", 5, 666), event("in/other", 9, 9)];
    with_refused(&database, &setup, &events, 1).await;
    let ran = command(&database, &setup, &["why", "uploads", "in/k", "--json"]);
    let told = ran.json();
    assert_eq!(told["rows"].as_array().unwrap().len(), 1, "{told:#}");
    assert_eq!((&told["rows"][0]["size"], &told["rows"][0]["state"]), (&Value::from(30), &Value::from("current")));
    assert_eq!(told["quarantine"].as_array().unwrap().len(), 1);
    let stream = &told["streams"]["objects"];
    let position = |index: usize| stream["scan"]["seen"][index]["position"].to_string();
    let expected = [
        format!("superseded by {}", position(1)),
        "written: what the row shows".to_owned(),
        format!("duplicate of {}", position(0)),
        "quarantined: refused_by_database".to_owned(),
    ];
    assert_eq!(stream["verdicts"], serde_json::json!(expected), "{told:#}");
    let nothing = command(&database, &setup, &["why", "uploads", "in/nothing"]);
    assert!(nothing.out.contains("the tables have no row of it"), "{nothing:#?}");
}

/// A record may hold events of several objects, and is kept under the key of the first.
#[tokio::test]
async fn why_speaks_of_the_object_that_an_event_names() {
    let database = database().await;
    let setup = Setup::new(&database);
    let running = setup.clone().allow("record quarantined").start().await;
    let record = |key: &str, size: i64| {
        serde_json::json!({
            "eventTime": "2026-11-22T10:00:00.000Z", "eventName": "ObjectCreated:Put",
            "s3": { "bucket": { "name": "uploads" }, "object": { "key": key, "size": size, "eTag": "e" } },
        })
    };
    let records = serde_json::json!({ "Records": [record("one", 1), record("two", 2), record("three", -1)] });
    let envelope = serde_json::json!({ "Type": "Notification", "MessageId": "1", "Message": records.to_string() });
    assert_eq!(running.post(envelope.to_string()).await.unwrap().status, 202);
    running.caught_up(WITHIN).await;
    quarantined(&database, 1).await;
    let told = |key: &str| {
        let told = command(&database, &setup, &["why", "uploads", key, "--json"]).json();
        let verdicts = told["streams"]["objects"]["verdicts"].clone();
        (verdicts, told["quarantine"].as_array().unwrap().len(), told["rows"].as_array().unwrap().len())
    };
    let one = |text: &str| serde_json::json!([text]);
    // Asked of the running process first, then of the stream itself.
    for key in ["one", "two"] {
        assert_eq!(told(key), (one("written: what the row shows"), 0, 1), "{key}");
    }
    assert_eq!(told("three"), (one("quarantined: bad_size"), 1, 0));
    running.finish().await;
    for key in ["one", "two"] {
        assert_eq!(told(key), (one("written: what the row shows"), 0, 1), "{key}");
    }
    assert_eq!(told("three"), (one("quarantined: bad_size"), 1, 0));
    assert_eq!(told("four"), (serde_json::json!([]), 0, 0));
}

/// Keys come from strangers.
#[tokio::test]
async fn nothing_of_a_stranger_reaches_the_terminal_raw() {
    let database = database().await;
    let setup = Setup::new(&database);
    let key = "in/\u{1b}[2J\u{9b}31m\r\u{202e}\u{7f}";
    with_refused(&database, &setup, &[event(key, 1, 666), event(key, 2, 1)], 1).await;
    for arguments in [&["quarantine", "ls"][..], &["quarantine", "show", "1"], &["why", "uploads", key]] {
        let ran = command(&database, &setup, arguments);
        assert!(ran.code == 0 && ran.out.contains("\\u{1b}[2J"), "{ran:#?}");
        let raw = |shown: char| (shown.is_control() && shown != '\n') || shown == '\u{202e}';
        assert!(!ran.out.contains(raw) && !ran.err.contains(raw), "{ran:#?}");
    }
}
