//! IPv4 addresses inside IPv6 addresses.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use sockd_table::{Host, Query};

/// The IPv4 address inside an IPv6 address: IPv4-compatible (RFC 4291, 2.5.5.1), IPv4-translated (SIIT, RFC 2765), NAT64
/// (RFC 6052 and RFC 8215, with the address in the last 32 bits) or 6to4 (RFC 3056). `::` and `::1` have none.
pub fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
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
pub(crate) fn of_embedded<'a>(query: &Query<'a>) -> Vec<Query<'a>> {
    let inside = |host: &Host<'a>| {
        let inner = host.address.and_then(embedded).map(IpAddr::V4);
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
