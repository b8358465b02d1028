//! A node: the instance whose address pods in its network share. Pods name it by its name, so this is its id.
//!
//! A name may return with another machine, so a node that is deleted is not gone but has the status `Deleted`.

use super::super::context::{Context, push_address, required_id};
use super::super::document::Object;
use super::super::event::{Decoded, TaskEvent};
use super::super::fact::{Fact, Instance, Kind, Rank};
use super::metadata::{self, Told};
use crate::refusal::Refusal;

/// Conditions and addresses of one node.
const STATUS_ITEMS_MAX: usize = 100;

pub(super) fn node(object: &Object<'_>, told: Told, context: &Context<'_>) -> Result<Decoded, Refusal> {
    let (source, metadata) = metadata::read(object, Kind::Instance, context)?;
    let order = context.order(Rank::Live, metadata.version);
    let mut addresses = Vec::new();
    let mut state = None;
    if let Some(status) = object.object("status")? {
        status.objects("addresses", STATUS_ITEMS_MAX, &mut |entry| {
            if entry.text("type")?.as_deref() != Some("InternalIP") {
                return Ok(());
            }
            push_address(&mut addresses, &entry.text("address")?.unwrap_or_default(), "InternalIP")
        })?;
        status.objects("conditions", STATUS_ITEMS_MAX, &mut |condition| {
            if condition.text("type")?.as_deref() == Some("Ready") {
                let is_ready = condition.text("status")?.as_deref() == Some("True");
                state = Some(if is_ready { "Ready" } else { "NotReady" });
            }
            Ok(())
        })?;
    }
    if told == Told::Deleted {
        state = Some("Deleted");
    }
    let provider = object.object("spec")?.map(|spec| spec.text("providerID")).transpose()?.flatten();
    let instance = Instance {
        source: source.name.clone(),
        id: required_id(&metadata.object, "name")?,
        epoch: order.epoch,
        rank: order.rank,
        version: order.version,
        cluster: Some(metadata.cluster),
        status: state.map(str::to_owned),
        agent_connected: None,
        machine: provider.as_deref().and_then(|id| id.rsplit('/').next()).map(str::to_owned),
        network: Some(source.network.clone()),
        addresses,
        ..Instance::default()
    }
    .with_address_order();
    let is_listed = told == Told::Listed;
    Ok(Decoded::Event(Box::new(TaskEvent { fact: Fact::Instance(Box::new(instance)), is_listed })))
}
