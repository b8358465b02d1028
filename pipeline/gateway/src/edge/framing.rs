//! What is refused of a request that hyper lets through, so that both sides always count the same requests.
//!
//! hyper's server itself answers 400 to unequal or malformed `Content-Length`, `Transfer-Encoding` in HTTP/1.0 or without
//! `chunked` at its end, folded headers, space before a colon, and bytes that no name or value may have; a chunk that is
//! malformed ends the body with an error. It repairs `Content-Length` beside `Transfer-Encoding` (dropped, and the
//! connection closes after the response), equal lengths, and lines that end in a bare LF: such a request arrives once,
//! framed anew by us.

use hyper::header::{self, HeaderMap};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Version};

use crate::forward::Refusal;

/// How the body of a request is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// It has none.
    None,
    /// Its length was told.
    Length,
    /// In chunks.
    Chunked,
}

/// Checks the head of a request.
///
/// # Errors
/// A refusal that closes the connection.
pub(crate) fn check(parts: &Parts) -> Result<Framing, Refusal> {
    if parts.method == Method::CONNECT {
        return Err(Refusal::malformed("CONNECT is not served"));
    }
    host(parts)?;
    let framing = framing(&parts.headers)?;
    let has_upgrade = parts.headers.contains_key(header::UPGRADE);
    let is_empty = match framing {
        Framing::None => true,
        Framing::Length => parts.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0"),
        Framing::Chunked => false,
    };
    if has_upgrade && !is_empty {
        return Err(Refusal::malformed("a request with Upgrade has a body"));
    }
    let mut expects = parts.headers.get_all(header::EXPECT).into_iter();
    if expects.any(|expect| !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refusal::malformed("Expect has a value other than 100-continue"));
    }
    Ok(framing)
}

/// Exactly one `chunked`, or a length, or nothing.
fn framing(headers: &HeaderMap) -> Result<Framing, Refusal> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).into_iter();
    match (codings.next(), codings.next()) {
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        (None, _) if headers.contains_key(header::CONTENT_LENGTH) => Ok(Framing::Length),
        (None, _) => Ok(Framing::None),
        _ => Err(Refusal::malformed("Transfer-Encoding has a value other than one chunked")),
    }
}

/// One valid host, equal to that of an absolute target; HTTP/1.0 may have none.
fn host(parts: &Parts) -> Result<(), Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).into_iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) if parts.version == Version::HTTP_10 => return Ok(()),
        (Some(host), None) => host.as_bytes(),
        _ => return Err(Refusal::malformed("there is not exactly one Host")),
    };
    let authority = Authority::try_from(host).map_err(|_| Refusal::malformed("Host is not a host and port"))?;
    let has_port = authority.as_str().strip_prefix(authority.host()).is_none_or(|port| {
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok())
    });
    // More is allowed in names than any host has: a comma would be read as two hosts by some.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let host = authority.host();
    let is_host = host.starts_with('[') || (!host.is_empty() && host.bytes().all(is_plain));
    if !is_host || authority.as_str().contains('@') || !has_port {
        return Err(Refusal::malformed("Host is not a host and port"));
    }
    match parts.uri.authority() {
        Some(target) if !target.as_str().eq_ignore_ascii_case(authority.as_str()) => {
            Err(Refusal::malformed("Host differs from that of the target"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn checked(uri: &str, version: Version, lines: &[(&'static str, &'static str)]) -> Result<Framing, &'static str> {
        let mut request = Request::builder().uri(uri).version(version);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        check(&parts).map_err(|refusal| {
            assert!(refusal.closes);
            refusal.detail
        })
    }

    #[test]
    fn a_host_is_one_host_and_port() {
        for host in ["h", "h.example", "h:80", "127.0.0.1:8080", "[::1]", "[::1]:80", "h:", "a_b"] {
            assert_eq!(checked("/", Version::HTTP_11, &[("host", host)]), Ok(Framing::None), "{host}");
        }
        for host in ["", "a b", "u@h", "h:x", "h:70000", "h/x", "h,i", "h?q", "[::1", ":80", "h#f", "h%00", "h;x"] {
            assert!(checked("/", Version::HTTP_11, &[("host", host)]).is_err(), "{host:?}");
        }
        assert!(checked("/", Version::HTTP_11, &[]).is_err());
        assert!(checked("/", Version::HTTP_11, &[("host", "h"), ("host", "h")]).is_err());
        assert!(checked("/", Version::HTTP_10, &[]).is_ok());
        assert!(checked("http://h/", Version::HTTP_11, &[("host", "H")]).is_ok());
        assert!(checked("http://h/", Version::HTTP_11, &[("host", "other")]).is_err());
    }

    #[test]
    fn only_one_chunked_is_a_transfer_encoding() {
        let with = |values: &[&'static str]| {
            let lines: Vec<_> =
                values.iter().map(|value| ("transfer-encoding", *value)).chain([("host", "h")]).collect();
            checked("/", Version::HTTP_11, &lines)
        };
        assert_eq!(with(&["chunked"]), Ok(Framing::Chunked));
        assert_eq!(with(&["CHUNKED"]), Ok(Framing::Chunked));
        for values in [&["gzip, chunked"][..], &["chunked, chunked"], &["chunked", "chunked"], &["identity"], &[""]] {
            assert!(with(values).is_err(), "{values:?}");
        }
    }

    #[test]
    fn an_upgrade_has_no_body() {
        let with = |lines: &[(&'static str, &'static str)]| {
            let lines: Vec<_> = lines.iter().copied().chain([("host", "h"), ("upgrade", "websocket")]).collect();
            checked("/", Version::HTTP_11, &lines)
        };
        assert!(with(&[]).is_ok() && with(&[("content-length", "0")]).is_ok());
        assert!(with(&[("content-length", "1")]).is_err() && with(&[("transfer-encoding", "chunked")]).is_err());
    }
}
