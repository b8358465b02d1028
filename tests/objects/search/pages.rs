//! Page after page, each object is met once.

use std::collections::BTreeSet;

use millstream_tests::generator::DAY_NS;
use millstream_tests::{Event, Kind, Setup, database};
use serde_json::{Value, json};

use super::{OBJECTS, answer_to, described, encoded, keys, put, walk};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_meets_what_stays_exactly_once_while_others_come_and_go() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    let all: Vec<Event> = (0..200).map(|number| described(&format!("{number:03}"), DAY_NS, None, &[])).collect();
    put(&millstream, &all).await;
    let mut seen: Vec<String> = Vec::new();
    let mut cursor = String::new();
    for round in 0..1_000u64 {
        let list = answer_to(&millstream, &format!("{OBJECTS}?limit=17{cursor}")).await;
        assert!(keys(&list).len() <= 17);
        seen.extend(keys(&list));
        // Before and after the place of the cursor: some come, and every tenth goes.
        let at = seen.last().unwrap().clone();
        let mut changes = vec![
            described(&format!("{at}-new"), DAY_NS + round, None, &[]),
            described(&format!("000-{round}"), DAY_NS + round, None, &[]),
        ];
        let gone = all.iter().filter(|event| event.key.as_bytes()[2] == b'5').skip(2 * round as usize).take(2);
        changes.extend(gone.map(|event| event.then(Kind::Delete, DAY_NS + 1_000_000_000)));
        put(&millstream, &changes).await;
        let Some(next) = list["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert!(seen.is_sorted_by(|one, other| one < other), "in order and none twice: {seen:?}");
    let seen: BTreeSet<String> = seen.into_iter().collect();
    for event in all.iter().filter(|event| event.key.as_bytes()[2] != b'5') {
        assert!(seen.contains(&event.key), "{} was there all the time", event.key);
    }
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_is_found_under_its_encoded_name_decoded_once() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    let names = [
        "a b",
        "a+b",
        "a%2Fb",
        "a/b",
        "a%20b",
        "ü/日本/🦀",
        "..",
        "a/../b",
        "../a",
        "./a",
        "a//b",
        "/lead",
        "trail/",
        "%",
        "?",
        "#",
        "a?b#c",
        "a&b=c",
        "\u{7f}\n\t",
        "count",
        "{key}",
        "*",
        "a;b",
        "'\"\\",
    ];
    let events: Vec<Event> =
        names.iter().enumerate().map(|(size, key)| described(key, DAY_NS, Some(size as i64), &[])).collect();
    put(&millstream, &events).await;
    for (size, key) in names.iter().enumerate() {
        let found = answer_to(&millstream, &format!("{OBJECTS}/{}", encoded(key))).await;
        assert_eq!((found["key"].as_str(), found["size"].as_u64()), (Some(*key), Some(size as u64)));
        let list = answer_to(&millstream, &format!("{OBJECTS}?limit=1000&prefix={}", encoded(key))).await;
        let expected: BTreeSet<String> =
            names.iter().filter(|own| own.starts_with(key)).map(|own| (*own).to_owned()).collect();
        assert_eq!(keys(&list).into_iter().collect::<BTreeSet<_>>(), expected, "{key}");
    }
    // Slashes may stay, a plus is a plus in a path, and two dots are no way up.
    for (path, key) in
        [("a/b", "a/b"), ("a+b", "a+b"), ("a//b", "a//b"), ("a/../b", "a/../b"), ("a%2Fb", "a/b"), ("a%252Fb", "a%2Fb")]
    {
        assert_eq!(answer_to(&millstream, &format!("{OBJECTS}/{path}")).await["key"], key);
    }
    for (path, status) in [("nowhere", 404), ("a%2525", 404), ("%ff", 400), ("a%00b", 400), ("A/b", 404)] {
        let answer = millstream.get(&format!("{OBJECTS}/{path}")).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    millstream.finish().await;
}

/// A page may end at any row of a key: at the null version, which has no name, at a named one, at the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_ends_at_a_version_loses_none_of_the_others_of_its_key() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    let make = |key: &str, version: &str, second: u64| {
        Event { description: None, ..Event::create("uploads", key, DAY_NS + second * 1_000_000_000, 1) }
            .version(version)
    };
    let mut events = Vec::new();
    for key in ["a", "b", "c"] {
        events.extend(["", "1", "2", "null-ish"].iter().zip(1..).map(|(version, second)| make(key, version, second)));
    }
    put(&millstream, &events).await;
    let name = |item: &Value| json!([item["key"], item["version_id"].as_str().unwrap_or_default()]);
    let expected: Vec<Value> = events.iter().map(|event| json!([event.key, event.version])).collect();
    for limit in 1..=13 {
        for more in ["", "&metadata=%7B%7D", "&prefix=b"] {
            let walked = walk(&millstream, &format!("{OBJECTS}?versions=true&limit={limit}{more}")).await;
            let walked: Vec<Value> = walked.iter().map(name).collect();
            let expected: Vec<Value> = match more {
                "" => expected.clone(),
                "&prefix=b" => expected.iter().filter(|row| row[0] == "b").cloned().collect(),
                _ => Vec::new(),
            };
            assert_eq!(walked, expected, "{limit}{more}");
        }
    }
    millstream.finish().await;
}

/// Rows that are larger together than an answer may be: the list ends early, and says that there is more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_cut_for_its_bytes_goes_on_where_it_was_cut() {
    let database = database().await;
    database
        .execute(
            "INSERT INTO millstream.objects (order_time, order_seq, desc_time, desc_seq, desc_hash, size, kind, order_class, current, store, bucket, key, version_id, etag, metadata, tags)
             SELECT n, 0, n, 0, 0, n, 1, 2, true, 'default', 'uploads', 'in/' || lpad(n::text, 3, '0'), '', '',
                    jsonb_build_object('stage', 'raw', 'text', repeat('x', 60000)), jsonb_build_object('text', repeat('y', 60000))
             FROM generate_series(1, 150) n",
        )
        .await;
    let millstream = Setup::new(&database).start().await;
    let expected: Vec<String> = (1..=150).map(|number| format!("in/{number:03}")).collect();
    for more in ["", "&metadata=%7B%22stage%22%3A%22raw%22%7D", "&versions=true"] {
        let first = answer_to(&millstream, &format!("{OBJECTS}?limit=1000{more}")).await;
        let there = keys(&first).len();
        assert!((2..150).contains(&there) && first["next"].is_string(), "{more}: {there} of 150, {}", first["next"]);
        let walked = walk(&millstream, &format!("{OBJECTS}?limit=1000{more}")).await;
        let walked: Vec<&str> = walked.iter().map(|item| item["key"].as_str().unwrap()).collect();
        assert_eq!(walked, expected, "{more}");
    }
    millstream.finish().await;
}
