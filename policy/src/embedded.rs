//! IPv4 addresses inside IPv6 addresses.

use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sockd_table::{Host, Query};

/// An IPv6 prefix of a site, which its translator takes for IPv4 addresses (RFC 6052, 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nat64Prefix {
    address: Ipv6Addr,
    bits: u8,
}

impl Nat64Prefix {
    /// The lengths of RFC 6052.
    const LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];

    /// Reads `2001:db8:64::/96`; `None` if the length is not one of these, or if bits are set behind it.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let (address, bits): (Ipv6Addr, u8) = (address.parse().ok()?, bits.parse().ok()?);
        let behind = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
        (Self::LENGTHS.contains(&bits) && address.to_bits() & behind == 0).then_some(Self { address, bits })
    }

    /// The IPv4 address inside an address with this prefix: it follows the prefix, and leaves out the octet of bits 64 to
    /// 71.
    fn embedded(self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        let differs = address.to_bits() ^ self.address.to_bits();
        let octets = address.octets();
        let mut behind =
            (0u8..).zip(octets).skip(usize::from(self.bits / 8)).filter(|(place, _)| *place != 8);
        let mut next = || behind.next().map(|(_, octet)| octet);
        (differs.leading_zeros() >= self.bits.into())
            .then(|| Some(Ipv4Addr::new(next()?, next()?, next()?, next()?)))?
    }
}

impl fmt::Display for Nat64Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// The IPv4 address inside an IPv6 address: by the longest prefix of the site that the address has, or else
/// IPv4-compatible (RFC 4291, 2.5.5.1), IPv4-translated (SIIT, RFC 2765), NAT64 (RFC 6052 and RFC 8215, with the address in
/// the last 32 bits) or 6to4 (RFC 3056). `::` and `::1` have none.
pub fn embedded(address: IpAddr, nat64: &[Nat64Prefix]) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let of_site = nat64.iter().filter_map(|prefix| Some((prefix.bits, prefix.embedded(address)?)));
    of_site.max().map(|(_, inner)| inner).or_else(|| well_known(address))
}

fn well_known(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., e, f, g, h] = address.octets();
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [0x64, 0xff9b, 0, 0, 0, 0, ..]
        | [0x64, 0xff9b, 1, ..] => Some(Ipv4Addr::new(e, f, g, h)),
        [0x2002, high, low, ..] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

/// The same question for the IPv4 addresses inside the addresses of both hosts; empty for most requests.
pub(crate) fn of_embedded<'a>(query: &Query<'a>, nat64: &[Nat64Prefix]) -> Vec<Query<'a>> {
    let inside = |host: &Host<'a>| {
        let inner = host.address.and_then(|address| embedded(address, nat64)).map(IpAddr::V4);
        inner.map(|inner| Host { address: Some(inner), ..*host })
    };
    let (source, destination) = (inside(&query.source), inside(&query.destination));
    let [to_inner, from_inner] = [
        destination.map(|destination| Query { destination, ..*query }),
        source.map(|source| Query { source, ..*query }),
    ];
    let both = source.zip(destination).map(|(source, destination)| Query { source, destination, ..*query });
    [to_inner, from_inner, both].into_iter().flatten().collect()
}
