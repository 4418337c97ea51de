//! The header of a datagram between client and proxy (RFC 1928, section 7).
//!
//! ```text
//! RSV(2)  FRAG  ATYP  DST.ADDR  DST.PORT(2)  DATA
//! DST.ADDR  ATYP 1: 4 bytes    ATYP 3: length, name    ATYP 4: 16 bytes
//! ```

use sockd_common::message::Name;
use sockd_common::message::request::Destination;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is written here. Its address is never a name.
pub const LONGEST: usize = 4 + 16 + 2;

/// A datagram of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The bytes of the header from ATYP to the port, by which flows are told apart.
    pub destination: &'a [u8],
    /// The bytes behind the header.
    pub data: &'a [u8],
}

/// Reads a datagram of a client. `None` if it is shorter than its header, a fragment, or to an address of an
/// unknown type. RSV is ignored.
pub fn read(bytes: &[u8]) -> Option<Datagram<'_>> {
    let [_, _, 0, kind, ..] = bytes.first_chunk::<4>()? else { return None };
    let address = match kind {
        1 => 4,
        3 => usize::from(*bytes.get(4)?).checked_add(1)?,
        4 => 16,
        _ => return None,
    };
    let behind = bytes.get(3..)?;
    let (destination, data) = behind.split_at_checked(address.checked_add(3)?)?;
    Some(Datagram { destination, data })
}

/// Reads the bytes from ATYP to the port; `None` if they name no host. An address in brackets has a type of its own.
pub fn destination(bytes: &[u8]) -> Option<(Destination, u16)> {
    let (address, port) = bytes.split_last_chunk()?;
    let (kind, address) = address.split_first()?;
    let destination = match kind {
        1 => Destination::Address(Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?).into()),
        3 => {
            let (_, name) = address.split_first()?;
            let is_name = !name.is_empty() && !name.starts_with(b"[");
            Destination::Name(Name::new(name).filter(|_| is_name)?)
        }
        4 => Destination::Address(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).into()),
        _ => return None,
    };
    Some((destination, u16::from_be_bytes(*port)))
}

/// The header of datagrams from a peer. It is the same for every datagram of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; LONGEST],
    length: u8,
}

impl Header {
    /// The header with this address.
    pub fn of(peer: SocketAddr) -> Self {
        let mut header = Self { bytes: [0; LONGEST], length: 0 };
        match peer.ip().to_canonical() {
            IpAddr::V4(address) => header.fill([0, 0, 0, 1].into_iter().chain(address.octets()), peer.port()),
            IpAddr::V6(address) => header.fill([0, 0, 0, 4].into_iter().chain(address.octets()), peer.port()),
        }
        header
    }

    fn fill(&mut self, bytes: impl Iterator<Item = u8>, port: u16) {
        for (place, byte) in self.bytes.iter_mut().zip(bytes.chain(port.to_be_bytes())) {
            *place = byte;
            self.length = self.length.saturating_add(1);
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(bytes: &[u8]) -> Option<(Destination, u16)> {
        destination(read(bytes)?.destination)
    }

    #[test]
    fn a_datagram_is_read_up_to_its_data() {
        let v4 = b"\x00\x00\x00\x01\x7f\x00\x00\x01\x27\x0fone";
        let read_v4 = read(v4).unwrap();
        assert_eq!((read_v4.destination, read_v4.data), (&v4[3..10], &b"one"[..]));
        assert_eq!(said(v4), Some((Destination::Address("127.0.0.1".parse().unwrap()), 9999)));
        let named = b"\x00\x00\x00\x03\x08web.test\x00\x35";
        assert_eq!(read(named).unwrap().data, b"", "an empty datagram is one");
        assert_eq!(said(named), Some((Destination::Name(Name::new(b"web.test").unwrap()), 53)));
        let v6 = [&b"\x00\x00\x00\x04"[..], &Ipv6Addr::LOCALHOST.octets(), b"\x00\x35x"].concat();
        assert_eq!(said(&v6), Some((Destination::Address("::1".parse().unwrap()), 53)));
    }

    #[test]
    fn the_reserved_bytes_mean_nothing() {
        assert!(read(b"\x01\x00\x00\x01\x7f\x00\x00\x01\x27\x0fone").is_some());
    }

    #[test]
    fn fragments_unknown_types_and_what_is_cut_short_are_no_datagrams() {
        for fragment in [1, 0x7f, 0x81, 0xff] {
            assert_eq!(read(&[0, 0, fragment, 1, 127, 0, 0, 1, 0, 53, 1]), None);
        }
        for kind in [0, 2, 5, 0xff] {
            assert_eq!(read(&[0, 0, 0, kind, 127, 0, 0, 1, 0, 53, 1]), None);
        }
        let named = b"\x00\x00\x00\x03\x08web.test\x00\x35";
        for cut in (0..named.len()).map(|end| &named[..end]) {
            assert_eq!(read(cut), None, "{cut:?}");
        }
        assert_eq!(read(&[0, 0, 0, 1, 127, 0, 0, 1, 0]), None);
        assert_eq!(read(&[0, 0, 0, 4, 127, 0, 0, 1, 0, 53, 1]), None);
    }

    #[test]
    fn a_name_that_is_none_has_no_destination() {
        assert_eq!(said(b"\x00\x00\x00\x03\x00\x00\x35"), None);
        assert_eq!(said(b"\x00\x00\x00\x03\x05[::1]\x00\x35"), None);
    }

    #[test]
    fn an_answer_has_the_address_that_it_came_from_in_its_own_form() {
        let header = |peer: &str| Header::of(peer.parse().unwrap()).bytes().to_vec();
        assert_eq!(header("127.0.0.1:9999"), b"\x00\x00\x00\x01\x7f\x00\x00\x01\x27\x0f");
        assert_eq!(header("[::ffff:127.0.0.1]:9999"), header("127.0.0.1:9999"));
        assert_eq!(header("[::1]:53").len(), LONGEST);
    }

    proptest! {
        #[test]
        fn what_is_read_is_the_whole_behind_three_bytes(bytes in any::<Vec<u8>>()) {
            if let Some(Datagram { destination, data }) = read(&bytes) {
                prop_assert_eq!([destination, data].concat(), &bytes[3..]);
                prop_assert_eq!(bytes[2], 0);
            }
        }

        #[test]
        fn the_header_of_a_peer_says_that_peer(octets in any::<[u8; 16]>(), four in any::<[u8; 4]>(), port: u16) {
            for address in [IpAddr::from(octets), IpAddr::from(four)] {
                let header = Header::of(SocketAddr::new(address, port));
                let (said, said_port) = said(header.bytes()).unwrap();
                prop_assert_eq!((said, said_port), (Destination::Address(address.to_canonical()), port));
            }
        }
    }
}
