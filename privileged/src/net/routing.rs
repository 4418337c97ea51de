//! The kind of an address for this host. It is asked of the kernel's routing tables (rtnetlink(7)), which know every
//! address of every interface, even one added a moment ago, and every network that is routed to this host.

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};
use sockd_policy::guard::AddressKind;
use sockd_policy::{Nat64Prefix, embedded};
use sockd_session::rtnetlink::{self, Route};
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The most answers that are remembered until an address or a route changes.
const MAX_KNOWN: usize = 4096;

const GROUPS: u32 =
    (libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV4_ROUTE | libc::RTMGRP_IPV6_IFADDR | libc::RTMGRP_IPV6_ROUTE)
        as u32;

/// The kernel's answers on addresses, with a cache.
#[derive(Debug)]
pub struct AddressKinds {
    questions: OwnedFd,
    changes: OwnedFd,
    /// The number of the last question.
    asked: u32,
    known: HashMap<IpAddr, Route>,
}

impl AddressKinds {
    /// Opens a socket for questions and one for changes.
    pub fn new() -> Result<Self, Errno> {
        let questions = netlink_socket(SocketFlags::CLOEXEC)?;
        let changes = netlink_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        bind(&changes, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(Self { questions, changes, asked: 0, known: HashMap::new() })
    }

    /// The descriptor that becomes readable when [`AddressKinds::hear_changes`] has to be called.
    pub fn changes(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }

    /// Forgets all answers if addresses or routes have changed.
    pub fn hear_changes(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match recv(&self.changes, &mut buffer, RecvFlags::DONTWAIT) {
                Ok(_) => self.known.clear(),
                Err(Errno::AGAIN) => return,
                // More has changed than the socket could hold.
                Err(_) => return self.known.clear(),
            }
        }
    }

    /// The kind of `address`. An IPv6 address that stands for an IPv4 one (NAT64, 6to4) is of the kind of that one.
    pub fn classify(&mut self, address: IpAddr, nat64: &[Nat64Prefix]) -> Route {
        let route = self.route_to(address);
        match embedded(address, nat64) {
            Some(inner) if route.kind == AddressKind::Unicast => {
                Route { kind: self.route_to(inner.into()).kind, ..route }
            }
            _ => route,
        }
    }

    /// The route to this very address. An address without a route is an ordinary one that cannot be reached. If the
    /// kernel does not answer, the address counts as the host's own, which the guards refuse, until the next question.
    fn route_to(&mut self, address: IpAddr) -> Route {
        if let Some(route) = self.known.get(&address) {
            return *route;
        }
        let Ok(route) = self.ask(address) else { return Route { kind: AddressKind::Local, source: None } };
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(address, route);
        route
    }

    fn ask(&mut self, address: IpAddr) -> Result<Route, Errno> {
        self.asked = self.asked.wrapping_add(1);
        send(&self.questions, &rtnetlink::question(address, self.asked), SendFlags::empty())?;
        // The kernel answers a request for one route before sendmsg(2) returns, so this does not wait. The answer to an
        // earlier question, which could not be fetched then, is skipped.
        let mut buffer = [0; 4096];
        loop {
            let (length, _) = recv(&self.questions, &mut buffer, RecvFlags::DONTWAIT)?;
            let answer = buffer.get(..length).unwrap_or_default();
            if rtnetlink::answers(answer, self.asked) {
                return route_in(answer);
            }
        }
    }
}

/// A socket for NETLINK_ROUTE, which is protocol 0, that of a socket that names none.
fn netlink_socket(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)
}

/// The route in an answer. A kernel short of memory does not know of a route; any other error says that there is none.
fn route_in(answer: &[u8]) -> Result<Route, Errno> {
    let shortage = [Errno::NOMEM, Errno::NOBUFS].map(Errno::raw_os_error);
    match rtnetlink::route_in(answer) {
        Ok(route) => Ok(route),
        Err(number) if shortage.contains(&number) => Err(Errno::NOBUFS),
        Err(_) => Ok(Route { kind: AddressKind::Unicast, source: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loopback_address_is_this_hosts_own() {
        let mut kinds = AddressKinds::new().unwrap();
        for address in ["127.0.0.1", "127.9.9.9"] {
            assert_eq!(kinds.route_to(address.parse().unwrap()).kind, AddressKind::Local, "{address}");
        }
    }

    #[test]
    fn an_address_without_a_route_is_an_ordinary_one() {
        let mut kinds = AddressKinds::new().unwrap();
        assert_eq!(kinds.route_to("203.0.113.7".parse().unwrap()).kind, AddressKind::Unicast);
    }

    #[test]
    fn an_answer_that_could_not_be_fetched_is_not_taken_for_the_next_one() {
        let mut kinds = AddressKinds::new().unwrap();
        let far = "203.0.113.7".parse().unwrap();
        send(&kinds.questions, &rtnetlink::question(far, kinds.asked), SendFlags::empty()).unwrap();
        assert_eq!(kinds.route_to("127.0.0.1".parse().unwrap()).kind, AddressKind::Local);
        assert_eq!(kinds.route_to(far).kind, AddressKind::Unicast);
    }

    #[test]
    fn a_kernel_without_memory_is_no_answer_and_one_without_a_route_is() {
        let error = |error: Errno| {
            let number = error.raw_os_error().wrapping_neg().to_ne_bytes();
            [&[36, 0, 0, 0, 2, 0][..], &[0; 10], &number, &[0; 16]].concat()
        };
        assert_eq!(route_in(&error(Errno::NETUNREACH)).map(|route| route.kind), Ok(AddressKind::Unicast));
        assert_eq!(route_in(&error(Errno::NOBUFS)), Err(Errno::NOBUFS));
        assert_eq!(route_in(&error(Errno::NOMEM)), Err(Errno::NOBUFS));
    }
}
