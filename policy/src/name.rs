//! Host names, destinations given by name, and the patterns of rules.

use alloc::string::String;
use core::fmt;
use core::net::IpAddr;

use crate::address::{Network, canonical};

/// A host name: up to 253 bytes in labels of 1 to 63 of `[A-Za-z0-9_-]` (RFC 1123, and the underscore seen in
/// practice), kept in lower case and without a final dot. A name whose last label is a number is not one: resolvers
/// take `127.1`, `0x7f.1` or `2130706433` for addresses, rules would take them for names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

/// Why bytes are not a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// Nothing there.
    Empty,
    /// More than 253 bytes.
    TooLong,
    /// A label is empty or has more than 63 bytes.
    Label,
    /// A byte outside `[A-Za-z0-9_.-]`.
    Character,
    /// The last label is a number, so that this is an address in a form that is not accepted.
    Numeric,
}

impl HostName {
    /// Checks and lowers a name.
    pub fn parse(bytes: &[u8]) -> Result<HostName, NameError> {
        let name = bytes.strip_suffix(b".").unwrap_or(bytes);
        check(name)?;
        Ok(HostName(name.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect()))
    }

    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the bytes are a name, in whatever case.
fn check(name: &[u8]) -> Result<(), NameError> {
    match name.len() {
        0 => return Err(NameError::Empty),
        254.. => return Err(NameError::TooLong),
        _ => {}
    }
    let (mut length, mut last) = (0u8, 0);
    for (place, byte) in (1..).zip(name) {
        length = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'A'..=b'Z' | b'_' if length < 63 => length.saturating_add(1),
            b'.' if length > 0 => {
                last = place;
                0
            }
            b'.' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'A'..=b'Z' | b'_' => return Err(NameError::Label),
            _ => return Err(NameError::Character),
        };
    }
    match name.get(last..) {
        None | Some([]) => Err(NameError::Label),
        Some(label) if is_number(label) => Err(NameError::Numeric),
        Some(_) => Ok(()),
    }
}

/// Whether all bytes are such as [`HostName`] keeps. Frozen files may hold a million names: the bytes are looked at several
/// at a time, hence `&` and `|` where nothing is saved by stopping early.
pub(crate) fn are_letters(bytes: &[u8]) -> bool {
    let kept = |byte: u8| {
        byte.is_ascii_lowercase() | byte.is_ascii_digit() | (byte == b'-') | (byte == b'_') | (byte == b'.')
    };
    bytes.iter().fold(true, |all, byte| all & kept(*byte))
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameError::Empty => "empty name",
            NameError::TooLong => "name of more than 253 bytes",
            NameError::Label => "label that is empty or longer than 63 bytes",
            NameError::Character => "character that no host name has",
            NameError::Numeric => "number that is not a dotted quad",
        })
    }
}

/// A label that `inet_aton` would read as a number: decimal, octal or hexadecimal.
pub(crate) fn is_number(label: &[u8]) -> bool {
    let hex = label.strip_prefix(b"0x").or_else(|| label.strip_prefix(b"0X"));
    label.iter().all(u8::is_ascii_digit) || hex.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// Whether three labels are digits, as in `10.0.0.O`: a dotted quad with a slip of the finger. No rule names such a host.
pub(crate) fn is_slip(name: &[u8]) -> bool {
    let digits = |label: &&[u8]| !label.is_empty() && label.iter().all(u8::is_ascii_digit);
    name.split(|byte| *byte == b'.').filter(digits).count() >= 3
}

/// What a SOCKS4A client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A literal address in the name field; it is judged as that address.
    Address(IpAddr),
    /// A name to be resolved.
    Name(HostName),
}

/// Reads the name field of a SOCKS4A request: a strict dotted quad or IPv6 literal is an address, anything else must
/// be a host name. The loose forms of `inet_aton` and IPv6 with a zone are errors.
pub fn parse_destination(bytes: &[u8]) -> Result<Destination, NameError> {
    match core::str::from_utf8(bytes).ok().and_then(|text| text.parse::<IpAddr>().ok()) {
        Some(address) => Ok(Destination::Address(canonical(address))),
        None => HostName::parse(bytes).map(Destination::Name),
    }
}

/// What a line says of a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// `ALL`, or an IPv4 mask of all zeros: every host, IPv6 ones too. (Administrators write `0.0.0.0 0.0.0.0` for
    /// "any"; a closing `deny 0.0.0.0 0.0.0.0` must hold for IPv6 as well. `::/0` means IPv6 alone.)
    Any,
    /// An address and a mask.
    Network(Network),
    /// `xyz.com`: a host one of whose names is exactly this.
    Domain(HostName),
    /// `.xyz.com`: `xyz.com` itself and every name that ends in `.xyz.com`.
    Zone(HostName),
}

impl Pattern {
    /// Whether this pattern holds every host that `inner` does.
    pub fn covers(&self, inner: &Pattern) -> bool {
        match (self, inner) {
            (Pattern::Any, _) => true,
            (Pattern::Network(outer), Pattern::Network(inner)) => inner.lies_in(outer),
            (Pattern::Domain(outer), Pattern::Domain(inner)) => outer == inner,
            (Pattern::Zone(zone), Pattern::Domain(inner) | Pattern::Zone(inner)) => {
                in_zone(inner.0.as_bytes(), zone.0.as_bytes())
            }
            _ => false,
        }
    }
}

/// Whether `name` is `zone` or lies below it.
pub(crate) fn in_zone(name: &[u8], zone: &[u8]) -> bool {
    name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with(b"."))
}

/// Written as `sockd.conf` takes it; the mask beside a name is required and ignored.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Any => f.write_str(if f.alternate() { "0.0.0.0/0" } else { "0.0.0.0 0.0.0.0" }),
            Pattern::Network(network) => network.fmt(f),
            Pattern::Domain(name) => write!(f, "{name} 0.0.0.0"),
            Pattern::Zone(name) => write!(f, ".{name} 0.0.0.0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec;

    fn name(text: &str) -> HostName {
        HostName::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_name_is_kept_in_lower_case_without_its_final_dot() {
        assert_eq!(name("WWW.Example.COM.").as_str(), "www.example.com");
        assert_eq!(name("_sip._tcp.a-b.c").to_string(), "_sip._tcp.a-b.c");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert_eq!(HostName::parse(b""), Err(NameError::Empty));
        assert_eq!(HostName::parse(b"."), Err(NameError::Empty));
        assert_eq!(HostName::parse(b"a..b"), Err(NameError::Label));
        assert_eq!(HostName::parse(b"a b"), Err(NameError::Character));
        assert_eq!(HostName::parse(b"a\0b"), Err(NameError::Character));
        assert_eq!(HostName::parse("\u{43f}.com".as_bytes()), Err(NameError::Character));
        assert_eq!(HostName::parse(&[b'a'; 64]), Err(NameError::Label));
        let long = vec!["abcdefghi"; 26].join(".");
        assert_eq!(HostName::parse(long.as_bytes()), Err(NameError::TooLong));
        let fits = vec!["abcdefghi"; 25].join(".") + ".ab.";
        assert!(HostName::parse(fits.as_bytes()).is_ok());
    }

    #[test]
    fn three_labels_of_digits_are_an_address_with_a_slip() {
        for (name, slip) in [
            ("10.0.0.o", true),
            ("a.1.2.b.3", true),
            (".1.2.a", false),
            ("1.2.a", false),
            ("1a.2.3.b", false),
        ] {
            assert_eq!(is_slip(name.as_bytes()), slip, "{name}");
        }
    }

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
        assert!(parse_destination(b"fe80::1%eth0").is_err());
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
        expect("::ffff:10.1.2.3", "10.1.2.3");
        assert_eq!(parse_destination(b"Xyz.com"), Ok(Destination::Name(name("xyz.com"))));
    }

    #[test]
    fn a_zone_holds_itself_and_what_ends_in_it_at_a_dot() {
        let zone = Pattern::Zone(name("xyz.com"));
        assert!(zone.covers(&zone));
        assert!(zone.covers(&Pattern::Domain(name("xyz.com"))));
        assert!(zone.covers(&Pattern::Zone(name("a.b.XYZ.com"))));
        assert!(!zone.covers(&Pattern::Domain(name("badxyz.com"))));
        assert!(!zone.covers(&Pattern::Domain(name("com"))));
        assert!(!Pattern::Domain(name("xyz.com")).covers(&zone));
        assert!(Pattern::Any.covers(&zone) && !zone.covers(&Pattern::Any));
    }
}
