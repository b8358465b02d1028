//! Any permutation, duplication and split of the same events gives the same tables.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_tests::generator::DAY_NS;
use millstream_tests::stream::append;
use millstream_tests::{
    Database, Description, Dialect, Event, Generator, Kind, Model, Run, Stream, Writer, compare, database, soak,
};
use rand::Rng as _;

const SECOND: u64 = 1_000_000_000;

/// All orders of `count` things.
fn permutations(count: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for _ in 0..count {
        let longer = |order: &Vec<usize>| {
            let missing: Vec<usize> = (0..count).filter(|at| !order.contains(at)).collect();
            missing.into_iter().map(|at| [order.as_slice(), &[at]].concat()).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

/// All ways to cut `count` things into consecutive parts, as the lengths of the parts.
fn splits(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let beginning = |first: usize| splits(count - first).into_iter().map(move |rest| [vec![first], rest].concat());
    (1..=count).flat_map(beginning).collect()
}

/// Applies the events of one key in every order, cut in every given way, each case in a bucket of its own, and demands
/// that no bucket can be told from another: in any column of the objects, in any sum of the counters.
async fn exhaust(database: &Database, events: &[Event], splits: &[Vec<usize>]) {
    let mut cases: Vec<Vec<Vec<Event>>> = Vec::new();
    for order in permutations(events.len()) {
        for split in splits {
            let bucket = format!("case{:06}", cases.len());
            let mut own = order.iter().map(|at| Event { bucket: bucket.clone(), ..events[*at].clone() });
            cases.push(split.iter().map(|length| own.by_ref().take(*length).collect()).collect());
        }
    }
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    // The first parts of all cases are one transaction, then the second ones, and so on.
    for step in 0..events.len() {
        let batch: Vec<Event> = cases.iter().filter_map(|parts| parts.get(step)).flatten().cloned().collect();
        if !batch.is_empty() {
            writer.put(&batch).await;
        }
    }
    one_state(database, cases.len()).await;
    let first: Vec<Event> = cases[0].iter().flatten().cloned().collect();
    let forget = ["objects", "bucket_count", "segment_count", "hour_count"]
        .map(|table| format!("DELETE FROM millstream.{table} WHERE bucket <> '{}'", first[0].bucket));
    database.execute(&forget.join("; ")).await;
    compare(database, &Model::of(&first)).await;
    println!("{} cases, each {} events", cases.len(), events.len());
}

/// Demands that all buckets hold the same but for their name.
async fn one_state(database: &Database, buckets: usize) {
    let tables = [
        (
            "objects",
            "string_agg((to_jsonb(t) - 'bucket')::text, ' ' ORDER BY key, version_id)",
            "SELECT * FROM millstream.objects",
        ),
        (
            "bucket_count",
            "string_agg(format('%s %s %s', o, b, u), ' ')",
            "SELECT bucket, sum(objects) o, sum(bytes) b, sum(unknown_size) u FROM millstream.bucket_count GROUP BY bucket HAVING sum(objects) <> 0",
        ),
        (
            "segment_count",
            "string_agg(format('%s %s %s %s', segment, o, b, u), ' ' ORDER BY segment)",
            "SELECT bucket, segment, objects o, bytes b, unknown_size u FROM millstream.segment_sum WHERE objects <> 0",
        ),
        (
            "hour_count",
            "string_agg(format('%s %s %s %s', hour, c, r, b), ' ' ORDER BY hour)",
            "SELECT bucket, hour, sum(created) c, sum(removed) r, sum(bytes) b FROM millstream.hour_count GROUP BY bucket, hour HAVING sum(created) <> 0 OR sum(removed) <> 0",
        ),
    ];
    let there = database.number("SELECT count(DISTINCT bucket) FROM millstream.objects").await;
    assert_eq!(there, buckets as i64, "every case has rows");
    for (table, state, rows) in tables {
        let every = "SELECT DISTINCT bucket FROM millstream.objects";
        let states = format!("SELECT bucket, {state} AS state FROM ({rows}) t GROUP BY bucket");
        let different = format!(
            "SELECT count(DISTINCT coalesce(state, '')) FROM ({every}) e LEFT JOIN ({states}) s USING (bucket)"
        );
        assert_eq!(database.number(&different).await, 1, "{table}: different states of what should be one");
    }
}

fn described(event: Event, stage: &str) -> Event {
    let metadata = BTreeMap::from([("stage".to_owned(), stage.to_owned())]);
    let description = Some(Description { metadata: Some(metadata), ..Description::default() });
    Event { description, dialect: Dialect::Plain, ..event }
}

/// A key without versions: overwritten, deleted, expired, described before and after, copies that know less.
fn unversioned() -> Vec<Event> {
    let made = Event::create("b", "in/key", DAY_NS + SECOND, 10);
    let overwritten =
        Event { dialect: Dialect::Aws, description: None, ..Event::create("b", "in/key", DAY_NS + 3 * SECOND, 30) };
    vec![
        made.clone(),
        described(made.then(Kind::Describe, DAY_NS + 2 * SECOND), "first"),
        Event { size: None, dialect: Dialect::EventBridge, ..overwritten.clone() },
        overwritten,
        described(made.then(Kind::Describe, DAY_NS + 4 * SECOND), "second"),
        made.then(Kind::Delete, DAY_NS + 2 * SECOND),
    ]
}

/// Versions, a marker, the marker's own deletion, an expiration, a description of one version.
fn versioned() -> Vec<Event> {
    let first = Event::create("b", "in/key", DAY_NS + SECOND, 10).version("v1");
    let second = Event { size: None, ..Event::create("b", "in/key", DAY_NS + 2 * SECOND, 0).version("v2") };
    let marker = first.then(Kind::Marker, DAY_NS + 3 * SECOND).version("m");
    vec![
        first.clone(),
        second.clone(),
        marker.clone(),
        marker.then(Kind::Delete, DAY_NS + 4 * SECOND),
        // Expired at an odd nanosecond: written as `LifecycleExpiration:Delete`.
        Event { dialect: Dialect::Aws, ..first.then(Kind::Delete, DAY_NS + 3 * SECOND + 1) },
        described(second.then(Kind::Describe, DAY_NS + 5 * SECOND), "late"),
    ]
}

/// A key that has rows with and without versions, and a marker that expires into the row without one.
fn mixed() -> Vec<Event> {
    let bare = Event::create("b", "key", DAY_NS + 3 * SECOND, 7);
    let version = Event::create("b", "key", DAY_NS + 2 * SECOND, 9).version("v1");
    vec![
        bare.clone(),
        version.clone(),
        bare.then(Kind::Marker, DAY_NS + 4 * SECOND),
        bare.then(Kind::Delete, DAY_NS + 5 * SECOND),
        version.then(Kind::Marker, DAY_NS + SECOND).version("m"),
        described(bare.then(Kind::Describe, DAY_NS + SECOND), "early"),
    ]
}

/// A key that is removed with its versions, twice, between, before and after what else happens to it: versions, a marker,
/// a version that comes back with a newer upload, and one of which only a description was ever told.
fn removed() -> Vec<Event> {
    let first = Event::create("b", "in/key", DAY_NS + SECOND, 10).version("v1");
    let late = Event { dialect: Dialect::Aws, ..Event::create("b", "in/key", DAY_NS + 5 * SECOND, 50).version("v2") };
    let bare = Event::create("b", "in/key", DAY_NS + 2 * SECOND, 20);
    vec![
        first.clone(),
        bare.then(Kind::RemoveKey, DAY_NS + 4 * SECOND),
        Event { description: None, ..late },
        bare.clone(),
        described(first.then(Kind::Describe, DAY_NS + 3 * SECOND).version("v3"), "alone"),
        bare.then(Kind::RemoveKey, DAY_NS + 3 * SECOND + 1),
    ]
}

/// A removal of the key at the very moment of other events: of a version's own deletion, told by another with a better
/// class, of an upload, which it beats, and of the row without a version.
fn removed_at_once() -> Vec<Event> {
    let made = Event::create("b", "in/key", DAY_NS + SECOND, 10);
    let version = made.clone().version("v1");
    vec![
        made.clone(),
        made.then(Kind::RemoveKey, DAY_NS + SECOND),
        version.clone(),
        version.then(Kind::Delete, DAY_NS + SECOND),
        version.then(Kind::Marker, DAY_NS + SECOND).version("m"),
        made.then(Kind::Delete, DAY_NS + SECOND),
    ]
}

/// A key without versions that is removed as one that has them, and comes back.
fn removed_without_versions() -> Vec<Event> {
    let made = Event::create("b", "in/key", DAY_NS + SECOND, 10);
    let overwritten = Event::create("b", "in/key", DAY_NS + 3 * SECOND, 30);
    vec![
        made.clone(),
        made.then(Kind::RemoveKey, DAY_NS + 2 * SECOND),
        overwritten.clone(),
        made.then(Kind::RemoveKey, DAY_NS + 4 * SECOND + 1),
        Event::create("b", "in/key", DAY_NS + 5 * SECOND, 50),
        described(made.then(Kind::Describe, DAY_NS + 2 * SECOND), "between"),
    ]
}

/// Everything at one moment: kind, then version, then etag decide, and fields merge.
fn simultaneous() -> Vec<Event> {
    let made = Event::create("b", "in/key", DAY_NS + SECOND, 10);
    let other = Event { etag: "ffff".to_owned(), size: Some(3), ..made.clone() };
    let metadata = |stage: &str| Some(BTreeMap::from([("stage".to_owned(), stage.to_owned())]));
    let told = |content_type: Option<&str>, stage: &str| {
        let content_type = content_type.map(str::to_owned);
        Some(Description { content_type, metadata: metadata(stage), tags: None })
    };
    vec![
        Event { size: None, description: told(Some("a/a"), "9"), ..made.clone() },
        Event { description: told(None, "10"), ..made.clone() },
        Event { description: told(Some("b/b"), ""), ..other.clone() },
        Event { size: Some(11), description: None, ..other.clone() },
        made.clone().version("v1"),
        Event { etag: "0".to_owned(), size: None, ..made.version("v2") },
    ]
}

/// One at a time, all at once, and a few in between; all 32 in the long version.
fn some_splits() -> Vec<Vec<usize>> {
    if soak() { splits(6) } else { vec![vec![6], vec![1; 6], vec![3, 3], vec![1, 4, 1], vec![2, 2, 2]] }
}

#[tokio::test]
async fn every_order_of_a_key_without_versions() {
    exhaust(&database().await, &unversioned(), &some_splits()).await;
}

#[tokio::test]
async fn every_order_of_a_key_with_versions() {
    exhaust(&database().await, &versioned(), &some_splits()).await;
}

#[tokio::test]
async fn every_order_of_a_key_with_and_without_versions() {
    exhaust(&database().await, &mixed(), &some_splits()).await;
}

#[tokio::test]
async fn every_order_of_a_key_that_is_removed_with_its_versions() {
    exhaust(&database().await, &removed(), &some_splits()).await;
}

#[tokio::test]
async fn every_order_of_a_key_that_is_removed_at_the_moment_of_other_events() {
    exhaust(&database().await, &removed_at_once(), &some_splits()).await;
}

#[tokio::test]
async fn every_order_of_a_key_that_is_removed_without_having_had_versions() {
    exhaust(&database().await, &removed_without_versions(), &some_splits()).await;
}

#[tokio::test]
async fn every_order_of_events_at_one_moment() {
    exhaust(&database().await, &simultaneous(), &some_splits()).await;
}

#[tokio::test]
async fn every_order_and_every_split_of_four_events_out_of_many() {
    let mut generator = Generator::new("four events");
    generator.keys = 1;
    for _ in 0..if soak() { 100 } else { 4 } {
        let database = database().await;
        let events: Vec<Event> =
            generator.events(400).into_iter().filter(|event| event.bucket == "versioned").collect();
        let at = generator.rng().random_range(0..events.len() - 4);
        exhaust(&database, &events[at..at + 4], &splits(4)).await;
    }
}

/// Random orders, copies and partitions, with writers that hold the same keys at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_orders_copies_and_partitions() {
    let mut generator = Generator::new("random orders");
    for round in 0..if soak() { 30 } else { 3 } {
        generator.keys = [8, 60, 1_000][round % 3];
        let database = database().await;
        let stream = Stream::default();
        let topic = stream.topic("objects", 6);
        let events = generator.events(3_000);
        let delivered = generator.shuffled(&events, 0.4);
        let run = Run::start("objects", &topic, database.options(), Run::limits(3, 80));
        for part in generator.split(&delivered, 400) {
            let partition = generator.rng().random_range(0..6);
            append(&topic, &part, Some(partition)).await;
        }
        run.caught_up(Duration::from_secs(60)).await;
        let counted = run.progress.snapshot();
        let summary = run.stop().await;
        assert!(summary.drained && summary.halted.is_empty(), "{summary:?}");
        let accounted = counted.written + counted.quarantined + counted.filtered.values().sum::<u64>();
        assert_eq!((counted.quarantined, accounted), (0, delivered.len() as u64), "{:?}", counted.filtered);
        println!("{} transactions, {} retries", counted.transactions, counted.retries);
        compare(&database, &Model::of(&events)).await;
    }
}
