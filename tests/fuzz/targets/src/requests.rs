//! SOCKS4 and SOCKS4A requests.

use sockd_common::message::request::{Command, Destination};
use sockd_worker::socks::v4::{LONGEST, Reading, read};

/// What the protocol's text says of some bytes, read literally.
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

/// A request is what the protocol's text says, and it is the same whatever the segments are in which it comes.
pub fn request(data: &[u8]) {
    let whole = read(data);
    match (&whole, expected(data)) {
        (Reading::Incomplete, Expected::Incomplete) => assert!(data.len() < LONGEST),
        (Reading::Refused(_), Expected::Refused) | (Reading::Foreign(_), Expected::Foreign) => {}
        (
            Reading::Complete { length, request },
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
