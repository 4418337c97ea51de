//! The answers of upstream servers.

use sockd_common::message::UserId;
use sockd_common::message::request::{Command, Destination, RefusalReason, Request};
use sockd_common::message::upstream::NextReply;
use sockd_worker::socks::next::{Exchange, Step};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The outcome of an exchange. It has the bytes sent to the server behind the first ones, its replies, how many of its
/// bytes have been taken, and whether it has said its last word.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    sent: Vec<u8>,
    replies: Vec<NextReply>,
    taken: usize,
    is_over: bool,
}

impl Outcome {
    /// The server has replied. After a grant that is not the last one that it owes, the exchange goes on.
    fn replied(&mut self, reply: NextReply, taken: usize, owed: usize) {
        let goes_on = matches!(reply, NextReply::Granted(_)) && self.replies.len() + 1 < owed;
        self.replies.push(reply);
        self.taken = taken;
        self.is_over = !goes_on;
    }
}

/// Refusals by their codes (RFC 1928, section 6), from 1 on.
const REFUSALS: [RefusalReason; 8] = [
    RefusalReason::General,
    RefusalReason::NotAllowed,
    RefusalReason::NetworkUnreachable,
    RefusalReason::HostUnreachable,
    RefusalReason::ConnectionRefused,
    RefusalReason::TimedOut,
    RefusalReason::CommandNotSupported,
    RefusalReason::AddressNotSupported,
];

/// A reply of SOCKS4 at the beginning of these bytes, read literally.
fn reply_4(said: &[u8]) -> Option<(NextReply, usize)> {
    let &[version, code, p1, p0, a, b, c, d] = said.first_chunk()?;
    let refused = |why| NextReply::Refused(why);
    let reply = match (version, code) {
        (0, 90) => NextReply::Granted(SocketAddr::from(([a, b, c, d], u16::from_be_bytes([p1, p0])))),
        (0 | 4, 91) => refused(RefusalReason::General),
        (0 | 4, 92) => refused(RefusalReason::NoIdentd),
        (0 | 4, 93) => refused(RefusalReason::IdentityMismatch),
        (0, _) => NextReply::UnknownCode(code),
        _ => NextReply::WrongVersion(version),
    };
    Some((reply, 8))
}

/// A reply of SOCKS5 at the beginning of these bytes, read literally.
fn reply_5(said: &[u8]) -> Option<(NextReply, usize)> {
    let &[version, code, _, kind] = said.first_chunk()?;
    let behind = &said[4..];
    let port = |at: usize| Some(u16::from_be_bytes([*behind.get(at)?, *behind.get(at + 1)?]));
    let granted = |address: SocketAddr| NextReply::Granted(address);
    Some(match (version, code, kind) {
        (5, 0, 1) => {
            let address = Ipv4Addr::from(*behind.first_chunk::<4>()?);
            (granted(SocketAddr::from((address, port(4)?))), 10)
        }
        (5, 0, 4) => {
            let address = Ipv6Addr::from(*behind.first_chunk::<16>()?);
            (granted(SocketAddr::from((address, port(16)?))), 22)
        }
        (5, 0, _) => (NextReply::UnknownAddressType(kind), 4),
        (5, code, _) => {
            let why = REFUSALS.get(usize::from(code) - 1).copied();
            (NextReply::Refused(why.unwrap_or(RefusalReason::General)), 4)
        }
        _ => (NextReply::NoSocks5(version), 4),
    })
}

/// The expected outcome of an exchange whose server says this.
fn expected(version: u8, request: &[u8], owed: usize, said: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    if version == 5 {
        match said {
            [5, 0, ..] => (outcome.sent, outcome.taken) = (request.to_vec(), 2),
            [5, _, ..] => outcome.replied(NextReply::NoMethod, 2, owed),
            [version, _, ..] => outcome.replied(NextReply::NoSocks5(*version), 2, owed),
            _ => {}
        }
        if outcome.taken == 0 {
            return Outcome { taken: said.len(), ..outcome };
        }
    }
    let reply = if version == 5 { reply_5 } else { reply_4 };
    while !outcome.is_over {
        match reply(&said[outcome.taken..]) {
            Some((reply, length)) => outcome.replied(reply, outcome.taken + length, owed),
            // All of it is taken, and more is waited for.
            None => return Outcome { taken: said.len(), ..outcome },
        }
    }
    outcome
}

/// The outcome if the answer comes in pieces of this many bytes.
fn found(request: &Request, first: &[u8], said: &[u8], piece: usize) -> Outcome {
    let (mut exchange, sent) = Exchange::new(request).expect("what the protocol has words for");
    assert_eq!(sent, first);
    let mut outcome = Outcome::default();
    while outcome.taken < said.len() && !outcome.is_over {
        let room = exchange.room();
        assert!(!room.is_empty(), "it waits for nothing and goes on");
        let length = room.len().min(piece).min(said.len() - outcome.taken);
        room[..length].copy_from_slice(&said[outcome.taken..][..length]);
        outcome.taken += length;
        match exchange.came(length) {
            Step::More => {}
            Step::Send(bytes) => outcome.sent.extend(bytes),
            Step::Answer(reply) => outcome.replies.push(reply),
            Step::End(reply) => {
                outcome.replies.push(reply);
                outcome.is_over = true;
            }
        }
    }
    outcome
}

/// An exchange with an upstream server goes as the protocol's text says. It does so in whatever pieces the answer
/// comes, and takes no byte behind the last reply. The first byte chooses: 1 is SOCKS5 and not 4, 2 a BIND.
pub fn upstream(data: &[u8]) {
    let Some((choice, said)) = data.split_first() else { return };
    let (version, is_bind) = (4 + (choice & 1), choice & 2 != 0);
    let request = Request {
        version,
        command: if is_bind { Command::Bind } else { Command::Connect },
        destination: Destination::Address([192, 0, 2, 1].into()),
        port: 80,
        user: UserId::default(),
    };
    let command = 1 + u8::from(is_bind);
    let first = if version == 5 { vec![5, 1, 0] } else { vec![4, command, 0, 80, 192, 0, 2, 1, 0] };
    let asked = [5, command, 0, 1, 192, 0, 2, 1, 0, 80];
    let expected = expected(version, &asked, usize::from(command), said);
    for piece in [1, 3, usize::MAX] {
        assert_eq!(found(&request, &first, said, piece), expected, "in pieces of {piece}");
    }
}
