//! What an application that looks for objects may rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hyper::Method;
use millstream_tests::dialect::rfc3339;
use millstream_tests::event::lines;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Description, Dialect, Event, Generator, Kind, Millstream, Setup, database};
use rand::Rng as _;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

const OBJECTS: &str = "/v1/buckets/uploads/objects";
const COUNT: &str = "/v1/buckets/uploads/count";

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

async fn json(millstream: &Millstream, path: &str) -> Value {
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
        let list = json(millstream, &format!("{path}{cursor}")).await;
        items.extend(list["items"].as_array().unwrap().iter().cloned());
        let Some(next) = list["next"].as_str() else { return items };
        cursor = format!("&cursor={next}");
    }
    panic!("{path} does not end");
}

/// What an event must fulfil to be found.
type Condition = Box<dyn Fn(&Event) -> bool>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_meets_what_stays_exactly_once_while_others_come_and_go() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    let all: Vec<Event> = (0..200).map(|number| described(&format!("{number:03}"), DAY_NS, None, &[])).collect();
    put(&millstream, &all).await;
    let mut seen: Vec<String> = Vec::new();
    let mut cursor = String::new();
    for round in 0..1_000u64 {
        let list = json(&millstream, &format!("{OBJECTS}?limit=17{cursor}")).await;
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
        let found = json(&millstream, &format!("{OBJECTS}/{}", encoded(key))).await;
        assert_eq!((found["key"].as_str(), found["size"].as_u64()), (Some(*key), Some(size as u64)));
        let list = json(&millstream, &format!("{OBJECTS}?limit=1000&prefix={}", encoded(key))).await;
        let expected: BTreeSet<String> =
            names.iter().filter(|own| own.starts_with(key)).map(|own| (*own).to_owned()).collect();
        assert_eq!(keys(&list).into_iter().collect::<BTreeSet<_>>(), expected, "{key}");
    }
    // Slashes may stay, a plus is a plus in a path, and two dots are no way up.
    for (path, key) in
        [("a/b", "a/b"), ("a+b", "a+b"), ("a//b", "a//b"), ("a/../b", "a/../b"), ("a%2Fb", "a/b"), ("a%252Fb", "a%2Fb")]
    {
        assert_eq!(json(&millstream, &format!("{OBJECTS}/{path}")).await["key"], key);
    }
    for (path, status) in [("nowhere", 404), ("a%2525", 404), ("%ff", 400), ("a%00b", 400), ("A/b", 404)] {
        let answer = millstream.get(&format!("{OBJECTS}/{path}")).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    millstream.finish().await;
}

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
        let count = json(&millstream, &format!("{COUNT}?store=default{}", question.address)).await;
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
        let count = json(&millstream, &format!("{COUNT}?{query}")).await;
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
    assert_eq!(json(&millstream, &format!("{OBJECTS}/kept?version_id=1")).await["size"], 10);
    assert_eq!(json(&millstream, &format!("{OBJECTS}/kept")).await["size"], 20);
    for missing in ["hidden", "gone", "gone?version_id=1", "kept?version_id=3"] {
        assert_eq!(millstream.get(&format!("{OBJECTS}/{missing}")).await.status, 404, "{missing}");
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
        let first = json(&millstream, &format!("{OBJECTS}?limit=1000{more}")).await;
        let there = keys(&first).len();
        assert!((2..150).contains(&there) && first["next"].is_string(), "{more}: {there} of 150, {}", first["next"]);
        let walked = walk(&millstream, &format!("{OBJECTS}?limit=1000{more}")).await;
        let walked: Vec<&str> = walked.iter().map(|item| item["key"].as_str().unwrap()).collect();
        assert_eq!(walked, expected, "{more}");
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
    assert_eq!(keys(&json(&millstream, &by_colour).await), ["a"]);
    // Overwritten by a store that says nothing of metadata.
    let newer =
        Event { description: None, dialect: Dialect::Aws, ..Event::create("uploads", "a", DAY_NS + 5_000_000_000, 2) };
    put(&millstream, &[newer]).await;
    let shown = json(&millstream, &format!("{OBJECTS}/a")).await;
    assert_eq!((&shown["metadata"], &shown["size"]), (&Value::Null, &json!(2)));
    assert!(keys(&json(&millstream, &by_colour).await).is_empty());
    let count = json(&millstream, &format!("{COUNT}?metadata={}", encoded("{\"colour\":\"red\"}"))).await;
    assert_eq!(count["objects"], 0);
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_makes_no_sense_is_refused_with_the_reason() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    for (query, word) in [
        ("metadata=red", "metadata"),
        ("metadata=%5B%5D", "metadata"),
        ("metadata=%7B%22a%22%3A%22%5Cu0000%22%7D", "Unicode"),
        ("modified_after=yesterday", "modified_after"),
        ("modified_after=2026-13-01", "2026-13-01"),
        ("size_min=large", "size_min"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("cursor=nonsense", "cursor"),
        ("prefix=%00", "prefix"),
        ("store=A", "store"),
        ("colour=red", "colour"),
    ] {
        let answer = millstream.get(&format!("{OBJECTS}?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        assert!(answer.json()["detail"].as_str().unwrap().contains(word), "{query}: {}", answer.text());
    }
    // A cursor of one bucket is none of another.
    put(&millstream, &[described("a", DAY_NS, None, &[]), described("b", DAY_NS, None, &[])]).await;
    let next = json(&millstream, &format!("{OBJECTS}?limit=1")).await["next"].as_str().unwrap().to_owned();
    assert_eq!(millstream.get(&format!("/v1/buckets/other/objects?cursor={next}")).await.status, 400);
    assert_eq!(millstream.send(Method::DELETE, OBJECTS, &[], "").await.unwrap().status, 405);
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_cannot_hold_the_database_and_events_go_on_meanwhile() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    put(&millstream, &[described("a", DAY_NS, None, &[])]).await;
    let mut connection = database.connect().await;
    let mut locked = connection.begin().await.unwrap();
    sqlx::query("LOCK TABLE millstream.objects").execute(&mut *locked).await.unwrap();
    let asked = millstream.get(OBJECTS).await;
    assert_eq!(asked.status, 504, "{}", asked.text());
    assert_eq!(millstream.post(lines(&[described("b", DAY_NS, None, &[])])).await.unwrap().status, 202);
    locked.rollback().await.unwrap();
    millstream.caught_up(Duration::from_secs(30)).await;
    assert_eq!(keys(&json(&millstream, OBJECTS).await), ["a", "b"]);
    millstream.finish().await;
}

/// The plan of a statement of the endpoint, with the values of a question.
async fn plan(
    connection: &mut PgConnection,
    sql: &'static str,
    prefix: &str,
    end: Option<&str>,
    metadata: Option<&str>,
) -> String {
    let explain = AssertSqlSafe(format!(
        "EXPLAIN (COSTS OFF) {}",
        sql.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n")
    ));
    let none: Option<i64> = None;
    let text: Option<&str> = None;
    let explain = sqlx::query(explain).persistent(false).bind("default").bind("uploads").bind(prefix).bind(end);
    let explain =
        explain.bind(text).bind("").bind(metadata).bind(none).bind(none).bind(text).bind(text).bind(false).bind(101i64);
    let rows = explain.fetch_all(connection).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn searches_go_by_the_index_of_metadata_and_prefixes_by_the_keys() {
    let database = database().await;
    database
        .execute(
            "INSERT INTO millstream.objects (order_time, order_seq, desc_time, desc_seq, desc_hash, size, kind, order_class, current, store, bucket, key, version_id, etag, metadata)
             SELECT n, 0, n, 0, 0, n, 1, 2, true, 'default', 'uploads', 'in/' || lpad(n::text, 8, '0'), '', '', jsonb_build_object('number', n::text, 'stage', 'raw')
             FROM generate_series(1, 50000) n",
        )
        .await;
    database.execute("VACUUM ANALYZE millstream.objects").await;
    let mut connection = database.connect().await;
    let select = include_str!("../../pipeline/app/src/http/objects/sql/objects_select.sql");
    let search = include_str!("../../pipeline/app/src/http/objects/sql/objects_search.sql");
    let by_metadata = plan(&mut connection, search, "", None, Some("{\"number\":\"777\"}")).await;
    assert!(by_metadata.contains("Bitmap Index Scan on objects_metadata"), "{by_metadata}");
    let by_prefix = plan(&mut connection, select, "in/0000", Some("in/0001"), None).await;
    assert!(by_prefix.contains("objects_pkey") && !by_prefix.contains("Sort"), "{by_prefix}");
    assert!(by_prefix.contains("key >= ") && by_prefix.contains("key < "), "the prefix bounds the scan: {by_prefix}");
    // The second way for values that many have: along the keys, in order, without the bitmap.
    sqlx::raw_sql("SET enable_bitmapscan = off").execute(&mut connection).await.unwrap();
    let along = plan(&mut connection, select, "", None, Some("{\"stage\":\"raw\"}")).await;
    assert!(along.contains("objects_pkey") && !along.contains("Sort"), "{along}");
    connection.close().await.unwrap();
}
