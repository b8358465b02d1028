//! A store that floods is paused by every process of a group, whichever of them sees the flood.

use hyper::Method;
use millstream_tests::event::lines;
use millstream_tests::generator::DAY_NS;
use millstream_tests::parts::Kafka;
use millstream_tests::{Event, Millstream, Model, compare, until};

use super::fleet::{Fleet, PATIENCE};

fn events(store: &str, range: std::ops::Range<u64>, size: i64) -> Vec<Event> {
    let event = |n| Event { store: store.to_owned(), ..Event::create("uploads", &format!("in/{n}"), DAY_NS + n, size) };
    range.map(event).collect()
}

async fn post(process: &Millstream, events: &[Event]) -> u16 {
    let path = format!("/v1/events?store={}", events[0].store);
    let headers = [("content-type", "application/x-ndjson")];
    process.send(Method::POST, &path, &headers, lines(events)).await.unwrap().status.as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_pauses_a_store_that_one_of_them_sees_flooding() {
    let Some(kafka) = Kafka::shared().await else { return };
    let fleet = Fleet::new(&kafka.topics, kafka.bootstrap(), 4).await;
    let setup = || {
        fleet
            .setup()
            .allow("too many bad events")
            .allow("judge::tell: flooding")
            .set("limits.quarantine_window_records=20000")
    };
    let processes = [setup().start().await, setup().start().await];
    let mine = events("a", 0..20, 1);
    let theirs = events("b", 0..200, 1);
    assert_eq!(post(&processes[0], &theirs[..100]).await, 202);
    // All of one key, so that one process alone reads them.
    let flood = vec![events("a", 1_000..1_001, -1).remove(0); 300];
    assert_eq!(post(&processes[0], &flood).await, 202);
    for process in &processes {
        until("posts of the store to be refused", PATIENCE, || async {
            (post(process, &mine[..1]).await == 429).then_some(())
        })
        .await;
    }
    assert_eq!(post(&processes[1], &theirs[100..]).await, 202);
    until("the others to land", PATIENCE, || async {
        (fleet.database.number("SELECT count(*) FROM millstream.objects WHERE store = 'b'").await == 200).then_some(())
    })
    .await;

    // Resumed at one of them, it is resumed at both.
    let resumed = processes[1].send(Method::POST, "/v1/pipelines/objects/resume?store=a", &[], "").await.unwrap();
    assert_eq!(resumed.status, 200, "{}", resumed.text());
    for process in &processes {
        until("posts of the store to be taken", PATIENCE, || async {
            (post(process, &mine).await == 202).then_some(())
        })
        .await;
    }
    // Some may come to a process that has not heard of it yet: it keeps them, and then they are written, too.
    let left = "SELECT count(*) FROM millstream.quarantine WHERE reason = 'share_paused'";
    let written = "SELECT count(*) FROM millstream.objects WHERE store = 'a'";
    until("what was kept to be written", PATIENCE, || async {
        let numbers = (fleet.database.number(written).await, fleet.database.number(left).await);
        (numbers == (mine.len() as i64, 0)).then_some(())
    })
    .await;
    assert_eq!(fleet.database.number("SELECT count(*) FROM millstream.quarantine WHERE store = 'a'").await, 300);
    compare(&fleet.database, &Model::of(mine.iter().chain(&theirs))).await;
    for process in processes {
        process.finish().await;
    }
}
