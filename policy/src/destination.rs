//! The destination of a SOCKS4A request.

use core::net::IpAddr;

use sockd_table::{HostName, NameError, canonical};

/// The host that a SOCKS4A client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A literal address in the name field. The rules judge it as that address.
    Address(IpAddr),
    /// A name that has to be resolved.
    Name(HostName),
}

/// Reads the name field of a SOCKS4A request. A strict dotted quad or an IPv6 literal is an address, the latter also in
/// brackets as clients take it from a URL; everything else must be a host name. The loose forms of `inet_aton` and IPv6
/// addresses with a zone are errors.
///
/// # Errors
/// The reason why the field is neither.
pub fn parse_destination(bytes: &[u8]) -> Result<Destination, NameError> {
    match core::str::from_utf8(bytes).ok().and_then(literal) {
        Some(address) => Ok(Destination::Address(canonical(address))),
        None => HostName::parse(bytes).map(Destination::Name),
    }
}

/// The address that a text is. Brackets are for IPv6 only (RFC 3986, 3.2.2).
fn literal(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(bracketed) => bracketed.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loose_forms_of_addresses_are_neither_address_nor_name() {
        for text in [
            "127.1",
            "0x7f.1",
            "2130706433",
            "017700000001",
            "0",
            "0x7f000001",
            "a.0x1",
            "127.0.0.1.",
            "1.2.3.4.5",
        ] {
            assert_eq!(parse_destination(text.as_bytes()), Err(NameError::Numeric), "{text}");
        }
        for text in ["fe80::1%eth0", "[fe80::1%eth0]", "[10.0.0.1]", "[::1", "::1]", "[[::1]]", "[]", "[a.b]"]
        {
            assert!(parse_destination(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse_destination(b"010.0.0.1").is_err());
    }

    #[test]
    fn a_literal_in_the_name_field_is_that_address() {
        let expect = |text: &str, address: &str| {
            let address = Destination::Address(address.parse().unwrap());
            assert_eq!(parse_destination(text.as_bytes()), Ok(address));
        };
        expect("10.1.2.3", "10.1.2.3");
        expect("::1", "::1");
        expect("[::1]", "::1");
        expect("::ffff:10.1.2.3", "10.1.2.3");
        expect("[::ffff:10.1.2.3]", "10.1.2.3");
        assert_eq!(
            parse_destination(b"Xyz.com"),
            Ok(Destination::Name(HostName::parse(b"xyz.com").unwrap()))
        );
    }
}
