//! A bad record never blocks its partition and never takes its neighbours with it; an outage is never taken for one.

use std::io::Write as _;
use std::time::Duration;

use millstream_log::NewRecord;
use millstream_tests::generator::DAY_NS;
use millstream_tests::stream::append;
use millstream_tests::{
    Database, Dialect, Event, Kind, Millstream, Model, Run, Setup, Stream, Writer, compare, database, dialect, event,
    until,
};
use serde_json::json;

use crate::commands::command;

/// Payloads that can never be an object, each with the reason it is kept for.
fn bad_payloads() -> Vec<(&'static str, Vec<u8>)> {
    let good: serde_json::Value =
        serde_json::from_slice(&Event::create("uploads", "in/key", DAY_NS, 5).json()).unwrap();
    let changed = |change: fn(&mut serde_json::Value)| {
        let mut document = good.clone();
        change(&mut document["Records"][0]);
        document.to_string().into_bytes()
    };
    let mut torn = good.to_string().into_bytes();
    torn.truncate(torn.len() / 2);
    vec![
        ("not_json", b"{\"EventName\": nonsense".to_vec()),
        ("not_json", torn),
        ("invalid_utf8", b"\xff\xfe\x00\x01".to_vec()),
        ("not_json", Vec::new()),
        ("nul_in_text", changed(|record| record["s3"]["object"]["key"] = json!("in/a%00b"))),
        ("nul_in_text", changed(|record| record["s3"]["bucket"]["name"] = json!("b\0c"))),
        ("nul_in_text", changed(|record| record["s3"]["object"]["userMetadata"] = json!({ "X-Amz-Meta-A": "\0" }))),
        ("lone_surrogate", good.to_string().replace("in%2Fkey", "in%2F\\ud800").into_bytes()),
        ("json_too_deep", format!("{{\"Records\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000)).into_bytes()),
        ("record_too_large", good.to_string().replace("in%2Fkey", &"x".repeat(1 << 20)).into_bytes()),
        ("json_string_too_long", good.to_string().replace("in%2Fkey", &"x".repeat((256 << 10) + 1)).into_bytes()),
        ("key_too_long", good.to_string().replace("in%2Fkey", &"x".repeat(1_025)).into_bytes()),
        ("wrong_type", changed(|record| record["s3"]["object"]["key"] = json!(7))),
        ("wrong_type", changed(|record| record["s3"]["object"]["size"] = json!({}))),
        ("bad_size", changed(|record| record["s3"]["object"]["size"] = json!(-1))),
        ("bad_size", changed(|record| record["s3"]["object"]["size"] = json!(1.5))),
        ("bad_time", changed(|record| record["eventTime"] = json!("yesterday"))),
        ("time_in_future", changed(|record| record["eventTime"] = json!("9999-12-31T23:59:59Z"))),
        ("missing_field", changed(|record| record["s3"]["object"] = json!({ "size": 1 }))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_bytes_are_kept_aside_and_everything_else_lands() {
    let database = database().await;
    let stream = Stream::default();
    let topic = stream.topic("objects", 1);
    let events: Vec<Event> = (0..200).map(|n| Event::create("uploads", &format!("in/{n}"), DAY_NS + n, 1)).collect();
    let bad = bad_payloads();
    for (number, part) in events.chunks(10).enumerate() {
        append(&topic, part, None).await;
        if let Some((_, payload)) = bad.get(number) {
            let record = NewRecord { payload: payload.clone().into(), key: "bad".into(), ..NewRecord::default() };
            topic.append(vec![record]).await.unwrap();
        }
    }
    let run = Run::start("objects", &topic, database.options(), Run::limits(1, 50));
    run.caught_up(Duration::from_secs(30)).await;
    let counted = run.progress.snapshot();
    assert!(run.stop().await.drained);
    compare(&database, &Model::of(&events)).await;
    let mut connection = database.connect().await;
    let kept: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT reason, payload FROM millstream.quarantine ORDER BY position::bigint")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!((kept.len(), counted.quarantined), (bad.len(), bad.len() as u64), "{:?}", counted.filtered);
    for ((reason, payload), (expected, sent)) in kept.iter().zip(&bad) {
        let shown = String::from_utf8_lossy(sent).chars().take(200).collect::<String>();
        assert!(payload == sent, "the bytes are kept as they came: {shown}");
        assert_eq!(reason, expected, "{shown}");
    }
}

/// The database itself refuses chosen keys, which no decoder can foresee.
async fn refuse(database: &Database) {
    database.execute("ALTER TABLE millstream.objects ADD CONSTRAINT picky CHECK (key NOT LIKE '%poison%' AND size IS DISTINCT FROM 666)").await;
}

/// Positions in the quarantine, in order.
async fn kept(database: &Database) -> Vec<i64> {
    let mut connection = database.connect().await;
    let kept = sqlx::query_scalar("SELECT position::bigint FROM millstream.quarantine WHERE index = -1 ORDER BY 1");
    kept.fetch_all(&mut connection).await.unwrap()
}

/// A bad PUT that is merged over a good one of the same key must not take it along.
#[tokio::test]
async fn good_and_bad_events_of_one_key_in_one_batch() {
    let database = database().await;
    refuse(&database).await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let event = |key: &str, second: u64, size| Event::create("uploads", key, DAY_NS + second * 1_000_000_000, size);
    let good = [event("in/key", 1, 10), event("in/key", 3, 30), event("other", 1, 1)];
    let bad = [event("in/key", 2, 666), event("in/key", 4, 666)];
    let batch = [good[0].clone(), bad[1].clone(), good[2].clone(), bad[0].clone(), good[1].clone()];
    let outcome = writer.put(&batch).await;
    // The older bad one is never written: a newer good one covers it, so nobody refuses it.
    assert_eq!(outcome.quarantined, 1, "{outcome:?}");
    assert_eq!(kept(&database).await, [1]);
    assert_eq!(outcome.total(), 5);
    compare(&database, &Model::of(&good)).await;
}

/// The versions of a key are rows of their own under one lock: a bad one must not take the others along, nor be current.
#[tokio::test]
async fn good_and_bad_versions_of_one_key_in_one_batch() {
    let database = database().await;
    refuse(&database).await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let event = |second: u64, size| Event::create("uploads", "in/key", DAY_NS + second * 1_000_000_000, size);
    let before = event(1, 1);
    writer.put(std::slice::from_ref(&before)).await;
    let good = [
        event(2, 20).version("v2"),
        event(4, 40).version("v4"),
        // The version that is bad at first, made good by a later event.
        event(6, 60).version("v5"),
        event(7, 0).then(Kind::Marker, DAY_NS + 7_000_000_000).version("v7"),
        event(8, 0).then(Kind::Delete, DAY_NS + 8_000_000_000).version("v7"),
    ];
    let bad = [event(3, 666).version("v3"), event(5, 666).version("v5"), event(9, 666).version("v9")];
    let batch: Vec<Event> =
        [&bad[2], &good[0], &bad[0], &good[4], &good[1], &bad[1], &good[2], &good[3]].map(Event::clone).into();
    let outcome = writer.put(&batch).await;
    // The bad event of v5 is covered by a newer good one, so nobody refuses it.
    assert_eq!((outcome.quarantined, outcome.total()), (2, 8), "{outcome:?}");
    assert_eq!(kept(&database).await, [1, 3]);
    compare(&database, &Model::of(good.iter().chain([&before]))).await;
}

/// A notification of several events has a row for each that is refused, and the counter counts the same.
#[tokio::test]
async fn each_refused_event_of_a_record_has_a_row_of_its_own() {
    let database = database().await;
    refuse(&database).await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let event = |key: &str, size| Event {
        dialect: Dialect::Aws,
        description: None,
        ..Event::create("uploads", key, DAY_NS, size)
    };
    let good = [event("in/good", 5), event("in/other", 6)];
    let records = [
        dialect::notification(&[event("in/a", -1), good[0].clone(), event("in/b", -2)]),
        dialect::notification(&[event("in/c", -3), good[1].clone()]),
        // PostgreSQL refuses one event of this record, and the decoder another.
        dialect::notification(&[event("in/poison", 1), event("in/d", -4), event("in/e", 7)]),
    ];
    let batch = writer.batch(&[("0", records.to_vec())]);
    let outcome = writer.write(&batch).await.unwrap();
    let mut connection = database.connect().await;
    let rows: Vec<(i64, i32, String)> =
        sqlx::query_as("SELECT position::bigint, index, reason FROM millstream.quarantine ORDER BY 1, 2")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let row = |position: i64, index: i32| {
        (position, index, if index < 0 { "refused_by_database" } else { "bad_size" }.to_owned())
    };
    // The record that PostgreSQL refuses is kept as a whole: one row for its two events that could have been written.
    assert_eq!(rows, [row(0, 0), row(0, 2), row(1, 0), row(2, -1), row(2, 1)]);
    assert_eq!((outcome.written, outcome.quarantined), (2, rows.len() as u64 + 1), "{outcome:?}");
    assert_eq!(outcome.bad, [0, 1, 2].into());
    compare(&database, &Model::of(&good)).await;
}

/// Each record that PostgreSQL refuses has the reason of its own refusal, wherever the two stand in the batch.
#[tokio::test]
async fn two_refused_records_of_a_batch_each_have_their_own_reason() {
    let database = database().await;
    refuse(&database).await;
    // Division by zero is 22012, the constraint 23514.
    database
        .execute("ALTER TABLE millstream.objects ADD CONSTRAINT divides CHECK (1 / (size - 777) IS NOT NULL)")
        .await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let count = 9usize;
    for (first, second) in [(0, 1), (1, 0), (0, 8), (8, 0), (3, 4), (4, 3), (2, 7), (7, 2), (5, 8)] {
        let event = |n: usize| match n {
            n if n == first => Event::create("uploads", &format!("in/{first}-{second}/poison"), DAY_NS, 1),
            // Sorted by key, this one comes before or after the other.
            n if n == second => Event::create("uploads", &format!("in/{first}-{second}/{n}"), DAY_NS, 777),
            n => Event::create("uploads", &format!("in/{first}-{second}/{n}z"), DAY_NS, 1),
        };
        let events: Vec<Event> = (0..count).map(event).collect();
        database.execute("DELETE FROM millstream.quarantine").await;
        let outcome = writer.put(&events).await;
        assert_eq!((outcome.written, outcome.quarantined), (count as u64 - 2, 2));
        let mut connection = database.connect().await;
        let told = "SELECT payload, sqlstate, detail FROM millstream.quarantine ORDER BY position::bigint";
        let told: Vec<(Vec<u8>, String, String)> = sqlx::query_as(told).fetch_all(&mut connection).await.unwrap();
        let of = |event: &Event| told.iter().find(|(payload, ..)| *payload == event.json()).unwrap();
        let poison = of(&events[first]);
        let zero = of(&events[second]);
        assert!(poison.1 == "23514" && poison.2.contains("\"picky\""), "{poison:?} at {first}, the other at {second}");
        assert!(zero.1 == "22012" && zero.2 == "division by zero", "{zero:?} at {second}, the other at {first}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compression_bomb_over_http_is_refused_and_nothing_stops() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..200 {
        bomb.write_all(&vec![b' '; 1 << 20]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let answer = millstream.send(hyper::Method::POST, "/v1/events", &headers, bomb).await.unwrap();
    assert_eq!(answer.status, 413, "{}", answer.text());
    let event = Event::create("uploads", "in/key", DAY_NS, 5);
    assert_eq!(millstream.post(event.json()).await.unwrap().status, 202);
    millstream.caught_up(Duration::from_secs(30)).await;
    compare(&database, &Model::of([&event])).await;
    millstream.finish().await;
}

/// Bytes that the pipeline can do nothing with, as NDJSON for the endpoint, which takes them.
pub(crate) fn poison(count: usize) -> Vec<u8> {
    let (_, payload) = bad_payloads().into_iter().find(|(reason, _)| *reason == "bad_time").unwrap();
    [payload, b"\n".to_vec()].concat().repeat(count)
}

async fn status(millstream: &Millstream) -> serde_json::Value {
    millstream.get("/v1/status").await.json()["pipelines"][0].clone()
}

async fn paused(millstream: &Millstream) -> serde_json::Value {
    until("the pipeline to pause", Duration::from_secs(30), || async {
        let status = status(millstream).await;
        (status["verdict"] == "halted").then_some(status)
    })
    .await
}

fn good(range: std::ops::Range<u64>) -> Vec<Event> {
    range.map(|n| Event::create("uploads", &format!("in/{n}"), DAY_NS + n, 1)).collect()
}

/// Each row has all bytes of its record, so that a thousand rows of a record of a MB would be a GB. They are one row;
/// a record with fewer refused events has a row of each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_records_of_many_refused_events_hold_up_nobody() {
    let database = database().await;
    let setup = Setup::new(&database).set("stream.partitions=1").set("limits.quarantine_share_max=1");
    let millstream = setup.start().await;
    let large = |events: usize| {
        let start = format!("{{\"EventName\":\"x\",\"Records\":[{}", vec!["0"; events].join(","));
        format!("{start}{}]}}\n", " ".repeat(1_000_000 - start.len()))
    };
    let answer = millstream.post([large(1_000), large(1_000), large(10), large(1_000)].concat()).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    let good = good(0..300);
    assert_eq!(millstream.post(event::lines(&good)).await.unwrap().status, 202);
    millstream.caught_up(Duration::from_secs(60)).await;
    let all = "SELECT count(*) FROM millstream.quarantine";
    let together = " WHERE index = -1 AND detail LIKE '1000 of its%'";
    assert_eq!(database.number(all).await, 13);
    assert_eq!(database.number(&format!("{all}{together}")).await, 3);
    assert_eq!(status(&millstream).await["quarantined"], 3_010);
    compare(&database, &Model::of(&good)).await;
    // They are refused again, and stay one row each.
    let told = command(&database, &setup, &["quarantine", "redrive", "--all", "--json"]);
    assert_eq!(told.json()["kept"].as_array().unwrap().len(), 13, "{told:?}");
    assert_eq!(database.number(all).await, 13);
    millstream.finish().await;
}

/// More than one in a hundred of 10,000 events; the good ones behind them wait until a person has looked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_bad_records_pauses_and_what_waits_behind_it_lands_on_resume() {
    let database = database().await;
    // One partition, so that the good ones are behind the bad ones; a watchdog that would bark within the test.
    let setup = ["stream.partitions=1", "limits.quarantine_window_records=10000", "limits.stall_seconds=1"];
    let setup = setup.iter().fold(Setup::new(&database), |setup, setting| setup.set(setting));
    let setup = setup
        .set("pipeline.objects.batch_records_max=50")
        .allow("too many bad events")
        .allow("halted")
        .allow("flooding");
    let mut millstream = setup.start().await;
    let answer = millstream.post(poison(1_000)).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    let good = good(0..300);
    assert_eq!(millstream.post(event::lines(&good)).await.unwrap().status, 202);

    let found = paused(&millstream).await;
    let reason = found["reason"].as_str().unwrap();
    assert!(reason.contains("150 of its last 150 records") && reason.contains("millstream resume objects"), "{reason}");
    // Longer than the watchdog waits.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let waiting = status(&millstream).await;
    let counts = |status: &serde_json::Value| {
        ["quarantined", "written", "lag_records", "stalls"].map(|name| status[name].as_u64())
    };
    assert_eq!(counts(&waiting), [150, 0, 1_150, 0].map(Some), "{waiting}");
    assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 150);
    let metrics = millstream.get("/metrics").await.text();
    assert!(metrics.contains("millstream_sink_paused{pipeline=\"objects\"} 1"), "{metrics}");

    // A restart goes on, too, until there are too many again.
    millstream.kill();
    millstream = setup.start().await;
    assert_eq!(counts(&paused(&millstream).await)[0], Some(150));
    assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 300);

    let data_dir = setup.data_dir().to_str().unwrap();
    let resume =
        |name: &str| crate::config::millstream(setup.scratch(), &[], &["resume", name, "--data-dir", data_dir]);
    let unknown = resume("object");
    assert!(unknown.code != 0 && unknown.err.contains("there is objects"), "{unknown:?}");
    let resumed = resume("objects");
    assert!(resumed.code == 0 && resumed.out.contains("goes on"), "{resumed:?}");
    millstream.caught_up(Duration::from_secs(30)).await;
    assert_eq!(status(&millstream).await["verdict"], "keeping_up");
    assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 1_000);
    compare(&database, &Model::of(&good)).await;
    assert!(resume("objects").out.contains("was not paused"));
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trickle_of_bad_records_does_not_pause() {
    let database = database().await;
    let setup = Setup::new(&database)
        .set("limits.quarantine_window_records=10000")
        .set("pipeline.objects.batch_records_max=50");
    let millstream = setup.start().await;
    let good = good(0..5_000);
    for part in good.chunks(500) {
        assert_eq!(millstream.post([event::lines(part), poison(10)].concat()).await.unwrap().status, 202);
    }
    millstream.caught_up(Duration::from_secs(60)).await;
    assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 100);
    compare(&database, &Model::of(&good)).await;
    millstream.finish().await;
}
