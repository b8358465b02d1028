//! Errors as problem documents: <https://www.rfc-editor.org/rfc/rfc9457>.
//!
//! The type is a URN with a stable name, for programs; title and detail are for people, and the detail ends with what
//! to do next.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

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

    /// Too much at the same time; the client may try again soon.
    pub(super) fn too_many(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many", "too much at the same time", detail).retry_after(1)
    }

    /// Cannot be served now, through no fault of the client.
    pub(super) fn unavailable(name: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, name, title, detail).retry_after(5)
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
