//! The question to the kernel which route leads to an address, and its answer (rtnetlink(7)).

use sockd_policy::guard::AddressKind;
use std::net::IpAddr;

// struct nlmsghdr and struct rtmsg have so many bytes.
const HEADER: u32 = 16;
const RTMSG: u32 = 12;

const NLMSG_ERROR: u16 = 2;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const NLM_F_REQUEST: u16 = 1;
const RTA_DST: u16 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// An RTM_GETROUTE request for one destination: struct nlmsghdr with this number, struct rtmsg, one attribute.
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

/// What the route in an answer makes of the address. The error is the number of errno(3) that the kernel gives instead:
/// there is no route, or it is short of memory.
pub fn kind_in(packet: &[u8]) -> Result<AddressKind, i32> {
    let number = |bytes: Option<&[u8]>| bytes?.try_into().ok().map(u16::from_ne_bytes);
    match number(packet.get(4..6)) {
        // Behind the header stands the negative number.
        Some(NLMSG_ERROR) => {
            let errno = packet.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
            Err(errno.unwrap_or(0).wrapping_neg())
        }
        // rtm_type is the eighth byte of struct rtmsg.
        Some(RTM_NEWROUTE) => Ok(kind_of(packet.get(23).copied())),
        _ => Ok(AddressKind::Unicast),
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
        assert_eq!(kind_in(&[]), Ok(AddressKind::Unicast));
        assert_eq!(kind_in(&[0; 20]), Ok(AddressKind::Unicast));
        assert_eq!(kind_in(&[36, 0, 0, 0, 24, 0]), Ok(AddressKind::Unicast));
    }

    #[test]
    fn the_route_says_what_the_address_is() {
        for (route, kind) in [(1, AddressKind::Unicast), (2, AddressKind::Local), (5, AddressKind::Multicast)]
        {
            let packet = [&[36, 0, 0, 0, 24, 0][..], &[0; 17], &[route], &[0; 16]].concat();
            assert_eq!(kind_in(&packet), Ok(kind));
        }
    }

    #[test]
    fn an_error_is_told_by_its_number() {
        let packet = [&[36, 0, 0, 0, 2, 0][..], &[0; 10], &(-101_i32).to_ne_bytes(), &[0; 16]].concat();
        assert_eq!(kind_in(&packet), Err(101));
        assert_eq!(kind_in(&packet[..10]), Err(0));
    }
}
