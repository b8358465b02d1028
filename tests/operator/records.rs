//! Records that were lost, and records that are bad.

use millstream_tests::{Setup, database, until};

use super::{WITHIN, agree, command, is_over, pasted};
use crate::poison::poison;
use crate::restored::{events, go_back};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_records_were_lost() {
    let database = database().await;
    let setup = Setup::new(&database).set("stream.partitions=2").allow("");
    go_back(&setup, &events(0, 40), &events(100, 40)).await;
    let running = setup.start().await;
    let next = "millstream positions reset --pipeline objects --to earliest --data-dir ";
    until("both partitions are halted", WITHIN, || async {
        let halted = running.get("/v1/status").await.json()["pipelines"][0]["halted"].as_object().unwrap().len();
        (halted == 2).then_some(())
    })
    .await;
    agree(&setup, &running, "halted", "nothing of it is written until you decide", next).await;
    // What it says next is what mends it, as it is printed.
    let status = running.get("/v1/status").await.json();
    let told = pasted(status["next"].as_str().unwrap());
    assert!(told.status.success(), "{told:#?}");
    is_over(&setup, &running, "halted").await;
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_too_many_events_are_bad() {
    let database = database().await;
    let setup = ["stream.partitions=1", "limits.quarantine_window_events=10000"];
    let setup = setup.iter().fold(Setup::new(&database), |setup, setting| setup.set(setting)).allow("");
    let running = setup.start().await;
    // Of a store that is named, so that there are others, or will be.
    let json = [("content-type", "application/x-ndjson")];
    let posted = running.send(hyper::Method::POST, "/v1/events?store=a", &json, poison(500)).await.unwrap();
    assert_eq!(posted.status, 202, "{}", posted.text());
    agree(
        &setup,
        &running,
        "flooding",
        "millstream resume objects --store a",
        "millstream quarantine ls --store a --data-dir ",
    )
    .await;
    let status = running.get("/v1/status").await.json();
    let told = pasted(status["next"].as_str().unwrap());
    assert!(told.status.success() && String::from_utf8_lossy(&told.stdout).contains("bad_time"), "{told:#?}");
    assert_eq!(command(&setup, &["resume", "objects", "--store", "a"]).code, 0);
    is_over(&setup, &running, "flooding").await;
    running.finish().await;
}
