//! Refusals as responses: JSON as in RFC 9457.

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use crate::forward::{Body, Refusal};

/// The response for a refusal.
pub(crate) fn render(refusal: &Refusal) -> Response<Body> {
    let body = json!({
        "type": "about:blank",
        "title": title(refusal.status),
        "status": refusal.status.as_u16(),
        "reason": refusal.reason,
        "detail": refusal.detail,
    });
    let mut response = Response::new(Body::full(body.to_string()));
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = refusal.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if refusal.closes {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn title(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn each_refusal_has_its_status_and_reason() {
        for (refusal, status, reason) in [
            (Refusal::malformed(""), 400, "malformed"),
            (Refusal::bad_path(""), 400, "bad_path"),
            (Refusal::looped(), 508, "loop"),
            (Refusal::no_route(), 404, "no_route"),
            (Refusal::no_routable_task(), 503, "no_routable_task"),
            (Refusal::saturated(), 503, "saturated"),
            (Refusal::draining(), 503, "draining"),
            (Refusal::connect(), 502, "connect"),
            (Refusal::reset(), 502, "reset"),
            (Refusal::protocol(), 502, "protocol"),
            (Refusal::foreign(), 502, "foreign"),
            (Refusal::timed_out(), 504, "timed_out"),
            (Refusal::request_timed_out(), 408, "request_timed_out"),
        ] {
            let response = render(&refusal);
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            assert_eq!(response.headers().contains_key("retry-after"), refusal.retry_after.is_some());
            assert_eq!(response.headers().contains_key("connection"), refusal.closes);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&body["status"], &body["reason"]), (&json!(status), &json!(reason)));
        }
    }
}
