//! What the operator allows is kept to.

use std::cell::Cell;
use std::time::Duration;

use hyper::Method;
use millstream_tests::{Generator, Model, Setup, compare, database, until};
use serde_json::Value;
use sqlx::Connection as _;
use tokio::time::Instant;

use super::{WITHIN, controller, decisions, post, writing};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_rows_are_written_than_the_cap() {
    const CAP: u64 = 400;
    let database = database().await;
    let setup = Setup::new(&database).set(&format!("pipeline.objects.rows_per_second_max={CAP}"));
    let running = setup.start().await;
    let events = Generator::new("cap").events(2_000);
    let began = Instant::now();
    post(&running, &events).await;
    until("the cap to be told", WITHIN, || async {
        (controller(&running).await["limited_by"] == "capped").then_some(())
    })
    .await;
    running.caught_up(WITHIN).await;
    // What may be written at once, a quarter of a second's worth, was written at the beginning.
    let least = Duration::from_secs_f64(events.len() as f64 / CAP as f64 - 0.25);
    assert!(began.elapsed() >= least, "{:?} for {} events", began.elapsed(), events.len());
    compare(&database, &Model::of(&events)).await;
    running.finish().await;
}

/// Records that the tables are past.
const RECORDS: &str = "SELECT coalesce(sum(next_position::bigint), 0) FROM millstream.lease";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_frozen_stays_and_no_more_write_at_a_time_than_may() {
    let database = database().await;
    // More lanes than turns; small batches, so that all lanes are in use for a while.
    let setup = Setup::new(&database)
        .set("pipeline.objects.freeze=true")
        .set("pipeline.objects.batch_records_max=20")
        .set("pipeline.objects.concurrency.max=6");
    let running = setup.start().await;
    let before = controller(&running).await;
    assert_eq!(before["limited_by"], "frozen", "{before}");
    let mut generator = Generator::new("frozen");
    let mut events = Vec::new();
    let mut connection = database.connect().await;
    let mut most = 0;
    let posted = Cell::new(0);
    let fed = Cell::new(false);
    let spread = || running.lines().iter().any(|line| line.contains("partitions are spread over other lanes"));
    let watching = async {
        while !fed.get() || database.number(RECORDS).await < posted.get() {
            most = most.max(writing(&mut connection).await);
        }
    };
    // There is a backlog until it has lasted for long enough that all lanes are used, however fast the machine is.
    let feeding = async {
        while !spread() && events.len() < 400_000 {
            let more = generator.events(8_000);
            post(&running, &more).await;
            events.extend(more);
            posted.set(events.len() as i64);
            let low = posted.get() - 4_000;
            until("more to be needed", WITHIN, || async {
                (spread() || database.number(RECORDS).await > low).then_some(())
            })
            .await;
        }
        fed.set(true);
    };
    let both = async { tokio::join!(feeding, watching) };
    tokio::time::timeout(WITHIN, both).await.unwrap();
    running.caught_up(WITHIN).await;
    connection.close().await.unwrap();
    let after = controller(&running).await;
    let turns = after["concurrency"].as_i64().unwrap();
    assert!((1..=turns).contains(&most), "{most} wrote at a time, {turns} may");
    assert!(turns < 6, "there are more lanes than turns: {after}");
    for held in ["concurrency", "concurrency_max", "limited_by"] {
        assert_eq!(before[held], after[held], "{held}");
    }
    assert_eq!(decisions(&running).await, Vec::<Value>::new());
    assert!(spread(), "all lanes were in use:\n{}", running.log());
    compare(&database, &Model::of(&events)).await;
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_holds_and_bounds_the_pace_while_it_runs() {
    const RECORDS_MAX: usize = 5;
    let database = database().await;
    let setup = Setup::new(&database).set("pipeline.objects.concurrency.max=6");
    let running = setup.start().await;
    let address = running.address().to_string();
    let data = setup.data_dir().to_str().unwrap();
    let pace = |options: &[&str]| {
        let command = [&["pace", "--listen", &address, "--data-dir", data], options].concat();
        crate::config::millstream(setup.scratch(), &[], &command)
    };
    let events = Generator::new("bounded").events(4_000);
    let before = pace(&["--json"]).json();
    assert_eq!((&before["frozen"], &before["configured"]), (&Value::from(false), &Value::Null), "{before}");

    let said = pace(&["--freeze", "--concurrency-max", "1", "--records-max", &RECORDS_MAX.to_string()]);
    for part in [
        "held where it is by the operator. 1 transactions at a time (may be 1 to 1)",
        "configured are 1 to 6",
        "until the process ends",
    ] {
        assert!(said.code == 0 && said.out.contains(part), "{part}: {said:#?}");
    }
    let now = controller(&running).await;
    assert_eq!(now, running.get("/v1/controller").await.json());
    assert_eq!(now["configured"]["records_max"], before["records_max"], "{now}");
    let changed = decisions(&running).await;
    let limits = ["concurrency", "records"]
        .map(|knob| changed.iter().any(|one| one["knob"] == knob && one["reason"] == "limit"));
    assert_eq!(limits, [true, true], "{changed:?}");

    post(&running, &events[..2_000]).await;
    running.caught_up(WITHIN).await;
    let transactions =
        async || running.get("/v1/status").await.json()["pipelines"][0]["transactions"].as_u64().unwrap();
    let small = transactions().await;
    assert!(small >= 2_000 / RECORDS_MAX as u64, "{small} transactions of at most {RECORDS_MAX} records");

    for (options, reason) in [
        (["--concurrency-max", "7"], "from 1 to 6, the lanes of all pipelines"),
        (["--records-max", "0"], "from 1 to 10000"),
        (["--concurrency-min", "2"], "from 1 to 1, which is concurrency_max; 2 is not"),
    ] {
        let refused = pace(&options);
        assert!(refused.code == 1 && refused.err.contains(reason), "{options:?}: {refused:#?}");
    }
    for (patch, status) in [("[true]", 400), (r#"{"freeze":true}"#, 400), (r#"{"frozen":1}"#, 400)] {
        let json = [("content-type", "application/json")];
        let refused = running.send(Method::PATCH, "/v1/controller", &json, patch).await.unwrap();
        assert_eq!(refused.status, status, "{patch}: {}", refused.text());
    }
    let after = controller(&running).await;
    for held in ["frozen", "concurrency_min", "concurrency_max", "records_max"] {
        assert_eq!(now[held], after[held], "{held}: what is refused changes nothing");
    }

    let back = pace(&["--configured", "--json"]).json();
    for configured in ["frozen", "concurrency_min", "concurrency_max", "records_max", "configured"] {
        assert_eq!(before[configured], back[configured], "{configured}");
    }
    post(&running, &events[2_000..]).await;
    running.caught_up(WITHIN).await;
    let large = transactions().await - small;
    assert!(large < small, "{large} transactions without a bound, {small} with it");
    compare(&database, &Model::of(&events)).await;
    running.finish().await;
}
