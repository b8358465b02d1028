//! Headers that belong to one connection, and those that this gateway adds to responses.

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::response::Parts;
use hyper::{Method, StatusCode, Version};

use crate::table::TaskKey;

/// The prefix of the headers that only this gateway sets.
pub(crate) const OURS: &str = "x-millstream-";

const PER_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Removes the headers that belong to the connection they came on, and those that `Connection` names.
pub(crate) fn remove_per_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        // A message is nothing without these: to name them is an attempt to have them removed.
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .collect();
    for name in PER_CONNECTION.iter().chain(&named) {
        headers.remove(name);
    }
}

/// The comma-separated tokens of all lines of a header; values that are not text have none.
pub(crate) fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// Whether the end of a response is beyond doubt, so that its connection can carry another one.
pub(crate) fn is_clear(parts: &Parts) -> bool {
    let lengths = parts.headers.get_all(header::CONTENT_LENGTH).into_iter().count();
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).into_iter();
    let is_framed = match (codings.next(), codings.next()) {
        (None, None) => lengths <= 1,
        (Some(only), None) => lengths == 0 && only.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    };
    let closes = tokens(&parts.headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("close"));
    is_framed && !closes && parts.version == Version::HTTP_11 && parts.status != StatusCode::SWITCHING_PROTOCOLS
}

/// Makes the head of a task's response one of this gateway.
pub(crate) fn rewrite(parts: &mut Parts, method: &Method, generation: i64, revision: &str, task: &TaskKey) {
    let upgrade = parts.headers.get(header::UPGRADE).cloned();
    remove_per_connection(&mut parts.headers);
    let forged: Vec<HeaderName> =
        parts.headers.keys().filter(|name| name.as_str().starts_with(OURS)).cloned().collect();
    for name in forged {
        parts.headers.remove(name);
    }
    // A response to HEAD tells the length of what it does not carry; else the length is that of the body that we send.
    if method != Method::HEAD {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    if let Some(upgrade) = upgrade.filter(|_| parts.status == StatusCode::SWITCHING_PROTOCOLS) {
        parts.headers.insert(header::UPGRADE, upgrade);
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    parts.headers.insert("x-millstream-generation", HeaderValue::from(generation));
    for (name, value) in [("x-millstream-revision", revision), ("x-millstream-task", &task.id)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            parts.headers.insert(name, value);
        }
    }
    parts.version = Version::HTTP_11;
}

#[cfg(test)]
mod tests {
    use hyper::Response;

    use super::*;

    fn parts(lines: &[(&'static str, &'static str)], version: Version) -> Parts {
        let mut response = Response::builder().version(version);
        for (name, value) in lines {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_connection_is_kept_only_when_the_end_of_the_response_is_beyond_doubt() {
        let clear = |lines: &[_]| is_clear(&parts(lines, Version::HTTP_11));
        assert!(clear(&[]));
        assert!(clear(&[("content-length", "5")]));
        assert!(clear(&[("transfer-encoding", "Chunked")]));
        assert!(!clear(&[("content-length", "5"), ("transfer-encoding", "chunked")]));
        assert!(!clear(&[("content-length", "5"), ("content-length", "5")]));
        assert!(!clear(&[("transfer-encoding", "gzip, chunked")]));
        assert!(!clear(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]));
        assert!(!clear(&[("connection", "x, Close")]));
        assert!(!is_clear(&parts(&[("connection", "keep-alive")], Version::HTTP_10)));
    }

    #[test]
    fn what_connection_names_is_removed_but_for_what_a_message_needs() {
        let lines = [("connection", "x-a, host"), ("connection", "X-B"), ("x-a", "1"), ("x-b", "1"), ("x-c", "1")];
        let mut headers = parts(&lines, Version::HTTP_11).headers;
        headers.insert("host", HeaderValue::from_static("h"));
        remove_per_connection(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-c"]);
    }

    #[test]
    fn a_task_cannot_forge_our_headers() {
        let lines = [("x-millstream-task", "other"), ("x-millstream-x", "1"), ("content-length", "7")];
        let mut parts = parts(&lines, Version::HTTP_11);
        let task = TaskKey { source: "s".into(), id: "t1".into() };
        rewrite(&mut parts, &Method::GET, 7, "blue", &task);
        assert_eq!(parts.headers["x-millstream-task"], "t1");
        assert_eq!(parts.headers["x-millstream-generation"], "7");
        assert_eq!(parts.headers["x-millstream-revision"], "blue");
        assert_eq!(parts.headers.len(), 3);
    }
}
