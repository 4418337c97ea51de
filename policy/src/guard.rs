//! Destinations that a broad permit must not open by accident.
//!
//! `permit 0.0.0.0 0.0.0.0` is meant to let clients out, not into the services of the gateway itself. Some destinations
//! are never right; [`always_refused`] is asked about them before the rules. Others are right only if the line that permits
//! names them; [`refused_unless_named`] is asked about them after the rules. An IPv4 address inside an IPv6 address
//! ([`embedded`]) is judged as well, because a translator on this very host may send the packets there.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sockd_table::{Network, Pattern, canonical};

use crate::embedded::{Nat64Prefix, embedded};
use crate::rules::RuleRef;

/// The kind of an address by the host's routing table. The caller finds it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressKind {
    /// An address of another host.
    Unicast,
    /// An address of this host, loopback included.
    Local,
    /// A broadcast address of a network of this host.
    Broadcast,
    /// A multicast group.
    Multicast,
}

/// The reason why a destination is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Port 0 is no port.
    PortZero,
    /// `0.0.0.0/8` and `::`. Linux takes them for this host.
    ThisNetwork,
    /// `224.0.0.0/4`, `ff00::/8`.
    Multicast,
    /// `255.255.255.255` or the broadcast address of a network.
    Broadcast,
    /// `240.0.0.0/4`.
    Reserved,
    /// An address where the proxy itself listens. A connection there would be a loop.
    OwnListener,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// An address of this host.
    OwnAddress,
    /// `169.254.0.0/16`, `fe80::/10`. Neighbours have such addresses, and the metadata services of cloud hosts.
    LinkLocal,
}

/// Whether a destination is refused whatever the rules say. `own_listener` says that the proxy itself listens there.
///
/// A BIND for `0.0.0.0` waits for a connection from anybody. It has no destination to ask about.
pub fn always_refused(
    destination: IpAddr,
    port: u16,
    kind: AddressKind,
    own_listener: bool,
    nat64: &[Nat64Prefix],
) -> Option<Refusal> {
    let by_kind = match kind {
        AddressKind::Broadcast => Some(Refusal::Broadcast),
        AddressKind::Multicast => Some(Refusal::Multicast),
        AddressKind::Unicast | AddressKind::Local => None,
    };
    (port == 0)
        .then_some(Refusal::PortZero)
        .or_else(|| spellings(destination, nat64).find_map(never_a_destination))
        .or(by_kind)
        .or(own_listener.then_some(Refusal::OwnListener))
}

fn never_a_destination(address: IpAddr) -> Option<Refusal> {
    match address {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some(Refusal::Broadcast),
        IpAddr::V4(address) => match address.octets() {
            [0, ..] => Some(Refusal::ThisNetwork),
            [224..=239, ..] => Some(Refusal::Multicast),
            [240..=255, ..] => Some(Refusal::Reserved),
            _ => None,
        },
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some(Refusal::ThisNetwork),
        IpAddr::V6(address) => address.is_multicast().then_some(Refusal::Multicast),
    }
}

/// Whether a destination that a line permits is refused because it is on this host or link-local, and the line does not name
/// it. A line names it if its destination lies wholly inside loopback or link-local, or is the very address. A host name
/// does not count.
pub fn refused_unless_named(
    destination: IpAddr,
    kind: AddressKind,
    rule: &RuleRef,
    nat64: &[Nat64Prefix],
) -> Option<Refusal> {
    let refusal = local(destination, kind, nat64)?;
    let named = match rule.destination() {
        Pattern::Network(network) => {
            LOOPBACK.iter().chain(&LINK_LOCAL).any(|local| network.lies_in(local))
                || network.single() == Some(canonical(destination))
        }
        Pattern::Any | Pattern::Domain(_) | Pattern::Zone(_) => false,
    };
    (!named).then_some(refusal)
}

/// Whether an upstream server is refused. The administrator chose it, so it may be anywhere, this host included, if its
/// address is `written` in the file. A name that leads to this host or its neighbours is hardly intended.
pub fn upstream_refused(
    server: IpAddr,
    port: u16,
    kind: AddressKind,
    own_listener: bool,
    written: bool,
    nat64: &[Nat64Prefix],
) -> Option<Refusal> {
    always_refused(server, port, kind, own_listener, nat64)
        .or_else(|| if written { None } else { local(server, kind, nat64) })
}

/// The refusal of an address of this host, or of its neighbours on a link; `None` for any other address.
fn local(address: IpAddr, kind: AddressKind, nat64: &[Nat64Prefix]) -> Option<Refusal> {
    let own = (kind == AddressKind::Local).then_some(Refusal::OwnAddress);
    spellings(address, nat64).find_map(loopback_or_link_local).or(own)
}

fn loopback_or_link_local(address: IpAddr) -> Option<Refusal> {
    let is_in = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
    if is_in(&LOOPBACK) {
        return Some(Refusal::Loopback);
    }
    is_in(&LINK_LOCAL).then_some(Refusal::LinkLocal)
}

const LOOPBACK: [Network; 2] = [Network::v4(0x7f00_0000, 0xff00_0000), Network::v6(1, u128::MAX)];

const LINK_LOCAL: [Network; 2] =
    [Network::v4(0xa9fe_0000, 0xffff_0000), Network::v6(0xfe80 << 112, 0xffc0 << 112)];

/// The address itself, and the IPv4 address inside it if there is one.
fn spellings(address: IpAddr, nat64: &[Nat64Prefix]) -> impl Iterator<Item = IpAddr> + use<> {
    let address = canonical(address);
    core::iter::once(address).chain(embedded(address, nat64).map(IpAddr::V4))
}

/// The refusal in the words of a log line.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::PortZero => "port 0",
            Refusal::ThisNetwork => "address of \"this network\"",
            Refusal::Multicast => "multicast address",
            Refusal::Broadcast => "broadcast address",
            Refusal::Reserved => "reserved address",
            Refusal::OwnListener => "own listening address",
            Refusal::Loopback => "loopback address that no permit line names",
            Refusal::OwnAddress => "own address that no permit line names",
            Refusal::LinkLocal => "link-local address that no permit line names",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RuleSet, Services, parse_conf};
    use std::format;
    use std::string::String;

    fn refused(destination: &str) -> Option<Refusal> {
        always_refused(destination.parse().unwrap(), 80, AddressKind::Unicast, false, &[])
    }

    fn rules(text: &str) -> RuleSet {
        parse_conf(text.as_bytes(), &Services::default(), &mut |_| Err(String::new())).unwrap()
    }

    fn unless_named(destination: &str, kind: AddressKind, pattern: &str) -> Option<Refusal> {
        let rules = rules(&format!("permit 0.0.0.0 0.0.0.0 {pattern}\n"));
        refused_unless_named(destination.parse().unwrap(), kind, &rules.rules().next().unwrap(), &[])
    }

    /// An address that a translator of the site reaches is judged as the address behind it.
    #[test]
    fn the_prefixes_of_the_site_are_looked_into() {
        let prefix = Nat64Prefix::parse("2001:db8:64::/96").unwrap();
        let rules = rules("permit ALL 0.0.0.0\n");
        let rule = rules.rules().next().unwrap();
        for (inner, always, unless_named) in [
            ("0.0.0.1", Some(Refusal::ThisNetwork), None),
            ("224.0.0.1", Some(Refusal::Multicast), None),
            ("127.0.0.1", None, Some(Refusal::Loopback)),
            ("169.254.169.254", None, Some(Refusal::LinkLocal)),
            ("192.0.2.1", None, None),
        ] {
            let address = alloc::format!("2001:db8:64::{inner}").parse().unwrap();
            let judge = |nat64: &[Nat64Prefix]| {
                (
                    always_refused(address, 80, AddressKind::Unicast, false, nat64),
                    refused_unless_named(address, AddressKind::Unicast, &rule, nat64),
                )
            };
            assert_eq!(judge(&[prefix]), (always, unless_named), "{inner}");
            assert_eq!(judge(&[]), (None, None), "{inner}");
        }
    }

    #[test]
    fn what_is_never_a_destination_is_refused_in_every_spelling() {
        for (address, why) in [
            ("0.0.0.0", Refusal::ThisNetwork),
            ("0.0.0.1", Refusal::ThisNetwork),
            ("::", Refusal::ThisNetwork),
            ("::ffff:0.0.0.0", Refusal::ThisNetwork),
            ("64:ff9b::0.0.0.0", Refusal::ThisNetwork),
            ("224.0.0.1", Refusal::Multicast),
            ("ff02::1", Refusal::Multicast),
            ("2002:e000:1::", Refusal::Multicast),
            ("240.0.0.1", Refusal::Reserved),
            ("255.255.255.255", Refusal::Broadcast),
            ("::255.255.255.255", Refusal::Broadcast),
        ] {
            assert_eq!(refused(address), Some(why), "{address}");
        }
        for address in ["10.0.0.1", "127.0.0.1", "::1", "2001:db8::1", "64:ff9b::10.0.0.1", "2002:a00:1::"] {
            assert_eq!(refused(address), None, "{address}");
        }
    }

    #[test]
    fn port_zero_broadcast_and_the_own_listener_are_refused() {
        let address = "10.0.0.255".parse().unwrap();
        assert_eq!(always_refused(address, 0, AddressKind::Unicast, false, &[]), Some(Refusal::PortZero));
        assert_eq!(always_refused(address, 1, AddressKind::Broadcast, false, &[]), Some(Refusal::Broadcast));
        assert_eq!(always_refused(address, 1, AddressKind::Multicast, false, &[]), Some(Refusal::Multicast));
        assert_eq!(always_refused(address, 1, AddressKind::Local, true, &[]), Some(Refusal::OwnListener));
        assert_eq!(always_refused(address, 1, AddressKind::Local, false, &[]), None);
    }

    #[test]
    fn a_broad_permit_opens_neither_this_host_nor_its_neighbours() {
        use AddressKind::{Local, Unicast};
        for broad in [
            "",
            "0.0.0.0 0.0.0.0",
            "ALL 0.0.0.0",
            "0.0.0.0/1",
            "::/0",
            "localhost 0.0.0.0",
            "128.0.0.0/1",
            "fe00::/7",
        ] {
            assert_eq!(unless_named("127.0.0.1", Local, broad), Some(Refusal::Loopback), "{broad}");
            assert_eq!(unless_named("::ffff:127.0.0.1", Local, broad), Some(Refusal::Loopback), "{broad}");
            assert_eq!(
                unless_named("64:ff9b::127.0.0.1", Unicast, broad),
                Some(Refusal::Loopback),
                "{broad}"
            );
            assert_eq!(unless_named("::1", Local, broad), Some(Refusal::Loopback), "{broad}");
            assert_eq!(unless_named("192.0.2.1", Local, broad), Some(Refusal::OwnAddress), "{broad}");
            assert_eq!(unless_named("169.254.169.254", Unicast, broad), Some(Refusal::LinkLocal), "{broad}");
            assert_eq!(unless_named("fe80::1", Unicast, broad), Some(Refusal::LinkLocal), "{broad}");
            assert_eq!(unless_named("192.0.2.1", Unicast, broad), None, "{broad}");
        }
    }

    #[test]
    fn an_upstream_server_may_be_local_if_its_address_is_written() {
        use AddressKind::{Local, Unicast};
        let refused = |server: &str, kind, own, written| {
            upstream_refused(server.parse().unwrap(), 1080, kind, own, written, &[])
        };
        for (server, kind) in
            [("10.0.0.1", Unicast), ("127.0.0.1", Local), ("192.0.2.1", Local), ("fe80::1", Unicast)]
        {
            assert_eq!(refused(server, kind, false, true), None, "{server}");
            assert_eq!(refused(server, kind, true, true), Some(Refusal::OwnListener), "{server}");
        }
        assert_eq!(refused("10.0.0.1", Unicast, false, false), None);
        assert_eq!(refused("127.0.0.1", Local, false, false), Some(Refusal::Loopback));
        assert_eq!(refused("192.0.2.1", Local, false, false), Some(Refusal::OwnAddress));
        assert_eq!(refused("169.254.169.254", Unicast, false, false), Some(Refusal::LinkLocal));
        assert_eq!(refused("224.0.0.1", AddressKind::Multicast, false, true), Some(Refusal::Multicast));
    }

    #[test]
    fn a_line_that_names_the_place_opens_it() {
        use AddressKind::{Local, Unicast};
        assert_eq!(unless_named("127.0.0.1", Local, "127.0.0.0 255.0.0.0"), None);
        assert_eq!(unless_named("127.0.0.9", Local, "127.0.0.9 255.255.255.255"), None);
        assert_eq!(unless_named("::ffff:127.0.0.9", Local, "127.0.0.9/32"), None);
        assert_eq!(unless_named("::1", Local, "::1/128"), None);
        assert_eq!(unless_named("192.0.2.1", Local, "192.0.2.1/32"), None);
        assert_eq!(unless_named("192.0.2.1", Local, "192.0.2.0/31"), Some(Refusal::OwnAddress));
        assert_eq!(unless_named("169.254.169.254", Unicast, "169.254.0.0 255.255.0.0"), None);
        assert_eq!(unless_named("fe80::1", Unicast, "fe80::/64"), None);
        assert_eq!(unless_named("127.0.0.1", Local, "127.0.0.1 0.0.0.255"), Some(Refusal::Loopback));
    }
}
