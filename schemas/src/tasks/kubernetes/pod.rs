//! A pod: a task whose id is its uid. Its Ready condition is its health.
//!
//! It drains from `deletionTimestamp` on, and is gone when it is deleted or its phase is Succeeded or Failed.

use super::super::context::{Context, PORTS_MAX, id, in_order, is_tcp, port, push_address, required_id};
use super::super::document::{Object, labels};
use super::super::event::{Decoded, TaskEvent};
use super::super::fact::{Fact, Kind, Order, Port, Rank, Task};
use super::metadata::{self, Told};
use crate::refusal::Refusal;

/// Containers of one pod; Kubernetes has no limit, etcd takes 1.5 MB.
const CONTAINERS_MAX: usize = 100;
/// Conditions and addresses of one pod.
const STATUS_ITEMS_MAX: usize = 100;

pub(super) fn pod(object: &Object<'_>, told: Told, context: &Context<'_>) -> Result<Decoded, Refusal> {
    let (source, metadata) = metadata::read(object, Kind::Task, context)?;
    let spec = object.object("spec")?;
    let status = object.object("status")?;
    let phase = status.as_ref().map(|status| status.text("phase")).transpose()?.flatten();
    let rank = match phase.as_deref() {
        _ if told == Told::Deleted => Rank::Gone,
        Some("Succeeded" | "Failed") => Rank::Gone,
        _ if metadata.object.find("deletionTimestamp")?.is_some() => Rank::Draining,
        _ => Rank::Live,
    };
    let order = context.order(rank, metadata.version);
    let told_labels = metadata.object.object("labels")?;
    let mut task = Task {
        source: source.name.clone(),
        id: required_id(&metadata.object, "uid")?,
        epoch: order.epoch,
        rank: order.rank,
        version: order.version,
        cluster: Some(metadata.cluster),
        namespace: metadata.object.text("namespace")?,
        name: metadata.object.text("name")?,
        labels: told_labels.map(|told| labels(&told, context.limits)).transpose()?,
        status: phase,
        created_ms: context.time(&metadata.object, "creationTimestamp")?,
        ..Task::default()
    };
    if let Some(status) = &status {
        task.ready = ready(status)?;
        task.started_ms = context.time(status, "startTime")?;
        let end = End::of(status, context)?;
        task.reason = status.prose("reason")?.or(end.reason);
        task.exit_code = end.exit_code;
        task.stopped_ms = end.last_ms.filter(|_| rank == Rank::Gone);
        address(&mut task, order, spec.as_ref(), status)?;
        task.network = task.address_version.map(|_| source.network.clone());
    }
    let is_listed = told == Told::Listed;
    Ok(Decoded::Event(Box::new(TaskEvent { fact: Fact::Task(Box::new(task)), is_listed })))
}

/// The Ready condition; `None` as long as there is none.
fn ready(status: &Object<'_>) -> Result<Option<bool>, Refusal> {
    let mut ready = None;
    status.objects("conditions", STATUS_ITEMS_MAX, &mut |condition| {
        if condition.text("type")?.as_deref() == Some("Ready") {
            ready = condition.text("status")?.map(|status| status == "True");
        }
        Ok(())
    })?;
    Ok(ready)
}

/// The address, as soon as the pod has one. A pod in the network of its node has that of its node.
fn address(task: &mut Task, order: Order, spec: Option<&Object<'_>>, status: &Object<'_>) -> Result<(), Refusal> {
    let mut addresses = Vec::new();
    push_address(&mut addresses, &status.text("podIP")?.unwrap_or_default(), "podIP")?;
    status.objects("podIPs", STATUS_ITEMS_MAX, &mut |entry| {
        push_address(&mut addresses, &entry.text("ip")?.unwrap_or_default(), "podIPs")
    })?;
    let is_on_host = spec.map(|spec| spec.flag("hostNetwork")).transpose()?.flatten().unwrap_or_default();
    let node = spec.map(|spec| spec.text("nodeName")).transpose()?.flatten();
    if addresses.is_empty() || (is_on_host && node.is_none()) {
        return Ok(());
    }
    task.address_epoch = Some(order.epoch);
    task.address_rank = Some(order.rank);
    task.address_version = Some(order.version);
    task.ports = spec.map(|spec| ports(spec, is_on_host)).transpose()?.unwrap_or_default();
    if is_on_host {
        task.instance = node.map(|node| id(&node, "spec.nodeName")).transpose()?;
    } else {
        task.addresses = addresses;
    }
    Ok(())
}

fn ports(spec: &Object<'_>, is_on_host: bool) -> Result<Vec<Port>, Refusal> {
    let mut ports = Vec::new();
    spec.objects("containers", CONTAINERS_MAX, &mut |container| {
        let name = container.text("name")?.unwrap_or_default();
        container.objects("ports", PORTS_MAX, &mut |entry| {
            if let (Some(container_port), true) = (port(&entry, "containerPort")?, is_tcp(&entry)?) {
                let host_port = is_on_host.then_some(container_port);
                ports.push(Port { container: name.clone(), container_port, host_port, name: entry.text("name")? });
            }
            Ok(())
        })
    })?;
    in_order(ports)
}

/// How the containers of a pod ended, as far as they did.
#[derive(Default)]
struct End {
    reason: Option<String>,
    exit_code: Option<i32>,
    last_ms: Option<i64>,
}

impl End {
    fn of(status: &Object<'_>, context: &Context<'_>) -> Result<Self, Refusal> {
        let mut ended = Vec::new();
        status.objects("containerStatuses", CONTAINERS_MAX, &mut |container| {
            let state = container.object("state")?;
            let Some(terminated) = state.map(|state| state.object("terminated")).transpose()?.flatten() else {
                return Ok(());
            };
            let code = terminated.whole("exitCode", i32::MIN.into(), i32::MAX.into())?.unwrap_or_default();
            let at = context.time(&terminated, "finishedAt")?;
            ended.push((code == 0, at, i32::try_from(code).unwrap_or_default(), terminated.prose("reason")?));
            Ok(())
        })?;
        let last_ms = ended.iter().filter_map(|(_, at, ..)| *at).max();
        // Those with a code other than 0 first, of these the one that ended first.
        let first = ended.into_iter().min_by_key(|(is_zero, at, ..)| (*is_zero, *at));
        Ok(first.map_or_else(Self::default, |(_, _, exit_code, reason)| Self {
            reason,
            exit_code: Some(exit_code),
            last_ms,
        }))
    }
}
