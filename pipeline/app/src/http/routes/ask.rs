//! What a client asks for: the members of a body, and the generation that it expects to replace.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use millstream_connectors::sinks::routing::edit::Expected;
use millstream_schemas::tasks::{Alias, Deploy, HealthCheck, Selector, Target, is_name};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::access::{Access, forbidden};
use super::super::problem::{Problem, shortened};

/// Targets of an alias: a canary has a few.
const TARGETS_MAX: usize = 64;
/// Weights are shares of their sum.
const WEIGHT_MAX: u16 = 1_000;
/// Bytes of an id of a request.
pub(super) const CHANGE_ID_BYTES_MAX: usize = 200;

/// A client whose token is not held to a store: routes belong to none.
#[derive(Debug)]
pub(super) struct Whole;

impl<S: Send + Sync> FromRequestParts<S> for Whole {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.extensions.get::<Access>() {
            Some(access) => access.every_store().map(|()| Whole),
            None => Err(forbidden()),
        }
    }
}

/// An alias as it is set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AliasBody {
    /// The revisions; with `any` there are none.
    #[serde(default)]
    targets: Vec<Target>,
    /// Means every live revision.
    #[serde(default)]
    any: bool,
    #[serde(default)]
    sticky: Option<String>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    hold_max_ms: Option<i64>,
    #[serde(default)]
    retry_responses: bool,
    #[serde(default)]
    retry_keyed: bool,
    #[serde(default)]
    timeout_ms: Option<i64>,
    /// Whether targets may name revisions that are not deployed yet.
    #[serde(default)]
    pub(super) allow_pending: bool,
    #[serde(default)]
    pub(super) change_id: Option<String>,
}

/// A revision as it is set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeployBody {
    #[serde(default)]
    selector: Option<Selector>,
    #[serde(default)]
    container: Option<String>,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    health: Option<HealthCheck>,
    #[serde(default = "one")]
    min_ready: i32,
    #[serde(default = "thirty_seconds")]
    drain_ms: i64,
    #[serde(default)]
    keep_alive_ms: Option<i64>,
    #[serde(default)]
    replay_post: bool,
    #[serde(default)]
    identity: Option<String>,
    #[serde(default)]
    concurrency_max: Option<i32>,
}

fn one() -> i32 {
    1
}

fn thirty_seconds() -> i64 {
    30_000
}

impl AliasBody {
    pub(super) fn alias(self, service: String, alias: String) -> Result<(Alias, Option<String>, bool), Problem> {
        let AliasBody { targets, any, .. } = &self;
        if *any != targets.is_empty() {
            return Err(unprocessable("either `targets` names revisions with weights, or `any` is true"));
        }
        if targets.len() > TARGETS_MAX {
            return Err(unprocessable(format!("`targets` has at most {TARGETS_MAX} revisions")));
        }
        let mut names: Vec<&str> = targets.iter().map(|target| &*target.revision).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() < targets.len() {
            return Err(unprocessable("`targets` names a revision twice"));
        }
        if let Some(bad) = targets.iter().find(|target| target.weight > WEIGHT_MAX || !is_name(&target.revision)) {
            let detail = format!(
                "revision {:?} with weight {}: names have 1 to 127 letters, digits, `.`, `_`, `-`; weights are 0 to {WEIGHT_MAX}",
                shortened(&bad.revision),
                bad.weight
            );
            return Err(unprocessable(detail));
        }
        if !any && targets.iter().all(|target| target.weight == 0) {
            return Err(unprocessable("one weight at least is more than 0, or no request could be served"));
        }
        if self.change_id.as_ref().is_some_and(|id| id.len() > CHANGE_ID_BYTES_MAX || id.contains('\0')) {
            return Err(unprocessable(format!("`change_id` has at most {CHANGE_ID_BYTES_MAX} bytes, and no NUL")));
        }
        if self.sticky.as_ref().is_some_and(|name| header::HeaderName::from_bytes(name.as_bytes()).is_err()) {
            return Err(unprocessable("`sticky` is the name of a header"));
        }
        positive("hold_max_ms", self.hold_max_ms)?;
        positive("timeout_ms", self.timeout_ms)?;
        let AliasBody { targets, sticky, force, hold_max_ms, retry_responses, retry_keyed, timeout_ms, .. } = self;
        let set = Alias {
            service,
            alias,
            targets,
            sticky,
            force,
            hold_max_ms,
            retry_responses,
            retry_keyed,
            timeout_ms,
            ..Alias::default()
        };
        Ok((set, self.change_id, self.allow_pending))
    }
}

impl DeployBody {
    pub(super) fn deploy(self, service: String, revision: String) -> Result<Deploy, Problem> {
        if self.min_ready < 0 || self.drain_ms < 0 || self.concurrency_max.is_some_and(|max| max < 1) {
            return Err(unprocessable("`min_ready` and `drain_ms` are 0 or more, `concurrency_max` is 1 or more"));
        }
        if self.port == Some(0) {
            return Err(unprocessable("`port` is 1 to 65535"));
        }
        positive("keep_alive_ms", self.keep_alive_ms)?;
        if self.identity.as_ref().is_some_and(|name| header::HeaderName::from_bytes(name.as_bytes()).is_err()) {
            return Err(unprocessable("`identity` is the name of a header"));
        }
        let texts = [&self.container, &self.identity].into_iter().flatten();
        if texts.into_iter().any(|text| text.contains('\0')) {
            return Err(unprocessable("names have no NUL"));
        }
        Ok(Deploy {
            service,
            revision,
            generation: 0,
            retired: false,
            selector: self.selector,
            container: self.container,
            port: self.port,
            health: self.health,
            min_ready: self.min_ready,
            drain_ms: self.drain_ms,
            keep_alive_ms: self.keep_alive_ms,
            replay_post: self.replay_post,
            identity: self.identity,
            concurrency_max: self.concurrency_max,
        })
    }
}

fn positive(name: &str, number: Option<i64>) -> Result<(), Problem> {
    match number {
        Some(number) if number < 1 => Err(unprocessable(format!("`{name}` is 1 or more"))),
        _ => Ok(()),
    }
}

/// Reads a body.
pub(super) fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Problem> {
    // JSON has no other way to write it.
    if bytes.windows(6).any(|six| six == b"\\u0000") {
        return Err(unprocessable("texts have no NUL"));
    }
    // An array would be read by position.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::bad_request("the body: a JSON object is wanted"));
    }
    serde_json::from_slice(bytes).map_err(|error| Problem::bad_request(format!("the body: {error}")))
}

/// The generation that a request expects to replace; a request that says nothing is refused.
pub(super) fn expected(headers: &HeaderMap) -> Result<Expected, Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?").trim());
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None, Some("*")) => Ok(Expected::None),
        (Some("*"), None) => Ok(Expected::Any),
        (Some(tag), None) => {
            let number = tag.trim_matches('"').parse();
            number.map(Expected::Generation).map_err(|_| {
                Problem::bad_request(
                    "If-Match has the ETag of an answer, which is its generation, as in If-Match: \"4\"",
                )
            })
        }
        _ => {
            let detail = "say what you replace: If-Match: \"GENERATION\" as GET shows it in ETag, or If-None-Match: * for a new one";
            Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, "no-precondition", "a precondition is needed", detail))
        }
    }
}

/// Refuses names that could not be stored.
pub(super) fn names(service: &str, other: &str) -> Result<(), Problem> {
    match [service, other].into_iter().find(|name| !is_name(name)) {
        Some(name) => {
            let name = shortened(name);
            let detail = format!("{name:?}: names have 1 to 127 letters, digits, `.`, `_` and `-`");
            Err(Problem::bad_request(detail))
        }
        None => Ok(()),
    }
}

pub(super) fn unprocessable(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-route", "this cannot be set", detail)
}
