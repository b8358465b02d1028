//! What is refused is named, and is not stored.

use std::time::Duration;

use millstream_tests::{Model, Setup, compare, database};
use serde_json::json;

use super::{JSON, accepted, event, is_problem, packed, post};

/// Path, headers, body, and the status and name of the problem expected.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Vec<u8>, u16, &'a str);

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
