//! `millstream.deploy.v1`: what a revision of a service consists of.

use super::super::context::{Context, required_name, version};
use super::super::document::Object;
use super::super::fact::{Deploy, HealthCheck, Kind, Selector};
use crate::json;
use crate::refusal::{Refusal, RefusalReason};

/// Tasks that an alias waits for where the deploy does not say.
const MIN_READY: i64 = 1;
/// How long a draining task may finish what it has where the deploy does not say.
const DRAIN_MS: i64 = 30_000;
/// A day, beyond which no server holds a request or a connection.
const WAIT_MS_MAX: i64 = 86_400_000;
/// More tasks than one service has.
const COUNT_MAX: i64 = 1_000_000;
/// Bytes of a selector, and of the path of a check.
const TEXT_BYTES_MAX: usize = 16 * 1024;

pub(super) fn deploy(data: &Object<'_>, context: &Context<'_>) -> Result<Deploy, Refusal> {
    context.source(Kind::Deploy)?;
    let port = data.whole("port", 1, u16::MAX.into())?;
    let min_ready = data.whole("min_ready", 0, COUNT_MAX)?.unwrap_or(MIN_READY);
    let concurrency_max = data.whole("concurrency_max", 1, COUNT_MAX)?;
    let selector: Option<Selector> = read(data, "selector")?;
    Ok(Deploy {
        service: required_name(data, "service")?,
        revision: required_name(data, "revision")?,
        generation: version(data, "generation")?,
        retired: data.flag("retired")?.unwrap_or_default(),
        selector,
        container: data.text("container")?,
        port: port.and_then(|port| u16::try_from(port).ok()),
        health: read(data, "health")?.map(checked).transpose()?,
        min_ready: i32::try_from(min_ready).unwrap_or_default(),
        drain_ms: data.whole("drain_ms", 0, WAIT_MS_MAX)?.unwrap_or(DRAIN_MS),
        keep_alive_ms: data.whole("keep_alive_ms", 0, WAIT_MS_MAX)?,
        replay_post: data.flag("replay_post")?.unwrap_or_default(),
        identity: data.find("identity")?.map(|_| required_name(data, "identity")).transpose()?,
        concurrency_max: concurrency_max.and_then(|count| i32::try_from(count).ok()),
    })
}

/// An object whose members are all known: one that is passed over could select more tasks than are meant.
fn read<T: serde::de::DeserializeOwned>(data: &Object<'_>, name: &str) -> Result<Option<T>, Refusal> {
    let Some((kind, text)) = data.find(name)? else { return Ok(None) };
    if kind != json::Kind::Object || text.len() > TEXT_BYTES_MAX {
        return Err(Refusal::new(RefusalReason::WrongType, name));
    }
    let value: serde_json::Value = serde_json::from_str(text).map_err(|_| wrong(name))?;
    // Whatever escape writes it, a NUL cannot be stored.
    if has_nul(&value) {
        return Err(Refusal::new(RefusalReason::NulInText, name));
    }
    serde_json::from_str(text).map(Some).map_err(|_| wrong(name))
}

fn wrong(name: &str) -> Refusal {
    Refusal::new(RefusalReason::WrongType, format!("{name} has an unknown member, or one of another type"))
}

fn has_nul(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.contains('\0'),
        serde_json::Value::Array(values) => values.iter().any(has_nul),
        serde_json::Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// A path that can stand in the head of a request.
fn checked(health: HealthCheck) -> Result<HealthCheck, Refusal> {
    match &health {
        HealthCheck::Http { path } if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(Refusal::new(RefusalReason::BadName, "health.path is no path"))
        }
        _ => Ok(health),
    }
}
