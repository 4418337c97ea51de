//! The client host of a connection, for isolation and for limits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A client host, the unit of isolation and of blame: one address. The addresses of an IPv6 /64 may be the machines of
/// a LAN, which need not trust each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(IpAddr);

/// Client hosts that share their limits: the unit of counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostNetwork {
    address: IpAddr,
    length: u8,
}

/// The hosts whose limits an IPv6 /48 has together: a site gets a /48, which has 65,536 networks of 64 bits.
const SITE: u32 = 4;

impl Host {
    /// The host that `address` belongs to.
    pub fn of(address: IpAddr) -> Self {
        Self(sockd_policy::canonical(address))
    }

    /// The network with the limits of one host: an IPv4 address, or an IPv6 /64, which one machine can take.
    pub fn network(self) -> HostNetwork {
        self.within(32, 64)
    }

    /// The networks that a host counts for, and how many times the limits of one host each has.
    pub fn counted(self) -> impl Iterator<Item = (HostNetwork, u32)> {
        let site = self.0.is_ipv6().then(|| (self.site(), SITE));
        std::iter::once((self.network(), 1)).chain(site)
    }

    /// The network that one site usually has, however many hosts it has: an IPv4 /24, an IPv6 /48.
    pub fn site(self) -> HostNetwork {
        self.within(24, 48)
    }

    /// Whether the host is in this network, or the network is its site.
    pub fn is_in(self, network: HostNetwork) -> bool {
        self.network() == network || self.site() == network
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
        self.0.fmt(f)
    }
}

impl std::fmt::Display for HostNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.address, self.length) {
            (IpAddr::V4(address), 32) => write!(f, "{address}"),
            (address, length) => write!(f, "{address}/{length}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h8_a_host_is_an_address_and_counts_for_its_network_and_an_ipv6_site() {
        let counted = |address: &str| -> Vec<String> {
            let host = Host::of(address.parse().unwrap());
            host.counted().map(|(network, share)| format!("{share} {network}")).collect()
        };
        assert_eq!(counted("::ffff:192.0.2.1"), ["1 192.0.2.1"]);
        assert_eq!(counted("2001:db8:1:2:3::4"), ["1 2001:db8:1:2::/64", "4 2001:db8:1::/48"]);
        let [one, other] = ["2001:db8::1", "2001:db8::2"].map(|host| Host::of(host.parse().unwrap()));
        assert!(one != other && one.network() == other.network());
    }

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
