//! What a paused store sent is written once it is resumed: whole, once, and also when the process dies meanwhile.

use std::collections::BTreeMap;

use hyper::Method;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Database, Event, Millstream, Model, compare, database, stream, until};
use serde_json::Value;

use super::{WITHIN, bad, conserves, counted, good, paused, rows_of, setup, taken, until_paused};

/// What was kept and is bad stays in quarantine under a reason of its own when a person has it written: that is said,
/// and no success. Of what is left after that the count is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_says_what_is_in_quarantine_again() {
    let database = database().await;
    // One partition, so that the bad ones come first.
    let setup =
        ["stream.partitions=1", "limits.quarantine_window_records=10000", "pipeline.objects.batch_records_max=50"];
    let setup = setup.iter().fold(super::setup(&database), |setup, setting| setup.set(setting));
    let millstream = setup.start().await;
    let flood = bad("a", 400);
    let mine = good("a", 0..10);
    let theirs = good("b", 0..20);
    taken(&millstream, &theirs).await;
    taken(&millstream, &[&flood[..], &mine[..]].concat()).await;
    until_paused(&millstream, "a").await;
    millstream.caught_up(WITHIN).await;
    let aside = async |what: &str| {
        database.number(&format!("SELECT {what} FROM millstream.quarantine WHERE reason = 'share_paused'")).await
    };
    let redrive = |id: i64, more: &[&str]| {
        crate::commands::command(&database, &setup, &[&["quarantine", "redrive", &*id.to_string()][..], more].concat())
    };
    let count = aside("count(*)").await;
    let bad = aside("min(id)").await;
    assert!(count > 20, "{count} kept");

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
    assert_eq!(super::kept(&database).await, BTreeMap::from([(("a".to_owned(), "bad_size".to_owned()), 400)]));
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

/// What was kept is written although the process dies in the middle, in transactions of bounded size.
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
    until_paused(&millstream, "a").await;
    millstream.caught_up(WITHIN).await;
    let left = "SELECT count(*) FROM millstream.quarantine WHERE reason = 'share_paused'";
    let before = database.number(left).await;
    assert!(before > 5_000, "{before} kept");
    conserves(&millstream, &database).await;

    let answer = millstream.send(Method::POST, "/v1/pipelines/objects/resume?store=a", &[], "").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.json()["was_paused"].as_bool()), (200, Some(true)), "{}", answer.text());
    until("some to be written", WITHIN, || async { (database.number(left).await < before).then_some(()) }).await;
    millstream.kill();
    let middle = database.number(left).await;
    counted(&database).await;
    println!("{before} records were kept, {middle} when the process was killed");
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

/// A batch that was decoded before its store was resumed is decoded again: no record is kept after the redrive has
/// begun to look for them.
#[tokio::test]
async fn a_batch_that_keeps_what_was_resumed_is_not_written() {
    use millstream_connectors::sinks::tables::shares;
    use millstream_engine::{Batch, Partition, Position, RecordBatch, Share, Sink as _, SinkError, intake::Intake};

    let database = database().await;
    let mut sink = stream::metadata(stream::options("objects", "test-stream", database.options()));
    let zero = Partition::new("0");
    let aside = Share::new("default");
    sink.acquire(std::slice::from_ref(&zero)).await.unwrap();
    sink.pause_share(&aside, "by the test").await.unwrap();
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
