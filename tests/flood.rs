//! A store that floods bad events locks no other out: it is put aside until a person resumes it, its records are kept
//! whole, and every event is accounted for at each step.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hyper::Method;
use millstream_engine::task;
use millstream_tests::event::lines;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{
    Database, Event, Millstream, Model, Response, Run, Setup, Stream, compare, database, soak, stream, until,
};
use serde_json::Value;
use sqlx::Row as _;

const WITHIN: Duration = Duration::from_secs(60);
/// What is logged of a flood on purpose, and when a store is resumed between a look and a write.
const EXPECTED: [&str; 3] = ["judge::tell: flooding", "too many bad events", "leases are taken again"];

fn good(store: &str, range: std::ops::Range<u64>) -> Vec<Event> {
    let event = |n| Event { store: store.to_owned(), ..Event::create("uploads", &format!("in/{n}"), DAY_NS + n, 1) };
    range.map(event).collect()
}

/// Events that no pipeline can write: of a size below nothing.
fn bad(store: &str, count: u64) -> Vec<Event> {
    let event = |n| Event { store: store.to_owned(), ..Event::create("uploads", &format!("bad/{n}"), DAY_NS + n, -1) };
    (0..count).map(event).collect()
}

fn setup(database: &Database) -> Setup {
    EXPECTED.iter().fold(Setup::new(database), |setup, text| setup.allow(text))
}

async fn post(millstream: &Millstream, events: &[Event]) -> Response {
    let path = format!("/v1/events?store={}", events[0].store);
    let headers = [("content-type", "application/x-ndjson")];
    millstream.send(Method::POST, &path, &headers, lines(events)).await.unwrap()
}

async fn taken(millstream: &Millstream, events: &[Event]) {
    let answer = post(millstream, events).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["refused"]), (202, &serde_json::json!([])), "{}", answer.text());
}

async fn pipeline(millstream: &Millstream) -> Value {
    millstream.get("/v1/status").await.json()["pipelines"][0].clone()
}

/// What the status says of a store that is put aside or being resumed.
async fn paused(millstream: &Millstream, store: &str) -> Option<Value> {
    let stores = pipeline(millstream).await["paused_stores"].clone();
    stores.as_array().unwrap().iter().find(|one| one["store"] == store).cloned()
}

async fn put_aside(millstream: &Millstream, store: &str) -> Value {
    until("the store to be put aside", WITHIN, || async { paused(millstream, store).await }).await
}

/// Rows in quarantine by store and reason.
async fn kept(database: &Database) -> BTreeMap<(String, String), i64> {
    let mut connection = database.connect().await;
    let rows = sqlx::query("SELECT store, reason, count(*) FROM millstream.quarantine GROUP BY store, reason");
    let rows = rows.fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect()
}

async fn rows_of(database: &Database, store: &str) -> i64 {
    kept(database).await.iter().filter(|((own, _), _)| own == store).map(|(_, rows)| rows).sum()
}

/// Everything that was accepted is in the tables, filtered or in quarantine, by the counters of the process, and the
/// count of the quarantine that is kept beside it is right.
async fn conserves(millstream: &Millstream, database: &Database) {
    let status = millstream.get("/v1/status").await.json();
    let pipeline = &status["pipelines"][0];
    let count = |name: &str| pipeline[name].as_u64().unwrap();
    let accepted = status["http"]["accepted_events"].as_u64().unwrap();
    let written = count("written");
    let filtered = count("filtered_total");
    let quarantined = count("quarantined");
    assert_eq!(accepted, written + filtered + quarantined, "{written} {filtered} {quarantined}");
    counted(database).await;
}

async fn counted(database: &Database) {
    let mut connection = database.connect().await;
    let sums = "SELECT \
        (SELECT coalesce(json_object_agg(store, n ORDER BY store)::text, '') FROM (SELECT store, json_build_array(count(*), \
            count(*) FILTER (WHERE reason = 'share_paused'), sum(octet_length(payload))) AS n FROM millstream.quarantine GROUP BY store) AS q), \
        (SELECT coalesce(json_object_agg(share, n ORDER BY share)::text, '') FROM (SELECT share, json_build_array(sum(rows_kept), \
            sum(rows_aside), sum(bytes_kept)) AS n FROM millstream.quarantine_change GROUP BY share HAVING sum(rows_kept) <> 0) AS c)";
    let (rows, counters): (String, String) = sqlx::query_as(sums).fetch_one(&mut connection).await.unwrap();
    assert_eq!(rows, counters, "rows of the quarantine, and what is counted of them");
}

fn resume(setup: &Setup, arguments: &[&str]) -> crate::config::Ran {
    let data_dir = setup.data_dir().to_str().unwrap();
    let arguments = [&["resume", "objects", "--data-dir", data_dir], arguments].concat();
    crate::config::millstream(setup.scratch(), &[], &arguments)
}

/// Posts the events one by one, and gives for how long each was accepted before it was in the tables, sorted.
async fn watched(millstream: &Millstream, database: &Database, events: &[Event]) -> Vec<Duration> {
    let mut connection = database.connect().await;
    let seen = task::spawn("see events land", {
        let store = events[0].store.clone();
        let count = events.len();
        async move {
            let mut seen: BTreeMap<String, Instant> = BTreeMap::new();
            let began = Instant::now();
            while seen.len() < count && began.elapsed() < WITHIN {
                let keys: Vec<String> = sqlx::query_scalar("SELECT key FROM millstream.objects WHERE store = $1")
                    .bind(&store)
                    .fetch_all(&mut connection)
                    .await
                    .unwrap();
                let now = Instant::now();
                for key in keys {
                    seen.entry(key).or_insert(now);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            seen
        }
    });
    let mut accepted = Vec::new();
    for event in events {
        taken(millstream, std::slice::from_ref(event)).await;
        accepted.push((event.key.clone(), Instant::now()));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let seen = seen.await.unwrap();
    let age = |(key, at): (String, Instant)| seen.get(&key).map(|seen| seen.saturating_duration_since(at));
    let mut ages: Vec<Duration> = accepted.into_iter().filter_map(age).collect();
    assert_eq!(ages.len(), events.len(), "every event lands; {}", millstream.log());
    ages.sort_unstable();
    ages
}

/// The refusal of a post of a store that is put aside.
fn names_the_command(refused: &Response) {
    let problem = refused.json();
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert_eq!((refused.status.as_u16(), &problem["type"]), (429, &"urn:millstream:problem:store-paused".into()));
    assert!(detail.contains("`millstream resume objects --store minio-a`"), "{detail}");
    assert!(refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().unwrap() > 0));
}

/// The test of the issue: two stores, one floods.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_floods_stops_no_other_and_nothing_of_it_is_lost() {
    let database = database().await;
    let mut setup = setup(&database);
    if !soak() {
        // So that some of the flood comes after it was noticed.
        setup = setup.set("pipeline.objects.batch_records_max=200");
    }
    let mut millstream = setup.start().await;

    let count = if soak() { 100_000 } else { 1_100 };
    let flood = bad("minio-a", count);
    let mine = good("minio-a", 0..100);
    let theirs = good("minio-b", 0..200);
    let mut accepted = 0;
    for (number, part) in flood.chunks(5_000).enumerate() {
        // Good ones of the same store behind the bad ones.
        let more = if number == 0 { &mine[..] } else { &[] };
        let answer = post(&millstream, &[part, more].concat()).await;
        if answer.status == 429 {
            break;
        }
        assert_eq!(answer.status, 202, "{}", answer.text());
        accepted += part.len() as u64;
    }

    let ages = watched(&millstream, &database, &theirs).await;
    let p99 = ages[ages.len() * 99 / 100];
    println!("{accepted} bad events of one store: 200 of another land, p99 {} ms", p99.as_millis());
    assert!(p99 < Duration::from_secs(1), "{p99:?}");

    let found = put_aside(&millstream, "minio-a").await;
    let command = found["command"].as_str().unwrap_or_default();
    let here = format!("millstream resume objects --store minio-a --data-dir {}", setup.data_dir().display());
    assert!(found["state"] == "paused" && command.starts_with(&here), "{found}");
    millstream.caught_up(WITHIN).await;
    conserves(&millstream, &database).await;
    assert_eq!(rows_of(&database, "minio-b").await, 0);
    let status = pipeline(&millstream).await;
    let reason = status["reason"].as_str().unwrap_or_default();
    assert!(status["verdict"] == "flooding" && reason.contains(&format!("`{command}`")), "{status}");
    let metrics = millstream.get("/metrics").await.text();
    assert!(metrics.contains("millstream_sink_paused_shares{pipeline=\"objects\"} 1"), "{metrics}");

    // Its posts are refused, with the command; those of the other are not. So it is after a restart.
    for restart in [false, true] {
        if restart {
            millstream.finish().await;
            millstream = setup.start().await;
        }
        names_the_command(&post(&millstream, &mine).await);
        taken(&millstream, &theirs[..1]).await;
    }
    millstream.caught_up(WITHIN).await;
    conserves(&millstream, &database).await;

    let resumed = resume(&setup, &["--store", "minio-a"]);
    assert!(resumed.code == 0 && resumed.out.contains("goes on"), "{resumed:?}");
    assert_eq!(paused(&millstream, "minio-a").await, None);
    let reasons = kept(&database).await;
    assert_eq!(reasons, BTreeMap::from([(("minio-a".to_owned(), "bad_size".to_owned()), accepted as i64)]));
    compare(&database, &Model::of(mine.iter().chain(&theirs))).await;
    taken(&millstream, &good("minio-a", 100..101)).await;
    millstream.caught_up(WITHIN).await;
    conserves(&millstream, &database).await;
    compare(&database, &Model::of(mine.iter().chain(&theirs).chain(&good("minio-a", 100..101)))).await;
    assert_eq!(pipeline(&millstream).await["verdict"], "keeping_up");
    millstream.finish().await;
}

/// Bad events of one store and good ones of others in one batch: the batch is written, and the store put aside after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_in_one_batch_with_good_events_of_others() {
    let database = database().await;
    let stream = Stream::default();
    let topic = stream.topic("objects", 1);
    let mine = good("a", 0..50);
    let theirs = good("b", 0..300);
    let mut events = bad("a", 1_200);
    events.extend(mine.iter().chain(&theirs).cloned());
    millstream_tests::stream::append(&topic, &events, None).await;
    let run = Run::start("objects", &topic, database.options(), Run::limits(1, 10_000));
    run.caught_up(WITHIN).await;
    until("the store to be put aside", WITHIN, || async { run.progress.standing("a")?.pause }).await;
    let more: Vec<Event> = good("a", 50..60).into_iter().chain(good("b", 300..310)).collect();
    millstream_tests::stream::append(&topic, &more, None).await;
    run.caught_up(WITHIN).await;
    let counts = run.progress.snapshot();
    assert_eq!((counts.written, counts.quarantined), (360, 1_210), "{:?}", counts.filtered);
    let of_a = |reason: &str| (("a".to_owned(), reason.to_owned()), if reason == "bad_size" { 1_200 } else { 10 });
    assert_eq!(kept(&database).await, BTreeMap::from([of_a("bad_size"), of_a("share_paused")]));
    compare(&database, &Model::of(mine.iter().chain(&theirs).chain(&more[10..]))).await;
    counted(&database).await;
    run.stop().await;
}

/// One that is resumed and floods again is put aside again; each time every record is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_floods_twice_is_put_aside_twice() {
    let database = database().await;
    let setup =
        setup(&database).set("limits.quarantine_window_records=10000").set("pipeline.objects.batch_records_max=50");
    let millstream = setup.start().await;
    let mut expected = good("b", 0..20);
    taken(&millstream, &expected).await;
    for round in 0..2u64 {
        taken(&millstream, &bad("a", 200)).await;
        let found = put_aside(&millstream, "a").await;
        assert_eq!(found["state"], "paused", "{found}");
        millstream.caught_up(WITHIN).await;
        conserves(&millstream, &database).await;
        assert_eq!(post(&millstream, &bad("a", 1)).await.status, 429);
        assert_eq!(rows_of(&database, "a").await, 200 * (round as i64 + 1));
        let resumed = resume(&setup, &["--store", "a"]);
        assert!(resumed.code == 0, "{resumed:?}");
        assert_eq!(kept(&database).await.keys().map(|(_, reason)| reason).collect::<Vec<_>>(), ["bad_size"]);
        let more = good("a", round * 10..round * 10 + 10);
        taken(&millstream, &more).await;
        expected.extend(more);
        millstream.caught_up(WITHIN).await;
        conserves(&millstream, &database).await;
        compare(&database, &Model::of(&expected)).await;
    }
    let again = resume(&setup, &["--store", "a"]);
    assert!(again.code == 0 && again.out.contains("was not put aside"), "{again:?}");
    millstream.finish().await;
}

/// What was put aside and is bad stays in quarantine under a reason of its own when a person has it written: that is said,
/// and no success. Of what is left after that the count is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_says_what_is_in_quarantine_again() {
    let database = database().await;
    // One partition, so that the bad ones come first.
    let setup =
        ["stream.partitions=1", "limits.quarantine_window_records=10000", "pipeline.objects.batch_records_max=50"];
    let setup = setup.iter().fold(self::setup(&database), |setup, setting| setup.set(setting));
    let millstream = setup.start().await;
    let flood = bad("a", 400);
    let mine = good("a", 0..10);
    let theirs = good("b", 0..20);
    taken(&millstream, &theirs).await;
    taken(&millstream, &[&flood[..], &mine[..]].concat()).await;
    put_aside(&millstream, "a").await;
    millstream.caught_up(WITHIN).await;
    let aside = async |what: &str| {
        database.number(&format!("SELECT {what} FROM millstream.quarantine WHERE reason = 'share_paused'")).await
    };
    let redrive = |id: i64, more: &[&str]| {
        crate::commands::command(&database, &setup, &[&["quarantine", "redrive", &*id.to_string()][..], more].concat())
    };
    let count = aside("count(*)").await;
    let bad = aside("min(id)").await;
    assert!(count > 20, "{count} put aside");

    let dry = redrive(bad, &["--dry-run", "--json"]);
    let report = dry.json();
    assert_eq!(
        (dry.code, &report["removed"], report["kept"].as_array().unwrap().len()),
        (1, &Value::from(0), 1),
        "{report}"
    );
    let kept = &report["kept"][0];
    assert_eq!(
        (&kept["id"], &kept["was"], &kept["reason"]),
        (&bad.into(), &Value::Null, &"bad_size".into()),
        "{report}"
    );
    assert_eq!((aside("count(*)").await, aside("min(id)").await), (count, bad), "a dry run changes nothing");

    let told = redrive(bad, &[]);
    let again = format!("{bad} is in quarantine again, as ");
    let says = |text: &str| told.out.contains(text);
    assert!(told.code == 1 && says("0 rows taken out of quarantine, 1 stay") && says(&again), "{told:?}");
    assert!(says("bad_size"), "{told:?}");

    let next = aside("min(id)").await;
    let real = redrive(next, &["--json"]);
    let report = real.json();
    assert_eq!((real.code, &report["removed"], &report["written"]), (1, &Value::from(0), &Value::from(0)), "{report}");
    let kept = &report["kept"][0];
    assert_eq!((&kept["was"], &kept["reason"]), (&next.into(), &"bad_size".into()), "{report}");
    // By its new number it is the same row, and stays.
    let id = kept["id"].as_i64().unwrap();
    let row = format!("SELECT count(*) FROM millstream.quarantine WHERE id = {id} AND reason = 'bad_size'");
    assert_eq!(database.number(&row).await, 1);
    let stays = redrive(id, &[]);
    assert!(stays.code == 1 && stays.out.contains(&format!("{id} stays: bad_size")), "{stays:?}");

    let fine = redrive(aside("max(id)").await, &["--json"]);
    let report = fine.json();
    assert_eq!((fine.code, &report["removed"], &report["written"]), (0, &Value::from(1), &Value::from(1)), "{report}");
    assert_eq!(report["kept"], serde_json::json!([]));
    assert_eq!(aside("count(*)").await, count - 3);
    counted(&database).await;

    resumed_writes_what_is_left(&millstream, &database, count - 3).await;
    assert_eq!(self::kept(&database).await, BTreeMap::from([(("a".to_owned(), "bad_size".to_owned()), 400)]));
    compare(&database, &Model::of(mine.iter().chain(&theirs))).await;
    millstream.finish().await;
}

/// The process counts what is left, and what commands have taken is not among it.
async fn resumed_writes_what_is_left(millstream: &Millstream, database: &Database, left: i64) {
    let answer = millstream.send(Method::POST, "/v1/pipelines/objects/resume?store=a", &[], "").await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.json()["rows"]), (200, &left.into()), "{}", answer.text());
    until("the pause to be over", WITHIN, || async { paused(millstream, "a").await.is_none().then_some(()) }).await;
    let metrics = millstream.get("/metrics").await.text();
    let redriven = format!("millstream_sink_redriven_rows_total{{pipeline=\"objects\"}} {left}");
    assert!(metrics.contains(&redriven), "{metrics}");
    counted(database).await;
}

/// What was put aside is written although the process dies in the middle, in transactions of bounded size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_survives_a_restart_in_the_middle() {
    let database = database().await;
    let setup =
        setup(&database).set("limits.quarantine_window_records=10000").set("pipeline.objects.batch_records_max=50");
    let mut millstream = setup.start().await;
    let flood = bad("a", 400);
    let mine = good("a", 0..8_000);
    let theirs = good("b", 0..10);
    taken(&millstream, &theirs).await;
    taken(&millstream, &[&flood[..], &mine[..]].concat()).await;
    put_aside(&millstream, "a").await;
    millstream.caught_up(WITHIN).await;
    let left = "SELECT count(*) FROM millstream.quarantine WHERE reason = 'share_paused'";
    let before = database.number(left).await;
    assert!(before > 5_000, "{before} put aside");
    conserves(&millstream, &database).await;

    let answer = millstream.send(Method::POST, "/v1/pipelines/objects/resume?store=a", &[], "").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.json()["was_paused"].as_bool()), (200, Some(true)), "{}", answer.text());
    until("some to be written", WITHIN, || async { (database.number(left).await < before).then_some(()) }).await;
    millstream.kill();
    let middle = database.number(left).await;
    counted(&database).await;
    println!("{before} records were put aside, {middle} when the process was killed");
    assert!(middle > 0, "the kill was to come in the middle");
    millstream = setup.start().await;
    until("all to be written", WITHIN, || async { (database.number(left).await == 0).then_some(()) }).await;
    until("the pause to be over", WITHIN, || async { paused(&millstream, "a").await.is_none().then_some(()) }).await;
    compare(&database, &Model::of(mine.iter().chain(&theirs))).await;
    counted(&database).await;
    assert_eq!(database.number("SELECT count(*) FROM millstream.share_pause").await, 0);
    assert_eq!(rows_of(&database, "a").await, flood.len() as i64);
    millstream.finish().await;
}

/// A batch that was decoded before its store was resumed is decoded again: no record is put aside after the redrive has
/// begun to look for them.
#[tokio::test]
async fn a_batch_that_puts_aside_what_was_resumed_is_not_written() {
    use millstream_connectors::sinks::tables::shares;
    use millstream_engine::{Batch, Partition, Position, RecordBatch, Share, Sink as _, SinkError, intake::Intake};

    let database = database().await;
    let mut sink = stream::metadata(stream::options("objects", "test-stream", database.options()));
    let zero = Partition::new("0");
    let aside = Share::new("default");
    sink.acquire(std::slice::from_ref(&zero)).await.unwrap();
    sink.put_aside(&aside, "by the test").await.unwrap();
    let record = |at: u64| millstream_engine::Record {
        position: Position::Offset(at),
        published_at_ms: 0,
        key: bytes::Bytes::from_static(b"key"),
        headers: Vec::new(),
        payload: Event::create("uploads", &format!("in/{at}"), DAY_NS, 1).json().into(),
    };
    let batch = |from: u64| {
        let mut intake = Intake::new(vec![(zero.clone(), Position::Offset(from))], usize::MAX);
        let records = (from..from + 5).map(record).collect();
        intake.accept(vec![RecordBatch { partition: zero.clone(), records, next: Position::Offset(from + 5) }]);
        Batch::decode(intake.take(10, usize::MAX), &stream::decoder(), &[aside.clone()].into())
    };
    assert_eq!(sink.write(&batch(0)).await.unwrap().outcome().quarantined, 5);
    assert_eq!(sink.shares().await.unwrap().unwrap()[0].pause.as_ref().map(|pause| pause.rows), Some(5));

    assert!(shares::resume(&mut database.connect().await, "objects", "default").await.unwrap());
    let refused = sink.write(&batch(5)).await;
    assert!(matches!(&refused, Err(SinkError::Resumed { share }) if *share == aside), "{refused:?}");
    assert_eq!(rows_of(&database, "default").await, 5, "nothing of it is written");
}

/// Where a flood comes by a way that refuses nothing, the others still go on; once its quarantine is full, the pipeline
/// pauses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_that_cannot_be_refused() {
    let database = database().await;
    let stream = Stream::default();
    let topic = stream.topic("objects", 2);
    let theirs = good("b", 0..100);
    let mut limits = Run::limits(2, 100);
    limits.flood.share_rows_max = 3_000;
    let run = Run::start("objects", &topic, database.options(), limits);
    millstream_tests::stream::append(&topic, &theirs[..50], None).await;
    millstream_tests::stream::append(&topic, &bad("a", 2_500), None).await;
    millstream_tests::stream::append(&topic, &theirs[50..], None).await;
    run.caught_up(WITHIN).await;
    compare(&database, &Model::of(&theirs)).await;
    assert_eq!(rows_of(&database, "a").await, 2_500);

    millstream_tests::stream::append(&topic, &bad("a", 2_500), None).await;
    let reason = until("the pause", WITHIN, || async { run.progress.snapshot().paused }).await;
    assert!(reason.contains("the quarantine of a is full") && reason.contains("millstream resume objects"), "{reason}");
    let rows = rows_of(&database, "a").await;
    // Each lane may finish the batch it is at.
    assert!((3_000..3_400).contains(&rows), "{rows}");
    counted(&database).await;
    // Room is made, and it goes on.
    database.execute("DELETE FROM millstream.quarantine").await;
    assert!(run.progress.resume());
    run.caught_up(WITHIN).await;
    assert!(rows_of(&database, "a").await < 2_500);
    run.stop().await;
}

/// At the bound of the quarantine posts of the store are refused, and the others go on. Room is made by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_quarantine_is_full_is_refused_and_no_other() {
    for setting in ["limits.quarantine_rows_max=300", "limits.quarantine_bytes_max=100000"] {
        let database = database().await;
        let setup = setup(&database).set(setting).set("pipeline.objects.batch_records_max=50");
        let millstream = setup.start().await;
        let mut theirs = good("b", 0..10);
        taken(&millstream, &theirs).await;
        taken(&millstream, &bad("a", 600)).await;
        let refused = until("posts to be refused", WITHIN, || async {
            let answer = post(&millstream, &bad("a", 1)).await;
            (answer.status == 429).then_some(answer)
        })
        .await;
        assert_eq!(refused.json()["type"], "urn:millstream:problem:quarantine-full", "{}", refused.text());
        assert!(refused.header("retry-after").is_some());
        let status = millstream.get("/v1/status").await.json();
        let reason = status["reason"].as_str().unwrap_or_default();
        assert!(status["state"] == "flooding" && reason.contains("the quarantine of store a is full"), "{status}");
        assert!(status["next"].as_str().unwrap().contains("quarantine ls --store a"), "{status}");
        let more = good("b", 10..30);
        taken(&millstream, &more).await;
        theirs.extend(more);
        millstream.caught_up(WITHIN).await;
        conserves(&millstream, &database).await;
        compare(&database, &Model::of(&theirs)).await;

        let purged = crate::config::millstream(
            setup.scratch(),
            &[],
            &["quarantine", "purge", "--store", "a", "--set", &format!("postgres.url={}", database.url())],
        );
        assert_eq!(purged.code, 0, "{purged:?}");
        assert_eq!(rows_of(&database, "a").await, 0);
        until("posts to be taken", WITHIN, || async {
            (post(&millstream, &good("a", 0..1)).await.status == 202).then_some(())
        })
        .await;
        until("all to be well", WITHIN, || async {
            (millstream.get("/v1/status").await.json()["state"] == "keeping_up").then_some(())
        })
        .await;
        millstream.finish().await;
    }
}

/// Rows that are too old are removed, some in each statement, and that is counted and said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_rows_of_the_quarantine_are_removed() {
    let database = database().await;
    let setup = setup(&database).set("limits.quarantine_window_records=1000000").set("limits.quarantine_days=7");
    let millstream = setup.start().await;
    taken(&millstream, &bad("a", 2_500)).await;
    taken(&millstream, &bad("b", 10)).await;
    millstream.caught_up(WITHIN).await;
    conserves(&millstream, &database).await;
    millstream.finish().await;
    let days = |days: i32, which: &str| {
        format!(
            "UPDATE millstream.quarantine SET quarantined_at = clock_timestamp() - interval '{days} days' WHERE {which}"
        )
    };
    database.execute(&days(8, "store = 'a'")).await;
    database.execute(&days(6, "store = 'b'")).await;

    let millstream = setup.allow("older than limits.quarantine_days").start().await;
    until("the old rows to go", WITHIN, || async { (rows_of(&database, "a").await == 0).then_some(()) }).await;
    assert_eq!(rows_of(&database, "b").await, 10);
    until("that to be counted", WITHIN, || async {
        let metrics = millstream.get("/metrics").await.text();
        metrics.contains("millstream_sink_expired_rows_total{pipeline=\"objects\"} 2500").then_some(())
    })
    .await;
    counted(&database).await;
    assert!(millstream.log().contains("store=\"a\" rows=1000") || millstream.log().contains("rows=1000"), "in pieces");
    millstream.finish().await;
}

/// A token of one store resumes that store alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_one_store_resumes_no_other() {
    let database = database().await;
    let setup = setup(&database);
    let file = setup.scratch().join("tokens");
    let all = "0123456789abcdef-all";
    let one = "0123456789abcdef-one";
    std::fs::write(&file, format!("ops:{all}\na:{one} store=a\n")).unwrap();
    let setup = setup.set(&format!("http.tokens_file={}", file.display()));
    let millstream = setup.start().await;
    for store in ["a", "b"] {
        let pause = format!(
            "INSERT INTO millstream.share_pause (pipeline, share, reason) VALUES ('objects', '{store}', 'test')"
        );
        database.execute(&pause).await;
    }
    let resume = async |query: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer)];
        millstream.send(Method::POST, &format!("/v1/pipelines/objects/resume{query}"), &headers, "").await.unwrap()
    };
    let paused = "SELECT count(*) FROM millstream.share_pause WHERE resumed_at IS NULL";
    assert_eq!(resume("?store=b", one).await.status, 403);
    assert_eq!(database.number(paused).await, 2);
    // Unnamed, it is the pipeline, which is everybody's.
    assert_eq!(resume("", one).await.status, 403);
    let own = resume("?store=a", one).await;
    assert_eq!((own.status.as_u16(), &own.json()["store"]), (200, &"a".into()), "{}", own.text());
    assert_eq!(database.number(&format!("{paused} AND share = 'a'")).await, 0);
    assert_eq!(database.number(paused).await, 1);
    assert_eq!(resume("?store=B", all).await.status, 400);
    assert_eq!(resume("?store=b", all).await.status, 200);
    assert_eq!(database.number(paused).await, 0);
    millstream.finish().await;
}
