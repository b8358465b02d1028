//! Routes over HTTP: a change says what it replaces, is made as a whole or not at all, and a refusal says what to do.

use hyper::Method;
use millstream_tests::{Database, Millstream, Response, database};
use serde_json::{Value, json};

use crate::commands::contents;
use crate::serving::requests::{change, create, is_refused};
use crate::serving::{setup, to};

const PROD: &str = "/v1/routes/digits/prod";
const BLUE: &str = "/v1/deploys/digits/blue";

async fn put(millstream: &Millstream, path: &str, condition: (&str, &str), body: Value) -> Response {
    change(millstream, Method::PUT, path, condition, body).await
}

/// Every row, but for what each process stamps once a second.
async fn stored(database: &Database) -> Vec<(String, String)> {
    let mut tables = contents(database).await;
    tables.retain(|(table, _)| !table.ends_with("route_state"));
    tables
}

/// Two revisions, of which nothing else is known.
async fn deployed(millstream: &Millstream) {
    for revision in ["blue", "green"] {
        let deploy = json!({ "selector": { "definition": format!("digits-{revision}:1") }, "port": 8066 });
        create(millstream, &format!("/v1/deploys/digits/{revision}"), deploy).await;
    }
}

/// R30: whoever does not know what is there replaces nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_names_the_generation_that_it_replaces() {
    let database = database().await;
    let millstream = setup(&database).start().await;
    deployed(&millstream).await;
    let none = ("accept", "*/*");
    is_refused(&put(&millstream, PROD, none, to("blue")).await, 428, "no-precondition");
    is_refused(&put(&millstream, BLUE, none, json!({})).await, 428, "no-precondition");
    for (method, path) in [(Method::DELETE, PROD), (Method::DELETE, BLUE), (Method::POST, &format!("{PROD}/rollback"))]
    {
        is_refused(&change(&millstream, method, path, none, "").await, 428, "no-precondition");
    }
    // There is nothing yet that could have a generation.
    let current = is_refused(&put(&millstream, PROD, ("if-match", "\"1\""), to("blue")).await, 412, "conflict");
    assert_eq!(current["current"], Value::Null, "{current}");

    let made = put(&millstream, PROD, ("if-none-match", "*"), to("blue")).await;
    assert_eq!((made.status.as_u16(), made.header("etag")), (201, Some("\"1\"")), "{}", made.text());
    assert_eq!(millstream.get(PROD).await.header("etag"), Some("\"1\""));
    let twice = is_refused(&put(&millstream, PROD, ("if-none-match", "*"), to("green")).await, 412, "conflict");
    assert_eq!((&twice["current"]["generation"], &twice["current"]["targets"]), (&json!(1), &to("blue")["targets"]));

    let next = put(&millstream, PROD, ("if-match", "\"1\""), to("green")).await;
    assert_eq!((next.status.as_u16(), next.header("etag")), (200, Some("\"2\"")), "{}", next.text());
    let old = is_refused(&put(&millstream, PROD, ("if-match", "\"1\""), to("blue")).await, 412, "conflict");
    assert_eq!(old["current"]["generation"], 2, "{old}");
    assert_eq!(old["current"]["targets"], to("green")["targets"], "{old}");
    for (method, path) in [(Method::DELETE, PROD), (Method::POST, &format!("{PROD}/rollback"))] {
        is_refused(&change(&millstream, method, path, ("if-match", "\"1\""), "").await, 412, "conflict");
    }
    let answer = put(&millstream, PROD, ("if-match", "W/\"x\""), to("blue")).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let now = millstream.get(PROD).await.json();
    assert_eq!((&now["generation"], &now["targets"]), (&json!(2), &to("green")["targets"]), "{now}");
    crate::tables::tasks::log_holds(&database).await;
    millstream.finish().await;
}

/// What could serve no request is not set; a refusal changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_served_is_refused() {
    let database = database().await;
    let millstream = setup(&database).start().await;
    deployed(&millstream).await;
    create(&millstream, PROD, to("blue")).await;
    let before = stored(&database).await;
    let weights = |pairs: &[(&str, i64)]| {
        let target = |(revision, weight): &(&str, i64)| json!({ "revision": revision, "weight": weight });
        json!({ "targets": pairs.iter().map(target).collect::<Vec<_>>() })
    };
    let mut pending = to("purple");
    for (body, status) in [
        (pending.clone(), 422),
        (weights(&[("blue", 0), ("green", 0)]), 422),
        (weights(&[("blue", 1_001)]), 422),
        (weights(&[("blue", 1), ("blue", 1)]), 422),
        (json!({ "targets": [], "any": false }), 422),
        (json!({ "targets": to("blue")["targets"], "any": true }), 422),
        (weights(&[("no name", 1)]), 422),
        (weights(&[("blue", -1)]), 400),
        (json!({ "targets": to("blue")["targets"], "typo": 1 }), 400),
        (json!({ "targets": to("blue")["targets"], "sticky": "no header" }), 422),
        (json!({ "targets": to("blue")["targets"], "change_id": "x".repeat(201) }), 422),
        (json!("text"), 400),
    ] {
        let answer = put(&millstream, PROD, ("if-match", "\"1\""), body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{body}");
    }
    let unknown = is_refused(&put(&millstream, PROD, ("if-match", "\"1\""), pending.clone()).await, 422, "bad-route");
    assert!(unknown["detail"].as_str().unwrap().contains("purple"), "{unknown}");
    for path in ["/v1/routes/dig%20its/prod", "/v1/routes/digits/pr%2Fod", "/v1/deploys/digits/b%00"] {
        assert_eq!(put(&millstream, path, ("if-none-match", "*"), to("blue")).await.status, 400, "{path}");
    }
    assert_eq!(stored(&database).await, before, "a refusal changes nothing");

    pending["allow_pending"] = true.into();
    assert_eq!(put(&millstream, PROD, ("if-match", "\"1\""), pending).await.status, 200);
    let any = put(&millstream, PROD, ("if-match", "\"2\""), json!({ "any": true })).await;
    assert_eq!((any.status.as_u16(), &any.json()["targets"]), (200, &json!([])), "{}", any.text());
    crate::tables::tasks::log_holds(&database).await;
    millstream.finish().await;
}

/// A dry run says what would be, and nothing is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_changes_nothing() {
    let database = database().await;
    let millstream = setup(&database).start().await;
    deployed(&millstream).await;
    create(&millstream, PROD, to("blue")).await;
    assert_eq!(put(&millstream, PROD, ("if-match", "\"1\""), to("green")).await.status, 200);
    let before = stored(&database).await;
    let dry = |path: &str| format!("{path}?dry_run=true");
    for (method, path, condition, body, generation) in [
        (Method::PUT, dry(PROD), ("if-match", "\"2\""), to("blue"), 3),
        (Method::DELETE, dry(PROD), ("if-match", "\"2\""), Value::Null, 3),
        (Method::POST, dry(&format!("{PROD}/rollback")), ("if-match", "\"2\""), Value::Null, 3),
        (Method::PUT, dry("/v1/routes/digits/test"), ("if-none-match", "*"), to("blue"), 1),
        (Method::PUT, dry(BLUE), ("if-match", "\"1\""), json!({ "port": 1 }), 2),
        (Method::DELETE, dry(BLUE), ("if-match", "\"1\""), Value::Null, 2),
    ] {
        let answer = change(&millstream, method.clone(), &path, condition, body).await;
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.text());
        let said = answer.json();
        assert_eq!((&said["dry_run"], &said["generation"]), (&json!(true), &json!(generation)), "{method} {path}");
    }
    let old = change(&millstream, Method::PUT, &dry(PROD), ("if-match", "\"1\""), to("blue")).await;
    is_refused(&old, 412, "conflict");
    assert_eq!(stored(&database).await, before, "not one row differs");
    millstream.finish().await;
}

/// What is not there is said to be not there, and lists have pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_have_pages_and_what_is_missing_is_not_found() {
    let database = database().await;
    let millstream = setup(&database).start().await;
    for path in [PROD, BLUE] {
        is_refused(&millstream.get(path).await, 404, "not-found");
        is_refused(&change(&millstream, Method::DELETE, path, ("if-match", "*"), "").await, 404, "not-found");
    }
    // Made in another order than they are listed; and as texts with a slash they would be in a third one.
    for service in ["s_3", "s", "s0", "s.2", "s-1"] {
        create(&millstream, &format!("/v1/deploys/{service}/blue"), json!({})).await;
        create(&millstream, &format!("/v1/routes/{service}/prod"), json!({ "any": true })).await;
    }
    for path in ["/v1/deploys", "/v1/routes"] {
        let items = millstream_tests::until("all five", crate::serving::requests::WITHIN, || async {
            let answer = millstream.get(path).await.json();
            (answer["items"].as_array().unwrap().len() == 5).then_some(answer)
        })
        .await;
        assert_eq!(items["next"], Value::Null, "{items}");
        let services: Vec<&str> =
            items["items"].as_array().unwrap().iter().map(|item| item["service"].as_str().unwrap()).collect();
        assert_eq!(services, ["s", "s-1", "s.2", "s0", "s_3"]);
        for limit in 1..5 {
            let mut all = Vec::new();
            let mut after = String::new();
            while all.len() < 5 {
                let page = millstream.get(&format!("{path}?limit={limit}{after}")).await.json();
                all.extend(page["items"].as_array().unwrap().clone());
                let Some(next) = page["next"].as_str() else { break };
                after = format!("&after={}", next.replace('/', "%2F"));
            }
            assert_eq!(&all, items["items"].as_array().unwrap(), "{path}: pages of {limit} are the whole");
        }
        assert!(millstream.get(&format!("{path}?limit=0")).await.status.is_client_error(), "{path}");
    }
    millstream.finish().await;
}
