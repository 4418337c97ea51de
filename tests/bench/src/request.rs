//! Requests as the ideal proxy reads them and as the clients write them.

use std::net::{Ipv4Addr, SocketAddrV4};

/// The meaning of a client's bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    Partial,
    /// The beginning of SOCKS 5 (RFC 1928, section 3).
    Greeting {
        length: usize,
    },
    Connect {
        to: SocketAddrV4,
        length: usize,
    },
    Wrong,
}

/// Knows localhost and numeric names only.
pub(crate) fn parse(bytes: &[u8], greeted: bool) -> Parsed {
    let parsed = match bytes {
        [4, ..] => socks4(bytes),
        [5, ..] if greeted => socks5(bytes),
        [5, methods, rest @ ..] if rest.len() >= usize::from(*methods) => {
            return Parsed::Greeting { length: 2 + usize::from(*methods) };
        }
        [5, ..] | [] => None,
        _ => return Parsed::Wrong,
    };
    match parsed {
        None => Parsed::Partial,
        // Even if started by mistake, this is no open proxy.
        Some((Some(to), length)) if to.ip().is_loopback() => Parsed::Connect { to, length },
        Some(_) => Parsed::Wrong,
    }
}

/// Destination, if it is known, and length; `None` while the request is not whole.
type Request = Option<(Option<SocketAddrV4>, usize)>;

fn socks4(bytes: &[u8]) -> Request {
    let [_, _, high, low, a, b, c, d, rest @ ..] = bytes else { return None };
    let port = u16::from_be_bytes([*high, *low]);
    let user = rest.iter().position(|byte| *byte == 0)?;
    let ip = Ipv4Addr::new(*a, *b, *c, *d);
    if [*a, *b, *c] != [0, 0, 0] {
        return Some((Some(SocketAddrV4::new(ip, port)), 8 + user + 1));
    }
    let after = &rest[user + 1..];
    let name = after.iter().position(|byte| *byte == 0)?;
    Some((resolve(&after[..name], port), 8 + user + 1 + name + 1))
}

fn socks5(bytes: &[u8]) -> Request {
    let [_, _, _, kind, rest @ ..] = bytes else { return None };
    let [first, ..] = rest else { return None };
    let length = match kind {
        1 => 4,
        3 => 1 + usize::from(*first),
        _ => return Some((None, bytes.len())),
    };
    let [high, low] = *rest.get(length..length + 2)? else { return None };
    let port = u16::from_be_bytes([high, low]);
    let to = match (kind, &rest[..length]) {
        (1, [a, b, c, d]) => Some(SocketAddrV4::new(Ipv4Addr::new(*a, *b, *c, *d), port)),
        (_, name) => resolve(&name[1..], port),
    };
    Some((to, 4 + length + 2))
}

fn resolve(name: &[u8], port: u16) -> Option<SocketAddrV4> {
    let ip = match std::str::from_utf8(name).ok()? {
        "localhost" => Ipv4Addr::LOCALHOST,
        name => name.parse().ok()?,
    };
    Some(SocketAddrV4::new(ip, port))
}

/// The protocol that asks for a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Without a proxy.
    Direct,
    Socks4,
    /// For `localhost`.
    Socks4a,
    Socks5,
    /// Greeting and request in one segment.
    Socks5AtOnce,
    /// With [`USER`]'s [`PASSWORD`].
    Socks5Login,
    /// With a password that is not the user's.
    Socks5Guess,
    /// An association, whatever the destination.
    Datagrams,
}

/// The bytes to send, the length of the answer, and the byte of it that shows success, with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) send: Vec<u8>,
    pub(crate) answer: usize,
    pub(crate) granted: (usize, u8),
}

/// The bytes of the longest answer: those to a greeting and a request.
pub(crate) const LONGEST_ANSWER: usize = 12;

/// No authentication, and nothing else.
const GREETING: [u8; 3] = [5, 1, 0];

/// A password, and nothing else.
const GREETING_WITH_PASSWORD: [u8; 3] = [5, 1, 2];

/// The user who logs in.
pub(crate) const USER: &str = "bench";
const PASSWORD: &str = "secret";

/// User and password as a client sends them (RFC 1929, section 2).
fn login(password: &str) -> Vec<u8> {
    let part = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    [vec![1], part(USER), part(password)].concat()
}

/// The steps before a relay to `to` is open.
pub(crate) fn steps(protocol: Protocol, to: SocketAddrV4) -> Vec<Step> {
    let (port, ip) = (to.port().to_be_bytes(), to.ip().octets());
    let socks4 = |ip: [u8; 4], more: &[u8]| {
        let send = [&[4, 1], &port[..], &ip, b"bench\0", more].concat();
        vec![Step { send, answer: 8, granted: (1, 90) }]
    };
    let socks5_request = [&[5, 1, 0, 1], &ip[..], &port].concat();
    let socks5_login = |password| {
        vec![
            Step { send: GREETING_WITH_PASSWORD.to_vec(), answer: 2, granted: (1, 2) },
            Step { send: login(password), answer: 2, granted: (1, 0) },
            Step { send: socks5_request.clone(), answer: 10, granted: (1, 0) },
        ]
    };
    match protocol {
        Protocol::Direct => Vec::new(),
        Protocol::Socks4 => socks4(ip, b""),
        Protocol::Socks4a => socks4([0, 0, 0, 1], b"localhost\0"),
        Protocol::Socks5 => vec![
            Step { send: GREETING.to_vec(), answer: 2, granted: (1, 0) },
            Step { send: socks5_request, answer: 10, granted: (1, 0) },
        ],
        Protocol::Socks5AtOnce => {
            let send = [&GREETING[..], &socks5_request].concat();
            vec![Step { send, answer: LONGEST_ANSWER, granted: (3, 0) }]
        }
        Protocol::Datagrams => vec![
            Step { send: GREETING.to_vec(), answer: 2, granted: (1, 0) },
            Step { send: vec![5, 3, 0, 1, 0, 0, 0, 0, 0, 0], answer: 10, granted: (1, 0) },
        ],
        Protocol::Socks5Login => socks5_login(PASSWORD),
        Protocol::Socks5Guess => socks5_login("a guess"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there() -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9000)
    }

    #[test]
    fn what_the_clients_write_the_ideal_proxy_reads_byte_by_byte() {
        for protocol in [Protocol::Socks4, Protocol::Socks4a, Protocol::Socks5] {
            let mut greeted = false;
            for Step { send, .. } in steps(protocol, there()) {
                for part in 1..send.len() {
                    assert_eq!(parse(&send[..part], greeted), Parsed::Partial, "{protocol:?} {part}");
                }
                let length = send.len();
                match parse(&send, greeted) {
                    Parsed::Greeting { length: whole } if !greeted => assert_eq!(whole, length),
                    parsed => assert_eq!(parsed, Parsed::Connect { to: there(), length }),
                }
                greeted = true;
            }
        }
    }

    #[test]
    fn a_greeting_and_a_request_at_once_are_those_of_two_segments() {
        let apart: Vec<u8> =
            steps(Protocol::Socks5, there()).into_iter().flat_map(|step| step.send).collect();
        let at_once = steps(Protocol::Socks5AtOnce, there());
        assert_eq!(at_once, [Step { send: apart, answer: LONGEST_ANSWER, granted: (3, 0) }]);
    }

    #[test]
    fn a_login_has_user_and_password_between_greeting_and_request() {
        let sent: Vec<_> = steps(Protocol::Socks5Login, there()).into_iter().map(|step| step.send).collect();
        assert_eq!(sent[..2], [b"\x05\x01\x02".to_vec(), b"\x01\x05bench\x06secret".to_vec()]);
        assert_eq!(sent[2], steps(Protocol::Socks5, there()).remove(1).send);
    }

    #[test]
    fn bytes_behind_a_request_are_left_alone() {
        let mut bytes = steps(Protocol::Socks4, there()).remove(0).send;
        let length = bytes.len();
        bytes.extend(b"GET /");
        assert_eq!(parse(&bytes, false), Parsed::Connect { to: there(), length });
    }

    #[test]
    fn the_ideal_proxy_goes_nowhere_but_to_loopback() {
        assert_eq!(parse(b"\x04\x01\x00\x50\xc6\x33\x64\x01\0", false), Parsed::Wrong);
        assert_eq!(parse(b"\x04\x01\x00\x50\x00\x00\x00\x01\0example.org\0", false), Parsed::Wrong);
        assert_eq!(parse(b"GET / HTTP/1.1", false), Parsed::Wrong);
    }
}
