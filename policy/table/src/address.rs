//! Addresses and address patterns.

use core::fmt;
use core::net::IpAddr;

/// The address as rules see it. An IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) is the IPv4 address that it names, so
/// that no rule can be passed by another spelling.
#[inline]
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// An address and a mask of one family. A mask bit of 1 must match, and a bit of 0 is ignored. The bits may stand
/// anywhere, as in the classic `sockd.conf`. The address is kept masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network(Bits);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bits {
    V4 { address: u32, mask: u32 },
    V6 { address: u128, mask: u128 },
}

impl Network {
    /// The network of an address and a mask; `None` if they are of different families.
    pub fn new(address: IpAddr, mask: IpAddr) -> Option<Network> {
        match (address, mask) {
            (IpAddr::V4(address), IpAddr::V4(mask)) => Some(Network::v4(address.into(), mask.into())),
            (IpAddr::V6(address), IpAddr::V6(mask)) => Some(Network::v6(address.into(), mask.into())),
            _ => None,
        }
    }

    /// The network of an address and a prefix length; `None` if an address of this family has fewer bits.
    pub fn prefix(address: IpAddr, length: u32) -> Option<Network> {
        match address {
            IpAddr::V4(address) => {
                let host = 32u32.checked_sub(length)?;
                Some(Network::v4(address.into(), u32::MAX.checked_shl(host).unwrap_or(0)))
            }
            IpAddr::V6(address) => {
                let host = 128u32.checked_sub(length)?;
                Some(Network::v6(address.into(), u128::MAX.checked_shl(host).unwrap_or(0)))
            }
        }
    }

    /// An IPv4 network.
    pub const fn v4(address: u32, mask: u32) -> Network {
        Network(Bits::V4 { address: address & mask, mask })
    }

    /// An IPv6 network.
    pub const fn v6(address: u128, mask: u128) -> Network {
        Network(Bits::V6 { address: address & mask, mask })
    }

    pub(crate) fn bits(&self) -> Bits {
        self.0
    }

    /// Whether the network contains an address. It contains none of the other family.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.0, address) {
            (Bits::V4 { address, mask }, IpAddr::V4(asked)) => u32::from(asked) & mask == address,
            (Bits::V6 { address, mask }, IpAddr::V6(asked)) => u128::from(asked) & mask == address,
            _ => false,
        }
    }

    /// The address of the network, which is masked.
    pub fn address(&self) -> IpAddr {
        match self.0 {
            Bits::V4 { address, .. } => IpAddr::V4(address.into()),
            Bits::V6 { address, .. } => IpAddr::V6(address.into()),
        }
    }

    /// Whether `outer` contains every address of this network.
    pub fn lies_in(&self, outer: &Network) -> bool {
        match (self.0, outer.0) {
            (Bits::V4 { address, mask }, Bits::V4 { address: outer, mask: bits }) => {
                mask & bits == bits && address & bits == outer
            }
            (Bits::V6 { address, mask }, Bits::V6 { address: outer, mask: bits }) => {
                mask & bits == bits && address & bits == outer
            }
            _ => false,
        }
    }

    /// Whether the network is of this address's family.
    pub fn of_family(&self, address: IpAddr) -> bool {
        matches!(self.0, Bits::V4 { .. }) == address.is_ipv4()
    }

    /// The only address of the network, if it has only one.
    pub fn single(&self) -> Option<IpAddr> {
        match self.0 {
            Bits::V4 { address, mask: u32::MAX } => Some(IpAddr::V4(address.into())),
            Bits::V6 { address, mask: u128::MAX } => Some(IpAddr::V6(address.into())),
            _ => None,
        }
    }
}

/// Writes a form that `sockd.conf` accepts: an IPv4 network as address and mask, an IPv6 network as `address/length` if
/// its mask is a prefix. The alternate form (`{:#}`) has that for IPv4 too, and is never longer than the text was.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, mask, length) = match self.0 {
            Bits::V4 { address, mask } => {
                (IpAddr::V4(address.into()), IpAddr::V4(mask.into()), mask.leading_ones())
            }
            Bits::V6 { address, mask } => {
                (IpAddr::V6(address.into()), IpAddr::V6(mask.into()), mask.leading_ones())
            }
        };
        if Network::prefix(address, length) == Some(*self) && (address.is_ipv6() || f.alternate()) {
            write!(f, "{address}/{length}")
        } else {
            write!(f, "{address} {mask}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_it_names() {
        assert_eq!(canonical(ip("::ffff:127.0.0.1")), ip("127.0.0.1"));
        assert_eq!(canonical(ip("::127.0.0.1")), ip("::127.0.0.1"));
    }

    #[test]
    fn the_address_of_a_network_is_masked_too() {
        let network = Network::new(ip("10.9.9.9"), ip("255.0.0.0")).unwrap();
        assert!(network.contains(ip("10.1.2.3")));
        assert_eq!(network.to_string(), "10.0.0.0 255.0.0.0");
    }

    #[test]
    fn mask_bits_may_stand_anywhere() {
        let network = Network::new(ip("10.0.0.3"), ip("255.0.0.255")).unwrap();
        assert!(network.contains(ip("10.77.88.3")));
        assert!(!network.contains(ip("10.77.88.4")));
        let network = Network::new(ip("2001:db8::5"), ip("ffff:ffff::ff")).unwrap();
        assert!(network.contains(ip("2001:db8:7::5")));
        assert_eq!(network.to_string(), "2001:db8::5 ffff:ffff::ff");
    }

    #[test]
    fn families_do_not_mix() {
        assert_eq!(Network::new(ip("10.0.0.0"), ip("ff::")), None);
        assert!(!Network::prefix(ip("::"), 0).unwrap().contains(ip("10.0.0.1")));
        assert_eq!(Network::prefix(ip("10.0.0.0"), 33), None);
        assert_eq!(Network::prefix(ip("::"), 0).unwrap().to_string(), "::/0");
    }

    #[test]
    fn a_network_lies_in_another_only_whole() {
        let loopback = Network::prefix(ip("127.0.0.0"), 8).unwrap();
        assert!(Network::prefix(ip("127.0.0.1"), 32).unwrap().lies_in(&loopback));
        assert!(!Network::prefix(ip("0.0.0.0"), 0).unwrap().lies_in(&loopback));
        assert!(!Network::new(ip("127.0.0.1"), ip("0.0.0.255")).unwrap().lies_in(&loopback));
    }
}
