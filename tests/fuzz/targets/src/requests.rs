//! The bytes of SOCKS4, SOCKS4A and SOCKS5 clients before their relay.

use sockd_common::message::request::{Command, Destination};
use sockd_common::message::session::{Methods, Protocols};
use sockd_worker::session::handshake::{self, Handshake, Step};
use sockd_worker::socks::Reading;
use sockd_worker::socks::v4::{LONGEST, read};

/// The meaning of some bytes by the protocol's text, read literally.
#[derive(Debug, PartialEq, Eq)]
enum Expected<'a> {
    Incomplete,
    Refused,
    Foreign,
    Complete {
        length: usize,
        command: u8,
        port: [u8; 2],
        address: [u8; 4],
        user: &'a [u8],
        name: Option<&'a [u8]>,
    },
}

fn expected(bytes: &[u8]) -> Expected<'_> {
    match bytes {
        [version, ..] if *version != 4 => return Expected::Foreign,
        [_, command, ..] if !(1..=2).contains(command) => return Expected::Refused,
        _ if bytes.len() < 8 => return Expected::Incomplete,
        _ => {}
    }
    let address = [bytes[4], bytes[5], bytes[6], bytes[7]];
    let named = address[..3] == [0; 3] && address[3] != 0;
    let (mut fields, mut start) = (Vec::new(), 8);
    while fields.len() < 1 + usize::from(named) {
        let field = bytes[start..].split(|byte| *byte == 0).next().expect("split gives one");
        match field.len() {
            256.. => return Expected::Refused,
            length if start + length == bytes.len() => return Expected::Incomplete,
            0 if fields.len() == 1 => return Expected::Refused,
            length => start += length + 1,
        }
        fields.push(field);
    }
    let name = fields.get(1).copied();
    Expected::Complete {
        length: start,
        command: bytes[1],
        port: [bytes[2], bytes[3]],
        address,
        user: fields[0],
        name,
    }
}

/// A request is what the protocol's text says, and it is the same in whatever segments it comes.
pub fn request(data: &[u8]) {
    let whole = read(data);
    match (&whole, expected(data)) {
        (Reading::Incomplete, Expected::Incomplete) => assert!(data.len() < LONGEST),
        (Reading::Refused(_), Expected::Refused) | (Reading::Foreign(_), Expected::Foreign) => {}
        (
            Reading::Complete { length, message: request },
            Expected::Complete { length: whole, command, port, address, user, name },
        ) => {
            assert_eq!((*length, request.version), (whole, 4));
            assert!(*length <= data.len() && *length <= LONGEST);
            assert_eq!(request.command == Command::Bind, command == 2);
            assert_eq!((request.port.to_be_bytes(), request.user.as_bytes()), (port, user));
            match (&request.destination, name) {
                (Destination::Address(found), None) => assert_eq!(*found, std::net::IpAddr::from(address)),
                (Destination::Name(found), Some(name)) => assert_eq!(found.as_bytes(), name),
                (Destination::Address(found), Some(name)) => assert_eq!(found.to_string().as_bytes(), name),
                (found, name) => panic!("{found:?} but {name:?}"),
            }
        }
        (found, expected) => panic!("{found:?} but {expected:?}"),
    }
    let end = data.len().min(LONGEST);
    let first = (0..=end).map(|end| read(&data[..end])).find(|reading| *reading != Reading::Incomplete);
    assert_eq!(first.unwrap_or(Reading::Incomplete), whole, "another split, another request");
}

/// The answers to a greeting of SOCKS5, and the request that the bytes come to, read literally.
type Told = (Vec<u8>, Option<Asked>);

/// A request of SOCKS5 that can be had: where it ends, its command, and its destination behind the kind of it.
type Asked = (usize, u8, Vec<u8>);

fn told(data: &[u8]) -> Option<Told> {
    let offered = data.get(2..2 + usize::from(*data.get(1)?))?;
    if !offered.contains(&0) {
        return Some((vec![5, 0xff], None));
    }
    let refusal = |code| Some((vec![5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0], None));
    let request = &data[2 + offered.len()..];
    match request.first() {
        Some(5) => {}
        Some(_) => return Some((vec![5, 0], None)),
        None => return None,
    }
    let command = *request.get(1)?;
    if !(1..=3).contains(&command) {
        return refusal(7);
    }
    let (start, length) = match request.get(3)? {
        1 => (4, 4),
        3 => (5, usize::from(*request.get(4)?)),
        4 => (4, 16),
        _ => return refusal(8),
    };
    let destination = request.get(start..start + length)?;
    if length == 0 || (start == 5 && destination[0] == b'[') {
        return refusal(4);
    }
    let port = request.get(start + length..start + length + 2)?;
    let end = 2 + offered.len() + start + length + 2;
    Some((vec![5, 0], Some((end, command, [destination, port].concat()))))
}

/// Shows the handshake these bytes. Adds its answers, and returns the step that the bytes come to.
fn shown(handshake: &mut Handshake, data: &[u8], answers: &mut Vec<u8>) -> Step {
    loop {
        match handshake.read(data, Protocols::ALL) {
            Step::Answer(reply) => answers.extend(reply.bytes()),
            Step::Refused { reply, closed } => {
                reply.iter().for_each(|reply| answers.extend(reply.bytes()));
                return Step::Refused { reply, closed };
            }
            step => return step,
        }
    }
}

/// A handshake of SOCKS5 goes as the protocol's text says. Every handshake goes the same way in whatever segments it
/// comes.
pub fn handshake(data: &[u8]) {
    login(data);
    let mut answers = Vec::new();
    let whole = shown(&mut Handshake::Fresh(Methods::NONE), data, &mut answers);
    if data.first() == Some(&5) {
        match (told(data), &whole) {
            (None, Step::Incomplete) => assert!(data.len() < handshake::LONGEST),
            (Some((told, None)), Step::Refused { .. }) => assert_eq!(answers, told),
            (Some((told, Some((end, command, asked)))), Step::Request { length, request }) => {
                let destination = match &request.destination {
                    Destination::Address(std::net::IpAddr::V4(address)) => address.octets().to_vec(),
                    Destination::Address(std::net::IpAddr::V6(address)) => address.octets().to_vec(),
                    Destination::Name(name) => name.as_bytes().to_vec(),
                };
                assert_eq!((&answers, *length, request.version), (&told, end, 5));
                let commands = [Command::Connect, Command::Bind, Command::Associate];
                assert_eq!(Some(&request.command), commands.get(usize::from(command) - 1));
                assert_eq!([&destination[..], &request.port.to_be_bytes()].concat(), asked);
            }
            (expected, found) => panic!("{found:?} but {expected:?}"),
        }
    }
    let (mut handshake, mut in_pieces) = (Handshake::Fresh(Methods::NONE), Vec::new());
    let end = data.len().min(handshake::LONGEST);
    let first = (0..=end)
        .map(|end| shown(&mut handshake, &data[..end], &mut in_pieces))
        .find(|step| *step != Step::Incomplete);
    assert_eq!(
        (first.unwrap_or(Step::Incomplete), in_pieces),
        (whole, answers),
        "another split, another end"
    );
}

/// The expected outcome of a login (RFC 1929): user and password, or whether the refusal is answered. `None` if the
/// login is not whole.
fn expected_login(data: &[u8]) -> Option<Result<[&[u8]; 2], bool>> {
    if data.first()? != &1 {
        return Some(Err(false));
    }
    let user = usize::from(*data.get(1)?);
    if user == 0 {
        return Some(Err(true));
    }
    let password = usize::from(*data.get(2 + user)?);
    if password == 0 {
        return Some(Err(true));
    }
    Some(Ok([&data[2..2 + user], data.get(3 + user..3 + user + password)?]))
}

/// A login goes as the protocol's text says, and takes exactly its own bytes. It goes the same way in whatever segments
/// it comes.
fn login(data: &[u8]) {
    const GREETING: [u8; 3] = [5, 1, 2];
    let methods = Methods { none: false, password: true, prefer_password: false };
    let sent = [&GREETING, data].concat();
    let (mut whole, mut answers) = (Handshake::Fresh(methods), Vec::new());
    let step = shown(&mut whole, &sent, &mut answers);
    match (expected_login(data), &step) {
        (None, Step::Incomplete) => assert!(sent.len() < handshake::LONGEST && answers == [5, 2]),
        (Some(Err(answered)), Step::Refused { .. }) => {
            assert_eq!(answers, if answered { &[5, 2, 1, 1][..] } else { &[5, 2] });
        }
        (Some(Ok([user, password])), Step::Login { length, login, start }) => {
            assert_eq!((*length, &answers[..]), (6 + user.len() + password.len(), &[5, 2][..]));
            let credentials = login.credentials(&sent[*start..]).expect("what has been read");
            assert_eq!((credentials.user.as_bytes(), credentials.password.as_bytes()), (user, password));
            let behind = &sent[*length..];
            assert_eq!(whole.read(behind, Protocols::ALL), Step::Incomplete, "it is not answered");
            assert_eq!(whole.verified().bytes(), [1, 0]);
            assert!(!matches!(whole.read(behind, Protocols::ALL), Step::Login { .. } | Step::Answer(_)));
        }
        (expected, found) => panic!("{found:?} but {expected:?}"),
    }
    let (mut pieces, mut in_pieces) = (Handshake::Fresh(methods), Vec::new());
    let first = (0..=sent.len().min(handshake::LONGEST))
        .map(|end| shown(&mut pieces, &sent[..end], &mut in_pieces))
        .find(|step| *step != Step::Incomplete);
    assert_eq!((first.unwrap_or(Step::Incomplete), in_pieces), (step, answers), "another split, another end");
}
