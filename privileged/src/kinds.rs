//! What an address is to this host: asked of the kernel's routing tables (rtnetlink(7)), which know every address
//! of every interface, also one that was added a moment ago, and every network that is routed to this host.

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};
use sockd_policy::guard::AddressKind;
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Answers that are remembered until an address or a route changes.
const MAX_KNOWN: usize = 4096;

const NLMSG_HEADER: usize = 16;
const RTMSG: u32 = 12;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const NLM_F_REQUEST: u16 = 1;
const RTA_DST: u16 = 1;
const GROUPS: u32 =
    (libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV4_ROUTE | libc::RTMGRP_IPV6_IFADDR | libc::RTMGRP_IPV6_ROUTE)
        as u32;

/// The kernel's knowledge of addresses, with a memory.
#[derive(Debug)]
pub struct Kinds {
    questions: OwnedFd,
    changes: OwnedFd,
    known: HashMap<IpAddr, AddressKind>,
}

impl Kinds {
    /// Opens a socket for questions and one that tells of changes.
    pub fn new() -> Result<Self, Errno> {
        let questions = netlink_socket(SocketFlags::CLOEXEC)?;
        let changes = netlink_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        bind(&changes, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(Self { questions, changes, known: HashMap::new() })
    }

    /// The descriptor that becomes readable when [`Kinds::forget`] has to be called.
    pub fn changes(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }

    /// Addresses or routes have changed.
    pub fn forget(&mut self) {
        let mut buffer = [0; 4096];
        while recv(&self.changes, &mut buffer, RecvFlags::DONTWAIT).is_ok() {}
        self.known.clear();
    }

    /// What `address` is to this host. An address without a route is an ordinary one that cannot be reached; where
    /// the kernel does not answer, it counts as the host's own, which the guards refuse.
    pub fn kind_of(&mut self, address: IpAddr) -> AddressKind {
        if let Some(kind) = self.known.get(&address) {
            return *kind;
        }
        let kind = self.ask(address).unwrap_or(AddressKind::Local);
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(address, kind);
        kind
    }

    fn ask(&self, address: IpAddr) -> Result<AddressKind, Errno> {
        send(&self.questions, &question(address), SendFlags::empty())?;
        // The kernel answers a request for one route before sendmsg(2) returns, so this does not wait.
        let mut buffer = [0; 4096];
        let (length, _) = recv(&self.questions, &mut buffer, RecvFlags::DONTWAIT)?;
        Ok(kind_in(buffer.get(..length).unwrap_or_default()))
    }
}

/// NETLINK_ROUTE is protocol 0, the one of a socket that names none.
fn netlink_socket(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)
}

/// An RTM_GETROUTE request for one destination: struct nlmsghdr, struct rtmsg, one attribute.
fn question(address: IpAddr) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(address) => (libc::AF_INET as u8, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6 as u8, address.octets().to_vec()),
    };
    let bits = if octets.len() == 4 { 32 } else { 128 };
    let attribute = octets.len().saturating_add(4) as u16;
    let length = u32::from(attribute).saturating_add(NLMSG_HEADER as u32).saturating_add(RTMSG);
    let mut packet = Vec::with_capacity(48);
    packet.extend(length.to_ne_bytes());
    packet.extend(RTM_GETROUTE.to_ne_bytes());
    packet.extend(NLM_F_REQUEST.to_ne_bytes());
    packet.extend([0; 8]);
    packet.extend([family, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend(attribute.to_ne_bytes());
    packet.extend(RTA_DST.to_ne_bytes());
    packet.extend(octets);
    packet
}

/// The type of the route in the kernel's answer; an error message means that there is no route.
fn kind_in(packet: &[u8]) -> AddressKind {
    let kind = match packet {
        [_, _, _, _, low, high, rest @ ..] if u16::from_ne_bytes([*low, *high]) == RTM_NEWROUTE => {
            // rtm_type is the eighth byte of struct rtmsg; six bytes of the header are taken off already.
            rest.get(NLMSG_HEADER - 6 + 7).copied()
        }
        _ => None,
    };
    match kind {
        Some(libc::RTN_LOCAL) => AddressKind::Local,
        Some(libc::RTN_BROADCAST) => AddressKind::Broadcast,
        Some(libc::RTN_MULTICAST) => AddressKind::Multicast,
        _ => AddressKind::Unicast,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loopback_address_is_this_hosts_own() {
        let mut kinds = Kinds::new().unwrap();
        for address in ["127.0.0.1", "127.9.9.9"] {
            assert_eq!(kinds.kind_of(address.parse().unwrap()), AddressKind::Local, "{address}");
        }
    }

    #[test]
    fn an_address_without_a_route_is_an_ordinary_one() {
        let mut kinds = Kinds::new().unwrap();
        assert_eq!(kinds.kind_of("203.0.113.7".parse().unwrap()), AddressKind::Unicast);
    }

    #[test]
    fn a_cut_answer_is_no_route() {
        assert_eq!(kind_in(&[]), AddressKind::Unicast);
        assert_eq!(kind_in(&[0; 20]), AddressKind::Unicast);
    }
}
