//! Subscriptions of Amazon SNS that wait for a person: SNS sends nothing until its confirmation address is opened.
//!
//! millstream itself never opens it: the address comes from the client, and could be any.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::time::utc;

/// Maximum number shown at a time; the oldest make room.
const PENDING_MAX: usize = 16;
/// SNS withdraws its address after three days.
const PENDING_TIME: Duration = Duration::from_secs(3 * 86_400);
/// Maximum number of log lines per minute.
const LINES_MAX: u32 = 16;
const MINUTE: Duration = Duration::from_secs(60);
/// Larger ones are no messages of SNS, which have at most 256 KiB.
const BYTES_MAX: usize = 256 << 10;
/// A topic's name and an address together are far shorter.
const TEXT_BYTES_MAX: usize = 2048;

/// The subscriptions that wait.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    pending: Vec<Pending>,
    /// When the minute of the log began, and its lines so far.
    logged: Option<(Instant, u32)>,
}

/// A subscription that waits.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Pending {
    topic: String,
    /// To be opened once by a person who knows the topic.
    confirm_url: String,
    pub(super) store: String,
    asked_at: String,
    #[serde(skip)]
    asked: Instant,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "TopicArn")]
    topic: String,
    #[serde(rename = "SubscribeURL")]
    url: Option<String>,
}

impl Subscriptions {
    /// Looks at the one record of a body.
    pub(super) fn look(&self, headers: &HeaderMap, payload: &[u8], store: &str) {
        let says = |kind: &str| {
            headers.get("x-amz-sns-message-type").is_some_and(|value| value == kind)
                || std::str::from_utf8(payload).is_ok_and(|text| text.contains(&format!("\"{kind}\"")))
        };
        let waits = !self.lock().pending.is_empty();
        // Notifications matter only while a subscription waits.
        if payload.len() > BYTES_MAX || !(says("SubscriptionConfirmation") || waits && says("Notification")) {
            return;
        }
        let Ok(message) = serde_json::from_slice::<Message>(payload) else { return };
        match (&*message.kind, message.url) {
            ("SubscriptionConfirmation", Some(url)) => self.asked(message.topic, url, store),
            ("Notification", _) => self.lock().pending.retain(|pending| pending.topic != message.topic),
            _ => {}
        }
    }

    fn asked(&self, topic: String, confirm_url: String, store: &str) {
        if topic.len() + confirm_url.len() > TEXT_BYTES_MAX {
            return;
        }
        let mut inner = self.lock();
        let is_new = !inner.pending.iter().any(|pending| pending.topic == topic && pending.confirm_url == confirm_url);
        if !is_new {
            return;
        }
        if inner.may_log() {
            tracing::warn!(
                topic = ?topic,
                confirm_url = ?confirm_url,
                store,
                "an SNS subscription waits: open its confirm_url once if the topic is yours; until then it sends nothing"
            );
        }
        if inner.pending.len() >= PENDING_MAX {
            inner.pending.remove(0);
        }
        let asked_at = utc(millstream_engine::clock::now_ms());
        inner.pending.push(Pending { topic, confirm_url, store: store.to_owned(), asked_at, asked: Instant::now() });
    }

    /// The subscriptions that wait now.
    pub(super) fn pending(&self) -> Vec<Pending> {
        let mut inner = self.lock();
        inner.pending.retain(|pending| pending.asked.elapsed() < PENDING_TIME);
        inner.pending.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn may_log(&mut self) -> bool {
        let (began, lines) = match self.logged {
            Some((began, lines)) if began.elapsed() < MINUTE => (began, lines),
            _ => (Instant::now(), 0),
        };
        self.logged = Some((began, lines + 1));
        lines < LINES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &str, topic: &str, url: &str) -> Vec<u8> {
        serde_json::json!({ "Type": kind, "TopicArn": topic, "SubscribeURL": url, "Message": "x" }).to_string().into()
    }

    #[test]
    fn a_subscription_waits_until_its_topic_sends() {
        let waiting = Subscriptions::default();
        let look = |body: &[u8]| waiting.look(&HeaderMap::new(), body, "s");
        let topics = || waiting.pending().into_iter().map(|pending| pending.topic).collect::<Vec<_>>();
        for _ in 0..3 {
            look(&message("SubscriptionConfirmation", "a", "https://a"));
        }
        look(&message("SubscriptionConfirmation", "b", "https://b"));
        look(&message("UnsubscribeConfirmation", "c", "https://c"));
        look(b"{\"Type\":\"SubscriptionConfirmation\"");
        assert_eq!(topics(), ["a", "b"]);
        look(&message("Notification", "a", "https://a"));
        assert_eq!(topics(), ["b"]);
    }

    #[test]
    fn no_more_are_kept_than_can_be_looked_at() {
        let waiting = Subscriptions::default();
        for number in 0..100 {
            waiting.look(&HeaderMap::new(), &message("SubscriptionConfirmation", &format!("t{number}"), "u"), "s");
        }
        waiting.look(&HeaderMap::new(), &message("SubscriptionConfirmation", &"x".repeat(5000), "u"), "s");
        assert_eq!(waiting.pending().len(), PENDING_MAX);
        assert_eq!(waiting.pending().last().unwrap().topic, "t99");
    }
}
