//! Who may do what: a token reaches what its line says, learns nothing of the rest, and stops working when it is taken
//! out of the file.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use hyper::Method;
use millstream_tests::event::lines;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Database, Dialect, Event, Millstream, Response, Setup, database, until};
use serde_json::{Value, json};

use crate::config::{Ran, millstream};

const WITHIN: Duration = Duration::from_secs(30);
const ALL: &str = "all-0123456789abcdef";
const A: &str = "aaa-0123456789abcdef";
const B: &str = "bbb-0123456789abcdef";

/// A process with these tokens.
async fn with(database: &Database, tokens: &str) -> (Setup, Millstream) {
    let setup = Setup::new(database).allow("tokens not read again").allow("an SNS subscription waits");
    let file = setup.scratch().join("tokens");
    std::fs::write(&file, tokens).unwrap();
    let setup = setup.set(&format!("http.tokens_file={}", file.display()));
    let millstream = setup.start().await;
    (setup, millstream)
}

async fn ask(
    millstream: &Millstream,
    method: Method,
    path: &str,
    token: &str,
    body: impl Into<bytes::Bytes>,
) -> Response {
    let bearer = format!("Bearer {token}");
    let headers = [("content-type", "application/json"), ("authorization", &*bearer)];
    millstream.send(method, path, &headers, body).await.unwrap()
}

async fn get(millstream: &Millstream, path: &str, token: &str) -> Response {
    ask(millstream, Method::GET, path, token, "").await
}

async fn post(millstream: &Millstream, path: &str, token: &str, event: &Event) -> Response {
    ask(millstream, Method::POST, path, token, lines(std::slice::from_ref(event))).await
}

fn event(bucket: &str, key: &str) -> Event {
    Event::create(bucket, key, DAY_NS, 5)
}

/// A command of the program on the files of a setup.
fn command(setup: &Setup, millstream_at: &Millstream, arguments: &[&str]) -> Ran {
    let file = format!("http.tokens_file={}", setup.scratch().join("tokens").display());
    let listen = millstream_at.address().to_string();
    let common = ["--set", &*file, "--data-dir", setup.data_dir().to_str().unwrap(), "--listen", &*listen];
    millstream(setup.scratch(), &[], &[arguments, &common].concat())
}

/// The one answer to everything that a token is not for.
fn is_forbidden(answer: &Response, what: &str) {
    assert_eq!(answer.status, 403, "{what}: {}", answer.text());
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:millstream:problem:forbidden", "{what}");
    assert_eq!(problem["title"], "the token is not for this", "{what}");
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
async fn duties_are_what_a_token_may_do_and_nothing_else() {
    let database = database().await;
    let duties = ["ingest", "read", "write", "delete", "metrics", "operate", "gateway"];
    let token = |duty: &str| format!("{duty}-0123456789abcdef");
    let file: String = duties.iter().map(|duty| format!("{} duties={duty}\n", token(duty))).collect();
    let (_setup, millstream) = with(&database, &file).await;
    let status = ["read", "metrics", "operate"];
    let routes: [(Method, &str, &[&str]); 11] = [
        (Method::POST, "/v1/events", &["ingest"]),
        (Method::GET, "/v1/buckets", &["read"]),
        (Method::GET, "/v1/buckets/b/objects", &["read"]),
        (Method::GET, "/v1/buckets/b/objects/k", &["read"]),
        (Method::GET, "/v1/buckets/b/count", &["read"]),
        (Method::GET, "/v1/why?pipeline=objects&bucket=b&key=k&since_seconds=1", &["read"]),
        (Method::GET, "/metrics", &["metrics"]),
        (Method::GET, "/v1/status", &status),
        (Method::GET, "/v1/controller", &status),
        (Method::PATCH, "/v1/controller", &["operate"]),
        (Method::POST, "/v1/pipelines/objects/resume", &["operate"]),
    ];
    for (method, path, may) in routes {
        for duty in duties {
            let body = if path == "/v1/events" { event("b", "k").json() } else { b"{}".to_vec() };
            let body = if method == Method::GET { Vec::new() } else { body };
            let answer = ask(&millstream, method.clone(), path, &token(duty), body).await;
            if may.contains(&duty) {
                assert!(!matches!(answer.status.as_u16(), 401 | 403), "{duty} {method} {path}: {}", answer.text());
            } else {
                is_forbidden(&answer, &format!("{duty} {method} {path}"));
            }
        }
    }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_is_read_again_and_a_wrong_one_changes_nothing() {
    let database = database().await;
    let setup = Setup::new(&database).allow("tokens not read again");
    let file = setup.scratch().join("tokens");
    std::fs::write(&file, format!("ops:{ALL}\n")).unwrap();
    let millstream = setup.clone().set(&format!("http.tokens_file={}", file.display())).start().await;
    let becomes = async |token: &str, status: u16| {
        until(&format!("{status}"), Duration::from_secs(10), || async {
            (get(&millstream, "/v1/status", token).await.status == status).then_some(())
        })
        .await;
    };
    let added = command(&setup, &millstream, &["token", "add", "scrape", "--duties", "metrics", "--store", "minio-a"]);
    assert_eq!(added.code, 0, "{added:?}");
    let token = added.out.lines().next().unwrap().to_owned();
    assert!(
        token.len() >= 40
            && std::fs::read_to_string(&file)
                .unwrap()
                .contains(&format!("scrape:{token} duties=metrics store=minio-a\n"))
    );
    becomes(&token, 200).await;
    is_forbidden(&get(&millstream, "/v1/buckets", &token).await, "another duty");

    // Told by its line, in the log and in the state; nobody is shut out, nor let in.
    std::fs::write(&file, format!("ops:{ALL}\nnew:{B}\nshort\n")).unwrap();
    let said = millstream.logged("tokens not read again", WITHIN).await;
    assert!(said.contains("line 3") && !said.contains(B), "{said}");
    let standing = get(&millstream, "/v1/status", ALL).await.json()["http"]["tokens"].clone();
    assert!(standing["error"].as_str().unwrap().contains("line 3"), "{standing}");
    assert_eq!(
        (
            get(&millstream, "/v1/status", B).await.status.as_u16(),
            get(&millstream, "/v1/status", &token).await.status.as_u16()
        ),
        (401, 200)
    );

    std::fs::write(&file, format!("ops:{ALL}\nscrape:{token}\nnew:{B}\n")).unwrap();
    becomes(B, 200).await;
    assert_eq!(get(&millstream, "/v1/status", ALL).await.json()["http"]["tokens"]["error"], Value::Null);
    let removed = command(&setup, &millstream, &["token", "rm", "new"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    becomes(B, 401).await;
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_can_be_given_nothing_but_an_address_shows_its_token_in_it() {
    let database = database().await;
    let odd = "with#a#hash-0123456789";
    let (_setup, millstream) = with(&database, &format!("sns:{A}\n{odd}\n")).await;
    let challenged = millstream.post(event("b", "k").json()).await.unwrap();
    assert_eq!(challenged.status, 401);
    let offers: Vec<&str> =
        challenged.headers.iter().filter(|(name, _)| name == "www-authenticate").map(|(_, value)| &**value).collect();
    assert!(offers[0].starts_with("Bearer ") && offers[1].starts_with("Basic realm="), "{offers:?}");
    // "anybody:aaa-0123456789abcdef" and ":with#a#hash-0123456789"
    let basic = ["Basic YW55Ym9keTphYWEtMDEyMzQ1Njc4OWFiY2RlZg==", "basic OndpdGgjYSNoYXNoLTAxMjM0NTY3ODk="];
    let send = async |more: &[(&str, &str)]| {
        let headers = [&[("content-type", "application/json")], more].concat();
        millstream.send(Method::POST, "/v1/events", &headers, event("b", "k").json()).await.unwrap().status.as_u16()
    };
    for shown in basic {
        assert_eq!(send(&[("authorization", shown)]).await, 202, "{shown}");
        // A browser would send it for every page.
        assert_eq!(send(&[("authorization", shown), ("origin", "http://evil.example")]).await, 403);
        assert_eq!(send(&[("authorization", shown), ("sec-fetch-site", "cross-site")]).await, 403);
    }
    // "aaa-0123456789abcdef:" and a # that is not the end of a token.
    for wrong in ["Basic YWFhLTAxMjM0NTY3ODlhYmNkZWY6", "Bearer with", "Bearer with#a#hash", "Digest x"] {
        assert_eq!(send(&[("authorization", wrong)]).await, 401, "{wrong}");
    }
    assert_eq!(send(&[("authorization", &format!("Bearer {odd}"))]).await, 202);
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_write_the_file_and_never_show_what_is_in_it() {
    let database = database().await;
    let (setup, millstream) = with(&database, &format!("# by hand\n{A} store=minio-a\nb:{B} store=minio-b")).await;
    let file = setup.scratch().join("tokens");
    let run = |arguments: &[&str]| command(&setup, &millstream, arguments);

    // Store tokens alone operate nothing, and it says so instead of showing none of them.
    for arguments in [&["pace", "--freeze"][..], &["pace"]] {
        let ran = run(arguments);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains("no token in") && ran.err.contains("has the duty operate and no limits"), "{ran:?}");
        assert!(ran.err.contains("millstream token add"), "{ran:?}");
    }
    let limited = run(&["status", "--json"]);
    assert_eq!((limited.code, &limited.json()["limited_to"]["store"]), (0, &json!("minio-a")), "{limited:?}");

    let shown = run(&["status"]);
    assert!(shown.code == 0 && shown.out.contains("token is for store minio-a only"), "{shown:?}");

    let added = run(&["token", "add", "ops", "--duties", "operate,read"]);
    let token = added.out.lines().next().unwrap().to_owned();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        text,
        format!("# by hand\n{A} store=minio-a\nb:{B} store=minio-b\nops:{token} duties=read,operate\n")
            .replace("read,operate", "operate,read")
    );
    until("the new token to be known", WITHIN, || async { (run(&["pace", "--freeze"]).code == 0).then_some(()) }).await;

    let table = run(&["token", "ls"]);
    assert!(
        table.out.contains("ops") && table.out.contains("store=minio-b") && table.out.contains("read,operate"),
        "{table:?}"
    );
    let listed = run(&["token", "ls", "--json"]).json();
    assert_eq!(
        listed[0],
        json!({ "line": 2, "name": null, "duties": ["ingest", "read", "write", "delete", "metrics", "operate", "gateway"], "limits": { "store": "minio-a" } })
    );
    for (arguments, said) in [
        (&["token", "add", "ops"][..], "there is a token ops already"),
        (&["token", "add", "a b"], "a name"),
        (&["token", "add", "n", "--store", "UPPER"], "store=S"),
        (&["token", "add", "n", "--prefix", "a b"], "spaces"),
        (&["token", "rm", "nobody"], "there is no token nobody"),
        (&["token", "rm", "--line", "1"], "there is no token line 1"),
    ] {
        let ran = run(arguments);
        assert!(ran.code != 0 && ran.err.contains(said), "{arguments:?}: {ran:?}");
        let shown = format!("{}{}", ran.out, ran.err);
        assert!(![A, B, &token].iter().any(|token| shown.contains(*token)), "{ran:?}");
    }
    assert!(![A, B, &token].iter().any(|token| table.out.contains(*token)), "{table:?}");
    assert_eq!(run(&["token", "rm", "--line", "2"]).code, 0);
    assert_eq!(run(&["token", "rm", "b"]).code, 0);
    let last = run(&["token", "rm", "ops"]);
    assert!(last.code == 1 && last.err.contains("last token"), "{last:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("# by hand\nops:{token} duties=operate,read\n"));
    // What is wrong with the file is found before a process is started with it.
    std::fs::write(&file, format!("ops:{token}\nshort\n")).unwrap();
    let looked = run(&["doctor"]);
    let line = looked.out.lines().find(|line| line.contains(" tokens ")).unwrap_or_else(|| panic!("{looked:?}"));
    assert!(looked.code == 1 && line.starts_with("FAIL") && line.contains("line 2"), "{looked:?}");
    assert!(!looked.out.contains(&token), "{looked:?}");
    std::fs::write(&file, format!("ops:{token}\n")).unwrap();
    millstream.finish().await;
}
