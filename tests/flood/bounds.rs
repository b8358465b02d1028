//! How much the quarantine keeps, for how long, and who may resume.

use hyper::Method;
use millstream_tests::{Model, Run, Stream, compare, database, until};

use super::{WITHIN, bad, conserves, counted, good, post, rows_of, setup, taken};

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
