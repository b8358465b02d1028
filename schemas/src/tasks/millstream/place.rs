//! `millstream.instance.v1` and `millstream.slice.v1`, and the members that tasks have, too.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::super::context::{
    Context, PORTS_MAX, foreign_cluster, id, in_order, port, push_address, required_id, version,
};
use super::super::document::{self, Object, read_text};
use super::super::fact::{Instance, Kind, Port, Rank, Slice};
use super::super::source::Source;
use crate::json;
use crate::refusal::{Refusal, RefusalReason};

/// Entries of a list of addresses, and of pods of a slice; the latter is what Kubernetes allows.
const ENTRIES_MAX: usize = 1000;

pub(super) fn instance(data: &Object<'_>, context: &Context<'_>) -> Result<Instance, Refusal> {
    let source = context.source(Kind::Instance)?;
    let order = context.order(rank(data, &[Rank::Live, Rank::Gone])?, version(data, "sequence")?);
    let of_address = data.find("address_sequence")?.map(|_| version(data, "address_sequence")).transpose()?;
    let instance = Instance {
        source: source.name.clone(),
        id: required_id(data, "id")?,
        epoch: order.epoch,
        rank: order.rank,
        version: order.version,
        cluster: cluster(source, data)?,
        status: data.text("status")?,
        agent_connected: data.flag("agent_connected")?,
        machine: data.text("machine")?,
        network: Some(source.network.clone()),
        addresses: addresses(data)?,
        ..Instance::default()
    }
    .with_address_order();
    let address_version = instance.address_version.map(|version| of_address.unwrap_or(version));
    Ok(Instance { address_version, ..instance })
}

pub(super) fn slice(data: &Object<'_>, context: &Context<'_>) -> Result<Slice, Refusal> {
    let source = context.source(Kind::Slice)?;
    let order = context.order(rank(data, &[Rank::Live, Rank::Gone])?, version(data, "sequence")?);
    let ready = ids(data, "ready")?;
    let mut unready = ids(data, "unready")?;
    unready.retain(|id| ready.binary_search(id).is_err());
    Ok(Slice {
        source: source.name.clone(),
        id: required_id(data, "id")?,
        epoch: order.epoch,
        rank: order.rank,
        version: order.version,
        cluster: cluster(source, data)?,
        namespace: data.text("namespace")?,
        service: data.text("service")?,
        ports: ports(data)?,
        ready,
        unready,
    })
}

/// The rank by its number, one of those that the kind of fact has; live where it is absent.
pub(super) fn rank(data: &Object<'_>, ranks: &[Rank]) -> Result<Rank, Refusal> {
    let number = data.whole("rank", 0, 2)?.unwrap_or_default();
    let rank = ranks.iter().copied().find(|rank| i64::from(*rank as i16) == number);
    rank.ok_or_else(|| Refusal::new(RefusalReason::BadNumber, "rank"))
}

/// The cluster: a listed one, or, where the data say none, the only one of the source.
pub(super) fn cluster(source: &Source, data: &Object<'_>) -> Result<Option<String>, Refusal> {
    match (data.text("cluster")?, source.clusters.as_slice()) {
        (Some(cluster), listed) if !listed.contains(&cluster) => Err(foreign_cluster(source)),
        (None, [cluster]) => Ok(Some(cluster.clone())),
        (cluster, _) => Ok(cluster),
    }
}

pub(super) fn labels(data: &Object<'_>, context: &Context<'_>) -> Result<Option<BTreeMap<String, String>>, Refusal> {
    data.object("labels")?.map(|labels| document::labels(&labels, context.limits)).transpose()
}

pub(super) fn addresses(data: &Object<'_>) -> Result<Vec<IpAddr>, Refusal> {
    let mut addresses = Vec::new();
    data.elements("addresses", ENTRIES_MAX, &mut |kind, text| {
        push_address(&mut addresses, &read_text(kind, text, "addresses")?, "addresses")
    })?;
    Ok(addresses)
}

pub(super) fn ports(data: &Object<'_>) -> Result<Vec<Port>, Refusal> {
    let mut ports = Vec::new();
    data.elements("ports", PORTS_MAX, &mut |kind, text| {
        let bad = || Refusal::new(RefusalReason::BadAddress, "ports");
        ports.push(if kind == json::Kind::Number {
            let container_port = text.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?;
            Port { container_port, ..Port::default() }
        } else {
            let entry = Object::read(text, "a port")?;
            Port {
                container: entry.text("container")?.unwrap_or_default(),
                container_port: port(&entry, "container_port")?.ok_or_else(bad)?,
                host_port: port(&entry, "host_port")?,
                name: entry.text("name")?,
            }
        });
        Ok(())
    })?;
    in_order(ports)
}

/// Ids in order, each once.
fn ids(data: &Object<'_>, name: &str) -> Result<Vec<String>, Refusal> {
    let mut ids = Vec::new();
    data.elements(name, ENTRIES_MAX, &mut |kind, text| {
        ids.push(id(&read_text(kind, text, name)?, name)?);
        Ok(())
    })?;
    ids.sort();
    ids.dedup();
    Ok(ids)
}
