//! The request to the kernel for the route to an address, and its answer (rtnetlink(7)).

use sockd_policy::guard::AddressKind;
use std::net::IpAddr;

// Bytes of struct nlmsghdr and of struct rtmsg.
const HEADER: u32 = 16;
const RTMSG: u32 = 12;

const NLMSG_ERROR: u16 = 2;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const NLM_F_REQUEST: u16 = 1;
const RTA_DST: u16 = 1;
const RTA_PREFSRC: u16 = 7;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// An RTM_GETROUTE request for an address: struct nlmsghdr with this number, struct rtmsg, one attribute.
pub fn question(address: IpAddr, number: u32) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    };
    let bits = if family == AF_INET { 32 } else { 128 };
    let attribute = octets.len().saturating_add(4) as u16;
    let length = u32::from(attribute).saturating_add(HEADER).saturating_add(RTMSG);
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

/// Whether a packet answers the question with this number.
pub fn answers(packet: &[u8], number: u32) -> bool {
    packet.get(8..12) == Some(&number.to_ne_bytes())
}

/// The facts about an address that its route tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The kind of address it is to this host.
    pub kind: AddressKind,
    /// The source address that this host would use for it.
    pub source: Option<IpAddr>,
}

/// Reads the route in an answer. The error is the number of errno(3) that the kernel gives instead: there is no route,
/// or it is short of memory.
pub fn route_in(packet: &[u8]) -> Result<Route, i32> {
    let number = |bytes: Option<&[u8]>| bytes?.try_into().ok().map(u16::from_ne_bytes);
    match number(packet.get(4..6)) {
        // The negative number follows the header.
        Some(NLMSG_ERROR) => {
            let errno = packet.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
            Err(errno.unwrap_or(0).wrapping_neg())
        }
        // rtm_type is the eighth byte of struct rtmsg.
        Some(RTM_NEWROUTE) => {
            Ok(Route { kind: kind_of(packet.get(23).copied()), source: packet.get(28..).and_then(source_in) })
        }
        _ => Ok(Route { kind: AddressKind::Unicast, source: None }),
    }
}

/// The address of RTA_PREFSRC among attributes. Each has its length, its type and its bytes, up to a multiple of four.
fn source_in(mut attributes: &[u8]) -> Option<IpAddr> {
    loop {
        let [l0, l1, t0, t1, ..] = *attributes else { return None };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([t0, t1]) == RTA_PREFSRC {
            let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
            return v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok();
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn kind_of(route: Option<u8>) -> AddressKind {
    match route {
        Some(2) => AddressKind::Local,
        Some(3) => AddressKind::Broadcast,
        Some(5) => AddressKind::Multicast,
        _ => AddressKind::Unicast,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_as_long_as_it_says_and_names_the_address() {
        for (address, length) in [("192.0.2.1", 36), ("2001:db8::1", 48)] {
            let packet = question(address.parse().unwrap(), 7);
            assert_eq!((packet.len(), packet[0]), (length, u8::try_from(length).unwrap()), "{address}");
            assert!(answers(&packet, 7) && !answers(&packet, 8));
        }
        assert_eq!(question("192.0.2.1".parse().unwrap(), 7)[32..], [192, 0, 2, 1]);
    }

    #[test]
    fn a_cut_answer_is_no_route() {
        let none = Ok(Route { kind: AddressKind::Unicast, source: None });
        assert_eq!(route_in(&[]), none);
        assert_eq!(route_in(&[0; 20]), none);
        assert_eq!(route_in(&[36, 0, 0, 0, 24, 0]), none);
    }

    #[test]
    fn the_route_says_what_the_address_is() {
        for (route, kind) in [(1, AddressKind::Unicast), (2, AddressKind::Local), (5, AddressKind::Multicast)]
        {
            let packet = [&[36, 0, 0, 0, 24, 0][..], &[0; 17], &[route], &[0; 16]].concat();
            assert_eq!(route_in(&packet), Ok(Route { kind, source: None }));
        }
    }

    #[test]
    fn the_route_says_the_source_and_a_cut_attribute_says_nothing() {
        let header = [&[68, 0, 0, 0, 24, 0][..], &[0; 17], &[1], &[0; 4]].concat();
        let other = [5, 0, 9, 0, 1, 0, 0, 0];
        let (v4, v6) =
            ([8, 0, 7, 0, 192, 0, 2, 1], [&[20, 0, 7, 0][..], &[0xfe, 0x80], &[0; 13], &[1]].concat());
        let source = |attributes: &[&[u8]]| {
            route_in(&[&header[..], &attributes.concat()].concat())
                .unwrap()
                .source
                .map(|source| source.to_string())
        };
        assert_eq!(source(&[&other, &v4]).as_deref(), Some("192.0.2.1"));
        assert_eq!(source(&[&v6]).as_deref(), Some("fe80::1"));
        for cut in [&v4[..3], &v4[..7], &[0, 0, 7, 0], &[3, 0, 7, 0, 1, 2], &[6, 0, 7, 0, 1, 2], &[0xff; 8]] {
            assert_eq!(source(&[cut]), None, "{cut:?}");
        }
        assert_eq!(source(&[&other, &v4[..7]]), None);
    }

    #[test]
    fn an_error_is_told_by_its_number() {
        let packet = [&[36, 0, 0, 0, 2, 0][..], &[0; 10], &(-101_i32).to_ne_bytes(), &[0; 16]].concat();
        assert_eq!(route_in(&packet), Err(101));
        assert_eq!(route_in(&packet[..10]), Err(0));
    }
}
