//! Which addresses this gateway dials (R2, R83).
//!
//! An address must lie in a network that the gateway lists, and in one of its ranges. Refused in every case are
//! link-local addresses, metadata services, unspecified, broadcast and multicast addresses, the gateway's own
//! listeners, and each of these inside of an IPv6 address. Loopback is dialled only where a range of loopback addresses
//! is listed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A range of addresses, as in `10.0.0.0/8` or `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

/// Why a text is not a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Not an address, a slash and a number.
    #[error("{0:?} is not an address range such as 10.0.0.0/8")]
    Form(String),
    /// More bits than the address has.
    #[error("{0:?} has more bits than its address")]
    Bits(String),
    /// The address has bits beyond the prefix.
    #[error("{0:?} has address bits beyond its prefix length")]
    Beyond(String),
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Dialable {
    networks: BTreeMap<String, Vec<Cidr>>,
    own: BTreeSet<SocketAddr>,
    /// Ports of listeners on all addresses of the machine.
    own_ports: BTreeSet<u16>,
    own_addresses: BTreeSet<IpAddr>,
}

impl Cidr {
    /// Whether the address lies in it. IPv4 and IPv6 have nothing in common.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(range), IpAddr::V4(address)) => {
                let rest = 32 - u32::from(self.bits);
                u32::from(range).checked_shr(rest) == u32::from(address).checked_shr(rest)
            }
            (IpAddr::V6(range), IpAddr::V6(address)) => {
                let rest = 128 - u32::from(self.bits);
                u128::from(range).checked_shr(rest) == u128::from(address).checked_shr(rest)
            }
            _ => false,
        }
    }

    /// Whether all its addresses are loopback ones.
    fn is_loopback(&self) -> bool {
        let bits_min = if self.address.is_ipv4() { 8 } else { 128 };
        self.address.is_loopback() && self.bits >= bits_min
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let form = || CidrError::Form(text.to_owned());
        let (address, bits) = text.split_once('/').ok_or_else(form)?;
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let bits: u8 = bits.parse().map_err(|_| form())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if bits > most {
            return Err(CidrError::Bits(text.to_owned()));
        }
        let first = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(address) & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask))
            }
        };
        if first != address {
            return Err(CidrError::Beyond(text.to_owned()));
        }
        Ok(Self { address, bits })
    }
}

impl Dialable {
    /// `networks` names the ranges of each network. `listeners` are the gateway's own; where one listens on all
    /// addresses, its port is refused at loopback and at each of `own_addresses`.
    pub fn new(
        networks: BTreeMap<String, Vec<Cidr>>,
        listeners: impl IntoIterator<Item = SocketAddr>,
        own_addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        let (all, own): (BTreeSet<SocketAddr>, BTreeSet<SocketAddr>) =
            listeners.into_iter().partition(|listener| listener.ip().is_unspecified());
        let own_ports = all.iter().map(SocketAddr::port).collect();
        Self { networks, own, own_ports, own_addresses: own_addresses.into_iter().collect() }
    }

    /// Whether the address may be dialled as one of this network. The caller dials exactly this address.
    pub fn allows(&self, network: &str, address: SocketAddr) -> bool {
        let Some(ranges) = self.networks.get(network) else { return false };
        let ip = match address.ip() {
            IpAddr::V6(outer) => match embedded(outer) {
                // Written in another way it is still loopback, and nobody writes it so who means well.
                Some(inner) if inner.is_loopback() || is_refused(IpAddr::V4(inner)) => return false,
                _ => address.ip().to_canonical(),
            },
            ip => ip,
        };
        if address.port() == 0 || is_refused(ip) || self.is_own(SocketAddr::new(ip, address.port())) {
            return false;
        }
        ranges.iter().any(|range| range.contains(ip) && (!ip.is_loopback() || range.is_loopback()))
    }

    fn is_own(&self, address: SocketAddr) -> bool {
        let is_here = address.ip().is_loopback() || self.own_addresses.contains(&address.ip());
        self.own.contains(&address) || self.own_ports.contains(&address.port()) && is_here
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, or translated by NAT64.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = address.segments();
    let is_mapped = [a, b, c, d, e, f] == [0, 0, 0, 0, 0, 0xffff];
    let is_compatible = [a, b, c, d, e, f] == [0; 6] && address != Ipv6Addr::LOCALHOST;
    let is_translated = [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0];
    let inner = Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    (is_mapped || is_compatible || is_translated).then_some(inner)
}

/// Whether nobody may list it.
fn is_refused(address: IpAddr) -> bool {
    match address {
        // All of 0.0.0.0/8 is this host, and 169.254.0.0/16 holds the metadata services.
        IpAddr::V4(address) => {
            address.octets()[0] == 0 || address.is_link_local() || address.is_multicast() || address.is_broadcast()
        }
        IpAddr::V6(address) => {
            let segments = address.segments();
            // fd00:ec2::/32 holds the metadata services of EC2 and EKS.
            let is_metadata = segments[0] == 0xfd00 && segments[1] == 0x0ec2;
            let is_link_local = segments[0] & 0xffc0 == 0xfe80;
            address.is_unspecified() || address.is_multicast() || is_link_local || is_metadata
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialable(ranges: &[&str]) -> Dialable {
        let ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
        let listeners = ["10.0.0.9:8080", "0.0.0.0:9090"].map(|listener| listener.parse().unwrap());
        Dialable::new(BTreeMap::from([("vpc".to_owned(), ranges)]), listeners, ["10.0.0.9".parse().unwrap()])
    }

    fn allows(dialable: &Dialable, address: &str) -> bool {
        dialable.allows("vpc", address.parse().unwrap())
    }

    #[test]
    fn only_listed_networks_and_ranges_are_dialled() {
        let dialable = dialable(&["10.0.0.0/16", "fd12::/16"]);
        assert!(allows(&dialable, "10.0.1.2:80") && allows(&dialable, "[fd12::1]:80"));
        assert!(!dialable.allows("other", "10.0.1.2:80".parse().unwrap()));
        for outside in ["10.1.0.1:80", "[fd13::1]:80", "127.0.0.1:80", "10.0.1.2:0"] {
            assert!(!allows(&dialable, outside), "{outside}");
        }
    }

    #[test]
    fn some_addresses_are_refused_whatever_is_listed() {
        let dialable = dialable(&["0.0.0.0/0", "::/0"]);
        assert!(allows(&dialable, "8.8.8.8:80") && allows(&dialable, "[2600::1]:80"));
        let v4 =
            ["0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.170.2", "127.0.0.1", "224.0.0.1", "255.255.255.255"];
        let own = ["10.0.0.9:8080", "10.0.0.9:9090", "[::1]:9090", "[::ffff:10.0.0.9]:8080"].map(str::to_owned);
        let v6 = ["::", "::1", "fe80::1", "ff02::1", "fd00:ec2::254", "fd00:ec2::23"].map(|ip| format!("[{ip}]:80"));
        let plain = v4.iter().map(|ip| format!("{ip}:80"));
        let within = |prefix: &'static str| v4.iter().map(move |ip| format!("[{prefix}{ip}]:80"));
        let written = within("::ffff:").chain(within("::")).chain(within("64:ff9b::"));
        for address in plain.chain(own).chain(v6).chain(written) {
            assert!(!allows(&dialable, &address), "{address}");
        }
        assert!(allows(&dialable, "10.0.0.9:8081"), "another service of the same machine");
    }

    #[test]
    fn loopback_is_dialled_only_where_a_range_of_it_is_listed() {
        let loopback = dialable(&["127.0.0.0/8", "::1/128"]);
        assert!(allows(&loopback, "127.0.0.1:80") && allows(&loopback, "[::1]:80"));
        assert!(!allows(&loopback, "127.0.0.1:9090"), "the own listener");
        assert!(!allows(&loopback, "[::ffff:127.0.0.1]:80"), "never written like that");
        assert!(!allows(&dialable(&["64.0.0.0/2", "::/1"]), "127.0.0.1:80"), "not by a wide range");
    }

    #[test]
    fn a_mapped_address_is_judged_as_what_it_stands_for() {
        let dialable = dialable(&["10.0.0.0/16"]);
        assert!(allows(&dialable, "[::ffff:10.0.1.2]:80"));
        assert!(!allows(&dialable, "[::ffff:10.1.1.2]:80"));
    }

    #[test]
    fn ranges_are_read_strictly() {
        let error = |text: &str| text.parse::<Cidr>().unwrap_err();
        assert_eq!(error("10.0.0.0"), CidrError::Form("10.0.0.0".to_owned()));
        assert_eq!(error("10.0.0/8"), CidrError::Form("10.0.0/8".to_owned()));
        assert_eq!(error("10.0.0.0/33"), CidrError::Bits("10.0.0.0/33".to_owned()));
        assert_eq!(error("10.1.0.0/8"), CidrError::Beyond("10.1.0.0/8".to_owned()));
        assert_eq!(error("fd12::1/16"), CidrError::Beyond("fd12::1/16".to_owned()));
        for (range, inside, outside) in
            [("10.0.0.4/30", "10.0.0.7", "10.0.0.8"), ("10.0.0.1/32", "10.0.0.1", "10.0.0.2")]
        {
            let range: Cidr = range.parse().unwrap();
            assert!(range.contains(inside.parse().unwrap()) && !range.contains(outside.parse().unwrap()));
        }
        let all: Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("255.1.2.3".parse().unwrap()) && !all.contains("::1".parse().unwrap()));
    }
}
