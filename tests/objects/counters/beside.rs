//! Counters are mended while others write them.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use millstream_connectors::sinks::metadata::recount::{Counter, Mode, Recount};
use millstream_engine::{Recovery, task};
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Database, Event, Generator, Model, Setup, Writer, compare, database, until};
use serde_json::json;

use super::{DAMAGE, waiting};
use crate::commands::command;

/// Writers that go on writing into the damaged buckets until they are told to stop.
struct Writing {
    stop: Arc<AtomicBool>,
    batches: Arc<AtomicU64>,
    writers: Vec<tokio::task::JoinHandle<Vec<Event>>>,
}

impl Writing {
    fn start(database: &Database, seeds: &mut Generator, writers: u64) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let batches = Arc::<AtomicU64>::default();
        let write = |number: u64| {
            let stop = Arc::clone(&stop);
            let batches = Arc::clone(&batches);
            let options = database.options();
            let events = seeds.events(20_000);
            let writing = async move {
                let mut writer = Writer::new(&format!("pipeline{number}"), options, &["0"]).await;
                let mut written = Vec::new();
                for batch in events.chunks(50).cycle() {
                    if stop.load(SeqCst) {
                        break;
                    }
                    let made = writer.batch(&[("0", batch.iter().map(Event::json).collect())]);
                    // Two writers lock the same rows: as the engine does, write again what lost.
                    while let Err(error) = writer.write(&made).await {
                        let retry = matches!(error.recovery(), Recovery::Retry);
                        assert!(retry, "{error}: {:?}", std::error::Error::source(&error));
                        println!("written again: {:?}", std::error::Error::source(&error));
                    }
                    batches.fetch_add(1, SeqCst);
                    written.extend_from_slice(batch);
                }
                written
            };
            task::spawn("writer", writing)
        };
        let writers = (0..writers).map(write).collect();
        Writing { stop, batches, writers }
    }

    async fn wrote(&self, batches: u64) {
        let aim = self.batches.load(SeqCst) + batches;
        until("batches", Duration::from_secs(60), || async { (self.batches.load(SeqCst) >= aim).then_some(()) }).await;
    }

    async fn end(self) -> Vec<Event> {
        self.stop.store(true, SeqCst);
        let mut events = Vec::new();
        for writer in self.writers {
            events.extend(writer.await.unwrap());
        }
        events
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_repair_is_exact_while_writers_write_the_same_buckets() {
    let database = database().await;
    let here = Setup::embedded();
    let writing = Writing::start(&database, &mut Generator::new("repaired"), 2);
    // On a busy machine a repair may be done before the writers get another turn: four must have been beside them.
    let mut beside = 0;
    for _ in 0..60 {
        writing.wrote(4).await;
        database.execute(DAMAGE).await;
        let before = writing.batches.load(SeqCst);
        let ran = tokio::task::block_in_place(|| command(&database, &here, &["counters", "repair", "--json"]));
        let report = ran.json();
        assert_eq!((ran.code, &report["buckets_differ"]), (0, &json!(4)), "{ran:#?}");
        let during = writing.batches.load(SeqCst) - before;
        println!(
            "{} counters mended while {during} batches were written",
            report["differences"].as_array().unwrap().len()
        );
        beside += u64::from(during > 0);
        // Writers only add to counters, so a check beside them finds none that differs.
        let check = tokio::task::block_in_place(|| command(&database, &here, &["counters", "check", "--json"]));
        assert_eq!((check.code, &check.json()["differences"]), (0, &json!([])));
        if beside == 4 {
            break;
        }
    }
    assert_eq!(beside, 4, "the writers went on during repairs");
    compare(&database, &Model::of(&writing.end().await)).await;
}

/// The transaction of a writer is open, rows and counters written, when the repair looks, adds and commits.
#[tokio::test]
async fn what_is_not_committed_during_a_repair_is_counted_once() {
    let database = database().await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let event = |key: &str, size| Event::create("uploads", key, DAY_NS, size);
    let first = event("in/first", 10);
    let second = event("in/second", 200);
    writer.put(std::slice::from_ref(&first)).await;
    database.execute("UPDATE millstream.bucket_count SET objects = 77; DELETE FROM millstream.segment_count").await;

    // Hours are the last thing that a writer counts before it commits.
    let mut holder = database.connect().await;
    sqlx::raw_sql("BEGIN; SELECT FROM millstream.hour_count FOR UPDATE").execute(&mut holder).await.unwrap();
    let repair = async {
        waiting(&database, 1).await;
        let found = Recount::new(Mode::Repair)
            .bucket(&mut database.connect().await.into(), "default", "uploads")
            .await
            .unwrap();
        let counters: Vec<&Counter> = found.iter().map(|difference| &difference.counter).collect();
        assert_eq!(counters, [&Counter::Bucket, &Counter::Segment("in/".to_owned())]);
        assert_eq!(found[0].truth, [1, 10, 0], "what is not committed is not seen");
        sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    };
    tokio::join!(writer.put(std::slice::from_ref(&second)), repair);
    compare(&database, &Model::of([&first, &second])).await;
}

/// Both would find the same difference, and add it twice.
#[tokio::test]
async fn two_repairs_at_the_same_time_add_the_difference_once() {
    let database = database().await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let event = Event::create("uploads", "in/key", DAY_NS, 10);
    writer.put(std::slice::from_ref(&event)).await;
    database.execute("UPDATE millstream.bucket_count SET objects = 77").await;

    // Reading goes on, adding waits.
    let mut holder = database.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE millstream.bucket_count IN SHARE MODE").execute(&mut holder).await.unwrap();
    let repair = async || {
        Recount::new(Mode::Repair)
            .bucket(&mut database.connect().await.into(), "default", "uploads")
            .await
            .unwrap()
            .len()
    };
    let release = async {
        waiting(&database, 2).await;
        sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    };
    let (one, other, ()) = tokio::join!(repair(), repair(), release);
    assert_eq!(one + other, 1, "the second one finds nothing left");
    compare(&database, &Model::of([&event])).await;
}
