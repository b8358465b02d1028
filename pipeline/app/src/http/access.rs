//! Who may do what: tokens, and what a web page may make a browser do.
//!
//! What a route needs is in one table, [`need`]; what a token reaches is decided by [`Scope::allows`]. Everything else
//! is answered 403 in the same words, whether the thing exists or not.
//!
//! Without tokens the endpoint listens on loopback only, where every local user is trusted but web pages are not: a
//! page of another site must neither post events (`Origin`) nor read answers through a name that it points at this
//! machine (`Host`).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::asked;
use super::connection::visit::Visit;
use super::problem::Problem;
use super::shared::Shared;
use crate::tokens::{Duty, Scope, Thing, is_store};

mod known;
use known::Shown;
pub(super) use known::{Standing, Tokens};

mod reload;
pub(super) use reload::keep_reading;

/// Paths open to every client: they show nothing of the tables or the stream.
const OPEN: [&str; 6] = ["/", "/page.js", "/page.css", "/healthz", "/readyz", "/openapi.json"];

/// What a path requires of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing.
    Nothing,
    /// One of these duties.
    OneOf(&'static [Duty]),
    /// Everything: the path is in no row, so that a route that was forgotten here is closed.
    Everything,
}

/// What a path requires of a token; the command line client also chooses its token by it.
pub(crate) fn need(method: &str, path: &str) -> Need {
    let path = path.split('?').next().unwrap_or_default();
    let is_below = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match path {
        _ if OPEN.contains(&path) => Need::Nothing,
        "/v1/events" => Need::OneOf(&[Duty::Ingest]),
        "/v1/why" => Need::OneOf(&[Duty::Read]),
        _ if is_below("/v1/buckets") => Need::OneOf(&[Duty::Read]),
        "/v1/tasks" | "/v1/gateways" => Need::OneOf(&[Duty::Operate, Duty::Read]),
        _ if is_below("/v1/deploys") || is_below("/v1/routes") => match method {
            "GET" | "HEAD" => Need::OneOf(&[Duty::Operate, Duty::Read]),
            _ => Need::OneOf(&[Duty::Operate]),
        },
        "/v1/controller" if method == "PATCH" => Need::OneOf(&[Duty::Operate]),
        "/v1/status" | "/v1/decisions" | "/v1/controller" => Need::OneOf(&[Duty::Operate, Duty::Metrics, Duty::Read]),
        "/metrics" => Need::OneOf(&[Duty::Metrics]),
        // Records as they came, for commands that move positions and look at the stream.
        _ if method == "GET" && is_below("/v1/pipelines") && path.contains("/stream") => {
            Need::OneOf(&[Duty::Operate, Duty::Read])
        }
        _ if is_below("/v1/pipelines") => Need::OneOf(&[Duty::Operate]),
        _ => Need::Everything,
    }
}

/// What the client of a request may do.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) scope: Scope,
    /// Whether the client is unknown.
    pub(super) is_anonymous: bool,
}

impl Access {
    fn all() -> Self {
        Access { scope: Scope::unlimited(), is_anonymous: false }
    }

    /// For a request to an open path, without a token.
    fn anonymous() -> Self {
        Access { scope: Scope { duties: crate::tokens::Duties::default(), ..Scope::unlimited() }, is_anonymous: true }
    }

    /// Whether it may see what concerns all stores.
    pub(super) fn sees_everything(&self) -> bool {
        !self.is_anonymous && self.scope.reaches(Thing::Everything)
    }

    /// Refuses a limited token what concerns everything.
    pub(super) fn every_store(&self) -> Result<(), Problem> {
        if self.sees_everything() { Ok(()) } else { Err(forbidden()) }
    }

    /// Refuses what the token does not reach.
    pub(super) fn check(&self, duty: Duty, thing: Thing<'_>) -> Result<(), Problem> {
        if self.scope.allows(duty, thing) { Ok(()) } else { Err(forbidden()) }
    }

    /// The store of a request: the one it asks for if allowed, else the token's only one.
    pub(super) fn store(&self, asked: Option<String>) -> Result<Option<String>, Problem> {
        let named = asked.as_deref().unwrap_or("a");
        if !is_store(named) {
            let detail = "store: 1 to 63 of a-z 0-9 . _ -, beginning with a letter or digit, as in ?store=minio-a";
            return Err(Problem::bad_request(detail));
        }
        match (&self.scope.store, asked) {
            (Some(own), Some(asked)) if **own != *asked => Err(forbidden()),
            (Some(own), _) => Ok(Some(own.to_string())),
            (None, asked) => Ok(asked),
        }
    }

    /// The prefix of keys that a request is answered for: the one it asks for, narrowed to the token's own.
    pub(super) fn prefix(&self, store: &str, bucket: &str, asked: String) -> Result<String, Problem> {
        let own = self.scope.prefix.as_deref().unwrap_or_default();
        let prefix = if own.starts_with(&*asked) { own.to_owned() } else { asked };
        self.check(Duty::Read, Thing::Keys(store, bucket, &prefix))?;
        Ok(prefix)
    }
}

/// The one answer to everything that a token may not do.
pub(super) fn forbidden() -> Problem {
    let detail = "its duties or its limits (store, bucket, prefix) leave this out, whether it is there or not; `millstream token ls` shows both";
    Problem::new(StatusCode::FORBIDDEN, "forbidden", "the token is not for this", detail)
}

/// Lets a request pass, with its [`Access`], or refuses it.
pub(super) async fn check(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    let need = need(request.method().as_str(), request.uri().path());
    let access = match &app.tokens {
        None => local(&request, need).map(|()| Access::all()),
        Some(tokens) => known(tokens, &request, need),
    };
    match access.and_then(|access| asked::check(request.uri()).map(|()| access)) {
        Ok(access) => {
            if !access.is_anonymous
                && let Some(visit) = request.extensions().get::<Arc<Visit>>()
            {
                visit.becomes_known();
            }
            request.extensions_mut().insert(access);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// The client that asks, if its token may ask at all.
fn known(tokens: &Tokens, request: &Request, need: Need) -> Result<Access, Problem> {
    let Some(shown) = Shown::of(request.headers()) else {
        return if need == Need::Nothing { Ok(Access::anonymous()) } else { Err(unauthorized()) };
    };
    let Some((name, scope)) = tokens.find(&shown) else {
        return if need == Need::Nothing { Ok(Access::anonymous()) } else { Err(unauthorized()) };
    };
    // A browser sends stored Basic credentials with every request, even with one that another site causes.
    if shown.is_basic {
        same_site(request, need)?;
    }
    tracing::trace!(token = name, path = request.uri().path(), "request");
    let may = match need {
        Need::Nothing => true,
        Need::OneOf(duties) => duties.iter().any(|duty| scope.duties.has(*duty)),
        Need::Everything => scope == Scope::unlimited(),
    };
    if may { Ok(Access { scope, is_anonymous: false }) } else { Err(forbidden()) }
}

fn unauthorized() -> Problem {
    let detail = "send the header `authorization: Bearer TOKEN` with a token of http.tokens_file, or Basic with it as the password";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "a token is needed", detail)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"millstream\""))
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"millstream\", charset=\"UTF-8\""))
}

/// Refuses what a browser sends on behalf of another site, where there are no tokens.
fn local(request: &Request, need: Need) -> Result<(), Problem> {
    let Some(host) = host(request.uri(), request.headers()) else { return Ok(()) };
    if !is_local(host) {
        return Err(foreign("without tokens only localhost and addresses are answered; configure http.tokens_file"));
    }
    same_site(request, need)
}

/// The name that the client knows this server by.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let host = headers.get(header::HOST).map(|value| value.to_str().unwrap_or("?"));
    uri.authority().map(|authority| authority.as_str()).or(host)
}

/// Refuses what a page of another site makes a browser send: scripts and forms show it in `Origin`, pictures only in
/// `Sec-Fetch-Site`.
fn same_site(request: &Request, need: Need) -> Result<(), Problem> {
    let headers = request.headers();
    let host = host(request.uri(), headers).unwrap_or_default();
    let text = |value: &header::HeaderValue| value.to_str().unwrap_or("?").to_owned();
    let origin = headers.get(header::ORIGIN).map(text);
    let is_own = |origin: &str| origin.split_once("://").is_some_and(|(_, rest)| rest == host);
    let site = headers.get("sec-fetch-site").map(text);
    let crosses = need != Need::Nothing && matches!(site.as_deref(), Some("cross-site" | "same-site"));
    if origin.is_some_and(|origin| !is_own(&origin)) || crosses {
        return Err(foreign("the request comes from a web page of another site"));
    }
    Ok(())
}

fn foreign(detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", "not from this machine", detail)
}

/// Whether an authority is an address or localhost, so that no other site can make it point here.
fn is_local(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for local in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "10.0.0.7"] {
            assert!(is_local(local), "{local}");
        }
        for foreign in ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example:80", ""]
        {
            assert!(!is_local(foreign), "{foreign}");
        }
        let sent = |name: &str, value: &str, need: Need| {
            let request = Request::builder().uri("/").header("host", "localhost:8080").header(name, value);
            local(&request.body(axum::body::Body::empty()).unwrap(), need).is_ok()
        };
        let read = Need::OneOf(&[Duty::Read]);
        assert!(sent("origin", "http://localhost:8080", read) && sent("sec-fetch-site", "same-origin", read));
        assert!(sent("sec-fetch-site", "none", read), "typed into the browser");
        for (name, value) in [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
            assert!(!sent(name, value, read), "{name}: {value}");
        }
        assert!(sent("sec-fetch-site", "cross-site", Need::Nothing), "a link to the page");
    }

    #[test]
    fn every_route_has_a_row() {
        for (path, _) in super::super::paths() {
            let path = path.replace(['{', '}', '*'], "");
            assert_ne!(need("GET", &path), Need::Everything, "{path}");
        }
        assert_eq!(need("PATCH", "/v1/controller"), Need::OneOf(&[Duty::Operate]));
        assert_eq!(need("GET", "/v1/bucketsx"), Need::Everything);
        assert_eq!(need("GET", "/nowhere"), Need::Everything);
    }

    #[test]
    fn a_limited_token_reaches_only_its_part() {
        let access = |line: &str| {
            let entry = crate::tokens::parse(&format!("0123456789abcdef {line}")).unwrap().remove(0);
            Access { scope: entry.scope, is_anonymous: false }
        };
        let one = access("store=a");
        assert_eq!(one.store(None).unwrap().as_deref(), Some("a"));
        assert_eq!(one.store(Some("a".into())).unwrap().as_deref(), Some("a"));
        assert!(one.store(Some("b".into())).is_err() && !one.sees_everything());
        let free = access("");
        assert_eq!(free.store(Some("b".into())).unwrap().as_deref(), Some("b"));
        assert!(free.store(Some("B".into())).is_err() && free.sees_everything());
        let below = access("prefix=in/");
        let narrowed = |asked: &str| below.prefix("s", "b", asked.to_owned()).ok();
        assert_eq!(
            [narrowed(""), narrowed("i"), narrowed("in/x")],
            [Some("in/".into()), Some("in/".into()), Some("in/x".into())]
        );
        assert_eq!([narrowed("out/"), narrowed("in"), narrowed("j")], [None, Some("in/".into()), None]);
    }
}
