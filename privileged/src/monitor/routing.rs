//! What an address is to this host: asked of the kernel's routing tables (rtnetlink(7)), which know every address
//! of every interface, also one that was added a moment ago, and every network that is routed to this host.

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};
use sockd_policy::guard::{AddressKind, embedded};
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
pub struct AddressKinds {
    questions: OwnedFd,
    changes: OwnedFd,
    /// The number of the last question.
    asked: u32,
    known: HashMap<IpAddr, AddressKind>,
}

impl AddressKinds {
    /// Opens a socket for questions and one that tells of changes.
    pub fn new() -> Result<Self, Errno> {
        let questions = netlink_socket(SocketFlags::CLOEXEC)?;
        let changes = netlink_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        bind(&changes, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(Self { questions, changes, asked: 0, known: HashMap::new() })
    }

    /// The descriptor that becomes readable when [`AddressKinds::forget`] has to be called.
    pub fn changes(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }

    /// Addresses or routes have changed.
    pub fn forget(&mut self) {
        let mut buffer = [0; 4096];
        while recv(&self.changes, &mut buffer, RecvFlags::DONTWAIT).is_ok() {}
        self.known.clear();
    }

    /// What `address` is to this host. An IPv6 address that stands for an IPv4 one (NAT64, 6to4) is what that one is.
    pub fn classify(&mut self, address: IpAddr) -> AddressKind {
        match (self.kind_of(address), embedded(address)) {
            (AddressKind::Unicast, Some(inner)) => self.kind_of(inner.into()),
            (kind, _) => kind,
        }
    }

    /// What this very address is. An address without a route is an ordinary one that cannot be reached; where
    /// the kernel does not answer, it counts as the host's own, which the guards refuse, until it is asked again.
    fn kind_of(&mut self, address: IpAddr) -> AddressKind {
        if let Some(kind) = self.known.get(&address) {
            return *kind;
        }
        let Ok(kind) = self.ask(address) else { return AddressKind::Local };
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(address, kind);
        kind
    }

    fn ask(&mut self, address: IpAddr) -> Result<AddressKind, Errno> {
        self.asked = self.asked.wrapping_add(1);
        send(&self.questions, &question(address, self.asked), SendFlags::empty())?;
        // The kernel answers a request for one route before sendmsg(2) returns, so this does not wait. What answers an
        // earlier question, whose answer could not be fetched then, is passed over.
        let mut buffer = [0; 4096];
        loop {
            let (length, _) = recv(&self.questions, &mut buffer, RecvFlags::DONTWAIT)?;
            let answer = buffer.get(..length).unwrap_or_default();
            if answer.get(8..12) == Some(&self.asked.to_ne_bytes()) {
                return kind_in(answer);
            }
        }
    }
}

/// NETLINK_ROUTE is protocol 0, the one of a socket that names none.
fn netlink_socket(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)
}

/// An RTM_GETROUTE request for one destination: struct nlmsghdr with this number, struct rtmsg, one attribute.
fn question(address: IpAddr, number: u32) -> Vec<u8> {
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
    packet.extend(number.to_ne_bytes());
    packet.extend([0; 4]);
    packet.extend([family, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend(attribute.to_ne_bytes());
    packet.extend(RTA_DST.to_ne_bytes());
    packet.extend(octets);
    packet
}

/// The type of the route in the kernel's answer; an error message means that there is no route, or that the kernel
/// was short of memory.
fn kind_in(packet: &[u8]) -> Result<AddressKind, Errno> {
    // Behind its header an NLMSG_ERROR has the negative number; a route has its family there, which is never like that.
    let says = |error: Errno| packet.get(16..20) == Some(&error.raw_os_error().wrapping_neg().to_ne_bytes());
    if says(Errno::NOMEM) || says(Errno::NOBUFS) {
        return Err(Errno::NOBUFS);
    }
    let kind = match packet {
        [_, _, _, _, low, high, rest @ ..] if u16::from_ne_bytes([*low, *high]) == RTM_NEWROUTE => {
            // rtm_type is the eighth byte of struct rtmsg; six bytes of the header are taken off already.
            rest.get(NLMSG_HEADER - 6 + 7).copied()
        }
        _ => None,
    };
    Ok(match kind {
        Some(libc::RTN_LOCAL) => AddressKind::Local,
        Some(libc::RTN_BROADCAST) => AddressKind::Broadcast,
        Some(libc::RTN_MULTICAST) => AddressKind::Multicast,
        _ => AddressKind::Unicast,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loopback_address_is_this_hosts_own() {
        let mut kinds = AddressKinds::new().unwrap();
        for address in ["127.0.0.1", "127.9.9.9"] {
            assert_eq!(kinds.kind_of(address.parse().unwrap()), AddressKind::Local, "{address}");
        }
    }

    #[test]
    fn an_address_without_a_route_is_an_ordinary_one() {
        let mut kinds = AddressKinds::new().unwrap();
        assert_eq!(kinds.kind_of("203.0.113.7".parse().unwrap()), AddressKind::Unicast);
    }

    #[test]
    fn a_cut_answer_is_no_route() {
        assert_eq!(kind_in(&[]), Ok(AddressKind::Unicast));
        assert_eq!(kind_in(&[0; 20]), Ok(AddressKind::Unicast));
    }

    #[test]
    fn an_answer_that_could_not_be_fetched_is_not_taken_for_the_next_one() {
        let mut kinds = AddressKinds::new().unwrap();
        let far = "203.0.113.7".parse().unwrap();
        send(&kinds.questions, &question(far, kinds.asked), SendFlags::empty()).unwrap();
        assert_eq!(kinds.kind_of("127.0.0.1".parse().unwrap()), AddressKind::Local);
        assert_eq!(kinds.kind_of(far), AddressKind::Unicast);
    }

    #[test]
    fn a_kernel_without_memory_is_no_answer_and_one_without_a_route_is() {
        let error = |error: Errno| {
            let number = error.raw_os_error().wrapping_neg().to_ne_bytes();
            [&[36, 0, 0, 0, 2, 0][..], &[0; 10], &number, &[0; 16]].concat()
        };
        assert_eq!(kind_in(&error(Errno::NETUNREACH)), Ok(AddressKind::Unicast));
        assert_eq!(kind_in(&error(Errno::NOBUFS)), Err(Errno::NOBUFS));
        assert_eq!(kind_in(&error(Errno::NOMEM)), Err(Errno::NOBUFS));
    }
}
