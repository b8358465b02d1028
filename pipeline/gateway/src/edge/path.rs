//! The path of a request: `/services/{service}/{alias}{rest}`.
//!
//! It is matched on raw segments: nothing is decoded, so that the path that is authorised is the path that a task gets.
//! A path that a task might read otherwise is refused. The rest goes to the task byte for byte, with its query.

use hyper::http::Uri;
use hyper::http::uri::PathAndQuery;

use crate::forward::Refusal;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) service: String,
    pub(crate) alias: String,
    /// The path and query for the task.
    pub(crate) forwarded: PathAndQuery,
}

/// Reads the path.
///
/// # Errors
/// `bad_path` where it could be read in two ways, `no_route` where it names no service and alias.
pub(crate) fn route(uri: &Uri) -> Result<Route, Refusal> {
    let path = uri.path();
    check(path)?;
    let rest = path.strip_prefix("/services/").ok_or(Refusal::no_route())?;
    let (service, rest) = rest.split_once('/').ok_or(Refusal::no_route())?;
    let (alias, tail) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    if service.is_empty() || (alias.is_empty() && rest.starts_with('/')) {
        return Err(Refusal::bad_path("a segment that names the service or the alias is empty"));
    }
    if !is_name(service) || !is_name(alias) {
        return Err(Refusal::no_route());
    }
    let forwarded = match uri.query() {
        Some(query) => format!("{tail}?{query}"),
        None => tail.to_owned(),
    };
    let forwarded = PathAndQuery::try_from(forwarded).map_err(|_| Refusal::bad_path("the path is not valid"))?;
    Ok(Route { service: service.to_owned(), alias: alias.to_owned(), forwarded })
}

/// Refuses what servers read in different ways.
fn check(path: &str) -> Result<(), Refusal> {
    if path.contains('\\') {
        return Err(Refusal::bad_path("the path holds a backslash"));
    }
    for (at, _) in path.match_indices('%') {
        let code = path.as_bytes().get(at + 1..at + 3).unwrap_or_default();
        let is = |encoded: &[u8]| code.eq_ignore_ascii_case(encoded);
        if is(b"2f") || is(b"5c") || is(b"00") {
            return Err(Refusal::bad_path("the path holds an encoded slash, backslash or zero byte"));
        }
    }
    let path = path.strip_prefix("//").map_or(path, |_| "/..");
    match path.split('/').any(is_dots) {
        true => Err(Refusal::bad_path("the path holds a segment of dots, or begins with an empty one")),
        false => Ok(()),
    }
}

/// Whether a segment is `.` or `..`, plain or encoded, also with parameters behind it as some servers take them.
fn is_dots(segment: &str) -> bool {
    let segment = segment.split(';').next().unwrap_or_default();
    let mut rest = segment;
    let mut dots = 0;
    while !rest.is_empty() {
        let next = rest.strip_prefix('.').or_else(|| rest.strip_prefix("%2e")).or_else(|| rest.strip_prefix("%2E"));
        let Some(next) = next else { return false };
        rest = next;
        dots += 1;
    }
    dots == 1 || dots == 2
}

/// Names are 1 to 127 of letters, digits, `.`, `_` and `-`.
fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=127).contains(&text.len()) && text.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Result<(String, String, String), &'static str> {
        let uri = path.parse::<Uri>().unwrap();
        let route = route(&uri).map_err(|refusal| refusal.reason)?;
        Ok((route.service, route.alias, route.forwarded.to_string()))
    }

    #[test]
    fn the_rest_is_forwarded_byte_for_byte() {
        for (path, forwarded) in [
            ("/services/s/a", "/"),
            ("/services/s/a/", "/"),
            ("/services/s/a?x=%2F..", "/?x=%2F.."),
            ("/services/s/a/x", "/x"),
            ("/services/s/a/x//y/?q=1&q=2", "/x//y/?q=1&q=2"),
            ("/services/s/a//x", "//x"),
            ("/services/s/a/%41%zz%", "/%41%zz%"),
            ("/services/s/a/%252e%252e/x", "/%252e%252e/x"),
            ("/services/s/a/...", "/..."),
            ("/services/s/a/.hidden/a..b", "/.hidden/a..b"),
            ("/services/s/a/v1/models/m:predict", "/v1/models/m:predict"),
            ("/services/s/a/x;p=1", "/x;p=1"),
            ("/services/s/a/?", "/?"),
        ] {
            assert_eq!(read(path), Ok(("s".to_owned(), "a".to_owned(), forwarded.to_owned())), "{path}");
        }
    }

    #[test]
    fn names_are_taken_as_they_stand() {
        assert_eq!(read("/services/ns.model_1/blue-2/x").unwrap().0, "ns.model_1");
        let long = "a".repeat(127);
        assert!(read(&format!("/services/{long}/{long}")).is_ok());
        for path in ["/services/%73/a", "/services/s/%61", "/services/s;x/a", "/services/s/a+b", "/services/s/a:80"] {
            assert_eq!(read(path), Err("no_route"), "{path}");
        }
        assert_eq!(read(&format!("/services/{long}a/a")), Err("no_route"));
    }

    #[test]
    fn what_servers_read_in_different_ways_is_refused() {
        for path in [
            "/services/s/a/../x",
            "/services/s/a/x/..",
            "/services/s/a/./x",
            "/services/s/a/.",
            "/services/s/a/%2e%2e/x",
            "/services/s/a/%2E%2e/x",
            "/services/s/a/.%2e/x",
            "/services/s/a/%2e./x",
            "/services/s/a/%2e/x",
            "/services/s/../a/x",
            "/services/../services/s/a",
            "/../services/s/a",
            "/services/s/a/..;/x",
            "/services/s/a/.;v=1/x",
            "/services/s/a/x%2fy",
            "/services/s/a/x%2Fy",
            "/services/s%2fa/x",
            "/services/s/a/x%5cy",
            "/services/s/a/x%5Cy",
            "/services/s/a/x%00",
            "/services//a/x",
            "/services/s//x",
            "//services/s/a/x",
        ] {
            assert_eq!(read(path), Err("bad_path"), "{path}");
        }
    }

    #[test]
    fn what_names_no_service_and_alias_has_no_route() {
        for path in
            ["/", "/services", "/services/", "/services/s", "/services/s/", "/Services/s/a", "/service/s/a", "*"]
        {
            assert_eq!(read(path), Err("no_route"), "{path}");
        }
    }
}
