//! What all dialects of one record have in common: who sent it, and the checks of versions, times, names and addresses.

use core::net::IpAddr;
use std::cell::Cell;

use super::document::{Object, read_text, wrong_type};
use super::fact::{Kind, Order, Port, Rank};
use super::source::{Source, SourceKind, is_name};
use crate::json;
use crate::limits::Limits;
use crate::refusal::{Refusal, RefusalReason};
use crate::time;

/// How far ahead of its publishing an event may say that something happened.
const FUTURE_MS_MAX: i64 = 24 * 3_600_000;
/// Seconds since 1970 in 2106, where the times of objects end, too.
const SECONDS_MAX: f64 = 4_294_967_296.0;
/// Bytes of an id: those of schedulers have up to 36, and an index of PostgreSQL takes 2,704.
const ID_BYTES_MAX: usize = 255;
/// Addresses of one task or instance; schedulers give at most two for each network interface.
const ADDRESSES_MAX: usize = 64;
/// Ports of one task or slice; ECS allows 100 for a container and 10 containers.
pub(crate) const PORTS_MAX: usize = 1000;

/// The context of one record.
#[derive(Debug)]
pub(crate) struct Context<'c> {
    /// The configured source that the record names; `None` where there is none of that name.
    pub(crate) source: Option<&'c Source>,
    pub(crate) epoch: i64,
    pub(crate) published_at_ms: i64,
    pub(crate) limits: &'c Limits,
    /// Events that the lists of the record may still hold in total.
    pub(crate) events_left: Cell<usize>,
}

impl Context<'_> {
    /// The source, if it may send facts of this kind.
    pub(crate) fn source(&self, kind: Kind) -> Result<&Source, Refusal> {
        let source = self
            .source
            .ok_or_else(|| Refusal::new(RefusalReason::UnknownSource, "the record names no configured task_source"))?;
        if source.may.contains(&kind) {
            return Ok(source);
        }
        let detail = format!("task_source {:?} may not send {}", source.name, kind.as_str());
        Err(Refusal::new(RefusalReason::NotAllowed, detail))
    }

    /// Counts the elements of a list: reading limits only those of a notification.
    pub(crate) fn take(&self, events: usize) -> Result<(), Refusal> {
        let left = self.events_left.get().checked_sub(events).ok_or_else(|| {
            let detail = format!("more than {} in one record", self.limits.events_per_record_max);
            Refusal::new(RefusalReason::TooManyEvents, detail)
        })?;
        self.events_left.set(left);
        Ok(())
    }

    /// The place of an event in the order of its entity.
    pub(crate) fn order(&self, rank: Rank, version: i64) -> Order {
        Order { epoch: self.epoch, rank: rank as i16, version }
    }

    /// A time as RFC 3339 or as seconds since 1970, in milliseconds.
    pub(crate) fn time(&self, object: &Object<'_>, name: &str) -> Result<Option<i64>, Refusal> {
        let ms = match object.find(name)? {
            None => return Ok(None),
            Some((json::Kind::Text, "\"\"")) => return Ok(None),
            Some((json::Kind::Text, text)) => {
                let moment = time::parse(&read_text(json::Kind::Text, text, name)?)?;
                moment
                    .fixed_point()
                    .map(|_| moment.seconds * 1000 + ((i64::from(moment.fraction) * 1000 + (1 << 31)) >> 32))
            }
            Some((json::Kind::Number, digits)) => {
                let seconds = digits.parse::<f64>().ok().filter(|seconds| (0.0..SECONDS_MAX).contains(seconds));
                // At most 2^42, which both types hold exactly.
                seconds.map(|seconds| (seconds * 1000.0).round() as i64)
            }
            Some(_) => return Err(wrong_type(name)),
        };
        self.within_times(ms, name).map(Some)
    }

    /// A time that plain events give as `<name>_at` like other dialects, or as the column `<name>_ms`.
    pub(crate) fn plain_time(&self, object: &Object<'_>, name: &str) -> Result<Option<i64>, Refusal> {
        if let Some(ms) = self.time(object, &format!("{name}_at"))? {
            return Ok(Some(ms));
        }
        let column = format!("{name}_ms");
        let ms = object.whole(&column, i64::MIN, i64::MAX)?;
        ms.map(|ms| self.within_times(Some(ms), &column)).transpose()
    }

    fn within_times(&self, ms: Option<i64>, name: &str) -> Result<i64, Refusal> {
        let ms = ms.filter(|ms| (0..=SECONDS_MAX as i64 * 1000).contains(ms));
        let ms = ms.ok_or_else(|| Refusal::new(RefusalReason::TimeOutOfRange, name))?;
        if ms > self.published_at_ms.saturating_add(FUTURE_MS_MAX) {
            return Err(Refusal::new(RefusalReason::TimeInFuture, name));
        }
        Ok(ms)
    }
}

/// The version of an event: a whole number below 2^63 with which its source counts.
pub(crate) fn version(object: &Object<'_>, name: &str) -> Result<i64, Refusal> {
    match object.find(name)? {
        Some((json::Kind::Number, digits)) => parse_version(digits, name),
        _ => Err(no_version(name)),
    }
}

/// As [`version`], from a text of digits.
pub(crate) fn parse_version(digits: &str, name: &str) -> Result<i64, Refusal> {
    // Without the check a text of "+5" would pass.
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain).ok_or_else(|| no_version(name))
}

fn no_version(name: &str) -> Refusal {
    Refusal::new(RefusalReason::NoVersion, format!("{name} is not a whole number below 2^63"))
}

/// An id: printable and without spaces, because it stands in headers, logs and URLs.
pub(crate) fn id(text: &str, name: &str) -> Result<String, Refusal> {
    if text.is_empty() {
        return Err(Refusal::new(RefusalReason::MissingField, name));
    }
    if text.len() > ID_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let detail = format!("{name} is not an id: 1 to {ID_BYTES_MAX} printable characters of ASCII");
        return Err(Refusal::new(RefusalReason::BadName, detail));
    }
    Ok(text.to_owned())
}

/// The id in a required member.
pub(crate) fn required_id(object: &Object<'_>, name: &str) -> Result<String, Refusal> {
    id(&object.required(name)?, name)
}

/// A required name of a service or revision.
pub(crate) fn required_name(object: &Object<'_>, name: &str) -> Result<String, Refusal> {
    let text = object.required(name)?;
    if is_name(&text) {
        return Ok(text);
    }
    let detail = format!("{name} is not 1 to 127 letters, digits, `.`, `_`, `-`");
    Err(Refusal::new(RefusalReason::BadName, detail))
}

/// Refuses an event of a cluster that its source does not list, or of another scheduler than the source is.
pub(crate) fn check_cluster(source: &Source, kind: SourceKind, cluster: &str) -> Result<(), Refusal> {
    if source.kind == kind && source.clusters.iter().any(|listed| listed == cluster) {
        return Ok(());
    }
    Err(foreign_cluster(source))
}

pub(crate) fn foreign_cluster(source: &Source) -> Refusal {
    let detail = format!("task_source {:?} does not list the cluster of the event", source.name);
    Refusal::new(RefusalReason::ForeignCluster, detail)
}

/// Adds an address; an empty text is none, and one that is there already is not repeated.
pub(crate) fn push_address(addresses: &mut Vec<IpAddr>, text: &str, name: &str) -> Result<(), Refusal> {
    if text.is_empty() {
        return Ok(());
    }
    let address = text.parse().map_err(|_| Refusal::new(RefusalReason::BadAddress, name))?;
    if !addresses.contains(&address) {
        addresses.push(address);
    }
    if addresses.len() > ADDRESSES_MAX {
        return Err(Refusal::new(RefusalReason::TooManyItems, format!("more than {ADDRESSES_MAX} addresses")));
    }
    Ok(())
}

/// The number of a port; `None` where it is absent or 0, which means that none is assigned.
pub(crate) fn port(object: &Object<'_>, name: &str) -> Result<Option<u16>, Refusal> {
    let Some((kind, digits)) = object.find(name)? else { return Ok(None) };
    let number = (kind == json::Kind::Number).then(|| digits.parse::<u16>().ok()).flatten();
    let number = number.ok_or_else(|| Refusal::new(RefusalReason::BadAddress, name))?;
    Ok(Some(number).filter(|number| *number > 0))
}

/// Whether an entry of ports is of TCP, which is also what it means where it does not say.
pub(crate) fn is_tcp(object: &Object<'_>) -> Result<bool, Refusal> {
    Ok(object.text("protocol")?.is_none_or(|protocol| protocol.eq_ignore_ascii_case("tcp")))
}

/// Ports in one order, each once, so that equal ports are equal facts.
pub(crate) fn in_order(mut ports: Vec<Port>) -> Result<Vec<Port>, Refusal> {
    if ports.len() > PORTS_MAX {
        return Err(Refusal::new(RefusalReason::TooManyItems, format!("more than {PORTS_MAX} ports")));
    }
    ports.sort();
    ports.dedup();
    Ok(ports)
}
