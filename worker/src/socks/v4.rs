//! SOCKS4 and SOCKS4A: requests and replies.
//!
//! ```text
//! request  VN=4  CD  DSTPORT(2)  DSTIP(4)  USERID... NUL  [name... NUL, if DSTIP is 0.0.0.x with x != 0]
//! reply    VN=0  CD  DSTPORT(2)  DSTIP(4)
//! ```

use super::Reading;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use sockd_common::message::request::{Command, Destination, RefusalReason, Request};
use sockd_common::message::session::CloseReason;
use sockd_common::message::upstream::NextReply;
use sockd_common::message::{MAX_NAME, Name, UserId};

/// The length of the longest request. A request that has not ended by then is refused.
pub const LONGEST: usize = HEADER + 2 * (MAX_NAME + 1);

/// The length of version, command, port and address.
const HEADER: usize = 8;

/// Reads a request from the beginning of `bytes`. The first result other than [`Reading::Incomplete`] is the same for
/// all segments in which the bytes may arrive.
pub fn read(bytes: &[u8]) -> Reading<Request> {
    let command = match bytes {
        [] | [4] => return Reading::Incomplete,
        [4, 1, ..] => Command::Connect,
        [4, 2, ..] => Command::Bind,
        [4, other, ..] => return Reading::Refused(CloseReason::UndefinedCommand(*other)),
        [version, ..] => return Reading::Foreign(CloseReason::WrongVersion(*version)),
    };
    let Some((&[_, _, p1, p0, a, b, c, d], rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Reading::Incomplete;
    };
    let (user, rest): (UserId, _) = match field(rest) {
        Field::Open => return Reading::Incomplete,
        Field::TooLong => return Reading::Refused(CloseReason::UserTooLong),
        Field::Whole(user, rest) => (user, rest),
    };
    let (destination, rest) = match (a, b, c, d) {
        (0, 0, 0, 1..) => match field(rest) {
            Field::Open => return Reading::Incomplete,
            Field::Whole(name, rest) if !name.as_bytes().is_empty() => (named(name), rest),
            Field::TooLong | Field::Whole(..) => return Reading::Refused(CloseReason::BadName),
        },
        _ => (Destination::Address(IpAddr::V4(Ipv4Addr::new(a, b, c, d))), rest),
    };
    Reading::Complete {
        length: bytes.len().saturating_sub(rest.len()),
        message: Request { version: 4, command, destination, port: u16::from_be_bytes([p1, p0]), user },
    }
}

/// A field that ends with NUL.
enum Field<'a> {
    Open,
    TooLong,
    Whole(Name, &'a [u8]),
}

fn field(bytes: &[u8]) -> Field<'_> {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    match (parts.next().and_then(Name::new), parts.next()) {
        (Some(field), Some(rest)) => Field::Whole(field, rest),
        (Some(_), None) => Field::Open,
        (None, _) => Field::TooLong,
    }
}

/// Reads a name that is a dotted quad as that address, since some clients send every destination as a name.
fn named(name: Name) -> Destination {
    let address = str::from_utf8(name.as_bytes()).ok().and_then(|text| text.parse().ok());
    match address {
        Some(address) => Destination::Address(IpAddr::V4(address)),
        None => Destination::Name(name),
    }
}

/// Returns the request as it is sent to a next server. `None` if SOCKS4 has no form for it: an IPv6 address, another
/// version, or a field with a NUL in it, behind which the server would take the rest for something else.
pub fn request(asked: &Request) -> Option<Vec<u8>> {
    let (address, name) = match &asked.destination {
        Destination::Address(IpAddr::V4(address)) => (*address, None),
        Destination::Address(IpAddr::V6(_)) => return None,
        Destination::Name(name) => (Ipv4Addr::new(0, 0, 0, 1), Some(name)),
    };
    let command = match asked.command {
        Command::Connect => 1,
        Command::Bind => 2,
        Command::Associate => return None,
    };
    let mut bytes = vec![asked.version, command];
    bytes.extend(asked.port.to_be_bytes());
    bytes.extend(address.octets());
    for field in [Some(&asked.user), name].into_iter().flatten() {
        bytes.extend(field.as_bytes());
        bytes.push(0);
    }
    matches!(read(&bytes), Reading::Complete { length, message } if length == bytes.len() && message == *asked)
        .then_some(bytes)
}

/// Reads a next server's reply. Classic servers send their version, 4, with 92 and 93, and a refusal is a refusal.
pub fn reply([version, code, p1, p0, a, b, c, d]: [u8; 8]) -> NextReply {
    match (version, code) {
        (0, 90) => {
            let address = Ipv4Addr::new(a, b, c, d);
            NextReply::Granted(SocketAddr::new(address.into(), u16::from_be_bytes([p1, p0])))
        }
        (0 | 4, 91) => NextReply::Refused(RefusalReason::General),
        (0 | 4, 92) => NextReply::Refused(RefusalReason::NoIdentd),
        (0 | 4, 93) => NextReply::Refused(RefusalReason::IdentityMismatch),
        (0, code) => NextReply::UnknownCode(code),
        (version, _) => NextReply::WrongVersion(version),
    }
}

/// The reply that grants a request (code 90), with the port and the address of a BIND. CONNECT has none.
///
/// SOCKS4 has no room for an IPv6 address: the client reads 0.0.0.0 as the address of the proxy itself.
pub fn granted(bound: SocketAddr) -> [u8; 8] {
    let address = match bound.ip().to_canonical() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    let ([p1, p0], [a, b, c, d]) = (bound.port().to_be_bytes(), address.octets());
    [0, 90, p1, p0, a, b, c, d]
}

/// The reply that refuses a request.
pub fn refused(why: RefusalReason) -> [u8; 8] {
    let code = match why {
        RefusalReason::NoIdentd => 92,
        RefusalReason::IdentityMismatch => 93,
        RefusalReason::General
        | RefusalReason::NotAllowed
        | RefusalReason::NetworkUnreachable
        | RefusalReason::HostUnreachable
        | RefusalReason::ConnectionRefused
        | RefusalReason::TimedOut
        | RefusalReason::CommandNotSupported
        | RefusalReason::AddressNotSupported => 91,
    };
    [0, code, 0, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn complete(bytes: &[u8]) -> (usize, Request) {
        match read(bytes) {
            Reading::Complete { length, message } => (length, message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_connect_request_is_read_up_to_its_nul() {
        let (length, request) = complete(b"\x04\x01\x00\x50\x0a\x00\x00\x01joe\0early data");
        assert_eq!(length, 12);
        assert_eq!(request.command, Command::Connect);
        assert_eq!(request.destination, Destination::Address("10.0.0.1".parse().unwrap()));
        assert_eq!((request.version, request.port), (4, 80));
        assert_eq!(request.user.as_bytes(), b"joe");
    }

    #[test]
    fn a_request_that_is_sent_on_says_what_was_asked_and_nothing_else() {
        let address = Destination::Address("10.0.0.1".parse().unwrap());
        let asked = |destination: &Destination, user: &[u8]| Request {
            version: 4,
            command: Command::Bind,
            destination: destination.clone(),
            port: 21,
            user: UserId::new(user).unwrap(),
        };
        assert_eq!(request(&asked(&address, b"joe")).unwrap(), b"\x04\x02\x00\x15\x0a\x00\x00\x01joe\0");
        let name = |name: &[u8]| Destination::Name(Name::new(name).unwrap());
        let bytes = request(&asked(&name(b"a.example"), b"")).unwrap();
        assert_eq!(bytes, b"\x04\x02\x00\x15\x00\x00\x00\x01\0a.example\0");
        for (destination, user) in [
            (name(b"a\0b"), &b"joe"[..]),
            (name(b""), b"joe"),
            (name(b"10.0.0.1"), b"joe"),
            (address.clone(), b"jo\0e"),
            (Destination::Address("0.0.0.7".parse().unwrap()), b"joe"),
            (Destination::Address("::1".parse().unwrap()), b"joe"),
        ] {
            assert_eq!(request(&asked(&destination, user)), None, "{destination:?}");
        }
        assert_eq!(request(&Request { version: 5, ..asked(&address, b"joe") }), None);
    }

    #[test]
    fn a_reply_is_one_of_four_codes_behind_a_zero() {
        let granted = NextReply::Granted("10.0.0.1:21".parse().unwrap());
        assert_eq!(reply([0, 90, 0, 21, 10, 0, 0, 1]), granted);
        assert_eq!(reply([0, 91, 0, 0, 0, 0, 0, 0]), NextReply::Refused(RefusalReason::General));
        assert_eq!(reply([4, 93, 0, 0, 0, 0, 0, 0]), NextReply::Refused(RefusalReason::IdentityMismatch));
        assert_eq!(reply([0, 92, 0, 0, 0, 0, 0, 0]), NextReply::Refused(RefusalReason::NoIdentd));
        assert_eq!(reply([4, 90, 0, 0, 0, 0, 0, 0]), NextReply::WrongVersion(4));
        assert_eq!(reply([5, 91, 0, 0, 0, 0, 0, 0]), NextReply::WrongVersion(5));
        assert_eq!(reply([0, 0, 0, 0, 0, 0, 0, 0]), NextReply::UnknownCode(0));
    }

    #[test]
    fn a_name_follows_only_an_address_of_the_form_0_0_0_x() {
        let (length, request) = complete(b"\x04\x02\x00\x15\x00\x00\x00\xff\0host.example\0rest");
        assert_eq!(length, 8 + 1 + 13);
        assert_eq!(request.command, Command::Bind);
        assert_eq!(request.destination, Destination::Name(Name::new(b"host.example").unwrap()));
        let (length, request) = complete(b"\x04\x01\x00\x50\x00\x00\x00\x00\0host.example\0");
        assert_eq!(length, 9);
        assert_eq!(request.destination, Destination::Address("0.0.0.0".parse().unwrap()));
        assert_eq!(complete(b"\x04\x01\x00\x50\x00\x00\x01\x01\0").0, 9);
    }

    #[test]
    fn a_name_that_is_a_dotted_quad_is_that_address() {
        for (name, is_address) in
            [("127.0.0.1", true), ("0.0.0.5", true), ("127.1", false), ("0x7f.0.0.1", false)]
        {
            let request = [b"\x04\x01\x00\x50\x00\x00\x00\x01\0", name.as_bytes(), b"\0"].concat();
            let destination = complete(&request).1.destination;
            assert_eq!(matches!(destination, Destination::Address(_)), is_address, "{name}");
        }
    }

    #[test]
    fn the_longest_request_is_accepted_and_one_byte_more_is_not() {
        let header = b"\x04\x01\x00\x50\x00\x00\x00\x01".to_vec();
        let with = |user: usize, name: usize| {
            [header.clone(), vec![b'u'; user], vec![0], vec![b'n'; name], vec![0]].concat()
        };
        assert_eq!(with(255, 255).len(), LONGEST);
        assert_eq!(complete(&with(255, 255)).0, LONGEST);
        assert_eq!(read(&with(256, 255)), Reading::Refused(CloseReason::UserTooLong));
        assert_eq!(read(&with(255, 256)), Reading::Refused(CloseReason::BadName));
        assert_eq!(read(&with(3, 0)), Reading::Refused(CloseReason::BadName));
    }

    #[test]
    fn a_field_that_never_ends_is_refused_before_it_can_fill_memory() {
        for unit in [b'u', b'n'] {
            let mut request = b"\x04\x01\x00\x50\x00\x00\x00\x01".to_vec();
            if unit == b'n' {
                request.extend([b'u'; 255]);
                request.push(0);
            }
            while read(&request) == Reading::Incomplete {
                request.push(unit);
            }
            assert!(request.len() <= LONGEST);
        }
    }

    #[test]
    fn other_versions_and_commands_are_known_at_once() {
        assert_eq!(read(b"\x05\x01\x00"), Reading::Foreign(CloseReason::WrongVersion(5)));
        assert_eq!(read(b"G"), Reading::Foreign(CloseReason::WrongVersion(b'G')));
        assert_eq!(read(b"\x04\x03"), Reading::Refused(CloseReason::UndefinedCommand(3)));
        assert_eq!(read(b"\x04\x00"), Reading::Refused(CloseReason::UndefinedCommand(0)));
    }

    #[test]
    fn replies_have_version_zero_and_zeros_where_nothing_is_told() {
        let connect = SocketAddr::from(([0, 0, 0, 0], 0));
        assert_eq!(granted(connect), [0, 90, 0, 0, 0, 0, 0, 0]);
        assert_eq!(granted("10.1.2.3:258".parse().unwrap()), [0, 90, 1, 2, 10, 1, 2, 3]);
        assert_eq!(granted("[::ffff:10.1.2.3]:258".parse().unwrap()), [0, 90, 1, 2, 10, 1, 2, 3]);
        assert_eq!(granted("[2001:db8::1]:258".parse().unwrap()), [0, 90, 1, 2, 0, 0, 0, 0]);
        assert_eq!(refused(RefusalReason::NoIdentd), [0, 92, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_refusal_that_does_not_concern_identd_has_code_91_whatever_its_reason() {
        assert_eq!(refused(RefusalReason::IdentityMismatch), [0, 93, 0, 0, 0, 0, 0, 0]);
        for why in [RefusalReason::General, RefusalReason::NotAllowed, RefusalReason::TimedOut] {
            assert_eq!(refused(why), [0, 91, 0, 0, 0, 0, 0, 0], "{why:?}");
        }
    }

    /// Reads a request as the text of the protocol says, byte by byte, for a second opinion.
    fn reference(bytes: &[u8]) -> Option<(usize, Vec<u8>, Option<Vec<u8>>)> {
        let mut fields = vec![Vec::new()];
        let named = bytes[4..7] == [0, 0, 0] && bytes[7] != 0;
        for (index, byte) in bytes.iter().enumerate().skip(8) {
            if *byte != 0 {
                fields.last_mut().unwrap().push(*byte);
            } else if fields.len() == 1 && named {
                fields.push(Vec::new());
            } else {
                let name = named.then(|| fields[1].clone());
                let fits = fields.iter().all(|field| field.len() <= 255) && name != Some(Vec::new());
                return fits.then(|| (index + 1, fields[0].clone(), name));
            }
        }
        None
    }

    fn any_request() -> impl Strategy<Value = Vec<u8>> {
        let address = prop_oneof![Just([0, 0, 0, 7]), Just([0, 0, 0, 0]), any::<[u8; 4]>()];
        let field = || proptest::collection::vec(1u8.., 0..270);
        (1u8..=2, any::<[u8; 2]>(), address, field(), field(), any::<Vec<u8>>()).prop_map(
            |(command, port, address, user, name, tail)| {
                let mut bytes = vec![4, command];
                bytes.extend(port);
                bytes.extend(address);
                for part in [&user[..], &[0], &name[..], &[0], &tail[..]] {
                    bytes.extend(part);
                }
                bytes
            },
        )
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_result(request in any_request()) {
            let whole = read(&request);
            let first = (0..=request.len()).map(|end| read(&request[..end])).find(|step| *step != Reading::Incomplete);
            prop_assert_eq!(first.unwrap_or(Reading::Incomplete), whole);
        }

        #[test]
        fn the_request_is_what_the_protocol_text_says(request in any_request()) {
            match (read(&request), reference(&request)) {
                (Reading::Complete { length, message: request }, Some((expected, user, name))) => {
                    prop_assert_eq!(length, expected);
                    prop_assert_eq!(request.user.as_bytes(), &user[..]);
                    if let Destination::Name(found) = request.destination {
                        prop_assert_eq!(Some(found.as_bytes()), name.as_deref());
                    }
                }
                (Reading::Refused(_), None) => {}
                (found, expected) => prop_assert!(false, "{:?} but {:?}", found, expected),
            }
        }

        #[test]
        fn no_bytes_confuse_it_and_none_are_taken_that_are_not_there(bytes in any::<Vec<u8>>()) {
            match read(&bytes) {
                Reading::Complete { length, .. } => prop_assert!(length <= bytes.len() && length <= LONGEST),
                Reading::Incomplete => prop_assert!(bytes.len() < LONGEST),
                _ => {}
            }
        }
    }
}
