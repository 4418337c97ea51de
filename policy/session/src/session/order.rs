//! The order in which the addresses of a name are tried: sorted by RFC 6724, families in turns by RFC 8305.

use crate::session::event::Candidate;
use std::cmp::Reverse;
use std::net::{IpAddr, Ipv6Addr};

/// The candidates in the order in which they are tried.
pub(super) fn ordered(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    if candidates.len() < 2 {
        return candidates;
    }
    // The sort is stable: rule 10 leaves equal addresses in the order of the nameserver.
    candidates.sort_by_cached_key(rank);
    let (reached, unreachable): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|candidate| candidate.source.is_some());
    in_turns(reached).into_iter().chain(unreachable).collect()
}

/// The first candidate's family, then the other, and so on (RFC 8305, section 4): one family may be dead.
fn in_turns(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let begins_with_v4 = candidates.first().is_some_and(|first| first.address.is_ipv4());
    let of_first = |candidate: &Candidate| candidate.address.is_ipv4() == begins_with_v4;
    let (first, second): (Vec<_>, Vec<_>) = candidates.into_iter().partition(of_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

/// The rank of a candidate; smaller is better: rules 1, 2, 5, 6, 8 and 9 of RFC 6724, section 6. Rules 3, 4 and 7 are
/// about deprecated and home addresses and transition mechanisms, which no server has.
fn rank(candidate: &Candidate) -> impl Ord + use<> {
    let Candidate { address, source, .. } = *candidate;
    let (precedence, label) = policy(address);
    let differs = |of: fn(IpAddr) -> u8| source.is_none_or(|source| of(source) != of(address));
    let common = source.map_or(0, |source| common_prefix(address, source));
    let label_differs = source.is_none_or(|source| policy(source).1 != label);
    (source.is_none(), differs(scope), label_differs, Reverse(precedence), scope(address), Reverse(common))
}

/// Precedence and label: the table of RFC 6724, section 2.1. IPv4 is its row ::ffff:0:0/96.
fn policy(address: IpAddr) -> (u8, u8) {
    let IpAddr::V6(address) = address else { return (35, 4) };
    match address.segments() {
        _ if address == Ipv6Addr::LOCALHOST => (50, 0),
        [0, 0, 0, 0, 0, 0, ..] => (1, 3),
        [0x2002, ..] => (30, 2),
        [0x2001, 0, ..] => (5, 5),
        [0x3ffe, ..] => (1, 12),
        [first, ..] if first & 0xfe00 == 0xfc00 => (3, 13),
        [first, ..] if first & 0xffc0 == 0xfec0 => (1, 11),
        _ => (40, 1),
    }
}

/// The scope as RFC 4291 numbers it; private IPv4 addresses have global scope (RFC 6724, section 3.2).
fn scope(address: IpAddr) -> u8 {
    const LINK: u8 = 2;
    const SITE: u8 = 5;
    const GLOBAL: u8 = 14;
    match address {
        IpAddr::V4(address) if address.is_loopback() || address.is_link_local() => LINK,
        IpAddr::V4(_) => GLOBAL,
        IpAddr::V6(address) => match address.segments() {
            _ if address.is_loopback() => LINK,
            [first, ..] if first & 0xffc0 == 0xfe80 => LINK,
            [first, ..] if first & 0xffc0 == 0xfec0 => SITE,
            _ => GLOBAL,
        },
    }
}

/// Leading bits that an IPv6 address shares with its source. They mean nothing for IPv4: servers that share the load by
/// the order of their addresses would be chosen by their numbers.
fn common_prefix(address: IpAddr, source: IpAddr) -> u32 {
    match (address, source) {
        (IpAddr::V6(address), IpAddr::V6(source)) => {
            (u128::from(address) ^ u128::from(source)).leading_zeros().min(64)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_policy::guard::AddressKind;

    /// The addresses of pairs of an address and its source, in the order in which they are tried.
    fn order<'a>(pairs: &[(&'a str, &str)]) -> Vec<&'a str> {
        let candidate = |(address, source): &(&str, &str)| Candidate {
            address: address.parse().unwrap(),
            kind: AddressKind::Unicast,
            own_listener: false,
            unreachable: false,
            source: source.parse().ok(),
        };
        let ordered = ordered(pairs.iter().map(candidate).collect());
        let text = |candidate: Candidate| {
            let is_it = |(text, _): &&(&'a str, &str)| text.parse() == Ok(candidate.address);
            pairs.iter().find(is_it).unwrap().0
        };
        ordered.into_iter().map(text).collect()
    }

    /// The examples of RFC 6724, section 10.2, about global, link-local, private and unusable addresses.
    #[test]
    fn the_examples_of_the_rfc_are_sorted_as_it_says() {
        for (pairs, first) in [
            ([("2001:db8:1::1", "2001:db8:1::2"), ("198.51.100.121", "169.254.13.78")], "2001:db8:1::1"),
            ([("2001:db8:1::1", "fe80::1"), ("198.51.100.121", "198.51.100.117")], "198.51.100.121"),
            ([("2001:db8:1::1", "2001:db8:1::2"), ("10.1.2.3", "10.1.2.4")], "2001:db8:1::1"),
            ([("2001:db8:1::1", "2001:db8:1::2"), ("fe80::1", "fe80::2")], "fe80::1"),
            ([("2001:db8:1::1", ""), ("198.51.100.121", "198.51.100.117")], "198.51.100.121"),
            (
                [("2002:c633:6401::1", "2001:db8:1::2"), ("198.51.100.121", "198.51.100.117")],
                "198.51.100.121",
            ),
            ([("fd00::1", "2001:db8:1::2"), ("198.51.100.121", "198.51.100.117")], "198.51.100.121"),
            (
                [("2001:db8:1::1", "2001:db8:3::2"), ("2001:db8:3f44::1", "2001:db8:3f44::2")],
                "2001:db8:3f44::1",
            ),
        ] {
            let [one, other] = pairs;
            assert_eq!(order(&[one, other])[0], first, "{pairs:?}");
            assert_eq!(order(&[other, one])[0], first, "{pairs:?}");
        }
    }

    #[test]
    fn families_take_turns_what_is_alike_keeps_its_place_and_what_has_no_route_comes_last() {
        let four = "198.51.100.117";
        let six = "2001:db8::9";
        let pairs = [
            ("203.0.113.3", four),
            ("203.0.113.1", four),
            ("2001:db8::1", six),
            ("203.0.113.2", four),
            ("2001:db8::2", ""),
        ];
        assert_eq!(
            order(&pairs),
            ["2001:db8::1", "203.0.113.3", "203.0.113.1", "203.0.113.2", "2001:db8::2"]
        );
    }
}
