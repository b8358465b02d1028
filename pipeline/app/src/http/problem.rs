//! Errors as problem documents: <https://www.rfc-editor.org/rfc/rfc9457>.
//!
//! The type is a URN with a stable name, for programs; title and detail are for people, and the detail ends with what
//! to do next.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Name, title and detail: the library refuses a part of such heads, and we the others.
const HEAD_TOO_LARGE: (&str, &str, &str) =
    ("head-too-large", "the head is too large", "a head has at most 128 KiB and 100 headers; send less in it");

/// An answer that is not the one asked for.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    detail: String,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    pub(super) fn new(status: StatusCode, name: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Problem { status, name, title, detail: detail.into(), headers: Vec::new() }
    }

    /// The request cannot be understood.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, "bad-request", "the request cannot be understood", detail)
    }

    /// Over a limit of size.
    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the body is too large", detail)
    }

    /// The head is over its limits.
    pub(super) fn head_too_large() -> Self {
        let (name, title, detail) = HEAD_TOO_LARGE;
        Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, name, title, detail)
    }

    /// Too much at the same time; the client may try again soon.
    pub(super) fn too_many(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many", "too much at the same time", detail).retry_after(1)
    }

    /// Cannot be served now, through no fault of the client.
    pub(super) fn unavailable(name: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, name, title, detail).retry_after(5)
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn retry_after(self, seconds: u16) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub(super) fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The document with more members, which must serialize to an object.
    pub(super) fn with<T: Serialize>(self, members: T) -> Response {
        #[derive(Serialize)]
        struct Extended<'a, T> {
            #[serde(flatten)]
            document: Document<'a>,
            #[serde(flatten)]
            members: T,
        }
        let document = self.document();
        let body = serde_json::to_vec(&Extended { document, members });
        self.answer(body)
    }

    fn document(&self) -> Document<'_> {
        let r#type = format!("urn:millstream:problem:{}", self.name);
        Document { r#type, title: self.title, status: self.status.as_u16(), detail: &self.detail }
    }

    fn answer(self, body: Result<Vec<u8>, serde_json::Error>) -> Response {
        // Strings and numbers always serialize; an empty document would still carry the status.
        let mut response = (self.status, body.unwrap_or_default()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.headers);
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.document());
        self.answer(body)
    }
}

/// The end of what the HTTP library writes, if that is a refusal of its own, which has no body: the number of bytes
/// before it, and the same refusal as a problem document. Answers of ours with these statuses have bodies.
pub(super) fn bare(written: &[u8]) -> Option<(usize, Vec<u8>)> {
    const START: &[u8] = b"HTTP/1.";
    let head = written.strip_suffix(b"\r\n\r\n")?;
    let start = head.windows(START.len()).rposition(|window| window == START)?;
    let head = std::str::from_utf8(head.get(start..)?).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?;
    let (name, title, detail) = match status.split(' ').nth(1)? {
        "400" => (
            "bad-request",
            "the request cannot be understood",
            "the head is no HTTP/1.1: a method, a target, HTTP/1.1, then `Name: value` lines",
        ),
        "414" => (
            "target-too-long",
            "the address is too long",
            "an address has at most 65,534 bytes; ask for less at a time",
        ),
        "431" => HEAD_TOO_LARGE,
        _ => return None,
    };
    let others: Vec<&str> = lines.collect();
    if !others.contains(&"content-length: 0") {
        return None;
    }
    let number = status.split(' ').nth(1)?.parse().ok()?;
    let document = Document { r#type: format!("urn:millstream:problem:{name}"), title, status: number, detail };
    let body = serde_json::to_string(&document).ok()?;
    let mut answer = format!(
        "{status}\r\ncontent-type: application/problem+json\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for line in others.iter().filter(|line| !line.starts_with("content-length:") && !line.starts_with("connection:")) {
        answer.push_str(line);
        answer.push_str("\r\n");
    }
    answer.push_str("\r\n");
    answer.push_str(&body);
    Some((start, answer.into_bytes()))
}

pub(super) async fn no_route(uri: Uri) -> Problem {
    let detail = format!("there is nothing at {}; /openapi.json lists what there is", shortened(uri.path()));
    Problem::new(StatusCode::NOT_FOUND, "no-route", "no such path", detail)
}

pub(super) async fn no_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {}; /openapi.json says what it takes", shortened(uri.path()), method);
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no-method", "the path does not take this method", detail)
}

/// What a message repeats of a client's text: enough to recognise it.
pub(super) fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}..", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::bare;

    #[test]
    fn bare_refusals_get_a_document_and_nothing_else_does() {
        let date = "date: Mon, 30 Nov 2026 06:00:00 GMT";
        let head = format!(
            "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n{date}\r\n\r\n"
        );
        let before = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        for before in ["", before] {
            let (kept, document) = bare(format!("{before}{head}").as_bytes()).unwrap();
            assert_eq!(kept, before.len());
            let text = String::from_utf8(document).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 431 ") && head.contains(date), "{head}");
            assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["status"], 431);
        }
        for other in [
            before.to_owned(),
            "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 5\r\n\r\n".to_owned(),
            String::new(),
        ] {
            assert!(bare(other.as_bytes()).is_none(), "{other}");
        }
    }
}
