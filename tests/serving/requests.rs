//! Requests about tasks and routes, and what the process says to them.

use std::time::Duration;

use hyper::Method;
use millstream_tests::{Database, Millstream, Response, Setup, until};
use serde_json::Value;

use crate::config::{Ran, millstream};

/// The most time of anything here.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);

const JSON: (&str, &str) = ("content-type", "application/json");

/// Posts events of a source.
pub(crate) async fn post(millstream: &Millstream, source: &str, body: impl ToString) -> Response {
    let path = format!("/v1/events?store={source}");
    millstream.send(Method::POST, &path, &[JSON], body.to_string()).await.unwrap()
}

/// Posts events of a source, all of which are accepted.
pub(crate) async fn taken(millstream: &Millstream, source: &str, body: impl ToString) {
    let answer = post(millstream, source, body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// Sends a change with a precondition.
pub(crate) async fn change(
    millstream: &Millstream,
    method: Method,
    path: &str,
    condition: (&str, &str),
    body: impl ToString,
) -> Response {
    millstream.send(method, path, &[JSON, condition], body.to_string()).await.unwrap()
}

/// Sets what does not exist yet.
pub(crate) async fn create(millstream: &Millstream, path: &str, body: Value) -> Response {
    let answer = change(millstream, Method::PUT, path, ("if-none-match", "*"), body).await;
    assert!(answer.status.is_success(), "{path}: {}", answer.text());
    answer
}

/// Sets a generation in the place of another; returns its number.
pub(crate) async fn replace(millstream: &Millstream, path: &str, expected: i64, body: Value) -> i64 {
    let answer = change(millstream, Method::PUT, path, ("if-match", &format!("\"{expected}\"")), body).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()["generation"].as_i64().unwrap()
}

/// A refusal is a problem document of this name.
pub(crate) fn is_refused(answer: &Response, status: u16, name: &str) -> Value {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{text}");
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:millstream:problem:{name}"), "{text}");
    assert_eq!(problem["status"], status, "{text}");
    problem
}

/// Waits until a task is in this state for the process that is asked.
pub(crate) async fn is_state(millstream: &Millstream, id: &str, state: &str) -> Value {
    let mut last = Value::Null;
    let path = format!("/v1/tasks?id={id}");
    let began = tokio::time::Instant::now();
    loop {
        let answer = millstream.get(&path).await.json();
        let found = answer["items"].as_array().unwrap().iter().find(|item| item["id"] == id).cloned();
        if let Some(item) = found {
            if item["state"] == state {
                return item;
            }
            last = item;
        }
        assert!(began.elapsed() < WITHIN, "{id} is not {state}: {last}\n{}", millstream.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until a count has a value.
pub(crate) async fn counts(database: &Database, sql: &str, wanted: i64) {
    let what = format!("{wanted} of {sql}");
    until(&what, WITHIN, || async { (database.number(sql).await == wanted).then_some(()) }).await;
}

/// A command that asks the running process.
pub(crate) fn command(setup: &Setup, running: &Millstream, arguments: &[&str]) -> Ran {
    let listen = running.address().to_string();
    let common = ["--data-dir", setup.data_dir().to_str().unwrap(), "--listen", &*listen];
    millstream(setup.scratch(), &[], &[arguments, &common].concat())
}

/// Runs a command that succeeds; what it printed.
pub(crate) fn says(setup: &Setup, running: &Millstream, arguments: &[&str]) -> String {
    let ran = command(setup, running, arguments);
    assert_eq!(ran.code, 0, "{arguments:?}: {ran:#?}");
    ran.out
}
