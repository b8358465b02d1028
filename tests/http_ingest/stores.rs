//! Which store an event belongs to, and who may send to it.

use std::time::Duration;

use hyper::Method;
use millstream_tests::{Event, Model, Setup, compare, database, until};

use super::{JSON, event, is_problem, post};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_are_apart_and_only_the_endpoint_names_them() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    let in_store = |store: &str, size: i64| Event { store: store.to_owned(), size: Some(size), ..event("same") };
    let events = [in_store("default", 1), in_store("minio-a", 20), in_store("minio-b", 300)];
    for one in &events {
        let path =
            if one.store == "default" { "/v1/events".to_owned() } else { format!("/v1/events?store={}", one.store) };
        // Headers of this name are ours alone, in HTTP and as an attribute.
        let claims = [JSON, ("millstream-store", "claimed"), ("ce-millstream-store", "claimed")];
        let answer = post(&millstream, &path, &claims, one.json()).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    millstream.caught_up(Duration::from_secs(30)).await;
    compare(&database, &Model::of(&events)).await;
    for one in &events {
        let path = format!("/v1/buckets/uploads/objects/same?store={}", one.store);
        assert_eq!(millstream.get(&path).await.json()["size"], one.size.unwrap());
        let count = millstream.get(&format!("/v1/buckets/uploads/count?store={}", one.store)).await.json();
        assert_eq!((count["objects"].as_i64(), count["bytes"].as_i64()), (Some(1), one.size));
    }
    let buckets = millstream.get("/v1/buckets").await.json();
    assert_eq!(buckets["items"].as_array().unwrap().len(), 3, "{buckets}");
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_open_what_they_are_for_and_nothing_else_does() {
    let database = database().await;
    let setup = Setup::new(&database);
    let all = "all-0123456789abcdef";
    let one = "one-0123456789abcdef";
    let file = setup.scratch().join("tokens");
    std::fs::write(&file, format!("# producers\nops:{all}\nminio:{one} store=minio-a # webhook\n")).unwrap();
    let millstream = setup.set(&format!("http.tokens_file={}", file.display())).start().await;
    let bearer = |token: &str| format!("Bearer {token}");
    let all = bearer(all);
    let one = bearer(one);

    for (path, token) in
        [("/v1/events", None), ("/v1/events", Some("Bearer nonsense")), ("/v1/events", Some("Basic eA=="))]
    {
        let mut headers = vec![JSON];
        headers.extend(token.map(|token| ("authorization", token)));
        let answer = post(&millstream, path, &headers, event("a").json()).await;
        is_problem(&answer, 401, "unauthorized");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
    }
    for (path, open) in [
        ("/", true),
        ("/page.js", true),
        ("/healthz", true),
        ("/readyz", true),
        ("/openapi.json", true),
        ("/metrics", false),
        ("/v1/status", false),
        ("/v1/buckets", false),
        ("/nowhere", false),
    ] {
        let answer = millstream.get(path).await;
        assert_eq!(answer.status, if open { 200 } else { 401 }, "{path}");
    }
    let take = async |path: &str, token: &str, key: &str| {
        post(&millstream, path, &[JSON, ("authorization", token)], event(key).json()).await
    };
    assert_eq!(take("/v1/events?store=minio-b", &all, "of-all").await.status, 202);
    assert_eq!(take("/v1/events", &one, "of-one").await.status, 202);
    is_problem(&take("/v1/events?store=minio-b", &one, "of-one").await, 403, "forbidden");
    until("both events", Duration::from_secs(30), || async {
        (database.number("SELECT count(*) FROM millstream.objects").await == 2).then_some(())
    })
    .await;
    assert_eq!(database.number("SELECT count(*) FROM millstream.objects WHERE (store, key) IN (('minio-b', 'of-all'), ('minio-a', 'of-one'))").await, 2);
    let buckets = millstream.send(Method::GET, "/v1/buckets", &[("authorization", &one)], "").await.unwrap().json();
    assert_eq!(buckets["items"].as_array().unwrap().len(), 1, "{buckets}");
    assert_eq!(buckets["items"][0]["store"], "minio-a");
    let hold = async |token: &str| {
        let headers = [JSON, ("authorization", token)];
        millstream.send(Method::PATCH, "/v1/controller", &headers, r#"{"frozen":true}"#).await.unwrap()
    };
    is_problem(&hold(&one).await, 403, "forbidden");
    assert_eq!(hold(&all).await.json()["limits"]["frozen"], true);
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_cannot_serve_says_what_to_change() {
    let database = database().await;
    let first = Setup::new(&database).start().await;
    let listen = format!("http.listen={}", first.address());
    let mut second = Setup::new(&database).set(&listen).spawn();
    assert_ne!(second.wait().await, 0);
    second.logged("--set http.listen=", Duration::from_secs(5)).await;
    let mut open = Setup::new(&database).set("http.listen=0.0.0.0:0").spawn();
    assert_ne!(open.wait().await, 0);
    open.logged("tokens_file", Duration::from_secs(5)).await;
    first.finish().await;
}
