//! What a producer meets: every way to pack events, every answer, and nothing stored of what was refused.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Method;
use millstream_engine::task;
use millstream_tests::event::lines;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Dialect, Event, Millstream, Model, Response, Setup, compare, database, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const JSON: (&str, &str) = ("content-type", "application/json");

/// Path, headers, body, and the status and name of the problem expected.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Vec<u8>, u16, &'a str);

fn event(key: &str) -> Event {
    Event::create("uploads", key, DAY_NS, 5)
}

/// An event of a dialect that tells no description.
fn bare(key: &str, dialect: Dialect) -> Event {
    Event { description: None, dialect, ..event(key) }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn post(millstream: &Millstream, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response {
    // A server that answers before it has read the whole body may reset the connection before the client has read the
    // answer (RFC 9112, 9.6). Events are idempotent, so the client asks again.
    let body = body.into();
    for _ in 0..5 {
        if let Ok(answer) = millstream.send(Method::POST, path, headers, body.clone()).await {
            return answer;
        }
    }
    millstream.send(Method::POST, path, headers, body).await.unwrap()
}

/// Every refusal is a problem document that says what it is.
fn is_problem(answer: &Response, status: u16, name: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{text}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{text}");
    assert_eq!(problem["type"], format!("urn:millstream:problem:{name}"), "{text}");
    assert!(!problem["detail"].as_str().unwrap().is_empty() && !problem["title"].as_str().unwrap().is_empty());
}

/// Records that the stream took since the process began.
async fn accepted(millstream: &Millstream) -> u64 {
    millstream.get("/v1/status").await.json()["http"]["accepted_events"].as_u64().unwrap()
}

/// Envelopes of AWS around one document.
const ENVELOPES: [fn(&str) -> Value; 4] = [
    |inner| json!({ "Type": "Notification", "MessageId": "1", "Message": inner }),
    |inner| json!({ "Records": [{ "messageId": "m", "receiptHandle": "r", "body": inner, "eventSource": "aws:sqs" }] }),
    |inner| json!({ "Records": [{ "EventSource": "aws:sns", "Sns": { "Type": "Notification", "Message": inner } }] }),
    |inner| json!([{ "messageId": "m", "body": inner }]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dialect_in_every_packing_arrives() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    let mut all = Vec::new();
    let mut send = async |content_type: &str, more: &[(&str, &str)], body: Vec<u8>, events: Vec<Event>| {
        let headers = [&[("content-type", content_type)], more].concat();
        let answer = post(&millstream, "/v1/events", &headers, body).await;
        assert_eq!(answer.status, 202, "{content_type}: {}", answer.text());
        // To one CloudEvent a body would be an event in return.
        if content_type.starts_with("application/cloudevents+json") || !more.is_empty() && more[0].0 == "ce-specversion"
        {
            assert_eq!(answer.text(), "");
        } else {
            assert_eq!(answer.json(), json!({ "accepted": events.len(), "refused": [] }));
        }
        all.extend(events);
    };
    for (name, dialect) in [("minio", Dialect::Minio), ("aws", Dialect::Aws), ("bridge", Dialect::EventBridge)] {
        let one = bare(&format!("one/{name} +ü.jpg"), dialect);
        send("application/json", &[], one.json(), vec![one]).await;
    }
    let plain = bare("one/plain", Dialect::Plain);
    send("application/cloudevents+json; charset=utf-8", &[], plain.json(), vec![plain]).await;

    let list = [bare("array/a", Dialect::Aws), bare("array/b", Dialect::Plain), bare("array/c", Dialect::Minio)];
    let array: Vec<Value> = list.iter().map(|event| serde_json::from_slice(&event.json()).unwrap()).collect();
    send("application/cloudevents-batch+json", &[], json!(array).to_string().into_bytes(), list.to_vec()).await;

    let several = [bare("several/a", Dialect::Aws), bare("several/b", Dialect::Aws)];
    send("text/plain; charset=UTF-8", &[], millstream_tests::dialect::notification(&several), several.to_vec()).await;

    let list: Vec<Event> = (0..700).map(|number| event(&format!("lines/{number}"))).collect();
    send("application/x-ndjson", &[], lines(&list), list).await;
    let list: Vec<Event> = (0..300).map(|number| event(&format!("packed/{number}"))).collect();
    send("application/json", &[("content-encoding", "gzip")], packed(&lines(&list)), list).await;

    let binary = bare("binary", Dialect::Plain);
    let mut envelope: Value = serde_json::from_slice(&binary.json()).unwrap();
    let data = envelope["data"].take().to_string().into_bytes();
    let time = envelope["time"].as_str().unwrap().to_owned();
    let kind = ("ce-type", "millstream.object.created");
    let attributes = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/test"), kind, ("ce-time", &*time)];
    send("application/json", &attributes, data, vec![binary]).await;

    // The content type says that the body holds the whole event, so that the headers beside it mean nothing.
    let structured = bare("structured", Dialect::Plain);
    let stray = [&attributes[..4], &[("ce-time", "2020-01-01T00:00:00Z")]].concat();
    send("application/cloudevents+json; charset=utf-8", &stray, structured.json(), vec![structured]).await;

    let text = |event: &Event| String::from_utf8(event.json()).unwrap();
    for (number, envelope) in ENVELOPES.into_iter().enumerate() {
        let carried = bare(&format!("carried/{number}"), Dialect::Minio);
        send("text/plain", &[], envelope(&text(&carried)).to_string().into_bytes(), vec![carried]).await;
    }
    let list: Vec<Event> = (0..3).map(|number| bare(&format!("batch/{number}"), Dialect::Aws)).collect();
    let messages: Vec<Value> = list.iter().map(|event| json!({ "messageId": "m", "body": text(event) })).collect();
    send("application/json", &[], json!({ "Records": messages }).to_string().into_bytes(), list).await;

    let list: Vec<Event> = (0..3).map(|number| bare(&format!("close/{number}"), Dialect::Aws)).collect();
    let close: String = list.iter().map(text).collect();
    send("application/json", &[], format!("\u{feff}{close}").into_bytes(), list).await;

    millstream.caught_up(Duration::from_secs(30)).await;
    assert_eq!(accepted(&millstream).await, all.len() as u64);
    compare(&database, &Model::of(&all)).await;
    millstream.finish().await;
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_named_and_not_stored() {
    let database = database().await;
    let setup = Setup::new(&database).set("http.body_bytes_max=2097152");
    let millstream = setup.start().await;
    let good = event("good").json();
    let bomb = packed(&vec![b' '; 1_900_000]);
    let large_bomb = packed(&vec![b' '; 64 << 20]);
    let cases: Vec<Case<'_>> = vec![
        ("/v1/events", &[JSON], b"nonsense".to_vec(), 422, "nothing-accepted"),
        ("/v1/events", &[JSON], Vec::new(), 422, "nothing-accepted"),
        ("/v1/events", &[JSON], b"[]".to_vec(), 422, "nothing-accepted"),
        ("/v1/events", &[JSON], b"{\"a\":1}".to_vec(), 422, "nothing-accepted"),
        ("/v1/events", &[FORM], good.clone(), 415, "unsupported-media-type"),
        ("/v1/events", &[("content-type", "image/png")], good.clone(), 415, "unsupported-media-type"),
        ("/v1/events", &[JSON, ("content-encoding", "br")], good.clone(), 415, "unsupported-encoding"),
        ("/v1/events", &[JSON, ("content-encoding", "gzip")], good.clone(), 400, "bad-request"),
        ("/v1/events", &[JSON, ("content-encoding", "gzip")], packed(&good)[..100].to_vec(), 400, "bad-request"),
        ("/v1/events", &[JSON, ("content-encoding", "gzip")], bomb, 413, "too-large"),
        ("/v1/events", &[JSON, ("content-encoding", "gzip")], large_bomb, 413, "too-large"),
        ("/v1/events", &[JSON], vec![b' '; 2_097_153], 413, "too-large"),
        ("/v1/events?store=Upper", &[JSON], good.clone(), 400, "bad-request"),
        ("/v1/events?store=-a", &[JSON], good.clone(), 400, "bad-request"),
        ("/v1/events?stor=a", &[JSON], good.clone(), 400, "bad-request"),
        ("/v1/events?topic=nowhere", &[JSON], good.clone(), 404, "no-topic"),
        ("/v1/event", &[JSON], good.clone(), 404, "no-route"),
        ("/v1/status", &[JSON], good.clone(), 405, "no-method"),
        ("/v1/events", &[JSON, ("origin", "http://evil.example")], good.clone(), 403, "forbidden"),
        ("/v1/events", &[JSON, ("host", "evil.example")], good.clone(), 403, "forbidden"),
        ("/v1/events", &[JSON, ("ce-specversion", "1.0")], good.clone(), 422, "nothing-accepted"),
    ];
    for (path, headers, body, status, name) in cases {
        let answer = post(&millstream, path, headers, body).await;
        is_problem(&answer, status, name);
    }
    let attributes = "x".repeat(40_000);
    let headers = [JSON, ("ce-specversion", "1.0"), ("ce-type", "t"), ("ce-more", &*attributes)];
    is_problem(&post(&millstream, "/v1/events", &headers, good.clone()).await, 431, "head-too-large");
    assert_eq!(accepted(&millstream).await, 0);

    // A mixed body: the good are taken, the bad are named by their place.
    let mut mixed = [good.as_slice(), b"nonsense", b"{}", &event("good too").json()].join(&b'\n');
    mixed.extend_from_slice(b"\n\n{\"Records\":\n");
    let answer = millstream.post(mixed).await.unwrap();
    assert_eq!(answer.status, 202);
    let answer = answer.json();
    assert_eq!(answer["accepted"], 2, "{answer}");
    let refused: Vec<(u64, &str)> = answer["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|refused| (refused["index"].as_u64().unwrap(), refused["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(refused, [(1, "not_json"), (2, "unknown_shape"), (4, "not_json")]);
    // The last line counts without a newline behind it, too.
    for last in ["nonsense", "{}"] {
        let answer = millstream.post([&good, last.as_bytes()].join(&b'\n')).await.unwrap().json();
        assert_eq!((&answer["accepted"], &answer["refused"][0]["index"]), (&json!(1), &json!(1)), "{answer}");
    }

    // Millions of refusals are counted and not all listed.
    let answer = millstream.post("1\n".repeat(5_000)).await.unwrap();
    is_problem(&answer, 422, "nothing-accepted");
    assert_eq!(answer.json()["refused"].as_array().unwrap().len(), 1_000);
    assert_eq!(answer.json()["refused_more"], 4_000);

    millstream.caught_up(Duration::from_secs(30)).await;
    compare(&database, &Model::of(&[event("good"), event("good too")])).await;
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_texts_and_nul_are_refused_or_kept_aside_and_harm_nobody() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    let good = event("good");
    let text = String::from_utf8(good.json()).unwrap();
    let long = text.replace("text/plain", &"x".repeat(1 << 20));
    let long_key = event(&"k".repeat(200_000)).json();
    let nul = text.replace("\"key\":\"good\"", "\"key\":\"go%00od\"");
    let nul_escaped = text.replace("text/plain", "text\\u0000plain");
    assert!(nul != text && nul_escaped != text && long != text);
    let body = [long.as_bytes(), &long_key, nul.as_bytes(), nul_escaped.as_bytes(), text.as_bytes()].join(&b'\n');
    let answer = millstream.post("{\"specversion\":\"1.0\"}\n".repeat(100_001)).await.unwrap();
    is_problem(&answer, 413, "too-large");
    let answer = millstream.post(body).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["accepted"], 4, "{answer}");
    assert_eq!(answer["refused"][0]["index"], 0, "{answer}");
    assert_eq!(answer["refused"][0]["reason"], "record_too_large", "{answer}");
    millstream.caught_up(Duration::from_secs(30)).await;
    compare(&database, &Model::of(&[good])).await;
    let mut connection = database.connect().await;
    let reasons: Vec<String> = sqlx::query_scalar("SELECT reason FROM millstream.quarantine ORDER BY reason")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(reasons, ["key_too_long", "nul_in_text", "nul_in_text"]);
    millstream.finish().await;
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_appends_than_allowed_are_told_to_come_again() {
    let database = database().await;
    let millstream = std::sync::Arc::new(Setup::new(&database).set("http.appends_max=1").start().await);
    let mut taken = 0u64;
    let mut turned_away = 0u64;
    // Each round sends 32 at once, of which one at a time may wait for the disk.
    for round in 0..100 {
        let posts = (0..32).map(|number| {
            let millstream = std::sync::Arc::clone(&millstream);
            let event = event(&format!("{round}/{number}"));
            task::spawn("post", async move { millstream.post(lines(&[event])).await.unwrap() })
        });
        for post in posts.collect::<Vec<_>>() {
            let answer = post.await.unwrap();
            if answer.status == 202 {
                taken += 1;
                continue;
            }
            is_problem(&answer, 429, "too-many");
            assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
            turned_away += 1;
        }
        if taken > 0 && turned_away > 0 {
            break;
        }
    }
    assert!(taken > 0 && turned_away > 0, "{taken} taken, {turned_away} turned away");
    millstream.caught_up(Duration::from_secs(30)).await;
    assert_eq!(database.number("SELECT count(*) FROM millstream.objects").await, taken as i64);
    std::sync::Arc::into_inner(millstream).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_flight_is_finished_while_stopping() {
    let database = database().await;
    let setup = Setup::new(&database);
    let mut millstream = setup.start().await;
    let body = event("last").json();
    let (first, rest) = body.split_at(body.len() / 2);
    let mut stream = TcpStream::connect(millstream.address()).await.unwrap();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The answer to `expect` shows that the request is being served.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100 Continue"));
    stream.write_all(first).await.unwrap();
    millstream.terminate();
    millstream.logged("draining", Duration::from_secs(10)).await;
    stream.write_all(rest).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(millstream.wait().await, 0);
    let again = setup.start().await;
    again.caught_up(Duration::from_secs(30)).await;
    compare(&database, &Model::of(&[event("last")])).await;
    again.finish().await;
}

/// A file system of its own, so that it can really be full. `None` without the right to mount one.
pub(crate) struct SmallDisk(pub(crate) std::path::PathBuf);

impl SmallDisk {
    pub(crate) fn mount(at: std::path::PathBuf, bytes: &str) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(&at)
            .stderr(std::process::Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_named_and_appends_go_on_when_there_is_room_again() {
    let database = database().await;
    let setup = Setup::new(&database).set("stream.partitions=1").allow("partition");
    let Some(disk) = SmallDisk::mount(setup.data_dir().join("stream"), "4m") else {
        println!("skipped: no right to mount a file system");
        return;
    };
    let millstream = setup.start().await;
    let filler = disk.0.join("filler");
    let mut noise = Vec::new();
    while noise.len() < 8 << 20 {
        noise.extend_from_slice(&(noise.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    // Fills what is left, as somebody else's files would.
    assert!(std::fs::write(&filler, &noise).is_err(), "the disk is larger than thought");
    let number = std::cell::Cell::new(0u64);
    let send = async || {
        number.set(number.get() + 1);
        let events: Vec<Event> = (0..100).map(|at| event(&format!("{}/{at}", number.get()))).collect();
        millstream.post(lines(&events)).await.unwrap()
    };
    let answer = until("a full disk", Duration::from_secs(30), || async {
        let answer = send().await;
        (answer.status != 202).then_some(answer)
    })
    .await;
    is_problem(&answer, 503, "disk-full");
    assert!(answer.header("retry-after").is_some());
    let ready = millstream.get("/readyz").await;
    assert_eq!((ready.status.as_u16(), &ready.json()["checks"]["stream"]["ok"]), (503, &json!(false)));
    std::fs::remove_file(&filler).unwrap();
    until("room", Duration::from_secs(30), || async { (send().await.status == 202).then_some(()) }).await;
    assert_eq!(millstream.get("/readyz").await.status, 200);
    millstream.caught_up(Duration::from_secs(30)).await;
    millstream.finish().await;
    drop(disk);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_and_status_tell_the_same() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    let events: Vec<Event> = (0..50).map(|number| event(&format!("{number}"))).collect();
    let mut body = lines(&events);
    body.extend_from_slice(
        include_bytes!("../schemas/fixtures/aws_test_event.json")
            .trim_ascii()
            .split(|byte| *byte == b'\n')
            .collect::<Vec<_>>()
            .concat()
            .as_slice(),
    );
    body.extend_from_slice(b"\nnonsense\n");
    let answer = millstream.post(body).await.unwrap().json();
    assert_eq!((answer["accepted"].as_u64(), answer["refused"].as_array().unwrap().len()), (Some(51), 1), "{answer}");
    millstream.caught_up(Duration::from_secs(30)).await;
    let status = millstream.get("/v1/status").await.json();
    let pipeline = &status["pipelines"][0];
    assert_eq!(
        (&pipeline["verdict"], &pipeline["records"], &pipeline["written"]),
        (&json!("keeping_up"), &json!(51), &json!(50))
    );
    assert_eq!((&pipeline["filtered"], &pipeline["lag_seconds"]), (&json!({ "test_event": 1 }), &json!(0.0)));
    assert!(pipeline["freshness_ms"]["p99"].as_u64().unwrap() <= pipeline["freshness_ms"]["max"].as_u64().unwrap());
    assert!(status["process"]["resident_bytes"].as_u64().unwrap() > 1 << 20);
    let metrics = millstream.get("/metrics").await;
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = metrics.text();
    for line in [
        "millstream_http_events_total{outcome=\"accepted\"} 51.0",
        "millstream_http_events_total{outcome=\"refused\"} 1.0",
        "millstream_http_requests_total{route=\"/v1/events\",method=\"POST\",status=\"202\"} 1",
        "millstream_source_records_total{pipeline=\"objects\"} 51.0",
        "millstream_source_lag_records{pipeline=\"objects\"} 0.0",
        "millstream_sink_written_events_total{pipeline=\"objects\"} 50.0",
        "millstream_sink_filtered_events_total{pipeline=\"objects\",reason=\"test_event\"} 1.0",
        "millstream_sink_filtered_named_events_total{pipeline=\"objects\",reason=\"test_event\",name=\"s3:TestEvent\"} 1.0",
        "millstream_ready{for=\"events\"} 1.0",
        "millstream_commit_freshness_seconds_count{pipeline=\"objects\"} 51",
        "millstream_commit_freshness_seconds_bucket{le=\"+Inf\",pipeline=\"objects\"} 51",
    ] {
        assert!(text.lines().any(|own| own == line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    let page = millstream.get("/").await;
    assert!(page.header("content-security-policy").unwrap().contains("script-src 'self'"));
    assert!(!page.text().contains("onclick") && !page.text().contains("<style"));
    millstream.finish().await;
}
