//! Host names.

use alloc::string::String;
use core::fmt;

/// A host name: up to 253 bytes in labels of 1 to 63 of `[A-Za-z0-9_-]` (RFC 1123, and the underscore that is seen in
/// practice). It is kept in lower case and without a final dot.
///
/// The last label is never a number. Resolvers take `127.1`, `0x7f.1` or `2130706433` for addresses, and rules would
/// take them for names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

/// The reason why bytes are not a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// There are no bytes.
    Empty,
    /// There are more than 253 bytes.
    TooLong,
    /// A label is empty or has more than 63 bytes.
    Label,
    /// A byte is outside `[A-Za-z0-9_.-]`.
    Character,
    /// The last label is a number: this is an address in a form that is not accepted.
    Numeric,
}

impl HostName {
    /// Checks a name and puts it into lower case.
    ///
    /// # Errors
    /// The first fault of the name.
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

/// Checks that the bytes are a name, in upper or lower case.
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

/// Whether [`HostName`] may keep each of the bytes. Frozen files may hold a million names, so the processor looks at
/// several bytes at a time: `&` and `|` do not stop early, and need no branches.
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

/// Whether `inet_aton` would read a label as a number: decimal, octal or hexadecimal.
pub(crate) fn is_number(label: &[u8]) -> bool {
    let hex = label.strip_prefix(b"0x").or_else(|| label.strip_prefix(b"0X"));
    label.iter().all(u8::is_ascii_digit) || hex.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// Whether three labels are digits, as in `10.0.0.O`: a mistyped dotted quad. A rule cannot name such a host.
pub fn is_mistyped_address(name: &[u8]) -> bool {
    let digits = |label: &&[u8]| !label.is_empty() && label.iter().all(u8::is_ascii_digit);
    name.split(|byte| *byte == b'.').filter(digits).count() >= 3
}

/// Whether `name` is `zone` or lies below it.
pub(crate) fn in_zone(name: &[u8], zone: &[u8]) -> bool {
    name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with(b"."))
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
            assert_eq!(is_mistyped_address(name.as_bytes()), slip, "{name}");
        }
    }
}
