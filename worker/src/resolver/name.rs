//! Domain names: as text at the boundary to the monitor, as DNS names towards the nameservers.

use domain::base::name::{NameBuilder, ToName};
use sockd_common::message::Name;

/// A name as it goes over the wire (RFC 1035, section 3.1); any octets may stand in its labels.
pub type DnsName = domain::base::Name<Vec<u8>>;

/// The longest name in textual form without the final dot: 255 octets on the wire (RFC 1035, section 2.3.4).
const MAX_TEXT: usize = 253;

/// The longest label (RFC 1035, section 2.3.4).
const MAX_LABEL: usize = 63;

/// The name of a host: lower-case, without the final dot, of letters, digits, `-`, `_` and `.` only.
///
/// Every name that is asked for on behalf of a client and every name that is answered to the monitor is of this type,
/// so that no octet with a meaning to a shell, a terminal or a log line passes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HostName(Box<str>);

impl HostName {
    /// Takes a name in textual form, with or without the final dot; `None` if it cannot be a host's name.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        let text = text.strip_suffix(b".").unwrap_or(text);
        let fits = text.len() <= MAX_TEXT && text.split(|&octet| octet == b'.').all(is_host_label);
        let text = fits.then(|| str::from_utf8(text).ok())??;
        Some(Self(text.to_ascii_lowercase().into()))
    }

    /// Takes a name from a DNS message; `None` if it cannot be a host's name.
    pub fn from_dns(name: &impl ToName) -> Option<Self> {
        let labels: Vec<&[u8]> =
            name.iter_labels().filter(|label| !label.is_root()).map(|label| label.as_slice()).collect();
        // A label with a dot inside would read as two labels once it is text.
        let honest = labels.iter().all(|label| is_host_label(label));
        honest.then(|| Self::from_text(&labels.join(&b'.')))?
    }

    /// The name in textual form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number of dots, which resolv.conf(5) compares with `ndots`.
    pub fn dots(&self) -> usize {
        self.0.bytes().filter(|&octet| octet == b'.').count()
    }

    /// This name below `domain`; `None` if that is too long.
    pub fn below(&self, domain: &Self) -> Option<Self> {
        Self::from_text(format!("{}.{}", self.0, domain.0).as_bytes())
    }

    /// Whether this is `domain` or a name below it.
    pub fn is_within(&self, domain: &str) -> bool {
        self.0.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// Whether the last label is a number: then inet_aton(3) takes the name for an address (`127.1`,
    /// `0x7f000001`, `2130706433`), and no domain is called so (RFC 3696, section 2).
    pub fn is_number(&self) -> bool {
        let last = self.0.rsplit('.').next().unwrap_or_default();
        let hexadecimal =
            last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit()));
        hexadecimal || last.bytes().all(|digit| digit.is_ascii_digit())
    }

    /// The name as the DNS writes it.
    pub fn to_dns(&self) -> Option<DnsName> {
        let mut builder = NameBuilder::new_vec();
        for label in self.0.split('.') {
            builder.append_label(label.as_bytes()).ok()?;
        }
        builder.into_name().ok()
    }

    /// The name as the monitor takes it.
    pub fn to_message(&self) -> Option<Name> {
        Name::new(self.0.as_bytes())
    }
}

fn is_host_label(label: &[u8]) -> bool {
    let allowed = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    (1..=MAX_LABEL).contains(&label.len()) && label.iter().all(allowed)
}

/// Returns the same name in the letters of the text that it begins with. Some nameservers, above all those of
/// containers, know a name only as it was written.
pub fn written_as(name: &DnsName, text: &[u8]) -> Option<DnsName> {
    let mut octets = name.as_slice().to_vec();
    // The first octet counts a label; each later count stands where the text has a dot.
    for (octet, written) in octets.iter_mut().skip(1).zip(text) {
        if octet.eq_ignore_ascii_case(written) {
            *octet = *written;
        }
    }
    DnsName::from_octets(octets).ok()
}

/// The bits that choose the case of every letter of the longest name.
pub type CaseBits = [u8; 32];

/// Returns the same name with the case of its letters as `bits` say. The answer has to repeat it, which makes a forged
/// answer harder to guess ("DNS 0x20").
///
/// The octets that count labels are below 64 and so are no letters.
pub fn with_case(name: &DnsName, bits: &CaseBits) -> Option<DnsName> {
    let choices = bits.iter().flat_map(|&byte| (0..8).map(move |bit| (byte >> bit) & 1 == 1));
    let octets: Vec<u8> = name
        .as_slice()
        .iter()
        .zip(choices)
        .map(|(octet, upper)| if upper { octet.to_ascii_uppercase() } else { octet.to_ascii_lowercase() })
        .collect();
    DnsName::from_octets(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Option<String> {
        HostName::from_text(text.as_bytes()).map(|name| name.as_str().to_owned())
    }

    #[test]
    fn a_name_is_lower_case_and_has_no_final_dot() {
        assert_eq!(host("WWW.Example.COM."), Some("www.example.com".into()));
        assert_eq!(host("_sip.a-b.example"), Some("_sip.a-b.example".into()));
    }

    #[test]
    fn a_name_with_octets_that_mean_something_to_shells_or_logs_is_none() {
        for bad in ["", ".", "..", "a..b", ".a", "a b", "a;b", "$(id)", "a\n", "a\0b", "a%00", "a/b", "ä.de"]
        {
            assert_eq!(host(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_name_over_the_limits_of_the_dns_is_none() {
        let label = "a".repeat(63);
        assert!(host(&label).is_some());
        assert!(host(&"a".repeat(64)).is_none());
        let longest = [&*label, &label, &label, &"a".repeat(61)].join(".");
        assert_eq!(longest.len(), 253);
        let longest = HostName::from_text(longest.as_bytes()).unwrap();
        assert_eq!(longest.to_dns().unwrap().as_slice().len(), 255);
        assert!(host(&format!("{}a", longest.as_str())).is_none());
    }

    #[test]
    fn a_dns_label_with_a_dot_inside_is_not_taken_for_two_labels() {
        let wire = DnsName::from_octets(b"\x0bwww.example\x03com\0".to_vec()).unwrap();
        assert_eq!(HostName::from_dns(&wire), None);
    }

    #[test]
    fn numbers_in_every_spelling_of_inet_aton_are_no_names() {
        for number in ["127.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "0", "1.2.3.4", "a.0x"]
        {
            assert!(HostName::from_text(number.as_bytes()).unwrap().is_number(), "{number}");
        }
        for name in ["1.example", "0x7f.example", "a1", "1a", "0xg"] {
            assert!(!HostName::from_text(name.as_bytes()).unwrap().is_number(), "{name}");
        }
    }

    #[test]
    fn a_name_is_within_a_domain_only_at_a_label_boundary() {
        let within = |name: &str| HostName::from_text(name.as_bytes()).unwrap().is_within("localhost");
        assert!(within("localhost") && within("a.localhost"));
        assert!(!within("notlocalhost") && !within("localhost.example"));
    }

    #[test]
    fn a_name_is_written_as_in_the_text_also_below_a_search_domain() {
        let in_text = |text: &str, domain: &str| {
            let host = HostName::from_text(text.as_bytes()).unwrap();
            let below = HostName::from_text(domain.as_bytes()).and_then(|domain| host.below(&domain));
            written_as(&below.unwrap_or(host).to_dns().unwrap(), text.as_bytes()).unwrap()
        };
        assert_eq!(in_text("MyDb", "").as_slice(), b"\x04MyDb\0");
        assert_eq!(in_text("My.Db.", "Corp.Example").as_slice(), b"\x02My\x02Db\x04corp\x07example\0");
    }

    #[test]
    fn the_case_of_a_name_follows_the_bits_and_its_meaning_stays() {
        let name = HostName::from_text(b"abc.example").unwrap().to_dns().unwrap();
        let mixed = with_case(&name, &[0b0101_0101; 32]).unwrap();
        assert_eq!(mixed, name);
        assert_eq!(mixed.as_slice(), b"\x03aBc\x07eXaMpLe\0");
    }
}
