//! Raw requests, and the statuses that the client gets for each and the one behind it. The gateway's tests send them to
//! a task that counts, those of processes to real proxies.

pub(crate) const SECOND: &str = "GET /services/s/a/second HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// What is sent after the line `POST /services/s/a/first HTTP/1.1`, and the statuses that the client gets: the first
/// request is refused and the connection closed; it is forwarded and closed; or both are forwarded.
const REFUSED: &[u16] = &[400];
/// hyper closes without a word.
const CLOSED: &[u16] = &[];
const ONE: &[u16] = &[200];
const BOTH: &[u16] = &[200, 200];

pub(crate) const HEADS: &[(&str, &[u16])] = &[
    // What is well.
    ("Host: h\r\nContent-Length: 3\r\n\r\nabc", BOTH),
    ("Host: h\r\nContent-Length: 0\r\n\r\n", BOTH),
    ("Host: h\r\n\r\n", BOTH),
    ("Host: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", BOTH),
    ("Host: h\r\nTransfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", BOTH),
    ("Host: h\r\nTransfer-Encoding:\tchunked \r\n\r\n0\r\n\r\n", BOTH),
    ("Host: h\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n", BOTH),
    ("Host: h\r\nContent-Length: 003\r\n\r\nabc", BOTH),
    ("host:h\r\ncontent-length:3\r\n\r\nabc", BOTH),
    ("Host: h\r\nX-Empty:\r\nContent-Length: 3\r\n\r\nabc", BOTH),
    // What hyper repairs: it arrives once, framed anew.
    ("Host: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", BOTH),
    ("Host: h\nContent-Length: 3\n\nabc", BOTH),
    ("Host: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ONE),
    ("Host: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", ONE),
    ("Host: h\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n0\r\n\r\n", ONE),
    ("Host: h\r\nContent-Length: 999\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", ONE),
    // Lengths.
    ("Host: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", REFUSED),
    ("Host: h\r\nContent-Length: 3, 3\r\n\r\nabc", REFUSED),
    ("Host: h\r\nContent-Length: 3, 4\r\n\r\nabc", REFUSED),
    ("Host: h\r\nContent-Length: +3\r\n\r\nabc", REFUSED),
    ("Host: h\r\nContent-Length: -3\r\n\r\nabc", REFUSED),
    ("Host: h\r\nContent-Length: 0x3\r\n\r\nabc", REFUSED),
    ("Host: h\r\nContent-Length: 3 3\r\n\r\nabc", REFUSED),
    ("Host: h\r\nContent-Length: 3.0\r\n\r\nabc", REFUSED),
    ("Host: h\r\nContent-Length:\r\n\r\nabc", REFUSED),
    ("Host: h\r\nContent-Length: 99999999999999999999\r\n\r\nabc", REFUSED),
    ("Host: h\r\nContent-Length: 18446744073709551615\r\n\r\nabc", &[431]),
    ("Host: h\r\nContent-Length: \u{0663}\r\n\r\nabc", REFUSED),
    // Codings.
    ("Host: h\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: identity\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: , chunked\r\n\r\n0\r\n\r\n", REFUSED),
    // Names and lines.
    ("Host: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nContent-Length : 3\r\n\r\nabc", REFUSED),
    ("Host: h\r\n Content-Length: 3\r\n\r\nabc", REFUSED),
    ("Host: h\r\nX: a\r\n folded\r\nContent-Length: 3\r\n\r\nabc", REFUSED),
    ("Host: h\r\nX: a\r\n\tContent-Length: 3\r\n\r\nabc", REFUSED),
    (" Host: h\r\n\r\n", REFUSED),
    ("Host: h\r\nX\r\n\r\n", REFUSED),
    ("Host: h\r\n: x\r\n\r\n", REFUSED),
    ("Host: h\r\nX y: z\r\n\r\n", REFUSED),
    ("Host: h\r\nX\0: z\r\n\r\n", REFUSED),
    ("Host: h\r\nX: a\0b\r\n\r\n", REFUSED),
    ("Host: h\r\nX: a\rContent-Length: 3\r\n\r\nabc", REFUSED),
    // Hosts.
    ("\r\n", REFUSED),
    ("Host: h\r\nHost: h\r\n\r\n", REFUSED),
    ("Host: h\r\nHost: other\r\n\r\n", REFUSED),
    ("Host:\r\n\r\n", REFUSED),
    ("Host: a b\r\n\r\n", REFUSED),
    ("Host: user@h\r\n\r\n", REFUSED),
    ("Host: h/services\r\n\r\n", REFUSED),
    ("Host: h:port\r\n\r\n", REFUSED),
    // Upgrades and expectations.
    ("Host: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc", REFUSED),
    ("Host: h\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nUpgrade: x\r\n\r\n", BOTH),
    ("Host: h\r\nExpect: 200-ok\r\n\r\n", REFUSED),
    // Chunks.
    ("Host: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nabc\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", REFUSED),
    ("Host: h\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", REFUSED),
];

/// Whole first lines.
pub(crate) const LINES: &[(&str, &[u16])] = &[
    ("GET /services/s/a/first HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", REFUSED),
    ("GET /services/s/a/first HTTP/1.0\r\nHost: h\r\n\r\n", ONE),
    ("GET http://h/services/s/a/first HTTP/1.1\r\nHost: h\r\n\r\n", BOTH),
    ("GET http://other/services/s/a/first HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED),
    ("CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", REFUSED),
    ("GET /services/s/a/first HTTP/2.0\r\nHost: h\r\n\r\n", REFUSED),
    ("GET /services/s/a/first\r\nHost: h\r\n\r\n", REFUSED),
    ("GET /services/s/a/fi rst HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED),
    ("GE(T /services/s/a/first HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", CLOSED),
    ("\r\nGET /services/s/a/first HTTP/1.1\r\nHost: h\r\n\r\n", BOTH),
];
