//! What a token may do, and how it is shown.

use hyper::Method;
use millstream_tests::database;

use super::{A, ask, event, is_forbidden, with};

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
