//! `millstream.task.v1`.

use super::super::context::{Context, required_id, version};
use super::super::document::Object;
use super::super::ecs;
use super::super::fact::{Kind, Rank, Task};
use super::place::{addresses, cluster, labels, ports, rank};
use crate::refusal::Refusal;

/// The status of a task that says nothing of it.
const RUNNING: &str = "RUNNING";

pub(super) fn task(data: &Object<'_>, context: &Context<'_>) -> Result<Task, Refusal> {
    let source = context.source(Kind::Task)?;
    let cluster = cluster(source, data)?;
    let status = data.text("status")?.unwrap_or_else(|| RUNNING.to_owned());
    let desired_status = data.text("desired_status")?;
    let told = ecs::rank(&status, desired_status.as_deref());
    let rank = rank(data, &[Rank::Live, Rank::Draining, Rank::Gone])?.max(told);
    let order = context.order(rank, version(data, "sequence")?);
    let exit_code = data.whole("exit_code", i32::MIN.into(), i32::MAX.into())?;
    let mut task = Task {
        source: source.name.clone(),
        id: required_id(data, "id")?,
        epoch: order.epoch,
        rank: order.rank,
        version: order.version,
        cluster,
        definition: data.text("definition")?,
        group: data.text("group")?,
        namespace: data.text("namespace")?,
        name: data.text("name")?,
        labels: labels(data, context)?,
        status: Some(status),
        desired_status,
        ready: data.flag("ready")?,
        reason: data.prose("reason")?,
        exit_code: exit_code.and_then(|code| i32::try_from(code).ok()),
        stopped_ms: context.plain_time(data, "stopped")?,
        created_ms: context.plain_time(data, "created")?,
        started_ms: context.plain_time(data, "started")?,
        ..Task::default()
    };
    let addresses = addresses(data)?;
    let instance = data.find("instance")?.map(|_| required_id(data, "instance")).transpose()?;
    if !addresses.is_empty() || instance.is_some() {
        task.address_epoch = Some(order.epoch);
        task.address_rank = Some(order.rank);
        task.address_version = Some(order.version);
        task.network = Some(source.network.clone());
        task.addresses = addresses;
        task.ports = ports(data)?;
        task.instance = instance;
    }
    Ok(task)
}
