//! The address of a task of ECS.
//!
//! With `awsvpc` it has its own: that of the network interfaces of its containers, else that of its attachment of type
//! `eni`, IPv4 before IPv6. With `bridge` and `host` its ports are ports of its container instance, whose address no
//! event of a task holds.

use core::net::IpAddr;

use super::super::context::{PORTS_MAX, in_order, is_tcp, port, push_address};
use super::super::document::Object;
use super::super::fact::Port;
use super::arn::id_of_arn;
use crate::refusal::Refusal;

/// Containers of one task; ECS allows 10.
pub(super) const CONTAINERS_MAX: usize = 100;
/// Attachments of a task, and details of one; ECS writes fewer than ten.
const ATTACHMENTS_MAX: usize = 100;

/// The address of a task, if its event carries one.
pub(super) struct Address {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ports: Vec<Port>,
    pub(super) instance: Option<String>,
}

pub(super) fn read(task: &Object<'_>) -> Result<Option<Address>, Refusal> {
    let mut v4 = Vec::new();
    let mut v6 = Vec::new();
    let mut ports = Vec::new();
    task.objects("containers", CONTAINERS_MAX, &mut |container| {
        container.objects("networkInterfaces", ATTACHMENTS_MAX, &mut |interface| {
            let text = interface.text("privateIpv4Address")?.unwrap_or_default();
            push_address(&mut v4, &text, "privateIpv4Address")?;
            let text = interface.text("ipv6Address")?.unwrap_or_default();
            push_address(&mut v6, &text, "ipv6Address")
        })?;
        bindings(&container, &mut ports)
    })?;
    if v4.is_empty() {
        attached(task, &mut v4, &mut v6)?;
    }
    v4.append(&mut v6);
    if !v4.is_empty() {
        return Ok(Some(Address { addresses: v4, ports: Vec::new(), instance: None }));
    }
    let instance = task.text("containerInstanceArn")?.map(|arn| id_of_arn(&arn).to_owned());
    if ports.is_empty() || instance.is_none() {
        return Ok(None);
    }
    Ok(Some(Address { addresses: Vec::new(), ports: in_order(ports)?, instance }))
}

/// The ports of the container instance that lead to a container.
fn bindings(container: &Object<'_>, ports: &mut Vec<Port>) -> Result<(), Refusal> {
    let name = container.text("name")?.unwrap_or_default();
    container.objects("networkBindings", PORTS_MAX, &mut |binding| {
        let container_port = port(&binding, "containerPort")?;
        let host_port = port(&binding, "hostPort")?;
        if let (Some(container_port), Some(_), true) = (container_port, host_port, is_tcp(&binding)?) {
            ports.push(Port { container: name.clone(), container_port, host_port, name: None });
        }
        Ok(())
    })
}

/// The addresses of the attachments of type `eni`.
fn attached(task: &Object<'_>, v4: &mut Vec<IpAddr>, v6: &mut Vec<IpAddr>) -> Result<(), Refusal> {
    task.objects("attachments", ATTACHMENTS_MAX, &mut |attachment| {
        if !matches!(attachment.text("type")?.as_deref(), Some("eni" | "ElasticNetworkInterface")) {
            return Ok(());
        }
        attachment.objects("details", ATTACHMENTS_MAX, &mut |detail| match detail.text("name")?.as_deref() {
            Some("privateIPv4Address") => push_address(v4, &detail.required("value")?, "privateIPv4Address"),
            Some("privateIPv6Address") => push_address(v6, &detail.required("value")?, "privateIPv6Address"),
            _ => Ok(()),
        })
    })
}
