//! Whose connection it is, for isolation and for limits.

use std::net::{IpAddr, Ipv6Addr};

/// A client host, the unit of isolation and of limits: an IPv4 address or an IPv6 network of 64 bits, of which one
/// host can take any address it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(IpAddr);

impl Host {
    /// The host that `address` belongs to.
    pub fn of(address: IpAddr) -> Self {
        Self(match sockd_policy::canonical(address) {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
            address => address,
        })
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}
