//! Claims of tasks on addresses: which tasks meet on an address, and whose is it.
//!
//! A task claims an address whole, or one port of the address of a host that it shares. A claim on the whole address
//! meets every claim on it. The claims of gone tasks stay: an address that was taken over never comes back.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::BTreeSet;

use super::names::Name;
use super::row::TaskNumber;

/// Where a claim is: a network, an address, and a port if the address is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::tasks) struct Spot {
    /// Addresses of different networks are never compared.
    network: Option<Name>,
    /// The address; one of IPv4 in the form of IPv6, so that both forms of it are one.
    ip: Ipv6Addr,
    /// `None` claims the whole address.
    port: Option<u16>,
}

impl Spot {
    /// The spot of an address, or of one of its ports.
    pub(in crate::tasks) fn new(network: Option<Name>, ip: IpAddr, port: Option<u16>) -> Spot {
        let ip = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Spot { network, ip, port }
    }
}

/// A claim. The order lets the claims of a spot be read from the largest time on, living and gone ones apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::tasks) struct Claim {
    pub(in crate::tasks) spot: Spot,
    pub(in crate::tasks) is_gone: bool,
    /// When the task started, else when it was created, else the least number.
    pub(in crate::tasks) since_ms: i64,
    pub(in crate::tasks) task: TaskNumber,
}

impl Claim {
    /// Whether another claim takes part in the same contests with the same weight.
    pub(in crate::tasks) fn weighs_as(&self, other: &Claim) -> bool {
        (self.spot, self.since_ms) == (other.spot, other.since_ms)
    }
}

/// All claims.
#[derive(Debug, Default)]
pub(in crate::tasks) struct Claims(BTreeSet<Claim>);

impl Claims {
    /// Whether there are none.
    #[cfg(test)]
    pub(in crate::tasks) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a claim.
    pub(in crate::tasks) fn insert(&mut self, claim: Claim) {
        self.0.insert(claim);
    }

    /// Removes a claim.
    pub(in crate::tasks) fn remove(&mut self, claim: &Claim) {
        let was_there = self.0.remove(claim);
        debug_assert!(was_there, "a claim is removed as it was added");
    }

    /// The living tasks whose claims meet a claim on this spot.
    pub(in crate::tasks) fn living(&self, spot: Spot) -> impl Iterator<Item = TaskNumber> {
        let whole = self.range(Spot { port: None, ..spot }, false);
        let same = spot.port.is_some().then(|| self.range(spot, false));
        let ports = self.ports(spot).filter(|claim| !claim.is_gone);
        whole.chain(same.into_iter().flatten()).chain(ports).map(|claim| claim.task)
    }

    /// The tasks with the largest time among all claims that meet a claim on this spot; several if they are equal.
    pub(in crate::tasks) fn latest(&self, spot: Spot) -> Vec<TaskNumber> {
        let whole = Spot { port: None, ..spot };
        let scopes = [(whole, false), (whole, true), (spot, false), (spot, true)];
        let scopes = &scopes[..if spot.port.is_some() { 4 } else { 2 }];
        let last = scopes.iter().filter_map(|(spot, is_gone)| self.range(*spot, *is_gone).next_back());
        let Some(since_ms) = last.chain(self.ports(spot)).map(|claim| claim.since_ms).max() else {
            return Vec::new();
        };
        let equal = |claim: &&Claim| claim.since_ms == since_ms;
        let ends = scopes.iter().flat_map(|(spot, is_gone)| self.range(*spot, *is_gone).rev().take_while(equal));
        ends.chain(self.ports(spot).filter(equal)).map(|claim| claim.task).collect()
    }

    /// The claims of exactly this spot, the largest time last.
    fn range(&self, spot: Spot, is_gone: bool) -> impl DoubleEndedIterator<Item = &Claim> {
        let first = Claim { spot, is_gone, since_ms: i64::MIN, task: 0 };
        let last = Claim { spot, is_gone, since_ms: i64::MAX, task: TaskNumber::MAX };
        self.0.range(first..=last)
    }

    /// The claims on ports of an address that a claim on the whole of it meets; none for a claim on a port.
    fn ports(&self, spot: Spot) -> impl Iterator<Item = &Claim> {
        let claim = |port, is_gone, since_ms, task| Claim { spot: Spot { port, ..spot }, is_gone, since_ms, task };
        let first = claim(Some(0), false, i64::MIN, 0);
        let last = claim(Some(u16::MAX), true, i64::MAX, TaskNumber::MAX);
        spot.port.is_none().then(|| self.0.range(first..=last)).into_iter().flatten()
    }
}
