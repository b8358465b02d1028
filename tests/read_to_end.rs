//! R47: how old routes may be is shown by every process, whoever it is that does not read on; what nobody will ever read
//! again holds nothing up.

use std::time::Duration;

use millstream_tests::{Database, Millstream, database, until};
use serde_json::Value;

use crate::serving::requests::{WITHIN, command};
use crate::serving::setup;

/// The row of a partition of another pipeline, read to its end and last had by somebody so long ago.
async fn left_behind(database: &Database, pipeline: &str, incarnation: &str, read: &str, seen: &str) {
    let row = format!(
        "INSERT INTO millstream.route_state (pipeline, incarnation, partition, read_to_end_at, seen_at)
         SELECT '{pipeline}', {incarnation}, '7', clock_timestamp() - interval '{read}', clock_timestamp() - interval '{seen}'
         FROM millstream.route_state LIMIT 1"
    );
    database.execute(&row).await;
}

async fn status(millstream: &Millstream, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    until(what, WITHIN, || async {
        let status = millstream.get("/v1/status").await.json();
        is(&status).then_some(status)
    })
    .await
}

async fn stamped(database: &Database) {
    until("a stamp", WITHIN, || async {
        (database.number("SELECT count(*) FROM millstream.route_state").await > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_sees_how_old_routes_may_be() {
    let database = database().await;
    let setup = setup(&database).allow("stalled");
    let millstream = setup.start().await;
    stamped(&database).await;
    let young = status(&millstream, "a young age", |status| status["routes"]["unread_age_seconds"].is_f64()).await;
    assert!(young["routes"]["unread_age_seconds"].as_f64().unwrap() < 5.0, "{young}");
    assert_ne!(young["routes"]["state"], "stalled", "{young}");

    // Another process has a partition that it does not read to its end.
    left_behind(&database, "others", "'another'", "60 s", "1 s").await;
    let old = status(&millstream, "the whole to be stalled", |status| status["state"] == "stalled").await;
    assert_eq!((&old["routes"]["state"], &old["routes"]["unread"]), (&"stalled".into(), &"others/7".into()), "{old}");
    assert!(old["routes"]["unread_age_seconds"].as_f64().unwrap() >= 60.0, "{old}");
    assert!(old["reason"].as_str().unwrap().contains("others/7 of the stream of tasks"), "{old}");
    assert!(old["pipelines"].as_array().unwrap().iter().all(|one| one["state"] == "keeping_up"), "{old}");
    let metrics = millstream.get("/metrics").await.text();
    let gauge = |name: &str| {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(&[name, " "].concat()) || line.starts_with(&[name, "{"].concat()));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    assert!(gauge("millstream_routes_unread_age_seconds").is_some_and(|age| age >= 60.0), "{metrics}");
    assert_eq!(gauge("millstream_routes_stalled"), Some(1.0), "{metrics}");
    let told = command(&setup, &millstream, &["status"]);
    assert_eq!(told.code, 1, "it is not well: {told:#?}");
    assert!(told.out.contains("routes: stalled") && told.out.contains("others/7 read to its end"), "{told:#?}");

    database.execute("UPDATE millstream.route_state SET read_to_end_at = clock_timestamp() + interval '1 h'").await;
    status(&millstream, "it to be over", |status| status["state"] != "stalled").await;
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelines_that_were_renamed_or_removed_are_not_waited_for() {
    let database = database().await;
    let millstream = setup(&database).start().await;
    stamped(&database).await;
    left_behind(&database, "renamed", "incarnation", "1 day", "1 min").await;
    left_behind(&database, "removed", "'another'", "1 day", "61 min").await;
    left_behind(&database, "elsewhere", "'another'", "1 s", "1 min").await;
    let names = "SELECT count(*) FROM millstream.route_state WHERE pipeline IN ('renamed', 'removed')";
    until("both to be forgotten", Duration::from_secs(30), || async {
        (database.number(names).await == 0).then_some(())
    })
    .await;
    let kept = "SELECT count(*) FROM millstream.route_state WHERE pipeline = 'elsewhere'";
    assert_eq!(database.number(kept).await, 1, "it was there a minute ago, and another stream is nobody's rename");
    database.execute("DELETE FROM millstream.route_state WHERE pipeline = 'elsewhere'").await;
    millstream.finish().await;
}
