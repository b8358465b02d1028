//! A store that floods is paused, as often as it floods, and the others go on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millstream_engine::task;
use millstream_tests::{Database, Event, Millstream, Model, Response, Run, Stream, compare, database, soak, until};

use super::{
    WITHIN, bad, conserves, counted, good, kept, paused, pipeline, post, resume, rows_of, setup, taken, until_paused,
};

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

/// The refusal of a post of a store that is paused.
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

    let found = until_paused(&millstream, "minio-a").await;
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

/// Bad events of one store and good ones of others in one batch: the batch is written, and the store paused after it.
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
    until("the store to be paused", WITHIN, || async { run.progress.standing("a")?.pause }).await;
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

/// One that is resumed and floods again is paused again; each time every record is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_floods_twice_is_paused_twice() {
    let database = database().await;
    let setup =
        setup(&database).set("limits.quarantine_window_records=10000").set("pipeline.objects.batch_records_max=50");
    let millstream = setup.start().await;
    let mut expected = good("b", 0..20);
    taken(&millstream, &expected).await;
    for round in 0..2u64 {
        taken(&millstream, &bad("a", 200)).await;
        let found = until_paused(&millstream, "a").await;
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
    assert!(again.code == 0 && again.out.contains("was not paused"), "{again:?}");
    millstream.finish().await;
}
