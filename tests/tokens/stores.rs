//! A token of one store, bucket or prefix shows nothing of others.

use hyper::Method;
use millstream_tests::event::lines;
use millstream_tests::{Dialect, Event, Millstream, Response, database, until};
use serde_json::{Value, json};

use super::{A, ALL, B, WITHIN, ask, event, get, is_forbidden, with};

async fn post(millstream: &Millstream, path: &str, token: &str, event: &Event) -> Response {
    ask(millstream, Method::POST, path, token, lines(std::slice::from_ref(event))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_one_store_neither_counts_nor_lists_nor_asks_after_another() {
    let database = database().await;
    let (_setup, millstream) = with(&database, &format!("{ALL}\n{A} store=minio-a\n{B} store=minio-b\n")).await;
    for (token, key) in [(A, "of-a"), (B, "of-b")] {
        assert_eq!(post(&millstream, "/v1/events", token, &event("b", key)).await.status, 202);
    }
    until("both events", WITHIN, || async {
        (database.number("SELECT count(*) FROM millstream.objects").await == 2).then_some(())
    })
    .await;
    let mut bodies = std::collections::BTreeSet::new();
    for path in [
        "/v1/buckets/b/count?store=minio-b",
        "/v1/buckets/nowhere/count?store=minio-b",
        "/v1/buckets?store=minio-b",
        "/v1/buckets?store=nobodys",
        "/v1/buckets/b/objects?store=minio-b",
        "/v1/buckets/b/objects?store=minio-b&metadata=%7B%22a%22%3A%22b%22%7D",
        "/v1/buckets/b/objects/of-b?store=minio-b",
        "/v1/buckets/b/objects/nothing?store=minio-b",
        "/v1/why?pipeline=objects&bucket=b&key=of-b&store=minio-b&since_seconds=60",
        "/v1/why?pipeline=nowhere&bucket=b&key=of-b&store=minio-b&since_seconds=60",
    ] {
        let answer = get(&millstream, path, A).await;
        is_forbidden(&answer, path);
        bodies.insert(answer.text());
        assert!(
            !matches!(get(&millstream, path, B).await.status.as_u16(), 401 | 403) || path.contains("nobodys"),
            "{path}"
        );
    }
    is_forbidden(&post(&millstream, "/v1/events?store=minio-b", A, &event("b", "forged")).await, "post");
    assert_eq!(bodies.len(), 1, "one body, whether it is there or not: {bodies:?}");

    // Without naming a store it is its own that is meant.
    let mine = get(&millstream, "/v1/buckets/b/objects", A).await.json();
    assert_eq!((mine["items"].as_array().unwrap().len(), &mine["items"][0]["key"]), (1, &json!("of-a")), "{mine}");
    assert_eq!(get(&millstream, "/v1/buckets/b/count", A).await.json()["objects"], 1);
    assert_eq!(get(&millstream, "/v1/buckets/b/objects/of-b", A).await.status, 404);
    let seen = get(&millstream, "/v1/why?pipeline=objects&bucket=b&key=of-b&since_seconds=600", A).await.json();
    assert_eq!(seen["seen"], json!([]), "{seen}");
    let seen = get(&millstream, "/v1/why?pipeline=objects&bucket=b&key=of-b&since_seconds=600", B).await.json();
    assert_eq!(seen["seen"].as_array().unwrap().len(), 1, "{seen}");
    assert_eq!(database.number("SELECT count(*) FROM millstream.objects").await, 2);
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_and_metrics_show_a_token_of_one_store_nothing_of_others() {
    let database = database().await;
    let (setup, millstream) = with(&database, &format!("{ALL}\n{A} store=minio-a\n{B} store=minio-b\n")).await;
    for number in 0..7 {
        assert_eq!(post(&millstream, "/v1/events", B, &event("secret-bucket", &format!("{number}"))).await.status, 202);
    }
    assert_eq!(post(&millstream, "/v1/events", A, &event("mine", "k")).await.status, 202);
    // What is filtered is named by its emitter.
    let named = r#"{"Records":[{"eventVersion":"2.0","eventSource":"minio:s3","eventTime":"2026-11-29T10:00:00.000Z","eventName":"s3:Secret:Name","s3":{"bucket":{"name":"secret-bucket"},"object":{"key":"k"}}}]}"#;
    assert_eq!(ask(&millstream, Method::POST, "/v1/events", B, named).await.status, 202);
    let subscribes = json!({ "Type": "SubscriptionConfirmation", "MessageId": "1", "Token": "t", "TopicArn": "arn:secret-topic", "Message": "m", "SubscribeURL": "https://sns.example/?Token=secret", "Timestamp": "2026-11-29T10:00:00.000Z" });
    assert_eq!(ask(&millstream, Method::POST, "/v1/events", B, subscribes.to_string()).await.status, 202);
    let all = until("everything to be seen", WITHIN, || async {
        let status = get(&millstream, "/v1/status", ALL).await.json();
        (status["postgres"]["objects"] == 8 && status["pipelines"][0]["filtered_total"] == 2).then_some(status)
    })
    .await;
    assert_eq!((&all["http"]["accepted_events"], &all["pipelines"][0]["written"]), (&json!(10), &json!(8)), "{all}");
    assert_eq!(all["http"]["subscriptions"][0]["topic"], "arn:secret-topic", "{all}");
    let names = all["pipelines"][0]["filtered_names"].to_string();
    assert!(names.contains("s3:Secret:Name"), "{names}");

    let mine = get(&millstream, "/v1/status", A).await.json();
    assert_eq!(
        (&mine["limited_to"]["store"], &mine["http"]["accepted_events"]),
        (&json!("minio-a"), &json!(1)),
        "{mine}"
    );
    assert_eq!((&mine["postgres"]["objects"], &mine["postgres"]["reachable"]), (&json!(1), &json!(true)), "{mine}");
    assert_eq!(
        (&mine["pipelines"][0]["name"], &mine["pipelines"][0]["verdict"]),
        (&json!("objects"), &json!("keeping_up"))
    );
    assert_eq!(get(&millstream, "/v1/status", B).await.json()["http"]["subscriptions"][0]["topic"], "arn:secret-topic");
    let data_dir = setup.data_dir().display().to_string();
    for path in ["/v1/status", "/metrics", "/v1/decisions", "/readyz", "/readyz?for=queries", "/healthz"] {
        let answer = get(&millstream, path, A).await;
        assert_eq!(answer.status, 200, "{path}");
        let text = answer.text();
        for secret in ["psql", &*data_dir, "secret", "minio-b", "Secret:Name", "\"records\"", "\"error\"", "tokens"] {
            assert!(!text.contains(secret), "{path} says {secret}: {text}");
        }
    }
    let metrics = get(&millstream, "/metrics", A).await.text();
    assert!(metrics.contains("millstream_http_events_total{outcome=\"accepted\"} 1.0"), "{metrics}");
    assert!(!metrics.contains("millstream_sink_written"), "{metrics}");
    assert_eq!(get(&millstream, "/v1/decisions", A).await.json()["items"], json!([]));
    is_forbidden(&get(&millstream, "/v1/controller", A).await, "the controller is of all stores");
    is_forbidden(&ask(&millstream, Method::PATCH, "/v1/controller", A, r#"{"frozen":true}"#).await, "freeze");
    is_forbidden(&ask(&millstream, Method::POST, "/v1/pipelines/objects/resume", A, "").await, "resume");
    // Nor do those who show no token at all.
    let open = millstream.get("/readyz").await.text();
    assert!(!open.contains("partition") && !open.contains("postgres"), "{open}");
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_and_a_prefix_hold_for_what_is_posted_and_for_what_is_asked() {
    let database = database().await;
    let limited = "lim-0123456789abcdef";
    let (_setup, millstream) = with(&database, &format!("{ALL}\n{limited} store=s bucket=b prefix=in/\n")).await;
    for (bucket, key) in [("b", "in/1"), ("b", "out/1"), ("c", "in/1"), ("b", "in")] {
        assert_eq!(post(&millstream, "/v1/events?store=s", ALL, &event(bucket, key)).await.status, 202);
    }
    // Keys are compared as the tables have them, whichever dialect encodes them.
    for dialect in [Dialect::Plain, Dialect::Aws, Dialect::Minio, Dialect::EventBridge] {
        let name = format!("{dialect:?}");
        let inside = Event { description: None, dialect, ..event("b", &format!("in/ü {name}")) };
        assert_eq!(post(&millstream, "/v1/events", limited, &inside).await.status, 202, "{name}");
        for (bucket, key) in [("b", "out/x"), ("c", "in/x"), ("b", "in%2Fx")] {
            let outside = Event { description: None, dialect, ..event(bucket, key) };
            is_forbidden(&post(&millstream, "/v1/events", limited, &outside).await, &format!("{name} {bucket} {key}"));
            // Also beside one that is inside: nothing of the body is stored.
            let both = lines(&[event("b", "in/beside"), outside.clone()]);
            is_forbidden(&ask(&millstream, Method::POST, "/v1/events", limited, both).await, &name);
            // Nor is one that no table could take: it would stand in quarantine under the name of another.
            let broken = Event { size: Some(-1), ..outside };
            is_forbidden(&post(&millstream, "/v1/events", limited, &broken).await, &name);
        }
    }
    until("what was accepted", WITHIN, || async {
        (database.number("SELECT count(*) FROM millstream.objects WHERE store = 's'").await == 8).then_some(())
    })
    .await;
    assert_eq!(database.number("SELECT count(*) FROM millstream.objects WHERE key ~ 'beside|x$'").await, 0);
    let counted = |answer: &Value| answer["objects"].as_i64().unwrap();
    for prefix in ["", "?prefix=", "?prefix=i", "?prefix=in/"] {
        assert_eq!(
            counted(&get(&millstream, &format!("/v1/buckets/b/count{prefix}"), limited).await.json()),
            5,
            "{prefix}"
        );
        let list = get(&millstream, &format!("/v1/buckets/b/objects{prefix}"), limited).await.json();
        let keys: Vec<&str> =
            list["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap()).collect();
        assert!(keys.len() == 5 && keys.iter().all(|key| key.starts_with("in/")), "{keys:?}");
    }
    assert_eq!(counted(&get(&millstream, "/v1/buckets/b/count?prefix=in/1", limited).await.json()), 1);
    let buckets = get(&millstream, "/v1/buckets", limited).await.json();
    assert_eq!((buckets["items"].as_array().unwrap().len(), counted(&buckets["items"][0])), (1, 5), "{buckets}");
    for path in [
        "/v1/buckets/b/objects?prefix=out/",
        "/v1/buckets/b/count?prefix=out/",
        "/v1/buckets/c/objects",
        "/v1/buckets/c/count",
        "/v1/buckets/nowhere/count",
        "/v1/buckets/b/objects/out/1",
        "/v1/buckets/b/objects/out/nothing",
        "/v1/buckets/b/objects/in",
        "/v1/why?pipeline=objects&bucket=b&key=out/1&since_seconds=60",
        "/v1/why?pipeline=objects&bucket=c&key=in/1&since_seconds=60",
    ] {
        is_forbidden(&get(&millstream, path, limited).await, path);
    }
    assert_eq!(get(&millstream, "/v1/buckets/b/objects/in/1", limited).await.status, 200);
    assert_eq!(get(&millstream, "/v1/buckets/b/objects/in/nothing", limited).await.status, 404);
    // Totals of the store are more than it may see.
    assert_eq!(get(&millstream, "/v1/status", limited).await.json()["postgres"], json!({ "reachable": true }));
    millstream.finish().await;
}
