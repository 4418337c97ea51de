//! SOCKS5: greetings, requests and replies (RFC 1928), and passwords (RFC 1929).
//!
//! ```text
//! greeting  VER=5  NMETHODS  METHODS...
//! choice    VER=5  METHOD, or FF if none is acceptable
//! login     VER=1  ULEN  UNAME  PLEN  PASSWD
//! verdict   VER=1  STATUS=0, or 1 if it is refused
//! request   VER=5  CMD  RSV  ATYP  DST.ADDR  DST.PORT(2)
//! reply     VER=5  REP  RSV=0  ATYP  BND.ADDR  BND.PORT(2)
//! DST.ADDR  ATYP 1: 4 bytes    ATYP 3: length, name    ATYP 4: 16 bytes
//! ```

use super::{Reading, Reply};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::ops::Range;
use sockd_common::message::auth::Credentials;
use sockd_common::message::request::{Command, Destination, RefusalReason, Request};
use sockd_common::message::session::{CloseReason, Methods, Offered};
use sockd_common::message::{Name, UserId};
use sockd_common::secret::Secret;

/// The length of the longest greeting.
pub const LONGEST_GREETING: usize = 2 + 255;

/// The length of the longest login.
pub const LONGEST_LOGIN: usize = 1 + 1 + 255 + 1 + 255;

/// The length of the longest request.
pub const LONGEST_REQUEST: usize = 4 + 1 + 255 + 2;

/// How a client proves its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    None = 0,
    /// By user and password (RFC 1929).
    Password = 2,
}

/// Reads a greeting from the beginning of `bytes`: the methods that the client offers.
pub fn greeting(bytes: &[u8]) -> Reading<&[u8]> {
    match bytes {
        [] | [5] => Reading::Incomplete,
        [5, count, rest @ ..] => match rest.get(..usize::from(*count)) {
            Some(offered) => {
                Reading::Complete { length: usize::from(*count).saturating_add(2), message: offered }
            }
            None => Reading::Incomplete,
        },
        [version, ..] => Reading::Foreign(CloseReason::WrongVersion(*version)),
    }
}

/// Returns the first acceptable method that a client offers. The order in which it offers them does not count, as some
/// clients offer methods that they have no password or ticket for.
pub fn choose(offered: &[u8], acceptable: Methods) -> Option<Method> {
    let (none, password) = ((acceptable.none, Method::None), (acceptable.password, Method::Password));
    let in_order = if acceptable.prefer_password { [password, none] } else { [none, password] };
    let is_offered = |method: &Method| offered.contains(&(*method as u8));
    in_order.into_iter().filter(|(acceptable, _)| *acceptable).map(|(_, method)| method).find(is_offered)
}

/// Returns the report to the monitor on a client that offers none of the acceptable methods.
pub fn offered(methods: &[u8]) -> Offered {
    let has = |method| methods.contains(&method);
    Offered {
        none: has(0),
        gssapi: has(1),
        password: has(2),
        other: methods.iter().any(|method| *method > 2),
    }
}

/// The answer to a greeting.
pub fn chosen(method: Option<Method>) -> Reply {
    Reply::of(&[5, method.map_or(0xff, |method| method as u8)])
}

/// The places of user and password among the bytes of a login, which hold the only copy of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    user: Range<usize>,
    password: Range<usize>,
}

impl Login {
    /// Copies them out of the bytes that the login was read from.
    pub fn credentials(&self, bytes: &[u8]) -> Option<Credentials> {
        Some(Credentials {
            user: Secret::new(bytes.get(self.user.clone())?)?,
            password: Secret::new(bytes.get(self.password.clone())?)?,
        })
    }
}

/// Reads a login from the beginning of `bytes`. Every byte between the lengths counts, also NUL. RFC 1929 has neither
/// empty users nor empty passwords, and nobody has one: they are refused as soon as that is known.
pub fn login(bytes: &[u8]) -> Reading<Login> {
    let user = match bytes {
        [] | [1] => return Reading::Incomplete,
        [1, length, ..] => 2..usize::from(*length).saturating_add(2),
        [version, ..] => return Reading::Foreign(CloseReason::WrongVersion(*version)),
    };
    if user.is_empty() {
        return Reading::Refused(CloseReason::EmptyCredentials);
    }
    let start = user.end.saturating_add(1);
    let end = match bytes.get(user.end) {
        None => return Reading::Incomplete,
        Some(0) => return Reading::Refused(CloseReason::EmptyCredentials),
        Some(length) => start.saturating_add(usize::from(*length)),
    };
    match bytes.len() < end {
        true => Reading::Incomplete,
        false => Reading::Complete { length: end, message: Login { user, password: start..end } },
    }
}

/// The answer to a login.
pub fn verdict(accepted: bool) -> Reply {
    Reply::of(&[1, u8::from(!accepted)])
}

/// Reads a request from the beginning of `bytes`. The first result other than [`Reading::Incomplete`] is the same for
/// all segments in which the bytes may arrive. The reserved byte is not looked at.
pub fn request(bytes: &[u8]) -> Reading<Request> {
    let command = match bytes {
        [] | [5] => return Reading::Incomplete,
        [5, 1, ..] => Command::Connect,
        [5, 2, ..] => Command::Bind,
        [5, 3, ..] => Command::Associate,
        [5, other, ..] => return Reading::Refused(CloseReason::UndefinedCommand(*other)),
        [version, ..] => return Reading::Foreign(CloseReason::WrongVersion(*version)),
    };
    let Some(&[_, _, _, kind]) = bytes.first_chunk() else { return Reading::Incomplete };
    let rest = bytes.get(4..).unwrap_or_default();
    let field = match kind {
        1 => rest.split_first_chunk().map(|(octets, rest)| (address(Ipv4Addr::from(*octets)), rest)),
        3 => name(rest),
        4 => rest.split_first_chunk().map(|(octets, rest)| (address(Ipv6Addr::from(*octets)), rest)),
        other => return Reading::Refused(CloseReason::UndefinedAddressType(other)),
    };
    let Some((destination, rest)) = field else { return Reading::Incomplete };
    let Some(destination) = destination else { return Reading::Refused(CloseReason::BadName) };
    let Some((port, rest)) = rest.split_first_chunk() else { return Reading::Incomplete };
    let port = u16::from_be_bytes(*port);
    Reading::Complete {
        length: bytes.len().saturating_sub(rest.len()),
        message: Request { version: 5, command, destination, port, user: UserId::default() },
    }
}

fn address(address: impl Into<IpAddr>) -> Option<Destination> {
    Some(Destination::Address(address.into()))
}

/// Reads a name behind its length; `None` until it is whole. An empty name is none, and neither is an address in
/// brackets, as addresses have types of their own.
fn name(bytes: &[u8]) -> Option<(Option<Destination>, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let is_name = |name: &Name| !name.as_bytes().is_empty() && !name.as_bytes().starts_with(b"[");
    Some((Name::new(name).filter(is_name).map(Destination::Name), rest))
}

/// Returns the request as it is sent to a next server. `None` if the protocol has no form for it.
pub fn asking(asked: &Request) -> Option<Vec<u8>> {
    let command = match asked.command {
        Command::Connect => 1,
        Command::Bind => 2,
        Command::Associate => return None,
    };
    let mut bytes = vec![5, command, 0];
    match &asked.destination {
        Destination::Address(IpAddr::V4(address)) => {
            bytes.push(1);
            bytes.extend(address.octets());
        }
        Destination::Address(IpAddr::V6(address)) => {
            bytes.push(4);
            bytes.extend(address.octets());
        }
        Destination::Name(name) => {
            bytes.extend([3, u8::try_from(name.as_bytes().len()).ok()?]);
            bytes.extend(name.as_bytes());
        }
    }
    bytes.extend(asked.port.to_be_bytes());
    let is_read_so = matches!(request(&bytes), Reading::Complete { length, message }
        if length == bytes.len() && message.destination == asked.destination);
    is_read_so.then_some(bytes)
}

/// The reply that grants a request.
pub fn granted(bound: SocketAddr) -> Reply {
    let [p1, p0] = bound.port().to_be_bytes();
    match bound.ip().to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            Reply::of(&[5, 0, 0, 1, a, b, c, d, p1, p0])
        }
        IpAddr::V6(address) => {
            let mut bytes = [0; 22];
            for (place, byte) in
                bytes.iter_mut().zip([5, 0, 0, 4].into_iter().chain(address.octets()).chain([p1, p0]))
            {
                *place = byte;
            }
            Reply::of(&bytes)
        }
    }
}

/// The reply that refuses a request. Codes above 8 are not assigned, and Java 17 takes them for a grant. The address is
/// 0.0.0.0, since other clients cannot read a name in its place.
pub fn refused(why: RefusalReason) -> Reply {
    let code = match why {
        RefusalReason::General => 1,
        RefusalReason::NotAllowed | RefusalReason::NoIdentd | RefusalReason::IdentityMismatch => 2,
        RefusalReason::NetworkUnreachable => 3,
        RefusalReason::HostUnreachable => 4,
        RefusalReason::ConnectionRefused => 5,
        RefusalReason::TimedOut => 6,
        RefusalReason::CommandNotSupported => 7,
        RefusalReason::AddressNotSupported => 8,
    };
    Reply::of(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn complete(bytes: &[u8]) -> (usize, Request) {
        match request(bytes) {
            Reading::Complete { length, message } => (length, message),
            other => panic!("{other:?}"),
        }
    }

    fn to_name(name: &[u8]) -> Vec<u8> {
        [&[5, 1, 0, 3, u8::try_from(name.len()).unwrap()], name, &[0x1f, 0x90]].concat()
    }

    #[test]
    fn a_greeting_is_whole_with_its_last_method() {
        assert_eq!(greeting(b"\x05\x02\x00"), Reading::Incomplete);
        let whole = Reading::Complete { length: 4, message: &[0, 2][..] };
        assert_eq!(greeting(b"\x05\x02\x00\x02\x05\x01"), whole);
        assert_eq!(greeting(b"\x05\x00"), Reading::Complete { length: 2, message: &[][..] });
        let all: Vec<u8> = [5, 255].into_iter().chain(0..=254).collect();
        assert!(matches!(greeting(&all), Reading::Complete { length: LONGEST_GREETING, .. }));
        assert_eq!(greeting(b"\x06\x01"), Reading::Foreign(CloseReason::WrongVersion(6)));
    }

    #[test]
    fn the_method_is_none_wherever_it_is_offered_and_else_there_is_none() {
        for offered in [&[0][..], &[2, 0], &[0, 3, 2], &[0, 0], &[0, 0x80, 0x82, 2]] {
            assert_eq!(chosen(choose(offered, Methods::NONE)).bytes(), [5, 0], "{offered:?}");
        }
        for offered in [&[][..], &[1], &[2], &[0x80], &[0xff]] {
            assert_eq!(chosen(choose(offered, Methods::NONE)).bytes(), [5, 0xff], "{offered:?}");
        }
    }

    fn to_login(user: &[u8], password: &[u8]) -> Vec<u8> {
        let length = |part: &[u8]| u8::try_from(part.len()).unwrap();
        [&[1, length(user)], user, &[length(password)], password].concat()
    }

    #[test]
    fn a_login_is_read_up_to_the_last_byte_of_its_password_and_nothing_in_it_ends_it_early() {
        for (user, password) in [
            (&b"hnjoe"[..], &b"sesame"[..]),
            (b"hnjoe", b"sesame\0x"),
            (b"a\0\n\x1b", b"\0"),
            (&[b'u'; 255], &[b'p'; 255]),
        ] {
            let bytes = [&to_login(user, password)[..], b"\x05\x01\x00"].concat();
            let Reading::Complete { length, message } = login(&bytes) else { panic!("not whole") };
            assert_eq!(length, bytes.len() - 3);
            let read = message.credentials(&bytes).unwrap();
            assert_eq!((read.user.as_bytes(), read.password.as_bytes()), (user, password));
            for end in 0..length {
                assert_eq!(login(&bytes[..end]), Reading::Incomplete);
            }
        }
        assert_eq!(to_login(&[b'u'; 255], &[b'p'; 255]).len(), LONGEST_LOGIN);
    }

    #[test]
    fn a_login_without_a_user_or_a_password_is_refused_and_one_of_another_version_not_read() {
        for empty in [to_login(b"", b"sesame"), to_login(b"hnjoe", b""), to_login(b"", b""), vec![1, 0]] {
            assert_eq!(login(&empty), Reading::Refused(CloseReason::EmptyCredentials));
        }
        for version in [0, 2, 4, 5] {
            assert_eq!(login(&[version]), Reading::Foreign(CloseReason::WrongVersion(version)));
        }
        assert_eq!([verdict(true).bytes(), verdict(false).bytes()], [[1, 0], [1, 1]]);
    }

    #[test]
    fn the_rules_say_which_methods_there_are_and_the_settings_which_comes_first() {
        let of = |none, password, prefer_password| Methods { none, password, prefer_password };
        for (acceptable, offered, method) in [
            (of(true, true, false), &[2, 0][..], Some(Method::None)),
            (of(true, true, false), &[2], Some(Method::Password)),
            (of(true, true, true), &[0, 2], Some(Method::Password)),
            (of(true, true, true), &[0], Some(Method::None)),
            (of(false, true, false), &[0, 2], Some(Method::Password)),
            (of(false, true, false), &[0], None),
            (of(true, false, true), &[0, 2], Some(Method::None)),
            (of(true, false, false), &[2], None),
            (of(false, false, false), &[0, 2], None),
        ] {
            assert_eq!(choose(offered, acceptable), method, "{acceptable:?} {offered:?}");
        }
    }

    #[test]
    fn what_was_offered_is_told_by_kind() {
        let told = |methods: &[u8]| {
            let Offered { none, gssapi, password, other } = offered(methods);
            [none, gssapi, password, other]
        };
        assert_eq!(told(&[]), [false; 4]);
        assert_eq!(told(&[0, 2]), [true, false, true, false]);
        assert_eq!(told(&[1, 0x80]), [false, true, false, true]);
    }

    #[test]
    fn a_request_is_read_up_to_its_port() {
        for (bytes, destination) in [
            (b"\x05\x01\x00\x01\x7f\x00\x00\x01\x1f\x90".to_vec(), "127.0.0.1"),
            ([&b"\x05\x01\x01\x04"[..], &Ipv6Addr::LOCALHOST.octets(), b"\x1f\x90"].concat(), "::1"),
        ] {
            let (length, read) = complete(&[&bytes[..], b"GET /"].concat());
            assert_eq!((length, read.version, read.port), (bytes.len(), 5, 8080));
            assert_eq!(read.destination, Destination::Address(destination.parse().unwrap()));
            assert!(read.user.as_bytes().is_empty());
        }
        let (length, read) = complete(&to_name(&[b'a'; 255]));
        assert_eq!(length, LONGEST_REQUEST);
        assert_eq!(read.destination, Destination::Name(Name::new(&[b'a'; 255]).unwrap()));
        assert_eq!(complete(b"\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x00").1.command, Command::Bind);
    }

    #[test]
    fn a_request_that_cannot_be_is_refused_as_soon_as_that_is_known() {
        for command in [0, 4, 5, 0xf0, 0xf3] {
            let refused = Reading::Refused(CloseReason::UndefinedCommand(command));
            assert_eq!(request(&[5, command]), refused);
        }
        for kind in [0, 2, 5, 0xff] {
            let refused = Reading::Refused(CloseReason::UndefinedAddressType(kind));
            assert_eq!(request(&[5, 1, 0, kind]), refused);
        }
        for name in [&b""[..], b"[::1]"] {
            assert_eq!(request(&to_name(name)), Reading::Refused(CloseReason::BadName));
        }
        assert_eq!(request(&[4, 1]), Reading::Foreign(CloseReason::WrongVersion(4)));
    }

    #[test]
    fn a_reply_has_the_address_in_its_own_form() {
        let zeros = granted("0.0.0.0:0".parse().unwrap());
        assert_eq!(zeros.bytes(), [5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        let v4 = granted("[::ffff:192.0.2.1]:258".parse().unwrap());
        assert_eq!(v4.bytes(), [5, 0, 0, 1, 192, 0, 2, 1, 1, 2]);
        let v6 = granted("[2001:db8::1]:258".parse().unwrap());
        assert_eq!(v6.bytes(), b"\x05\x00\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x01\x02");
    }

    #[test]
    fn a_refusal_tells_what_it_can_and_has_ten_bytes() {
        for (why, code) in [
            (RefusalReason::General, 1),
            (RefusalReason::NotAllowed, 2),
            (RefusalReason::NoIdentd, 2),
            (RefusalReason::IdentityMismatch, 2),
            (RefusalReason::NetworkUnreachable, 3),
            (RefusalReason::HostUnreachable, 4),
            (RefusalReason::ConnectionRefused, 5),
            (RefusalReason::TimedOut, 6),
            (RefusalReason::CommandNotSupported, 7),
            (RefusalReason::AddressNotSupported, 8),
        ] {
            assert_eq!(refused(why).bytes(), [5, code, 0, 1, 0, 0, 0, 0, 0, 0]);
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_request(kind in 0u8..6, tail in any::<Vec<u8>>()) {
            let bytes = [&[5, 1, 0, kind], &tail[..]].concat();
            let first = (0..=bytes.len()).map(|end| request(&bytes[..end])).find(|step| *step != Reading::Incomplete);
            prop_assert_eq!(first.unwrap_or(Reading::Incomplete), request(&bytes));
        }
    }
}
