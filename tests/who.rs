//! Who served what, and when: the answer equals a replay of the log, at every boundary.

use hyper::Method;
use millstream_tests::{Database, Millstream, database};
use serde_json::{Value, json};

use crate::serving::requests::{WITHIN, change, create, is_refused, replace, says};
use crate::serving::{setup, to};

const PROD: &str = "/v1/routes/digits/prod";

async fn who(millstream: &Millstream, at: &str) -> Value {
    let answer = millstream.get(&format!("{PROD}/who?at={}", at.replace('+', "%2B").replace(' ', "%20"))).await;
    assert_eq!(answer.status, 200, "{at}: {}", answer.text());
    answer.json()
}

/// What the log says of the alias: each commit's time, with the generation and the targets after it.
async fn replayed(database: &Database) -> Vec<(String, String, i64, bool)> {
    let replay = "SELECT c.at::text, (c.at - interval '1 microsecond')::text, (l.after->>'generation')::bigint, \
                  (l.after->>'deleted')::boolean FROM millstream.route_log AS l \
                  JOIN millstream.route_commit AS c ON c.seq = (SELECT min(seq) FROM millstream.route_commit \
                  WHERE seq >= l.seq) WHERE l.kind = 'alias' ORDER BY l.seq";
    sqlx::query_as(replay).fetch_all(&mut database.connect().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_alias_meant_is_what_the_log_says_at_every_boundary() {
    let database = database().await;
    let millstream = setup(&database).start().await;
    for revision in ["blue", "green"] {
        create(&millstream, &format!("/v1/deploys/digits/{revision}"), json!({})).await;
    }
    create(&millstream, PROD, to("blue")).await;
    for generation in 1..8 {
        replace(&millstream, PROD, generation, to(if generation % 2 == 0 { "blue" } else { "green" })).await;
    }
    change(&millstream, Method::DELETE, PROD, ("if-match", "\"8\""), "").await;
    create(&millstream, PROD, to("green")).await;

    let replayed = replayed(&database).await;
    assert_eq!(replayed.len(), 10);
    let mut before = Value::Null;
    for (at, just_before, generation, deleted) in &replayed {
        assert_eq!(who(&millstream, just_before).await["route"]["generation"], before, "just before {at}");
        let then = who(&millstream, at).await;
        assert_eq!((&then["route"]["generation"], &then["route"]["deleted"]), (&json!(generation), &json!(deleted)));
        before = json!(generation);
    }
    let never = who(&millstream, "2026-01-01T00:00:00Z").await;
    assert_eq!((&never["route"], &never["gateways"]), (&Value::Null, &json!([])), "{never}");
    for at in ["noon-ish", "", "2026-99-99T00:00:00Z"] {
        let answer = millstream.get(&format!("{PROD}/who?at={at}")).await;
        assert!(answer.status.is_client_error(), "{at:?}: {} {}", answer.status, answer.text());
    }
    is_refused(&millstream.get("/v1/routes/digits/pr%20od/who?at=2026-01-01T00:00:00Z").await, 400, "bad-request");
    millstream.finish().await;
}

/// R35, R36: what a gateway holds and what it serves is on record, in the time of the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_gateway_served_is_told_with_what_it_waited_for() {
    let database = database().await;
    let setup = setup(&database).set("gateway.listen=127.0.0.1:0").set("gateway.admin=127.0.0.1:0");
    let setup = setup.set("gateway.id=edge-1");
    let millstream = setup.start().await;
    create(&millstream, "/v1/deploys/digits/blue", json!({ "min_ready": 0, "port": 8066 })).await;
    create(&millstream, "/v1/deploys/digits/green", json!({ "min_ready": 1, "port": 8066 })).await;
    create(&millstream, PROD, to("blue")).await;
    let served = async |generation: i64, state: &str| {
        millstream_tests::until("what the gateway serves", WITHIN, || async {
            let gateways = millstream.get(PROD).await.json()["gateways"].clone();
            let is_there = gateways[0]["generation"] == generation && gateways[0]["state"] == state;
            is_there.then(|| gateways[0].clone())
        })
        .await
    };
    assert_eq!(served(1, "applied").await["gateway"], "edge-1");
    // Nothing runs of green: the gateway holds, and says why.
    replace(&millstream, PROD, 1, to("green")).await;
    let held = served(1, "held").await;
    assert!(held["reason"].as_str().is_some_and(|reason| reason.contains("green")), "{held}");
    let flip = ["route", "set", "digits", "prod", "green", "--wait", "--wait-seconds", "1"];
    let waited = crate::serving::requests::command(&setup, &millstream, &flip);
    assert!(waited.code == 2 && waited.out.contains("edge-1") && waited.out.contains("green"), "{waited:#?}");
    let waited = says(&setup, &millstream, &["route", "flip", "digits", "prod", "blue", "--wait"]);
    assert!(waited.contains("1 gateways serve generation 4"), "{waited}");

    let mut connection = database.connect().await;
    let now: String = sqlx::query_scalar("SELECT clock_timestamp()::text").fetch_one(&mut connection).await.unwrap();
    let then = who(&millstream, &now).await;
    assert_eq!((&then["route"]["generation"], &then["gateways"][0]["generation"]), (&json!(4), &json!(4)), "{then}");
    let while_held = held["since"].as_str().unwrap();
    let then = who(&millstream, while_held).await;
    assert_eq!(then["gateways"][0]["state"], "held", "{then}");
    let told = says(&setup, &millstream, &["route", "who", "digits", "prod", "--at", &now]);
    assert!(told.contains("digits/prod -> blue (generation 4)") && told.contains("edge-1"), "{told}");
    millstream.finish().await;
}
