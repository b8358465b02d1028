//! Counters that are wrong are found and mended.

use millstream_tests::generator::DAY_NS;
use millstream_tests::{Event, Generator, Model, Setup, Writer, compare, database, tables};
use serde_json::{Value, json};

use super::DAMAGE;
use crate::commands::{command, contents};

#[tokio::test]
async fn a_check_of_healthy_tables_finds_nothing_and_changes_nothing() {
    let database = database().await;
    let here = Setup::embedded();
    let events = Generator::new("healthy").events(3_000);
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    for batch in events.chunks(500) {
        writer.put(batch).await;
    }
    let before = contents(&database).await;
    for arguments in [&["check", "--json"][..], &["repair", "--dry-run", "--json"], &["repair", "--json"]] {
        let ran = command(&database, &here, &[&["counters"], arguments].concat());
        let report = ran.json();
        assert_eq!((ran.code, &report["buckets"], &report["differences"]), (0, &json!(3), &json!([])), "{ran:#?}");
        assert_eq!(contents(&database).await, before, "{arguments:?} changed something");
    }
    compare(&database, &Model::of(&events)).await;
}

#[tokio::test]
async fn damaged_counters_are_found_and_mended_and_a_dry_run_only_says_so() {
    let database = database().await;
    let here = Setup::embedded();
    let events = Generator::new("damaged").events(3_000);
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    for batch in events.chunks(500) {
        writer.put(batch).await;
    }
    database.execute(DAMAGE).await;
    let before = contents(&database).await;
    let check = command(&database, &here, &["counters", "check", "--json"]);
    let dry = command(&database, &here, &["counters", "repair", "--dry-run", "--json"]);
    assert_eq!((check.code, dry.code), (1, 0), "{check:#?} {dry:#?}");
    assert_eq!(contents(&database).await, before, "nothing is changed by looking");
    let found = check.json();
    let would = dry.json();
    assert_eq!(found["differences"], would["differences"]);
    assert_eq!((&found["buckets_differ"], &found["counters_differ"]["bucket_count"]), (&json!(4), &json!(3)));
    let numbers = |bucket: &str, hour: Value| {
        let one =
            found["differences"].as_array().unwrap().iter().find(|one| one["bucket"] == bucket && one["hour"] == hour);
        let one = one.unwrap_or_else(|| panic!("{bucket} {hour}: {found:#}"));
        (one["counted"].clone(), one["truth"].clone())
    };
    let (counted, truth) = numbers("never", Value::Null);
    assert_eq!(counted, json!({ "objects": 5, "bytes": 5, "unknown_size": 5 }));
    assert_eq!(truth, json!({ "objects": 0, "bytes": 0, "unknown_size": 0 }));
    let (counted, truth) = numbers("logs.eu", json!("2031-05-01T07:00:00.000Z"));
    assert_eq!(counted, json!({ "created": -1, "bytes": "12345678901234567890", "removed": 2 }));
    assert_eq!(truth, json!({ "created": 0, "bytes": 0, "removed": 0 }));

    // One bucket alone is mended alone.
    let one = command(&database, &here, &["counters", "repair", "--bucket", "never"]);
    assert!(one.code == 0 && one.out.contains("objects 5, bytes 5"), "{one:#?}");
    let left = command(&database, &here, &["counters", "check", "--json"]);
    assert_eq!(left.json()["buckets_differ"], 3, "{left:#?}");
    let repair = command(&database, &here, &["counters", "repair", "--json"]);
    assert_eq!((repair.code, repair.json()["buckets_differ"].clone()), (0, json!(3)), "{repair:#?}");
    compare(&database, &Model::of(&events)).await;
    assert_eq!(command(&database, &here, &["counters", "check"]).code, 0);
}

#[tokio::test]
async fn segments_that_are_not_counted_stay_so_when_the_others_are_mended() {
    let database = database().await;
    let here = Setup::embedded();
    let mut writer = Writer::idle("objects", database.options(), 5);
    writer.acquire(&["0"]).await.unwrap();
    let make = |number: u64| Event::create("uploads", &format!("segment{}/{number}", number % 9), DAY_NS + number, 7);
    let events: Vec<Event> = (0..90).map(make).collect();
    writer.put(&events).await;
    assert_eq!(command(&database, &here, &["counters", "check"]).code, 0, "uncounted ones are not missed");
    database.execute("UPDATE millstream.segment_count SET objects = -1, bytes = 3").await;
    let repair = command(&database, &here, &["counters", "repair", "--json"]);
    assert_eq!((repair.code, &repair.json()["counters_differ"]["segment_count"]), (0, &json!(5)), "{repair:#?}");
    let there = tables(&database).await;
    let expected = Model::of(&events).tables();
    assert_eq!((there.segments.len(), &there.buckets), (5, &expected.buckets));
    for (name, count) in &there.segments {
        assert_eq!(expected.segments.get(name), Some(count), "{name:?}");
    }

    // With a higher limit later objects of the others are counted from then on; a repair adds those before.
    let mut writer = Writer::idle("objects", database.options(), 100);
    writer.acquire(&["0"]).await.unwrap();
    let more: Vec<Event> = (90..180).map(make).collect();
    writer.put(&more).await;
    let repair = command(&database, &here, &["counters", "repair", "--json"]);
    assert_eq!(repair.json()["counters_differ"], json!({ "bucket_count": 0, "segment_count": 4, "hour_count": 0 }));
    compare(&database, &Model::of(events.iter().chain(&more))).await;
}
