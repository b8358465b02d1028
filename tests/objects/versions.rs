//! One row per version; which one is current is derived.

use millstream_tests::generator::DAY_NS;
use millstream_tests::{Database, Description, Dialect, Event, Kind, Model, Writer, compare, database};

/// Version and size of what a reader without a version id gets.
async fn current(database: &Database) -> Option<(String, Option<i64>)> {
    let mut connection = database.connect().await;
    sqlx::query_as("SELECT coalesce(version_id, ''), size FROM analytics.objects")
        .fetch_optional(&mut connection)
        .await
        .unwrap()
}

/// Applies steps one after another; after each, demands the current version, the counters and the model.
async fn story(steps: &[(Event, Option<&str>)]) {
    let database = database().await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let mut told = Vec::new();
    for (number, (event, expected)) in steps.iter().enumerate() {
        writer.put(std::slice::from_ref(event)).await;
        told.push(event.clone());
        let there = current(&database).await;
        assert_eq!(there.as_ref().map(|(version, _)| &**version), *expected, "after step {number}, {:?}", event.kind);
        let counted = database.number("SELECT coalesce(sum(objects), 0) FROM millstream.bucket_count").await;
        assert_eq!(counted, i64::from(expected.is_some()), "counted after step {number}");
        compare(&database, &Model::of(&told)).await;
    }
}

fn made(version: &str, second: u64) -> Event {
    Event::create("versioned", "in/key", DAY_NS + second * 1_000_000_000, 100 + second as i64).version(version)
}

fn then(event: &Event, kind: Kind, version: &str, second: u64) -> Event {
    event.then(kind, DAY_NS + second * 1_000_000_000).version(version)
}

#[tokio::test]
async fn deleting_an_old_version_leaves_the_current_one() {
    let first = made("v1", 1);
    let second = made("v2", 2);
    story(&[
        (first.clone(), Some("v1")),
        (second.clone(), Some("v2")),
        (then(&first, Kind::Delete, "v1", 3), Some("v2")),
    ])
    .await;
}

#[tokio::test]
async fn deleting_the_current_version_brings_back_the_one_before() {
    let first = made("v1", 1);
    let second = made("v2", 2);
    story(&[
        (first.clone(), Some("v1")),
        (second.clone(), Some("v2")),
        (then(&second, Kind::Delete, "v2", 3), Some("v1")),
        (then(&first, Kind::Delete, "v1", 4), None),
    ])
    .await;
}

#[tokio::test]
async fn deleting_a_marker_brings_the_object_back() {
    let first = made("v1", 1);
    story(&[
        (first.clone(), Some("v1")),
        (then(&first, Kind::Marker, "m", 2), None),
        (then(&first, Kind::Delete, "m", 3), Some("v1")),
    ])
    .await;
}

#[tokio::test]
async fn a_marker_that_is_late_hides_only_what_is_older() {
    let second = made("v2", 3);
    story(&[
        (second.clone(), Some("v2")),
        (then(&second, Kind::Marker, "m", 2), Some("v2")),
        (made("v1", 1), Some("v2")),
        (then(&second, Kind::Delete, "v2", 4), None),
    ])
    .await;
}

#[tokio::test]
async fn a_bucket_that_gets_versions_later() {
    let bare = made("", 1);
    story(&[
        (bare.clone(), Some("")),
        (made("v1", 2), Some("v1")),
        (then(&bare, Kind::Delete, "v1", 3), Some("")),
        // Suspended versioning: the null version is overwritten in place, and deleted by a marker in its row.
        (made("", 4), Some("")),
        (then(&bare, Kind::Marker, "", 5), None),
        (then(&bare, Kind::Delete, "", 6), None),
    ])
    .await;
}

#[tokio::test]
async fn a_removal_of_the_whole_key_takes_every_version_that_is_older_whenever_it_comes() {
    let first = made("v1", 1);
    let second = made("v2", 2);
    story(&[
        (first.clone(), Some("v1")),
        (second.clone(), Some("v2")),
        (then(&first, Kind::RemoveKey, "", 4), None),
        // Older than the removal, and later: gone all the same.
        (made("v3", 3), None),
        (made("", 2), None),
        (then(&first, Kind::Marker, "m", 3), None),
        // Newer: the key is there again.
        (made("v4", 5), Some("v4")),
        (made("", 6), Some("")),
        // A removal that is late takes what is older than itself.
        (then(&first, Kind::RemoveKey, "", 3), Some("")),
        (then(&first, Kind::RemoveKey, "", 7), None),
        (made("", 8), Some("")),
    ])
    .await;
}

#[tokio::test]
async fn a_removal_of_a_key_that_nobody_knew_is_remembered() {
    let first = made("v1", 1);
    story(&[
        (then(&first, Kind::RemoveKey, "", 4), None),
        (first.clone(), None),
        (made("", 3), None),
        (made("v5", 5), Some("v5")),
    ])
    .await;
}

#[tokio::test]
async fn a_removal_of_one_key_touches_no_other_key_bucket_or_store() {
    let database = database().await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let first = made("v1", 1);
    let others = [
        Event { key: "in/key2".to_owned(), ..first.clone() },
        Event { key: "in/ke".to_owned(), ..first.clone() },
        Event { bucket: "other".to_owned(), ..first.clone() },
        Event { key: "in/key/".to_owned(), ..made("", 1) },
    ];
    let mut told = vec![first.clone(), then(&first, Kind::RemoveKey, "", 4)];
    told.extend(others);
    writer.put(&told).await;
    compare(&database, &Model::of(&told)).await;
    assert_eq!(database.number("SELECT count(*) FROM analytics.objects").await, 4);
}

#[tokio::test]
async fn the_null_version_of_s3_is_the_row_without_a_version() {
    let bare = Event { dialect: Dialect::Aws, description: None, ..made("", 1) };
    let database = database().await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    writer.put(std::slice::from_ref(&bare)).await;
    writer.put(&[then(&bare, Kind::Delete, "null", 2)]).await;
    // The model knows no `null`: to it, this deletes the row without a version.
    compare(&database, &Model::of([&bare, &then(&bare, Kind::Delete, "", 2)])).await;
}

#[tokio::test]
async fn an_expiration_deletes_and_an_expiration_marker_hides() {
    // Written as LifecycleExpiration where the nanosecond is odd.
    let aws = |event: Event| Event { dialect: Dialect::Aws, description: None, at_ns: event.at_ns + 1, ..event };
    let first = made("v1", 1);
    story(&[
        (first.clone(), Some("v1")),
        (aws(then(&first, Kind::Marker, "m", 2)), None),
        (aws(then(&first, Kind::Delete, "m", 3)), Some("v1")),
        (aws(then(&first, Kind::Delete, "v1", 4)), None),
    ])
    .await;
}

#[tokio::test]
async fn a_new_upload_keeps_the_description_but_does_not_show_it_as_its_own() {
    let database = database().await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let described = Event {
        description: Some(Description { content_type: Some("image/png".to_owned()), ..Description::default() }),
        ..made("", 1)
    };
    // S3 tells of an upload without describing it.
    let uploaded = Event { dialect: Dialect::Aws, description: None, ..made("", 2) };
    let shown = "SELECT count(content_type) FROM analytics.objects";
    let kept = "SELECT count(content_type) FROM millstream.objects";
    writer.put(std::slice::from_ref(&described)).await;
    assert_eq!((database.number(shown).await, database.number(kept).await), (1, 1));
    writer.put(std::slice::from_ref(&uploaded)).await;
    assert_eq!((database.number(shown).await, database.number(kept).await), (0, 1), "known, but older than the object");
    let again = Event { at_ns: DAY_NS + 3_000_000_000, ..described.then(Kind::Describe, 0) };
    let again = Event {
        description: Some(Description { content_type: Some("image/gif".to_owned()), ..Description::default() }),
        ..again
    };
    writer.put(std::slice::from_ref(&again)).await;
    assert_eq!(database.number(shown).await, 1, "described after the upload");
    compare(&database, &Model::of([&described, &uploaded, &again])).await;
}

#[tokio::test]
async fn keys_without_versions_have_one_row_and_no_head() {
    let database = database().await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let events: Vec<Event> =
        (0..50).map(|number| Event::create("plain", &format!("k{number}"), DAY_NS + number, 1)).collect();
    writer.put(&events).await;
    writer.put(&events.iter().map(|event| event.then(Kind::Delete, DAY_NS + 100)).collect::<Vec<_>>()).await;
    assert_eq!(database.number("SELECT count(*) FROM millstream.objects").await, 50);
    assert_eq!(database.number("SELECT count(*) FROM millstream.objects WHERE versioned").await, 0);
    assert_eq!(
        database.number("SELECT count(*) FROM millstream.objects WHERE kind = 3").await,
        50,
        "tombstones are kept"
    );
}
