//! resolv.conf(5): the nameservers that are asked, and how.

use sockd_common::bounded::BoundedVec;
use sockd_common::message::Name;
use sockd_common::message::resolver::ToResolver;
use sockd_policy::without_mark;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The contents of resolv.conf; nameservers beyond the third are left out, as in the C library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// The addresses of the nameservers.
    pub servers: Vec<SocketAddr>,
    search: Vec<Name>,
    ndots: u8,
    timeout: u8,
    attempts: u8,
    by_tcp: bool,
}

impl ResolvConf {
    /// The state before the file has been read: no nameserver is asked.
    pub fn unread() -> Self {
        let servers = Vec::new();
        Self { servers, search: Vec::new(), ndots: 1, timeout: 5, attempts: 2, by_tcp: false }
    }

    /// Reads the text. Lines that make no sense are skipped, as by every reader of this file.
    pub fn parse(text: &[u8]) -> Self {
        let mut conf = Self::unread();
        for line in without_mark(text).split(|byte| *byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf.servers.extend(words.next().and_then(server)),
                Some("domain" | "search") => {
                    conf.search =
                        words.filter_map(|word| Name::new(word.trim_end_matches('.').as_bytes())).collect();
                }
                Some("options") => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53));
        }
        conf.servers.truncate(3);
        conf
    }

    fn option(&mut self, word: &str) {
        self.by_tcp |= word == "use-vc";
        let Some((name, Ok(number))) =
            word.split_once(':').map(|(name, number)| (name, number.parse::<u8>()))
        else {
            return;
        };
        match name {
            "ndots" => self.ndots = number.min(15),
            "timeout" => self.timeout = number.clamp(1, 30),
            "attempts" => self.attempts = number.clamp(1, 5),
            _ => {}
        }
    }

    /// The nameserver of an attempt.
    pub fn server(&self, attempt: u8) -> Option<SocketAddr> {
        let place = usize::from(attempt).checked_rem(self.servers.len())?;
        self.servers.get(place).copied()
    }

    /// Seconds that an attempt may take.
    pub fn timeout(&self) -> u8 {
        self.timeout
    }

    /// The message that tells the resolver worker.
    pub fn setup(&self) -> ToResolver {
        ToResolver::Setup {
            servers: u8::try_from(self.servers.len()).unwrap_or(u8::MAX),
            timeout: self.timeout,
            attempts: self.attempts,
            ndots: self.ndots,
            by_tcp: self.by_tcp,
            search: BoundedVec::first_of(self.search.iter().cloned()),
        }
    }
}

fn server(word: &str) -> Option<SocketAddr> {
    // A zone (fe80::1%eth0) would need the interface's number; such a line is skipped.
    word.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_search_and_options_are_read() {
        let conf = ResolvConf::parse(
            b"# comment\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch a.example b.example.\n\
              options ndots:2 timeout:1 attempts:9 rotate\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n",
        );
        assert_eq!(conf.servers.len(), 3);
        assert_eq!(conf.server(4), Some("[2001:db8::1]:53".parse().unwrap()));
        assert_eq!((conf.ndots, conf.timeout, conf.attempts), (2, 1, 5));
        assert_eq!(conf.search, ["a.example", "b.example"].map(|name| Name::new(name.as_bytes()).unwrap()));
    }

    #[test]
    fn a_byte_order_mark_does_not_hide_the_first_nameserver() {
        let conf = ResolvConf::parse("\u{feff}nameserver 192.0.2.1\nnameserver 192.0.2.2\n".as_bytes());
        assert_eq!(conf, ResolvConf::parse(b"nameserver 192.0.2.1\nnameserver 192.0.2.2\n"));
    }

    #[test]
    fn questions_go_by_tcp_only_where_the_file_says_so() {
        let by_tcp = |text: &[u8]| ResolvConf::parse(text).by_tcp;
        assert!(by_tcp(b"options edns0 use-vc\n") && by_tcp(b"options use-vc\noptions ndots:2\n"));
        assert!(!by_tcp(b"options trust-ad\n") && !by_tcp(b"options use-vc:0\n# options use-vc\n"));
    }

    #[test]
    fn without_a_nameserver_the_one_on_this_host_is_asked() {
        assert_eq!(
            ResolvConf::parse(b"\xff\xfe\nnameserver what\n").servers,
            ["127.0.0.1:53".parse().unwrap()]
        );
    }
}
