//! An EndpointSlice: one fact with the pods that it names. Where `ready` is absent the pod is ready; where `serving` is
//! absent it is what `ready` is. Endpoints that are no pods are passed over.

use std::collections::BTreeMap;

use super::super::context::{Context, PORTS_MAX, id, in_order, is_tcp, port, required_id};
use super::super::document::Object;
use super::super::event::{Decoded, TaskEvent};
use super::super::fact::{Fact, Kind, Port, Rank, Slice};
use super::metadata::{self, Told};
use crate::refusal::Refusal;

/// The label that names the service of a slice.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// Endpoints of one slice; the most that Kubernetes allows.
const ENDPOINTS_MAX: usize = 1000;

pub(super) fn slice(object: &Object<'_>, told: Told, context: &Context<'_>) -> Result<Decoded, Refusal> {
    let (source, metadata) = metadata::read(object, Kind::Slice, context)?;
    let rank = if told == Told::Deleted { Rank::Gone } else { Rank::Live };
    let order = context.order(rank, metadata.version);
    let pods = pods(object)?;
    let with = |is_serving: bool| {
        pods.iter().filter(|(_, serving)| **serving == is_serving).map(|(uid, _)| uid.clone()).collect()
    };
    let labels = metadata.object.object("labels")?;
    let slice = Slice {
        source: source.name.clone(),
        id: required_id(&metadata.object, "uid")?,
        epoch: order.epoch,
        rank: order.rank,
        version: order.version,
        cluster: Some(metadata.cluster),
        namespace: metadata.object.text("namespace")?,
        service: labels.map(|labels| labels.text(SERVICE_LABEL)).transpose()?.flatten(),
        ports: ports(object)?,
        ready: with(true),
        unready: with(false),
    };
    let is_listed = told == Told::Listed;
    Ok(Decoded::Event(Box::new(TaskEvent { fact: Fact::Slice(Box::new(slice)), is_listed })))
}

/// The uids of the pods, each with whether it serves. One that stands twice serves if it does so once.
fn pods(object: &Object<'_>) -> Result<BTreeMap<String, bool>, Refusal> {
    let mut pods = BTreeMap::new();
    object.objects("endpoints", ENDPOINTS_MAX, &mut |endpoint| {
        let Some(target) = endpoint.object("targetRef")? else { return Ok(()) };
        if target.text("kind")?.as_deref() != Some("Pod") {
            return Ok(());
        }
        let Some(uid) = target.text("uid")? else { return Ok(()) };
        let conditions = endpoint.object("conditions")?;
        let flag = |name| conditions.as_ref().map(|conditions| conditions.flag(name)).transpose().map(Option::flatten);
        let ready = flag("ready")?.unwrap_or(true);
        *pods.entry(id(&uid, "targetRef.uid")?).or_default() |= flag("serving")?.unwrap_or(ready);
        Ok(())
    })?;
    Ok(pods)
}

fn ports(object: &Object<'_>) -> Result<Vec<Port>, Refusal> {
    let mut ports = Vec::new();
    object.objects("ports", PORTS_MAX, &mut |entry| {
        if let (Some(container_port), true) = (port(&entry, "port")?, is_tcp(&entry)?) {
            ports.push(Port { container_port, name: entry.text("name")?, ..Port::default() });
        }
        Ok(())
    })?;
    in_order(ports)
}
