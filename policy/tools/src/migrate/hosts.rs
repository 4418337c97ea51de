//! Addresses and ports of rules, in Dante's words and in sockd's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sockd_policy::{HostName, Network, canonical};

/// The hosts that `from` or `to` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hosts {
    /// Every address of both families.
    All,
    /// The addresses of a network.
    Network(Prefix),
    /// The host of this name.
    Name(HostName),
    /// The host of this name and those below it.
    Zone(HostName),
}

/// A network, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    network: Network,
    address: IpAddr,
    length: u32,
}

/// The hosts that two ends have in common.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Common {
    /// No host.
    Nothing,
    /// These.
    Hosts(Hosts),
    /// The hosts of a network that have a name: no line of sockd.conf can ask for both.
    Unsayable,
}

impl Prefix {
    pub(super) const IPV4: Prefix =
        Prefix { network: Network::v4(0, 0), address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), length: 0 };

    pub(super) const IPV6: Prefix =
        Prefix { network: Network::v6(0, 0), address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), length: 0 };

    fn parse(text: &str) -> Option<Prefix> {
        let (address, length) = text.split_once('/')?;
        let (address, length) = (address.parse().ok()?, number(length)?);
        Prefix::new(address, length.into())
    }

    pub(super) fn new(address: IpAddr, length: u32) -> Option<Prefix> {
        // sockd.conf takes no IPv4-mapped address: it would never match.
        let network = Network::prefix(address, length).filter(|_| canonical(address) == address)?;
        Some(Prefix { network, address: network.address(), length })
    }

    pub(super) fn lies_in(&self, outer: &Prefix) -> bool {
        self.network.lies_in(&outer.network)
    }
}

impl Hosts {
    /// Reads an address, a name or a zone. A word without a dot may be an interface, whose addresses are not known here.
    pub(super) fn parse(word: &str) -> Option<Hosts> {
        if word == "0/0" {
            return Some(Hosts::All);
        }
        if let Some(prefix) = Prefix::parse(word) {
            return Some(Hosts::Network(prefix));
        }
        if let Ok(address) = word.parse::<IpAddr>() {
            return Prefix::new(address, if address.is_ipv4() { 32 } else { 128 }).map(Hosts::Network);
        }
        match word.strip_prefix('.') {
            Some(zone) => HostName::parse(zone.as_bytes()).ok().map(Hosts::Zone),
            None => HostName::parse(word.as_bytes()).ok().filter(|_| word.contains('.')).map(Hosts::Name),
        }
    }

    /// The addresses of the interface `lo`.
    pub(super) fn loopback() -> Vec<Hosts> {
        let prefixes = [(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8), (IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];
        let prefixes = prefixes.into_iter().filter_map(|(address, length)| Prefix::new(address, length));
        prefixes.map(Hosts::Network).collect()
    }

    /// The hosts that are in both.
    pub(super) fn common(&self, other: &Hosts) -> Common {
        match (self, other) {
            (Hosts::All, hosts) | (hosts, Hosts::All) => Common::Hosts(hosts.clone()),
            (Hosts::Network(a), Hosts::Network(b)) if a.lies_in(b) => Common::Hosts(self.clone()),
            (Hosts::Network(a), Hosts::Network(b)) if b.lies_in(a) => Common::Hosts(other.clone()),
            (Hosts::Network(_), Hosts::Network(_)) => Common::Nothing,
            (a, b) if a == b => Common::Hosts(self.clone()),
            _ => Common::Unsayable,
        }
    }

    /// Whether all of `other` are certainly among these.
    pub(super) fn contain(&self, other: &Hosts) -> bool {
        *self == Hosts::All || self.common(other) == Common::Hosts(other.clone())
    }

    /// Whether certainly none of `other` is among these.
    pub(super) fn is_apart(&self, other: &Hosts) -> bool {
        self.common(other) == Common::Nothing
    }

    /// Whether both are networks, of different families.
    pub(super) fn is_of_other_family(&self, other: &Hosts) -> bool {
        match (self, other) {
            (Hosts::Network(one), Hosts::Network(other)) => one.address.is_ipv4() != other.address.is_ipv4(),
            _ => false,
        }
    }

    /// Whether a line that is for these hosts needs the set of all IPv4 addresses.
    pub(super) fn are_ipv4(&self) -> bool {
        *self == Hosts::Network(Prefix::IPV4)
    }
}

/// The form of sockd.conf. There 0.0.0.0/0 stands for both families, so a set stands for IPv4.
impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hosts::All => f.write_str("ALL 0.0.0.0"),
            Hosts::Network(prefix) if *prefix == Prefix::IPV4 => f.write_str("<ipv4>"),
            Hosts::Network(Prefix { address, length, .. }) => write!(f, "{address}/{length}"),
            Hosts::Name(name) => write!(f, "{} 0.0.0.0", name.as_str()),
            Hosts::Zone(name) => write!(f, ".{} 0.0.0.0", name.as_str()),
        }
    }
}

/// The ports of an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ports {
    All,
    /// An operator of sockd.conf and a port.
    Op(&'static str, String),
    /// The first port and the last one.
    Range(u16, u16),
}

impl Ports {
    /// Reads the ports behind `port`: `= http`, `80`, `ge 1024`, `1-65535`, `1 - 65535`.
    pub(super) fn parse(words: &[String]) -> Option<Ports> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ports = match words[..] {
            [first, "-", last] => Ports::range(first, last)?,
            [op, port] => Ports::Op(operator(op)?, service(port)?),
            [word] => match word.split_once('-').and_then(|(first, last)| Ports::range(first, last)) {
                Some(range) => range,
                None => Ports::Op("eq", service(word)?),
            },
            _ => return None,
        };
        Some(if ports.are_all() { Ports::All } else { ports })
    }

    fn range(first: &str, last: &str) -> Option<Ports> {
        let (first, last) = (number(first)?, number(last)?);
        (first <= last).then_some(Ports::Range(first, last))
    }

    /// Whether all of them are below 1024. The name of a service may be any.
    pub(super) fn are_privileged(&self) -> bool {
        let below = |port: &u16| *port < 1024;
        match self {
            Ports::Range(_, last) => below(last),
            Ports::Op("eq" | "lt" | "le", port) => number(port).as_ref().is_some_and(below),
            Ports::All | Ports::Op(..) => false,
        }
    }

    /// Whether no port is left out. Port 0 is none.
    fn are_all(&self) -> bool {
        match self {
            Ports::All => true,
            Ports::Range(first, last) => *first <= 1 && *last == u16::MAX,
            Ports::Op("ge", port) => matches!(number(port), Some(0 | 1)),
            Ports::Op("gt" | "neq", port) => number(port) == Some(0),
            Ports::Op("le", port) => number(port) == Some(u16::MAX),
            Ports::Op(..) => false,
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ports::All => Ok(()),
            Ports::Op(op, port) => write!(f, " {op} {port}"),
            Ports::Range(first, last) => write!(f, " in {first}-{last}"),
        }
    }
}

fn operator(word: &str) -> Option<&'static str> {
    Some(match word {
        "=" | "eq" => "eq",
        "!=" | "neq" => "neq",
        "<" | "lt" => "lt",
        ">" | "gt" => "gt",
        "<=" | "le" => "le",
        ">=" | "ge" => "ge",
        _ => return None,
    })
}

/// A port, or the name of a service. The daemon looks the name up, and refuses the file if there is none.
fn service(word: &str) -> Option<String> {
    let is_name = word.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_')
        && word.starts_with(|first: char| first.is_ascii_alphabetic());
    (is_name || number(word).is_some()).then(|| word.to_owned())
}

pub(super) fn number(word: &str) -> Option<u16> {
    word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(word: &str) -> Hosts {
        Hosts::parse(word).unwrap()
    }

    #[test]
    fn addresses_are_written_as_sockd_reads_them() {
        for (word, written) in [
            ("0/0", "ALL 0.0.0.0"),
            ("0.0.0.0/0", "<ipv4>"),
            ("::/0", "::/0"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("fd00::1", "fd00::1/128"),
            (".B.org", ".b.org 0.0.0.0"),
            ("www.b.org", "www.b.org 0.0.0.0"),
        ] {
            assert_eq!(hosts(word).to_string(), written);
        }
        for word in [
            "eth0",
            "lo",
            "eth0.100",
            "10.0.0.0/33",
            "10/8",
            "::ffff:10.0.0.1/128",
            "a..b",
            "<lan>",
            ".",
            "a.b,c",
        ] {
            assert_eq!(Hosts::parse(word), None, "{word}");
        }
    }

    #[test]
    fn what_two_ends_have_in_common_is_said_exactly_or_not_at_all() {
        for (a, b, both) in [
            ("0/0", "10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.0.0.0/8", "10.1.0.0/16", Some("10.1.0.0/16")),
            ("0.0.0.0/0", "::/0", None),
            ("10.0.0.0/8", "11.0.0.0/8", None),
            (".b.org", ".b.org", Some(".b.org")),
        ] {
            let both = both.map_or(Common::Nothing, |both| Common::Hosts(hosts(both)));
            assert_eq!(
                (hosts(a).common(&hosts(b)), hosts(b).common(&hosts(a))),
                (both, hosts(b).common(&hosts(a))),
                "{a} {b}"
            );
        }
        assert_eq!(hosts("10.0.0.0/8").common(&hosts(".b.org")), Common::Unsayable);
        assert_eq!(hosts("www.b.org").common(&hosts(".b.org")), Common::Unsayable);
    }

    #[test]
    fn ports_are_written_as_sockd_reads_them() {
        for (words, written) in [
            ("= http", Some(" eq http")),
            ("80", Some(" eq 80")),
            ("!= 25", Some(" neq 25")),
            ("ge 1024", Some(" ge 1024")),
            ("80-90", Some(" in 80-90")),
            ("80 - 90", Some(" in 80-90")),
            ("1-65535", Some("")),
            ("ge 1", Some("")),
            ("90-80", None),
            ("65536", None),
            ("= 80 90", None),
            ("80,90", None),
            ("", None),
        ] {
            let words: Vec<_> = words.split_whitespace().map(str::to_owned).collect();
            assert_eq!(Ports::parse(&words).map(|ports| ports.to_string()).as_deref(), written, "{words:?}");
        }
    }
}
