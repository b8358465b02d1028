//! The headers of a request on their way to a task.
//!
//! What only a hop that is trusted may say is removed from all others, in every spelling: servers that hand headers on as
//! variables read `_` as `-`. Headers of the connection go next, with those that `Connection` names, and ours are added
//! last, so that no client can have them removed.

use std::borrow::Cow;
use std::net::IpAddr;

use hyper::body::SizeHint;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::framing::Framing;
use crate::forward::headers::{OURS, remove_per_connection, tokens};

/// Whom the connection comes from, and who we are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hop<'a> {
    pub(crate) peer: IpAddr,
    pub(crate) is_trusted: bool,
    /// What `X-Forwarded-Proto` says.
    pub(crate) scheme: &'a str,
    /// The name of this gateway.
    pub(crate) id: &'a str,
}

/// Whether the request has passed this gateway before.
pub(crate) fn is_loop(headers: &HeaderMap, id: &str) -> bool {
    tokens(headers, &header::VIA).any(|via| via.split_ascii_whitespace().nth(1).is_some_and(|by| by == id))
}

/// The protocol that the client asks to go on in, if it is one that we pass on. Others, `h2c` first of all, would carry
/// requests that nobody checks: the request is answered as one without `Upgrade`.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = tokens(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let is_websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    let mut values = headers.get_all(header::UPGRADE).into_iter();
    match (values.next(), values.next()) {
        (Some(only), None) if asks && is_websocket(only) => Some(only.clone()),
        _ => None,
    }
}

/// Makes the headers of a client's request those of the request to a task.
pub(crate) fn rewrite(headers: &mut HeaderMap, hop: Hop<'_>, framing: Framing, size: &SizeHint) {
    let host = headers.get(header::HOST).cloned();
    let upgrade = upgrade(headers);
    remove_claims(headers, hop.is_trusted);
    remove_per_connection(headers);
    headers.remove(header::CONTENT_LENGTH);
    // It was answered here, when the body was read.
    headers.remove(header::EXPECT);
    match (framing, size.exact()) {
        (Framing::Length, Some(length)) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        (Framing::Chunked | Framing::Length, _) => {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        (Framing::None, _) => (),
    }
    if let Some(upgrade) = upgrade {
        headers.insert(header::UPGRADE, upgrade);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    add_ours(headers, hop, host);
}

/// Removes what clients may not say of themselves.
fn remove_claims(headers: &mut HeaderMap, is_trusted: bool) {
    let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name.as_str(), is_trusted)).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

fn is_claim(name: &str, is_trusted: bool) -> bool {
    let is_other_spelling = name.contains('_');
    let dashed = if is_other_spelling { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) };
    let of_hop = dashed.starts_with("x-forwarded-") || dashed == "forwarded" || dashed == "x-real-ip";
    let of_message = ["host", "content-length", "transfer-encoding", "connection", "upgrade"].contains(&&*dashed);
    dashed.starts_with(OURS) || (of_hop && (!is_trusted || is_other_spelling)) || (of_message && is_other_spelling)
}

fn add_ours(headers: &mut HeaderMap, hop: Hop<'_>, host: Option<HeaderValue>) {
    let peer = hop.peer.to_canonical().to_string();
    append_token(headers, HeaderName::from_static("x-forwarded-for"), &peer);
    let proto = HeaderName::from_static("x-forwarded-proto");
    if let (false, Ok(scheme)) = (headers.contains_key(&proto), HeaderValue::from_str(hop.scheme)) {
        headers.insert(proto, scheme);
    }
    let forwarded_host = HeaderName::from_static("x-forwarded-host");
    if let (false, Some(host)) = (headers.contains_key(&forwarded_host), &host) {
        headers.insert(forwarded_host, host.clone());
    }
    // HTTP/1.1 needs one; a request in HTTP/1.0 may come without.
    headers.insert(header::HOST, host.unwrap_or(HeaderValue::from_static("unknown")));
    append_token(headers, header::VIA, &format!("1.1 {}", hop.id));
}

/// Adds an element to a list. What is not text in it is dropped.
fn append_token(headers: &mut HeaderMap, name: HeaderName, token: &str) {
    if !headers.contains_key(&name) {
        if let Ok(value) = HeaderValue::from_str(token) {
            headers.insert(name, value);
        }
        return;
    }
    let mut list: String = tokens(headers, &name).flat_map(|token| [token, ", "]).collect();
    list.push_str(token);
    if let Ok(value) = HeaderValue::from_str(&list) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOP: Hop<'_> =
        Hop { peer: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9)), is_trusted: false, scheme: "http", id: "gw1" };

    fn rewritten(lines: &[(&str, &str)], hop: Hop<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        rewrite(&mut headers, hop, Framing::None, &SizeHint::with_exact(0));
        headers
    }

    #[test]
    fn no_client_names_itself_in_any_spelling() {
        for name in [
            "x-millstream-principal",
            "X-Millstream-Principal",
            "X_MILLSTREAM_PRINCIPAL",
            "x-millstream_principal",
            "x_millstream-",
            "Forwarded",
            "X-Forwarded-Prefix",
            "X_Forwarded_Prefix",
            "x-forwarded_client-cert",
            "X-Real-IP",
            "x_real_ip",
            "X-Real_Ip",
            "Content_Length",
            "Transfer_Encoding",
        ] {
            let headers = rewritten(&[("host", "h"), (name, "forged")], HOP);
            assert!(headers.values().all(|value| value != "forged"), "{name}: {headers:?}");
        }
        for name in ["x-forwarded-for", "X_Forwarded_For", "x-forwarded-proto", "x-forwarded-host"] {
            let headers = rewritten(&[("host", "h"), (name, "forged")], HOP);
            assert_eq!(headers["x-forwarded-for"], "10.0.0.9");
            assert_eq!(headers["x-forwarded-proto"], "http");
            assert_eq!(headers["x-forwarded-host"], "h");
        }
    }

    #[test]
    fn a_trusted_hop_is_believed_in_the_one_spelling_and_never_with_our_headers() {
        let lines = [
            ("host", "h"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x-real-ip", "1.2.3.4"),
            ("x-millstream-principal", "forged"),
        ];
        let headers = rewritten(&lines, Hop { is_trusted: true, ..HOP });
        assert_eq!(headers["x-forwarded-for"], "1.2.3.4, 10.0.0.9");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-real-ip"], "1.2.3.4");
        assert!(!headers.contains_key("x_forwarded_for") && !headers.contains_key("x-millstream-principal"));
    }

    #[test]
    fn connection_names_headers_of_the_client_and_never_ours() {
        let lines = [
            ("host", "h"),
            ("connection", "x-forwarded-for, via, host, x-a, Keep-Alive"),
            ("x-a", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("proxy-connection", "keep-alive"),
            ("x-b", "2"),
        ];
        let headers = rewritten(&lines, HOP);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.9");
        assert_eq!(headers["via"], "1.1 gw1");
        assert_eq!(headers["host"], "h");
        assert_eq!(headers["x-b"], "2");
        assert_eq!(headers.len(), 6, "{headers:?}");
    }

    #[test]
    fn our_own_name_in_via_is_a_loop() {
        let via = |value: &'static str| HeaderMap::from_iter([(header::VIA, HeaderValue::from_static(value))]);
        for value in ["1.1 gw1", "1.0 other, 1.1 gw1", "HTTP/1.1 gw1 (comment)"] {
            assert!(is_loop(&via(value), "gw1"), "{value}");
        }
        for value in ["1.1 gw10", "1.1 gw", "gw1", "1.1 x (gw1)"] {
            assert!(!is_loop(&via(value), "gw1"), "{value}");
        }
        assert_eq!(rewritten(&[("host", "h"), ("via", "1.0 front")], HOP)["via"], "1.0 front, 1.1 gw1");
    }

    #[test]
    fn only_websocket_goes_on_in_another_protocol() {
        let lines = [("host", "h"), ("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        let headers = rewritten(&lines, HOP);
        assert_eq!(
            (&headers["upgrade"], &headers["connection"]),
            (&"WebSocket".parse().unwrap(), &"upgrade".parse().unwrap())
        );
        for lines in [
            &[("host", "h"), ("connection", "upgrade"), ("upgrade", "h2c")][..],
            &[("host", "h"), ("upgrade", "websocket")],
            &[("host", "h"), ("connection", "upgrade"), ("upgrade", "websocket, h2c")],
            &[("host", "h"), ("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")],
        ] {
            let headers = rewritten(lines, HOP);
            assert!(!headers.contains_key("upgrade") && !headers.contains_key("connection"), "{lines:?}");
        }
    }
}
