//! Who may do what: a token reaches what its line says, learns nothing of the rest, and stops working when it is taken
//! out of the file.

mod duties;
mod stores;
mod token_file;

use std::time::Duration;

use hyper::Method;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Database, Event, Millstream, Response, Setup};

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

fn event(bucket: &str, key: &str) -> Event {
    Event::create(bucket, key, DAY_NS, 5)
}

/// The one answer to everything that a token is not for.
fn is_forbidden(answer: &Response, what: &str) {
    assert_eq!(answer.status, 403, "{what}: {}", answer.text());
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:millstream:problem:forbidden", "{what}");
    assert_eq!(problem["title"], "the token is not for this", "{what}");
}
