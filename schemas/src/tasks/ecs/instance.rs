//! A container instance of ECS. Its events name its machine, not its address: that comes from a plain event, from the
//! API or from the configuration.

use super::super::context::{Context, check_cluster, id, version};
use super::super::document::Object;
use super::super::event::{Decoded, TaskEvent};
use super::super::fact::{Fact, Instance, Kind, Rank};
use super::super::source::SourceKind;
use super::arn::id_of_arn;
use crate::refusal::Refusal;

/// What a container instance tells of itself.
pub(crate) fn instance(detail: &Object<'_>, context: &Context<'_>) -> Result<Decoded, Refusal> {
    let source = context.source(Kind::Instance)?;
    let cluster = detail.required("clusterArn")?;
    check_cluster(source, SourceKind::Ecs, &cluster)?;
    let status = detail.text("status")?;
    // A deregistered one never returns; `DRAINING` changes no route.
    let rank = if status.as_deref() == Some("INACTIVE") { Rank::Gone } else { Rank::Live };
    let order = context.order(rank, version(detail, "version")?);
    let instance = Instance {
        source: source.name.clone(),
        id: id(id_of_arn(&detail.required("containerInstanceArn")?), "containerInstanceArn")?,
        epoch: order.epoch,
        rank: order.rank,
        version: order.version,
        cluster: Some(cluster),
        status,
        agent_connected: detail.flag("agentConnected")?,
        machine: detail.text("ec2InstanceId")?,
        network: Some(source.network.clone()),
        ..Instance::default()
    };
    Ok(Decoded::Event(Box::new(TaskEvent { fact: Fact::Instance(Box::new(instance)), is_listed: false })))
}
