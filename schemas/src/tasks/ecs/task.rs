//! A task of ECS.

use super::super::context::{Context, check_cluster, foreign_cluster, id, version};
use super::super::document::Object;
use super::super::event::{Decoded, TaskEvent};
use super::super::fact::{Fact, Kind, Rank, Task};
use super::super::filter::FilterReason;
use super::super::source::{Source, SourceKind};
use super::address::{self, Address, CONTAINERS_MAX};
use super::arn::id_of_arn;
use crate::refusal::Refusal;
use crate::text;

/// The failure of DescribeTasks that says that a task is gone.
const MISSING: &str = "MISSING";

/// What a task tells of itself; `is_listed`: DescribeTasks told it.
pub(crate) fn task(detail: &Object<'_>, is_listed: bool, context: &Context<'_>) -> Result<Decoded, Refusal> {
    let source = context.source(Kind::Task)?;
    let cluster = detail.required("clusterArn")?;
    check_cluster(source, SourceKind::Ecs, &cluster)?;
    let id = id(id_of_arn(&detail.required("taskArn")?), "taskArn")?;
    let status = detail.required("lastStatus")?;
    let desired_status = detail.text("desiredStatus")?;
    let order = context.order(rank(&status, desired_status.as_deref()), version(detail, "version")?);
    let mut task = Task {
        source: source.name.clone(),
        id,
        epoch: order.epoch,
        rank: order.rank,
        version: order.version,
        cluster: Some(cluster),
        definition: detail.text("taskDefinitionArn")?.map(|arn| id_of_arn(&arn).to_owned()),
        group: detail.text("group")?,
        status: Some(status),
        desired_status,
        reason: reason(detail)?,
        exit_code: exit_code(detail)?,
        stopped_ms: context.time(detail, "stoppedAt")?,
        created_ms: context.time(detail, "createdAt")?,
        started_ms: context.time(detail, "startedAt")?,
        ..Task::default()
    };
    if let Some(Address { addresses, ports, instance }) = address::read(detail)? {
        task.address_epoch = Some(order.epoch);
        task.address_rank = Some(order.rank);
        task.address_version = Some(order.version);
        task.network = Some(source.network.clone());
        task.addresses = addresses;
        task.ports = ports;
        task.instance = instance;
    }
    Ok(Decoded::Event(Box::new(TaskEvent { fact: Fact::Task(Box::new(task)), is_listed })))
}

/// A failure of DescribeTasks: a task that is missing is gone. A failure has no version, so it has the least; the rank
/// counts before it.
pub(crate) fn missing(failure: &Object<'_>, context: &Context<'_>) -> Result<Decoded, Refusal> {
    let reason = failure.required("reason")?;
    if reason != MISSING {
        let name = text::name_to_count(reason.into()).into_owned();
        return Ok(Decoded::Filtered { reason: FilterReason::UnsupportedKind, name });
    }
    let source = context.source(Kind::Task)?;
    let arn = failure.required("arn")?;
    let order = context.order(Rank::Gone, 0);
    let task = Task {
        source: source.name.clone(),
        id: id(id_of_arn(&arn), "arn")?,
        epoch: order.epoch,
        rank: order.rank,
        version: order.version,
        cluster: cluster_of(source, &arn)?,
        reason: Some(reason),
        ..Task::default()
    };
    Ok(Decoded::Event(Box::new(TaskEvent { fact: Fact::Task(Box::new(task)), is_listed: true })))
}

/// The rank that the statuses of a task mean.
pub(crate) fn rank(status: &str, desired_status: Option<&str>) -> Rank {
    match (status, desired_status) {
        ("STOPPED" | "DELETED", _) => Rank::Gone,
        ("DEACTIVATING" | "STOPPING" | "DEPROVISIONING", _) | (_, Some("STOPPED")) => Rank::Draining,
        _ => Rank::Live,
    }
}

/// The cluster in the ARN of a task. The old form names none: then account and region must be those of a listed one.
fn cluster_of(source: &Source, arn: &str) -> Result<Option<String>, Refusal> {
    let Some((owner, rest)) = arn.split_once(":task/") else { return Err(foreign_cluster(source)) };
    if let Some((cluster, _)) = rest.split_once('/') {
        let cluster = format!("{owner}:cluster/{cluster}");
        return check_cluster(source, SourceKind::Ecs, &cluster).map(|()| Some(cluster));
    }
    let is_owner = |cluster: &String| cluster.split_once(":cluster/").is_some_and(|(listed, _)| listed == owner);
    if source.kind == SourceKind::Ecs && source.clusters.iter().any(is_owner) {
        Ok(None)
    } else {
        Err(foreign_cluster(source))
    }
}

/// Why the task stops: the code and the sentence, as far as they are there.
fn reason(detail: &Object<'_>) -> Result<Option<String>, Refusal> {
    Ok(match (detail.prose("stopCode")?, detail.prose("stoppedReason")?) {
        (Some(code), Some(sentence)) => Some(format!("{code}: {sentence}")),
        (code, sentence) => code.or(sentence),
    })
}

/// The exit code of the first container that has one other than 0, else 0. ECS does not say which ended first.
fn exit_code(detail: &Object<'_>) -> Result<Option<i32>, Refusal> {
    let mut exit_code = None;
    detail.objects("containers", CONTAINERS_MAX, &mut |container| {
        // A code of another type is only not shown: nothing is decided by it.
        let code = container.whole("exitCode", i32::MIN.into(), i32::MAX.into()).unwrap_or_default();
        let code = code.and_then(|code| i32::try_from(code).ok());
        if exit_code.is_none_or(|code| code == 0) {
            exit_code = code.or(exit_code);
        }
        Ok(())
    })?;
    Ok(exit_code)
}
