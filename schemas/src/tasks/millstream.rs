//! Our own types of CloudEvents, for schedulers and tools that speak no other dialect: `millstream.task.v1`,
//! `millstream.instance.v1`, `millstream.slice.v1`, `millstream.deploy.v1` and `millstream.health.v1`.
//!
//! The members of `data` are the columns of the fact, see [`fact`](super::fact); unknown ones are passed over. The source
//! and the network are those of the configured source, never those of the data.
//!
//! | type | required | order |
//! |---|---|---|
//! | task | `id` | `sequence`, after `rank` (0 live, 1 draining, 2 gone), which a status of ECS raises as well |
//! | instance, slice | `id` | `sequence`, after `rank` (0, or 2 gone); addresses of an instance by `address_sequence`, if told |
//! | deploy | `service`, `revision` | `generation` |
//! | health | `task`, `port`, `healthy`, `since_at` | `assignment`, then `counter` |
//!
//! Whoever knows only the addresses of an instance tells `sequence` 0, so that every event of its state is later.
//!
//! A task without `status` is RUNNING. Its address (`addresses`, or `instance` with `ports` that have `host_port`) is
//! taken only from events that carry one. A port is a number or `{container, container_port, host_port, name}`. Times are
//! `created_at`, `started_at`, `stopped_at`, `since_at` as RFC 3339 or seconds since 1970, or the columns `.._ms`. A
//! deploy without `min_ready` waits for one task; without `drain_ms` its tasks have 30 s to finish.

mod deploy;
mod place;
mod task;

use super::context::{Context, required_id, version};
use super::document::Object;
use super::event::{Decoded, TaskEvent};
use super::fact::{Fact, Health, Kind};
use crate::refusal::{Refusal, RefusalReason};

/// The fact that a type of CloudEvents tells of; `None` for a type of nobody.
pub(crate) fn kind_of(event_type: &str) -> Option<Kind> {
    match event_type {
        "millstream.task.v1" => Some(Kind::Task),
        "millstream.instance.v1" => Some(Kind::Instance),
        "millstream.slice.v1" => Some(Kind::Slice),
        "millstream.deploy.v1" => Some(Kind::Deploy),
        "millstream.health.v1" => Some(Kind::Health),
        _ => None,
    }
}

/// Reads the data of an event.
pub(crate) fn event(kind: Kind, data: &Object<'_>, context: &Context<'_>) -> Result<Decoded, Refusal> {
    let fact = match kind {
        Kind::Task => Fact::Task(Box::new(task::task(data, context)?)),
        Kind::Instance => Fact::Instance(Box::new(place::instance(data, context)?)),
        Kind::Slice => Fact::Slice(Box::new(place::slice(data, context)?)),
        Kind::Deploy => Fact::Deploy(Box::new(deploy::deploy(data, context)?)),
        Kind::Health => Fact::Health(Box::new(health(data, context)?)),
        Kind::Alias => return Err(Refusal::new(RefusalReason::NotAllowed, "events never set an alias")),
    };
    Ok(Decoded::Event(Box::new(TaskEvent { fact, is_listed: false })))
}

fn health(data: &Object<'_>, context: &Context<'_>) -> Result<Health, Refusal> {
    let missing = |name: &str| Refusal::new(RefusalReason::MissingField, name);
    let source = context.source(Kind::Health)?;
    let port = data.whole("port", 1, u16::MAX.into())?.ok_or_else(|| missing("port"))?;
    Ok(Health {
        source: source.name.clone(),
        task: required_id(data, "task")?,
        port: i32::try_from(port).unwrap_or_default(),
        assignment: version(data, "assignment")?,
        counter: version(data, "counter")?,
        healthy: data.flag("healthy")?.ok_or_else(|| missing("healthy"))?,
        since_ms: context.plain_time(data, "since")?.ok_or_else(|| missing("since_at"))?,
        reason: data.prose("reason")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::domain::{Domain, of_event_type};

    #[test]
    fn each_type_that_is_decoded_here_is_of_the_domain_of_tasks() {
        for kind in Kind::ALL {
            let event_type = format!("millstream.{}.v1", kind.as_str());
            let is_ours = kind != Kind::Alias;
            assert_eq!(kind_of(&event_type), Some(kind).filter(|_| is_ours), "{event_type}");
            assert_eq!(of_event_type(&event_type) == Domain::Tasks, is_ours, "{event_type}");
        }
    }
}
