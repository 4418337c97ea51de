//! A record of the ledger, read.

use sockd_common::ledger::{
    Bytes, CLAIMED, CLIENT_NAME, DESTINATION_NAME, Entry, GROUPS, Phase, Place, Text, VERIFIED, at,
};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The phases, and how each is shown.
pub const PHASES: [(Phase, &str); 9] = [
    (Phase::Requesting, "requesting"),
    (Phase::Verifying, "verifying"),
    (Phase::Deciding, "deciding"),
    (Phase::Dialling, "dialling"),
    (Phase::Waiting, "waiting"),
    (Phase::Upstream, "upstream"),
    (Phase::Relaying, "relaying"),
    (Phase::Associated, "associated"),
    (Phase::Closing, "closing"),
];

/// A phase as it is shown.
pub fn in_a_word(phase: Phase) -> &'static str {
    PHASES.into_iter().find(|(known, _)| *known == phase).map_or("", |(_, word)| word)
}

/// Decodes the bytes of a record; `None` if they are no record.
pub fn decode(bytes: &Bytes) -> Option<Entry<'_>> {
    let [phase, version, command, flags] = take(bytes, at::PHASE)?;
    let text = |place: Place| {
        let [length] = take(bytes, place.at)?;
        let room = bytes.get(place.at.saturating_add(1)..)?.get(..place.room)?;
        let bytes = room.get(..usize::from(length))?;
        Some(Text { bytes, is_cut: flags & place.cut != 0 })
    };
    Some(Entry {
        number: u64::from_ne_bytes(take(bytes, at::NUMBER)?),
        since: u64::from_ne_bytes(take(bytes, at::SINCE)?),
        worker: u32::from_ne_bytes(take(bytes, at::WORKER)?),
        rule: u32::from_ne_bytes(take(bytes, at::RULE)?),
        phase: PHASES.into_iter().map(|(known, _)| known).find(|known| *known as u8 == phase)?,
        version,
        command,
        by_password: flags & at::BY_PASSWORD != 0,
        client: socket_of(bytes, at::CLIENT)?,
        proxy: socket_of(bytes, at::PROXY)?,
        destination: address_of(bytes, at::DESTINATION),
        port: u16::from_ne_bytes(take(bytes, at::PORT)?),
        upstream: socket_of(bytes, at::UPSTREAM),
        destination_name: text(DESTINATION_NAME)?,
        client_name: text(CLIENT_NAME)?,
        claimed: text(CLAIMED)?,
        verified: text(VERIFIED)?,
        groups: text(GROUPS)?,
    })
}

fn take<const LENGTH: usize>(bytes: &Bytes, at: usize) -> Option<[u8; LENGTH]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn address_of(bytes: &Bytes, at: usize) -> Option<IpAddr> {
    let octets: [u8; 16] = take(bytes, at)?;
    (octets != [0; 16]).then(|| IpAddr::V6(Ipv6Addr::from(octets)).to_canonical())
}

fn socket_of(bytes: &Bytes, at: usize) -> Option<SocketAddr> {
    let port = take(bytes, at.saturating_add(16))?;
    Some(SocketAddr::new(address_of(bytes, at)?, u16::from_ne_bytes(port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_common::ledger::RECORD;

    fn entry() -> Entry<'static> {
        Entry {
            number: 17,
            since: 1_700_000_000_000,
            worker: 3,
            rule: 12,
            phase: Phase::Relaying,
            version: 5,
            command: 1,
            by_password: true,
            client: "192.0.2.10:40000".parse().unwrap(),
            proxy: "[2001:db8::1]:1080".parse().unwrap(),
            destination: Some("198.51.100.10".parse().unwrap()),
            port: 443,
            upstream: None,
            destination_name: b"www.example.org"[..].into(),
            client_name: Text::default(),
            claimed: b"joe\x1b[2J"[..].into(),
            verified: b"joe"[..].into(),
            groups: b"staff,web"[..].into(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let entry = entry();
        assert_eq!(decode(&entry.encode()), Some(entry));
        let via = Entry { upstream: Some("203.0.113.10:1080".parse().unwrap()), destination: None, ..entry };
        assert_eq!(decode(&via.encode()), Some(via));
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let long = [b'x'; 255];
        let bytes = Entry { claimed: long[..].into(), destination_name: long[..].into(), ..entry() }.encode();
        let read = decode(&bytes).unwrap();
        assert_eq!(read.claimed, Text { bytes: &long[..63], is_cut: true });
        assert_eq!(read.destination_name, Text { bytes: &long, is_cut: false });
        assert_eq!(read.verified, Text { bytes: b"joe", is_cut: false });
    }

    #[test]
    fn bytes_that_are_no_record_are_none() {
        assert_eq!(decode(&[0; RECORD]), None);
        assert_eq!(decode(&[0xff; RECORD]), None);
        let mut bytes = entry().encode();
        bytes[CLAIMED.at] = 64;
        assert_eq!(decode(&bytes), None);
    }
}
