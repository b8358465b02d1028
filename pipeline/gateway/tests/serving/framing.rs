//! Raw requests, what the client got for each, and how many requests the task counted: always as many as were answered
//! by it. Behind each stands a second request, which must never arrive as a part of the first, nor the other way round.

use crate::harness::Setup;
use crate::upstream::{Action, Upstream, ok};
use crate::vectors::{HEADS, LINES, SECOND};

#[tokio::test]
async fn the_count_of_requests_is_the_same_on_both_sides_whatever_is_sent() {
    assert!(HEADS.len() + LINES.len() >= 60);
    let heads = HEADS.iter().map(|(head, wanted)| (format!("POST /services/s/a/first HTTP/1.1\r\n{head}"), *wanted));
    let lines = LINES.iter().map(|(line, wanted)| ((*line).to_owned(), *wanted));
    let mut wrong = Vec::new();
    for (first, wanted) in heads.chain(lines) {
        let upstream = Upstream::start(|received| Action::Reply(ok(received.line().split(' ').nth(1).unwrap()))).await;
        let gateway = Setup::default().start(&[upstream.address]).await;
        let got = gateway.raw(format!("{first}{SECOND}").as_bytes()).await;
        let statuses: Vec<u16> = got.iter().map(|got| got.status).collect();
        let answered: Vec<String> =
            got.iter().filter(|got| got.status == 200).map(|got| got.text().to_owned()).collect();
        let counted: Vec<String> =
            upstream.requests().iter().map(|received| received.line().split(' ').nth(1).unwrap().to_owned()).collect();
        let garbage = upstream.seen.garbage.load(std::sync::atomic::Ordering::SeqCst);
        let in_order = ["/first", "/second"];
        let is_right =
            statuses == wanted && answered == counted && garbage == 0 && in_order.starts_with(&strs(&counted));
        if !is_right {
            wrong.push(format!(
                "{first:?}: {statuses:?} for {wanted:?}, {answered:?} of {counted:?}, garbage {garbage}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}
