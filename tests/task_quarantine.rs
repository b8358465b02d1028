//! R46: bad events never hold routes up. What a source may keep of them is bounded, and the oldest make room.

use hyper::Method;
use millstream_tests::{Database, database, until};

use crate::serving::FOREIGN;
use crate::serving::event::Task;
use crate::serving::requests::{WITHIN, is_state, taken};
use crate::serving::setup;

/// Rows that a source may keep.
const ROWS_MAX: usize = 200;
const POSTS: usize = 10;
const EVENTS: usize = 100;

/// An event of a cluster that the source may not speak of.
fn bad(number: usize) -> String {
    let task = Task { cluster: FOREIGN, ..Task::running(&format!("bad{number:04}"), "127.66.9.9") };
    format!("{}\n", task.bridge())
}

/// The numbers of the bad events that are kept.
async fn kept(database: &Database) -> Vec<usize> {
    let payloads = sqlx::query_scalar("SELECT convert_from(payload, 'UTF8') FROM millstream.quarantine");
    let payloads: Vec<String> = payloads.fetch_all(&mut database.connect().await).await.unwrap();
    let number = |payload: &String| payload.split_once("/bad").unwrap().1[..4].parse().unwrap();
    let mut numbers: Vec<usize> = payloads.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_its_bound_the_quarantine_of_tasks_drops_its_oldest_rows_and_nothing_waits() {
    let database = database().await;
    // One partition per entity would spread the posts; one alone keeps their order.
    let setup = setup(&database).set("stream.partitions=1").set(&format!("limits.quarantine_rows_max={ROWS_MAX}"));
    let millstream = setup.allow("quarantine").allow("bad events").start().await;
    for post in 0..POSTS {
        let events: String = (post * EVENTS..(post + 1) * EVENTS).map(bad).collect();
        let answer = millstream.send(Method::POST, "/v1/events?store=ecs", &[], events).await.unwrap();
        assert_eq!(answer.status, 202, "no post is refused, however full it is: {}", answer.text());
        taken(&millstream, "ecs", Task::running(&format!("good{post}"), &format!("127.66.9.{}", post + 1)).bridge())
            .await;
    }
    for post in 0..POSTS {
        is_state(&millstream, &format!("good{post}"), "no_deploy").await;
    }
    let all = (POSTS * EVENTS) as u64;
    let pipeline = until("all bad events to be counted", WITHIN, || async {
        let status = millstream.get("/v1/status").await.json();
        status["pipelines"].as_array().unwrap().iter().find(|one| one["quarantined"] == all).cloned()
    })
    .await;
    let kept = kept(&database).await;
    assert!(!kept.is_empty() && kept.len() <= ROWS_MAX, "{}", kept.len());
    let newest: Vec<usize> = (POSTS * EVENTS - kept.len()..POSTS * EVENTS).collect();
    assert_eq!(kept, newest, "the newest are kept");
    assert_eq!(pipeline["quarantine_dropped"], (POSTS * EVENTS - kept.len()) as u64, "each is counted: {pipeline}");
    assert_eq!(pipeline["paused_stores"].as_array().map(Vec::len), Some(0), "{pipeline}");
    millstream.finish().await;
}
