//! Decisions of the pace are explained, and can be replayed.

use millstream_tests::{Generator, Model, Setup, compare, database, until};
use serde_json::Value;

use super::{WITHIN, controller, decisions, post};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_is_answered_explained_and_can_be_replayed() {
    let database = database().await;
    let setup = Setup::new(&database)
        .set("controller.record=controller.jsonl")
        .allow("braked")
        .allow("database away")
        .allow("stalled");
    let running = setup.start().await;
    let events = Generator::new("pace").events(3_000);
    post(&running, &events[..1_000]).await;
    running.caught_up(WITHIN).await;

    let mut holder = database.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE millstream.objects IN EXCLUSIVE MODE").execute(&mut holder).await.unwrap();
    post(&running, &events[1_000..]).await;
    let shut = until("nothing new to be begun", WITHIN, || async {
        decisions(&running).await.into_iter().find(|one| one["reason"] == "stall" && one["to"] == 0)
    })
    .await;
    assert_eq!(shut["knob"], "concurrency", "{shut}");
    assert!(shut["at"].as_str().is_some_and(|at| at.ends_with('Z')) && shut["figures"].is_object(), "{shut}");
    let now = controller(&running).await;
    assert_eq!((&now["limited_by"], now["concurrency"].as_u64()), (&Value::from("braked"), Some(0)), "{now}");
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    running.caught_up(WITHIN).await;
    compare(&database, &Model::of(&events)).await;

    let all = decisions(&running).await;
    assert!(all.iter().any(|one| one["reason"] == "stall" && one["from"] == 0), "it goes on: {all:?}");
    let numbers: Vec<u64> = all.iter().map(|one| one["number"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|later, earlier| later > earlier), "the latest first: {numbers:?}");
    let limited = running.get("/v1/decisions?limit=1").await.json();
    assert_eq!(limited["items"].as_array().map(Vec::len), Some(1), "{limited}");
    assert_eq!(running.get("/v1/decisions?limit=0").await.status, 400);
    assert!(running.log().contains("the pace is changed knob=\"concurrency\""), "{}", running.log());

    let metrics = running.get("/metrics").await.text();
    let counted = "millstream_controller_decisions_total{knob=\"concurrency\",reason=\"stall\"}";
    for name in ["millstream_controller_concurrency ", "millstream_controller_records ", counted] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
    let address = running.address().to_string();
    let data = setup.data_dir().to_str().unwrap();
    let shown = crate::config::millstream(setup.scratch(), &[], &["status", "--listen", &address, "--data-dir", data]);
    assert!(shown.out.contains("transactions at a time (may be") && shown.out.contains(", stall"), "{shown:#?}");
    running.finish().await;

    let replay = ["tune", "--replay", "controller.jsonl", "--json"];
    let replayed = crate::config::millstream(setup.scratch(), &[], &replay);
    assert_eq!(replayed.code, 0, "the same controller decides the same: {replayed:#?}");
    let replayed = replayed.json();
    assert_eq!(
        (&replayed["differ"], replayed["decisions"].as_array().map(Vec::len)),
        (&Value::from(0), Some(all.len()))
    );
}
