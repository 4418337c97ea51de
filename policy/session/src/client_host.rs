//! Whose connection it is, for isolation and for limits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A client host, the unit of isolation and of limits: an IPv4 address or an IPv6 network of 64 bits, of which one
/// host can take any address it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(IpAddr);

/// Client hosts that share what they may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostNetwork {
    address: IpAddr,
    length: u8,
}

impl Host {
    /// The host that `address` belongs to.
    pub fn of(address: IpAddr) -> Self {
        Self(match sockd_policy::canonical(address) {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
            address => address,
        })
    }

    /// The addresses that one site has as a rule, however many hosts are there: an IPv4 /24, an IPv6 /48.
    pub fn site(self) -> HostNetwork {
        self.within(24, 48)
    }

    fn within(self, v4: u8, v6: u8) -> HostNetwork {
        match self.0 {
            IpAddr::V4(address) => {
                let host = u32::MAX.checked_shr(v4.into()).unwrap_or(0);
                let address = Ipv4Addr::from_bits(address.to_bits() & !host).into();
                HostNetwork { address, length: v4 }
            }
            IpAddr::V6(address) => {
                let host = u128::MAX.checked_shr(v6.into()).unwrap_or(0);
                let address = Ipv6Addr::from_bits(address.to_bits() & !host).into();
                HostNetwork { address, length: v6 }
            }
        }
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

impl std::fmt::Display for HostNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_a_network_of_24_or_48_bits() {
        for (address, site) in [
            ("192.0.2.138", "192.0.2.0/24"),
            ("::ffff:192.0.2.138", "192.0.2.0/24"),
            ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ] {
            assert_eq!(Host::of(address.parse().unwrap()).site().to_string(), site);
        }
    }
}
