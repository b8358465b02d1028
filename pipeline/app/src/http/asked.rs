//! The path and the parameters of a request, which must be text.
//!
//! Percent-encoded bytes that are not UTF-8 would become U+FFFD, and answer another question than the client's.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::problem::{Problem, shortened};

/// The library's words before the part that helps.
const PREFIX: &str = "Failed to deserialize query string: ";

/// The parameters behind the `?`.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

/// The named parts of the path.
#[derive(Debug)]
pub(super) struct Named<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let refused = |rejection: QueryRejection| {
            let text = rejection.body_text();
            let detail = text.strip_prefix(PREFIX).unwrap_or(&text);
            Problem::bad_request(format!("the parameters of the address: {}", shortened(detail)))
        };
        Query::try_from_uri(&parts.uri).map(|Query(asked)| Asked(asked)).map_err(refused)
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let refused = |rejection: PathRejection| Problem::bad_request(shortened(&rejection.body_text()));
        Path::from_request_parts(parts, state).await.map(|Path(named)| Named(named)).map_err(refused)
    }
}

/// Refuses an address that is not text.
pub(super) fn check(uri: &Uri) -> Result<(), Problem> {
    let bad = |part: &str| percent_decode_str(part).decode_utf8().is_err();
    if bad(uri.path()) {
        return Err(Problem::bad_request("the path is no UTF-8 once it is percent-decoded; names and keys are UTF-8"));
    }
    let Some(parameter) = uri.query().unwrap_or_default().split('&').find(|parameter| bad(parameter)) else {
        return Ok(());
    };
    let name = parameter.split('=').next().unwrap_or_default();
    let detail = format!("{}: no UTF-8 once it is percent-decoded; names and keys are UTF-8", shortened(name));
    Err(Problem::bad_request(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_text_or_refused() {
        for good in
            ["/", "/v1/buckets/%C3%BC?prefix=%C3%BC&store=a", "/v1/buckets/a?prefix=%EF%BF%BD", "/a?%25ff=1", "/?a%"]
        {
            assert!(check(&good.parse().unwrap()).is_ok(), "{good}");
        }
        for bad in ["/?prefix=%ff", "/v1/events?store=a&topic=%C3", "/?%ff", "/?%80=1", "/v1/b/%ff", "/?a=b%ED%A0%80"] {
            assert!(check(&bad.parse().unwrap()).is_err(), "{bad}");
        }
    }
}
