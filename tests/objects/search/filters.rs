//! What a filter finds and what is counted of it.

use std::collections::BTreeMap;

use millstream_tests::dialect::rfc3339;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Dialect, Event, Generator, Kind, Setup, database};
use rand::Rng as _;
use serde_json::{Value, json};

use super::{OBJECTS, answer_to, described, encoded, keys, put, walk};

const COUNT: &str = "/v1/buckets/uploads/count";

/// What an event must fulfil to be found.
type Condition = Box<dyn Fn(&Event) -> bool>;

/// A question, as an address and as what it means.
struct Question {
    address: String,
    matches: Box<dyn Fn(&Event) -> bool>,
}

fn questions(generator: &mut Generator) -> Vec<Question> {
    let colours = ["red", "green", "blue"];
    let mut questions = vec![Question { address: String::new(), matches: Box::new(|_| true) }];
    for _ in 0..40 {
        let mut conditions: Vec<Condition> = Vec::new();
        let mut address = String::new();
        let rng = generator.rng();
        if rng.random_bool(0.4) {
            let prefix = ["a/", "b/", "b/1", "a", "c/", "a/1", ""][rng.random_range(0..7)];
            address.push_str(&format!("&prefix={}", encoded(prefix)));
            conditions.push(Box::new(move |event| event.key.starts_with(prefix)));
        }
        if rng.random_bool(0.5) {
            let colour = colours[rng.random_range(0..3)];
            address.push_str(&format!("&metadata={}", encoded(&json!({ "colour": colour }).to_string())));
            conditions.push(Box::new(move |event| {
                let metadata = event.description.as_ref().and_then(|own| own.metadata.as_ref());
                metadata.is_some_and(|own| own.get("colour").map(String::as_str) == Some(colour))
            }));
        }
        if rng.random_bool(0.3) {
            let least = rng.random_range(0..50);
            let most = rng.random_range(50..100);
            address.push_str(&format!("&size_min={least}&size_max={most}"));
            conditions.push(Box::new(move |event| event.size.is_some_and(|size| (least..=most).contains(&size))));
        }
        if rng.random_bool(0.3) {
            let from = rng.random_range(0..50u64);
            let to = rng.random_range(50..100u64);
            let at = |seconds: u64| rfc3339(DAY_NS + seconds * 1_000_000_000, 3);
            address.push_str(&format!("&modified_after={}&modified_before={}", at(from), at(to)));
            conditions.push(Box::new(move |event| (from..to).contains(&((event.at_ns - DAY_NS) / 1_000_000_000))));
        }
        questions.push(Question { address, matches: Box::new(move |event| conditions.iter().all(|own| own(event))) });
    }
    questions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_counts_agree_with_a_model_for_every_filter() {
    let database = database().await;
    let mut generator = Generator::new("search");
    let millstream = Setup::new(&database).start().await;
    let colours = ["red", "green", "blue"];
    let events: Vec<Event> = (0..600)
        .map(|number| {
            let rng = generator.rng();
            let key = format!("{}/{number}", ["a", "b", "c/d"][rng.random_range(0..3)]);
            let size = rng.random_bool(0.8).then(|| rng.random_range(0..100));
            let at_ns = DAY_NS + rng.random_range(0..100u64) * 1_000_000_000;
            described(
                &key,
                at_ns,
                size,
                &[("colour", colours[rng.random_range(0..3)]), ("number", &number.to_string())],
            )
        })
        .collect();
    put(&millstream, &events).await;
    for question in questions(&mut generator) {
        let expected: BTreeMap<&str, Option<i64>> =
            events.iter().filter(|event| (question.matches)(event)).map(|event| (&*event.key, event.size)).collect();
        let found = walk(&millstream, &format!("{OBJECTS}?limit=97{}", question.address)).await;
        let found: Vec<(&str, Option<i64>)> =
            found.iter().map(|item| (item["key"].as_str().unwrap(), item["size"].as_i64())).collect();
        assert_eq!(found, expected.clone().into_iter().collect::<Vec<_>>(), "{}", question.address);
        let count = answer_to(&millstream, &format!("{COUNT}?store=default{}", question.address)).await;
        let counted = ["objects", "bytes", "unknown_size"].map(|name| count[name].as_i64().unwrap());
        let unknown = expected.values().filter(|size| size.is_none()).count() as i64;
        assert_eq!(
            counted,
            [expected.len() as i64, expected.values().flatten().sum(), unknown],
            "{}",
            question.address
        );
    }
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_and_index_agree_and_each_answer_says_which_it_is() {
    let database = database().await;
    let millstream = Setup::new(&database).set("limits.segments_max=2").start().await;
    let keys = ["a/1", "a/2", "a/b/3", "b/1", "b/2"];
    let events: Vec<Event> = keys.iter().map(|key| described(key, DAY_NS, Some(10), &[])).collect();
    put(&millstream, &events).await;
    let count = async |query: &str| {
        let count = answer_to(&millstream, &format!("{COUNT}?{query}")).await;
        (
            count["objects"].as_i64().unwrap(),
            count["bytes"].as_i64().unwrap(),
            count["from"].as_str().unwrap().to_owned(),
        )
    };
    let of = |objects: i64, from: &str| (objects, objects * 10, from.to_owned());
    assert_eq!(count("").await, of(5, "counters"));
    assert_eq!(count("prefix=a/").await, of(3, "counters"));
    assert_eq!(count("prefix=none/").await, of(0, "counters"), "no segment was ever left out");
    for (query, objects) in [("prefix=a", 3), ("prefix=a/b/", 1), ("size_min=0", 5), ("prefix=a/%26size_min=0", 0)] {
        assert_eq!(count(query).await, of(objects, "index"), "{query}");
    }
    // Everything can also be counted one by one.
    assert_eq!(count("prefix=a/&size_min=0").await, of(3, "index"));
    assert_eq!(count("size_max=1000").await, of(5, "index"));
    // A third segment does not fit: it is counted by the index, and so is every one that is not known to be absent.
    put(&millstream, &[described("c/1", DAY_NS, Some(10), &[]), described("plain", DAY_NS, Some(10), &[])]).await;
    assert_eq!(count("prefix=c/").await, of(1, "index"));
    assert_eq!(count("prefix=none/").await, of(0, "index"));
    assert_eq!(count("prefix=b/").await, of(2, "counters"));
    assert_eq!(count("").await, of(7, "counters"));
    let bad = millstream.get(&format!("{COUNT}?limit=5")).await;
    assert_eq!(bad.status, 400, "{}", bad.text());
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_and_markers_are_listed_only_when_asked_for() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    let make = |key: &str, version: &str, second: u64, size: i64| {
        Event { description: None, ..Event::create("uploads", key, DAY_NS + second * 1_000_000_000, size) }
            .version(version)
    };
    let events = [
        make("kept", "1", 1, 10),
        make("kept", "2", 2, 20),
        make("hidden", "1", 1, 30),
        make("hidden", "m", 2, 0).then(Kind::Marker, DAY_NS + 3_000_000_000),
        make("gone", "1", 1, 40),
        make("gone", "1", 1, 40).then(Kind::Delete, DAY_NS + 4_000_000_000),
    ];
    put(&millstream, &events).await;
    let current = walk(&millstream, &format!("{OBJECTS}?limit=1")).await;
    assert_eq!(
        current.iter().map(|item| (&item["key"], &item["version_id"])).collect::<Vec<_>>(),
        [(&json!("kept"), &json!("2"))]
    );
    let all = walk(&millstream, &format!("{OBJECTS}?versions=true&limit=1")).await;
    let shown: Vec<Value> = all
        .iter()
        .map(|item| json!([item["key"], item["version_id"], item["current"], item["delete_marker"]]))
        .collect();
    let expected = [
        json!(["hidden", "1", false, false]),
        json!(["hidden", "m", false, true]),
        json!(["kept", "1", false, false]),
        json!(["kept", "2", true, false]),
    ];
    assert_eq!(shown, expected);
    assert_eq!(answer_to(&millstream, &format!("{OBJECTS}/kept?version_id=1")).await["size"], 10);
    assert_eq!(answer_to(&millstream, &format!("{OBJECTS}/kept")).await["size"], 20);
    for missing in ["hidden", "gone", "gone?version_id=1", "kept?version_id=3"] {
        assert_eq!(millstream.get(&format!("{OBJECTS}/{missing}")).await.status, 404, "{missing}");
    }
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_description_older_than_its_object_is_neither_shown_nor_found() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    let old = described("a", DAY_NS, Some(1), &[("colour", "red")]);
    put(&millstream, std::slice::from_ref(&old)).await;
    let by_colour = format!("{OBJECTS}?metadata={}", encoded("{\"colour\":\"red\"}"));
    assert_eq!(keys(&answer_to(&millstream, &by_colour).await), ["a"]);
    // Overwritten by a store that says nothing of metadata.
    let newer =
        Event { description: None, dialect: Dialect::Aws, ..Event::create("uploads", "a", DAY_NS + 5_000_000_000, 2) };
    put(&millstream, &[newer]).await;
    let shown = answer_to(&millstream, &format!("{OBJECTS}/a")).await;
    assert_eq!((&shown["metadata"], &shown["size"]), (&Value::Null, &json!(2)));
    assert!(keys(&answer_to(&millstream, &by_colour).await).is_empty());
    let count = answer_to(&millstream, &format!("{COUNT}?metadata={}", encoded("{\"colour\":\"red\"}"))).await;
    assert_eq!(count["objects"], 0);
    millstream.finish().await;
}
