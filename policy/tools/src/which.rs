//! The choice of sessions by host, user, destination and line.

use sockd_common::ledger::Entry;
use std::net::IpAddr;
use std::str::FromStr;

/// An address, or all that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    fn has(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let rest = 32_u32.saturating_sub(self.length.into());
                u32::from(own).checked_shr(rest) == u32::from(other).checked_shr(rest)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let rest = 128_u32.saturating_sub(self.length.into());
                u128::from(own).checked_shr(rest) == u128::from(other).checked_shr(rest)
            }
            _ => false,
        }
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected an address, or one with /LENGTH, found {text:?}");
        let (address, length) = text.split_once('/').map_or((text, None), |(a, length)| (a, Some(length)));
        let address: IpAddr = address.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if length > most { Err(wrong()) } else { Ok(Self { address, length }) }
    }
}

/// A destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// At an address.
    Address(Prefix),
    /// Of a name, or with a dot in front below it.
    Name(String),
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(prefix) => Ok(Self::Address(prefix)),
            Err(error) if text.contains('/') || text.is_empty() => Err(error),
            Err(_) => Ok(Self::Name(text.trim_end_matches('.').to_ascii_lowercase())),
        }
    }
}

impl To {
    fn has(&self, entry: &Entry<'_>) -> bool {
        match self {
            Self::Address(prefix) => entry.destination.is_some_and(|address| prefix.has(address)),
            Self::Name(name) => {
                let found = entry.destination_name.bytes;
                match name.strip_prefix('.') {
                    Some(_) => found.ends_with(name.as_bytes()),
                    None => found == name.as_bytes(),
                }
            }
        }
    }
}

/// What a session has to be to be meant; all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[group(id = "which", multiple = true)]
pub struct Which {
    /// Of this client host: an address, or a network as ADDRESS/LENGTH
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<Prefix>,
    /// Of this user; claimed or verified
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// To this destination: an address, a network, a name, or .NAME for those below it
    #[arg(long, value_name = "DESTINATION")]
    pub to: Option<To>,
    /// That this line of the rules permits
    #[arg(long, value_name = "LINE")]
    pub rule: Option<u32>,
}

impl Which {
    /// Whether a session is meant.
    pub fn means(&self, entry: &Entry<'_>) -> bool {
        let is_user = |user: &String| {
            [entry.verified, entry.claimed].iter().any(|text| !text.is_cut && text.bytes == user.as_bytes())
        };
        self.host.is_none_or(|host| host.has(entry.client.ip()))
            && self.user.as_ref().is_none_or(is_user)
            && self.to.as_ref().is_none_or(|to| to.has(entry))
            && self.rule.is_none_or(|rule| rule == entry.rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_what_begins_with_its_bits() {
        let has =
            |prefix: &str, address: &str| prefix.parse::<Prefix>().unwrap().has(address.parse().unwrap());
        for (prefix, address, expected) in [
            ("192.0.2.10", "192.0.2.10", true),
            ("192.0.2.10", "192.0.2.11", false),
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("::ffff:192.0.2.10", "192.0.2.10", true),
        ] {
            assert_eq!(has(prefix, address), expected, "{prefix} {address}");
        }
        for wrong in ["", "192.0.2.0/33", "192.0.2.0/", "/8", "2001:db8::/129", "host/8"] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
            assert!(wrong.parse::<To>().is_err(), "{wrong}");
        }
    }
}
