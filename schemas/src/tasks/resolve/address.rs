//! Where a task is reached: its address and the port of its deploy.

use core::net::{IpAddr, SocketAddr};

use super::standing::Pending;
use crate::tasks::fact::Deploy;
use crate::tasks::facts::Facts;
use crate::tasks::facts::claims::Spot;
use crate::tasks::facts::names::Name;
use crate::tasks::facts::row::{PortRow, TaskRow};

/// The address of a task and what it claims there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reached {
    /// The network of the address.
    pub(super) network: Option<Name>,
    /// Where to connect.
    pub(super) address: SocketAddr,
    /// The claim of the task.
    pub(super) spot: Spot,
}

/// Where the port of a deploy is reached on a task: on its own first address, or on that of its instance.
///
/// The port is that of the deploy; if the deploy names none, it is the first one of its container.
///
/// # Errors
/// What the task waits for.
pub(super) fn reached(facts: &Facts, task: &TaskRow, deploy: &Deploy) -> Result<Reached, Pending> {
    if let Some(ip) = task.addresses.first() {
        let first = || ports(facts, task, deploy).next().map(|port| port.container_port);
        let port = deploy.port.or_else(first);
        return at(task.network, *ip, port, None);
    }
    let key = task.shared().ok_or(Pending::NoAddress)?;
    let instance = facts.instance(key).ok_or(Pending::NoHostAddress)?;
    let ip = instance.instance.addresses.first().ok_or(Pending::NoHostAddress)?;
    let serves = |port: &&PortRow| deploy.port.is_none_or(|served| served == port.container_port);
    let port = ports(facts, task, deploy).filter(serves).find_map(|port| port.host_port.filter(|port| *port != 0));
    at(instance.network, *ip, port, port)
}

fn at(network: Option<Name>, ip: IpAddr, port: Option<u16>, claimed: Option<u16>) -> Result<Reached, Pending> {
    let port = port.filter(|port| *port != 0).ok_or(Pending::NoPort)?;
    let spot = Spot::new(network, ip, claimed);
    Ok(Reached { network, address: SocketAddr::new(ip.to_canonical(), port), spot })
}

/// The ports of the container of a deploy.
fn ports<'a>(facts: &'a Facts, task: &'a TaskRow, deploy: &'a Deploy) -> impl Iterator<Item = &'a PortRow> {
    let container = deploy.container.as_deref();
    task.ports.iter().filter(move |port| container.is_none_or(|name| name == &**facts.text(port.container)))
}
