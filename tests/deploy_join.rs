//! R21 to R23, R50: to which revision a task belongs, whatever was told first, through the stream and the tables: gateways
//! and analysts see the same.

use hyper::Method;
use millstream_tests::{Database, Millstream, database, until};
use serde_json::{Value, json};

use crate::serving::event::{CLUSTER, Task};
use crate::serving::requests::{WITHIN, change, create, replace, taken};
use crate::serving::{setup, sources};

/// A task as a plain event, with more members.
fn plain(id: &str, address: u8, more: Value) -> Value {
    let mut event = Task::running(id, &format!("127.66.9.{address}")).plain();
    event["data"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

/// A deploy as an event.
fn deployed(service: &str, revision: &str, generation: i64, more: Value) -> Value {
    let mut event = json!({
        "specversion": "1.0", "id": format!("{service}-{revision}-{generation}"), "source": "/test",
        "type": "millstream.deploy.v1", "time": "2026-01-01T00:00:11Z",
        "data": { "service": service, "revision": revision, "generation": generation, "port": 8066 },
    });
    event["data"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

/// Waits until a task belongs to a revision, or to none; the others that match, the best first.
async fn belongs(millstream: &Millstream, database: &Database, id: &str, wanted: Option<&str>) -> Vec<String> {
    let place = |item: &Value| Some(format!("{}/{}", item["service"].as_str()?, item["revision"].as_str()?));
    let found = until(&format!("{id} to belong to {wanted:?}"), WITHIN, || async {
        let list = millstream.get(&format!("/v1/tasks?id={id}")).await.json();
        let item = list["items"].as_array().unwrap().iter().find(|item| item["id"] == id).cloned()?;
        (place(&item).as_deref() == wanted).then_some(item)
    })
    .await;
    let row = format!("SELECT service || '/' || revision, standing FROM analytics.tasks WHERE id = '{id}'");
    let row: (Option<String>, String) =
        sqlx::query_as(sqlx::AssertSqlSafe(row)).fetch_one(&mut database.connect().await).await.unwrap();
    assert_eq!(
        (row.0.as_deref(), &*row.1),
        (wanted, found["state"].as_str().unwrap()),
        "analysts see the same of {id}"
    );
    found["also_matched"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

async fn set(millstream: &Millstream, name: &str, selector: Value) {
    create(millstream, &format!("/v1/deploys/{name}"), json!({ "selector": selector, "port": 8066 })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_most_specific_selector_wins_then_the_largest_generation_and_revision() {
    let database = database().await;
    let millstream = setup(&database).start().await;
    // The task is first, and waits.
    taken(&millstream, "ecs", Task::running("t", "127.66.9.1").bridge()).await;
    belongs(&millstream, &database, "t", None).await;
    set(&millstream, "all/v1", json!({})).await;
    assert!(belongs(&millstream, &database, "t", Some("all/v1")).await.is_empty());
    let definition = json!({ "definition": "digits-blue:1" });
    set(&millstream, "digits/v1", definition.clone()).await;
    assert_eq!(belongs(&millstream, &database, "t", Some("digits/v1")).await, ["all/v1"]);
    set(&millstream, "digits/v2", definition.clone()).await;
    let lost = belongs(&millstream, &database, "t", Some("digits/v2")).await;
    assert_eq!(lost, ["digits/v1", "all/v1"], "of equal generations the larger revision");
    replace(&millstream, "/v1/deploys/digits/v1", 1, json!({ "selector": definition, "port": 8066 })).await;
    let lost = belongs(&millstream, &database, "t", Some("digits/v1")).await;
    assert_eq!(lost, ["digits/v2", "all/v1"], "the larger generation");
    set(&millstream, "exact/v1", json!({ "definition": "digits-blue:1", "source": "ecs", "cluster": CLUSTER })).await;
    belongs(&millstream, &database, "t", Some("exact/v1")).await;
    set(&millstream, "other/v9", json!({ "definition": "digits-blue:2", "source": "ecs", "group": "service:digits" }))
        .await;

    // Each that retires leaves the task to the next one.
    for (retired, generation, next) in [
        ("exact/v1", 1, Some("digits/v1")),
        ("digits/v1", 2, Some("digits/v2")),
        ("digits/v2", 1, Some("all/v1")),
        ("all/v1", 1, None),
    ] {
        let path = format!("/v1/deploys/{retired}");
        let gone = change(&millstream, Method::DELETE, &path, ("if-match", &format!("\"{generation}\"")), "").await;
        assert_eq!(gone.status, 200, "{}", gone.text());
        belongs(&millstream, &database, "t", next).await;
    }
    replace(&millstream, "/v1/deploys/digits/v2", 2, json!({ "selector": { "group": "service:digits" }, "port": 1 }))
        .await;
    belongs(&millstream, &database, "t", Some("digits/v2")).await;
    millstream.finish().await;
}

/// By event the largest generation wins, in any order; the API goes on from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploys_by_event_and_by_request_are_one_history() {
    let database = database().await;
    let may = sources(&["ecs"], &[CLUSTER]).replace("kind=", "may=[\"task\", \"deploy\"], kind=");
    let millstream = millstream_tests::Setup::new(&database).set(&may).start().await;
    let blue = json!({ "selector": { "definition": "digits-blue:1" } });
    let green = json!({ "selector": { "definition": "digits-green:1" } });
    for (generation, selector) in [(5, &blue), (9, &green), (7, &blue), (9, &green)] {
        taken(&millstream, "ecs", deployed("digits", "v1", generation, selector.clone())).await;
    }
    taken(&millstream, "ecs", Task::running("t", "127.66.9.2").bridge()).await;
    belongs(&millstream, &database, "t", None).await;
    let stored = database.number("SELECT generation FROM millstream.deploy").await;
    assert_eq!(stored, 9, "the largest, not the last");
    replace(&millstream, "/v1/deploys/digits/v1", 9, blue.clone()).await;
    belongs(&millstream, &database, "t", Some("digits/v1")).await;
    taken(&millstream, "ecs", deployed("digits", "v1", 10, json!({ "selector": null }))).await;
    taken(&millstream, "ecs", deployed("digits", "v1", 11, green)).await;
    belongs(&millstream, &database, "t", None).await;
    millstream.finish().await;
}

/// Pods by the labels of a selector, by their own labels, and not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_decide_for_pods() {
    let database = database().await;
    let millstream = setup(&database).start().await;
    let labels = json!({ "app": "digits", "version": "v7", "tier": "front" });
    let pod =
        |more: Value| json!({ "definition": null, "namespace": "ml", "labels": more, "ready": true, "ports": [80] });
    taken(&millstream, "ecs", plain("pod", 3, pod(labels))).await;
    taken(&millstream, "ecs", plain("bare", 4, pod(json!({ "app": "digits" })))).await;
    belongs(&millstream, &database, "pod", Some("ml.digits/v7")).await;
    belongs(&millstream, &database, "bare", None).await;
    set(&millstream, "front/v1", json!({ "namespace": "ml", "labels": { "tier": "front" } })).await;
    set(&millstream, "wide/v1", json!({ "namespace": "ml" })).await;
    // The later of the two deploys is known with this.
    belongs(&millstream, &database, "bare", Some("wide/v1")).await;
    assert_eq!(belongs(&millstream, &database, "pod", Some("front/v1")).await, ["wide/v1"], "each label counts");
    set(&millstream, "both/v1", json!({ "labels": { "tier": "front", "app": "digits", "version": "v7" } })).await;
    assert_eq!(belongs(&millstream, &database, "pod", Some("both/v1")).await, ["front/v1", "wide/v1"]);
    set(&millstream, "none/v1", json!({ "labels": { "tier": "front", "app": "digits", "version": "v8" } })).await;
    assert_eq!(belongs(&millstream, &database, "pod", Some("both/v1")).await.len(), 2);
    millstream.finish().await;
}
