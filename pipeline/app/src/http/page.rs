//! The live page and the description of the interface: files in the binary, which show nothing of the data.

use axum::http::{HeaderName, header};

/// Nothing but our own files, no script or style in the page itself, no frames: what the page shows came from events,
/// so a name that is markup must stay text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

type File = ([(HeaderName, &'static str); 5], &'static str);

fn file(content_type: &'static str, content: &'static str) -> File {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Asked for again each time, so that a new version is seen at once.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, content)
}

pub(super) async fn html() -> File {
    file("text/html; charset=utf-8", include_str!("page/page.html"))
}

pub(super) async fn script() -> File {
    file("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

pub(super) async fn style() -> File {
    file("text/css; charset=utf-8", include_str!("page/page.css"))
}

pub(super) async fn openapi() -> File {
    file("application/json", include_str!("openapi.json"))
}
