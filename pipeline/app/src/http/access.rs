//! Who may do what: bearer tokens, and what a browser may be talked into.
//!
//! Without tokens the endpoint listens on loopback only, where every local user is trusted but web pages are not: a
//! page of another site must neither post events (`Origin`) nor read answers through a name that it points at this
//! machine (`Host`).

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

use super::Shared;
use super::problem::Problem;

/// Answered to anybody: they tell nothing that is in the tables or in the stream.
const OPEN: [&str; 6] = ["/", "/page.js", "/page.css", "/healthz", "/readyz", "/openapi.json"];
/// Shorter ones can be guessed.
const TOKEN_BYTES_MIN: usize = 16;
/// Compared one by one on every request.
const TOKENS_MAX: usize = 1000;

/// The tokens that are accepted.
#[derive(Debug)]
pub(super) struct Tokens(Vec<Token>);

#[derive(Debug)]
struct Token {
    /// Of the token: what is compared has one length, and a memory dump shows no token.
    digest: [u8; 32],
    name: Option<String>,
    store: Option<Arc<str>>,
}

/// What the client of a request may touch.
#[derive(Clone, Debug)]
pub(super) struct Access {
    store: Option<Arc<str>>,
}

impl Tokens {
    /// Reads a file of one token a line, as `[name:]token [store=NAME]`; `#` begins a comment.
    pub(super) fn read(path: &Path) -> anyhow::Result<Tokens> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read the tokens in {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("read the tokens in {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Tokens> {
        let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.split('#').next().unwrap_or("")));
        let lines = lines.filter(|(_, line)| !line.trim().is_empty());
        // The message must not repeat the line: it holds a secret, and messages end up in logs.
        let tokens = lines.map(|(number, line)| Token::parse(line).with_context(|| format!("line {number}")));
        let tokens: Vec<Token> = tokens.collect::<anyhow::Result<_>>()?;
        if tokens.is_empty() || tokens.len() > TOKENS_MAX {
            bail!("{} tokens found, from 1 to {TOKENS_MAX} are possible", tokens.len());
        }
        Ok(Tokens(tokens))
    }

    /// The token that a request shows, if it is one of these. Takes equally long for every wrong one.
    fn find(&self, headers: &HeaderMap) -> Option<&Token> {
        let value = headers.get(header::AUTHORIZATION)?.as_bytes();
        let (scheme, shown) = value.split_at_checked(b"bearer ".len())?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return None;
        }
        let digest: [u8; 32] = Sha256::digest(shown.trim_ascii()).into();
        let same = |token: &Token| token.digest.iter().zip(&digest).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0;
        self.0.iter().fold(None, |found, token| if same(token) { Some(token) } else { found })
    }
}

impl Token {
    fn parse(line: &str) -> anyhow::Result<Token> {
        let mut words = line.split_whitespace();
        let word = words.next().unwrap_or_default();
        let (name, token) = match word.split_once(':') {
            Some((name, token)) => (Some(name.to_owned()), token),
            None => (None, word),
        };
        if token.len() < TOKEN_BYTES_MIN {
            bail!("a token has at least {TOKEN_BYTES_MIN} characters: make one with `openssl rand -hex 24`");
        }
        let mut store = None;
        for word in words {
            match word.strip_prefix("store=") {
                Some(name) if is_store(name) => store = Some(Arc::from(name)),
                Some(_) => bail!("a store is named by 1 to 63 of a-z 0-9 . _ -, beginning with a letter or digit"),
                None => bail!("only `store=NAME` may follow a token"),
            }
        }
        Ok(Token { digest: Sha256::digest(token).into(), name, store })
    }
}

impl Access {
    /// The store that a request speaks of: the one it asks for if it may, the only one it may otherwise.
    pub(super) fn store(&self, asked: Option<String>) -> Result<Option<String>, Problem> {
        if let Some(asked) = &asked
            && !is_store(asked)
        {
            let detail = "store: 1 to 63 of a-z 0-9 . _ -, beginning with a letter or digit, as in ?store=minio-a";
            return Err(Problem::bad_request(detail));
        }
        match (&self.store, asked) {
            (Some(own), Some(asked)) if **own != *asked => {
                let detail = format!("this token is for store {own} only; leave out ?store= or ask for another token");
                Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "the token is for another store", detail))
            }
            (Some(own), _) => Ok(Some(own.to_string())),
            (None, asked) => Ok(asked),
        }
    }

    /// Refuses a token of one store what concerns all of them.
    pub(super) fn every_store(&self) -> Result<(), Problem> {
        let Some(own) = &self.store else { return Ok(()) };
        let detail = format!("this token is for store {own} only; ask for one that is for every store");
        Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "the token is for one store", detail))
    }
}

/// Whether a text can name a store.
pub(super) fn is_store(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inside = |byte: u8| plain(byte) || matches!(byte, b'.' | b'_' | b'-');
    (1..=63).contains(&name.len()) && name.bytes().next().is_some_and(plain) && name.bytes().all(inside)
}

/// Lets a request pass, with its [`Access`], or refuses it.
pub(super) async fn check(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    let is_open = OPEN.contains(&request.uri().path());
    let access = match &app.tokens {
        None => local(request.uri(), request.headers()).map(|()| Access { store: None }),
        Some(tokens) => match tokens.find(request.headers()) {
            Some(token) => {
                tracing::trace!(token = token.name, path = request.uri().path(), "request");
                Ok(Access { store: token.store.clone() })
            }
            None if is_open => Ok(Access { store: None }),
            None => Err(unauthorized()),
        },
    };
    match access {
        Ok(access) => {
            request.extensions_mut().insert(access);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn unauthorized() -> Problem {
    let detail = "send the header `authorization: Bearer TOKEN` with a token of http.tokens_file";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "a token is needed", detail)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"millstream\""))
}

/// Refuses what a browser sends on behalf of another site.
fn local(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let forbidden = |detail: &str| Problem::new(StatusCode::FORBIDDEN, "forbidden", "not from this machine", detail);
    let host = headers.get(header::HOST).map(|value| value.to_str().unwrap_or("?"));
    let Some(host) = uri.authority().map(|authority| authority.as_str()).or(host) else { return Ok(()) };
    if !is_local(host) {
        return Err(forbidden("without tokens only localhost and addresses are answered; configure http.tokens_file"));
    }
    let origin = headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or("?"));
    let is_own = |origin: &str| origin.split_once("://").is_some_and(|(_, rest)| rest == host);
    if origin.is_some_and(|origin| !is_own(origin)) {
        return Err(forbidden("the request comes from a web page of another site"));
    }
    Ok(())
}

/// Whether an authority is an address or localhost, so that nobody else can make it point here.
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

    fn shown(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn tokens_are_found_with_their_store() {
        let tokens = Tokens::parse(
            "# producers\nminio:0123456789abcdef0123 store=minio-a # rotated in May\n\nfedcba98765432100000\n",
        )
        .unwrap();
        let found = tokens.find(&shown("Bearer 0123456789abcdef0123")).unwrap();
        assert_eq!((found.name.as_deref(), found.store.as_deref()), (Some("minio"), Some("minio-a")));
        assert!(tokens.find(&shown("bearer fedcba98765432100000")).unwrap().store.is_none());
        for wrong in
            ["Bearer 0123456789abcdef012", "Bearer ", "Basic fedcba98765432100000", "fedcba98765432100000", "B"]
        {
            assert!(tokens.find(&shown(wrong)).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_bad_line_is_named_and_not_repeated() {
        for bad in ["", "# none\n", "short", "0123456789abcdef stor=a", "0123456789abcdef store=A"] {
            let message = format!("{:#}", Tokens::parse(&format!("\n{bad}")).unwrap_err());
            assert!(!message.contains("0123456789abcdef"), "{message}");
            assert!(bad.is_empty() || bad.starts_with('#') || message.contains("line 2"), "{message}");
        }
    }

    #[test]
    fn a_restricted_token_reaches_only_its_store() {
        let access = Access { store: Some("a".into()) };
        assert_eq!(access.store(None).unwrap().as_deref(), Some("a"));
        assert_eq!(access.store(Some("a".into())).unwrap().as_deref(), Some("a"));
        assert!(access.store(Some("b".into())).is_err());
        assert!(access.every_store().is_err());
        let free = Access { store: None };
        assert_eq!(free.store(Some("b".into())).unwrap().as_deref(), Some("b"));
        assert!(free.store(Some("B".into())).is_err());
        assert!(free.every_store().is_ok());
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for local in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "10.0.0.7"] {
            assert!(is_local(local), "{local}");
        }
        for foreign in ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example:80", ""]
        {
            assert!(!is_local(foreign), "{foreign}");
        }
        let headers = |origin: &str| {
            HeaderMap::from_iter([
                (header::HOST, HeaderValue::from_static("localhost:8080")),
                (header::ORIGIN, origin.parse().unwrap()),
            ])
        };
        assert!(local(&Uri::from_static("/"), &headers("http://localhost:8080")).is_ok());
        assert!(local(&Uri::from_static("/"), &headers("http://evil.example")).is_err());
        assert!(local(&Uri::from_static("/"), &headers("null")).is_err());
    }
}
