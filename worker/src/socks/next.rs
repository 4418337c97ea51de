//! The exchange with a next SOCKS server, as a state machine without a socket.
//!
//! ```text
//! SOCKS4   request ->  <- reply (of a BIND a second one)
//! SOCKS5   05 01 00 ->  <- 05 00   request ->  <- reply (of a BIND a second one)
//! ```
//!
//! The request waits for the method of SOCKS5, as some servers lose a request that comes with the greeting. Each answer
//! is read with exactly its own length: bytes behind the last one are for the client.

use super::{LONGEST_REPLY, v4, v5};
use core::net::{IpAddr, SocketAddr};
use sockd_common::message::request::{Command, RefusalReason, Request};
use sockd_common::message::upstream::NextReply;

/// The message that the exchange waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// A reply of SOCKS4.
    Reply4,
    /// The method of SOCKS5.
    Method,
    /// A reply of SOCKS5.
    Reply5,
}

/// The step that follows from bytes that have come.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// More have to come.
    More,
    /// These bytes are to be sent.
    Send(Vec<u8>),
    /// The server has answered, and another answer is to come.
    Answer(NextReply),
    /// The server has given its last answer.
    End(NextReply),
}

/// The exchange with one next server.
#[derive(Debug)]
pub struct Exchange {
    awaited: Awaited,
    /// The request, until it is sent.
    request: Vec<u8>,
    /// Replies that are still to come; a BIND has two.
    replies: u8,
    /// The answer as far as it has come.
    answer: [u8; LONGEST_REPLY],
    length: usize,
}

impl Exchange {
    /// Begins an exchange, and returns the first bytes to send. `None` if the protocol has no form for the request.
    pub fn new(request: &Request) -> Option<(Self, Vec<u8>)> {
        let replies = if request.command == Command::Bind { 2 } else { 1 };
        let (awaited, first, request) = match request.version {
            5 => (Awaited::Method, vec![5, 1, 0], v5::asking(request)?),
            _ => (Awaited::Reply4, v4::request(request)?, Vec::new()),
        };
        Some((Self { awaited, request, replies, answer: [0; LONGEST_REPLY], length: 0 }, first))
    }

    /// Returns room for exactly the bytes that are missing of the answer, as far as its length is known.
    pub fn room(&mut self) -> &mut [u8] {
        let whole = self.whole();
        self.answer.get_mut(self.length..whole).unwrap_or_default()
    }

    /// Returns the length of the answer or, as long as that is not known, of the part that tells it.
    fn whole(&self) -> usize {
        match (self.awaited, self.answer) {
            (Awaited::Reply4, _) => 8,
            (Awaited::Method, _) => 2,
            (Awaited::Reply5, [5, 0, _, 1, ..]) if self.length >= 4 => 10,
            (Awaited::Reply5, [5, 0, _, 4, ..]) if self.length >= 4 => 22,
            (Awaited::Reply5, _) => 4,
        }
    }

    /// Takes note that this many bytes have come into the room.
    pub fn came(&mut self, bytes: usize) -> Step {
        self.length = self.length.saturating_add(bytes);
        // A head of SOCKS5 that grants makes the answer longer.
        if self.length < self.whole() {
            return Step::More;
        }
        self.length = 0;
        let reply = match self.awaited {
            Awaited::Reply4 => {
                let [a, b, c, d, e, f, g, h, ..] = self.answer;
                v4::reply([a, b, c, d, e, f, g, h])
            }
            Awaited::Method => match self.answer {
                [5, 0, ..] => {
                    self.awaited = Awaited::Reply5;
                    return Step::Send(std::mem::take(&mut self.request));
                }
                [5, ..] => NextReply::NoMethod,
                [version, ..] => NextReply::NoSocks5(version),
            },
            Awaited::Reply5 => reply(self.answer),
        };
        self.replies = self.replies.saturating_sub(1);
        match reply {
            NextReply::Granted(_) if self.replies > 0 => Step::Answer(reply),
            _ => Step::End(reply),
        }
    }
}

/// Reads a reply of SOCKS5. A code that is not assigned is a refusal for a reason that nobody knows.
fn reply(answer: [u8; LONGEST_REPLY]) -> NextReply {
    match answer {
        [5, 0, _, 1, a, b, c, d, p1, p0, ..] => granted([a, b, c, d], [p1, p0]),
        [5, 0, _, 4, rest @ ..] => match rest.split_first_chunk::<16>() {
            Some((octets, &[p1, p0])) => granted(*octets, [p1, p0]),
            _ => NextReply::UnknownAddressType(4),
        },
        [5, 0, _, kind, ..] => NextReply::UnknownAddressType(kind),
        [5, code, ..] => NextReply::Refused(reason(code)),
        [version, ..] => NextReply::NoSocks5(version),
    }
}

fn granted(address: impl Into<IpAddr>, port: [u8; 2]) -> NextReply {
    NextReply::Granted(SocketAddr::new(address.into(), u16::from_be_bytes(port)))
}

fn reason(code: u8) -> RefusalReason {
    match code {
        2 => RefusalReason::NotAllowed,
        3 => RefusalReason::NetworkUnreachable,
        4 => RefusalReason::HostUnreachable,
        5 => RefusalReason::ConnectionRefused,
        6 => RefusalReason::TimedOut,
        7 => RefusalReason::CommandNotSupported,
        8 => RefusalReason::AddressNotSupported,
        _ => RefusalReason::General,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sockd_common::message::request::Destination;
    use sockd_common::message::{Name, UserId};

    fn request(command: Command, destination: Destination) -> Request {
        Request { version: 5, command, destination, port: 80, user: UserId::default() }
    }

    fn to(address: &str) -> Destination {
        Destination::Address(address.parse().unwrap())
    }

    /// Returns the steps of an exchange whose server says this, in pieces of this many bytes, and how much was taken.
    fn told(command: Command, said: &[u8], piece: usize) -> (Vec<Step>, usize) {
        let (mut exchange, first) = Exchange::new(&request(command, to("192.0.2.1"))).unwrap();
        assert_eq!(first, [5, 1, 0]);
        let (mut steps, mut taken) = (Vec::new(), 0);
        while taken < said.len() {
            let room = exchange.room();
            let bytes = room.len().min(piece).min(said.len() - taken);
            room[..bytes].copy_from_slice(&said[taken..taken + bytes]);
            taken += bytes;
            steps.push(exchange.came(bytes));
            if matches!(steps.last(), Some(Step::End(_))) {
                break;
            }
        }
        steps.retain(|step| *step != Step::More);
        (steps, taken)
    }

    const ASKED: &[u8] = b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50";
    const BOUND: &[u8] = b"\x05\x00\x00\x01\xcb\x00\x71\x01\x0b\xb8";

    fn bound() -> NextReply {
        NextReply::Granted("203.0.113.1:3000".parse().unwrap())
    }

    #[test]
    fn a_request_is_sent_once_the_method_is_chosen_and_exactly_the_reply_is_read() {
        for piece in [1, 3, 100] {
            let said = [b"\x05\x00", BOUND, b"welcome"].concat();
            let (steps, taken) = told(Command::Connect, &said, piece);
            assert_eq!(steps, [Step::Send(ASKED.to_vec()), Step::End(bound())]);
            assert_eq!(taken, 12);
            let v6 =
                [&b"\x05\x00\x05\x00\x00\x04\x20\x01\x0d\xb8"[..], &[0; 11], b"\x09\x00\x50more"].concat();
            let (steps, taken) = told(Command::Connect, &v6, piece);
            let granted = NextReply::Granted("[2001:db8::9]:80".parse().unwrap());
            assert_eq!((steps.last(), taken), (Some(&Step::End(granted)), 24));
        }
    }

    #[test]
    fn a_bind_has_two_replies() {
        let said = [b"\x05\x00", BOUND, BOUND, BOUND].concat();
        let (steps, taken) = told(Command::Bind, &said, 100);
        assert_eq!(steps[1..], [Step::Answer(bound()), Step::End(bound())]);
        assert_eq!(taken, 22);
    }

    #[test]
    fn a_refusal_needs_no_address() {
        for (code, why) in [
            (1, RefusalReason::General),
            (2, RefusalReason::NotAllowed),
            (3, RefusalReason::NetworkUnreachable),
            (4, RefusalReason::HostUnreachable),
            (5, RefusalReason::ConnectionRefused),
            (6, RefusalReason::TimedOut),
            (7, RefusalReason::CommandNotSupported),
            (8, RefusalReason::AddressNotSupported),
            (9, RefusalReason::General),
            (0xff, RefusalReason::General),
        ] {
            let (steps, _) = told(Command::Connect, &[5, 0, 5, code, 0, 3], 100);
            assert_eq!(steps[1..], [Step::End(NextReply::Refused(why))]);
        }
    }

    #[test]
    fn what_is_no_answer_ends_the_exchange() {
        for (said, reply) in [
            (&b"\x05\xff"[..], NextReply::NoMethod),
            (b"\x05\x02", NextReply::NoMethod),
            (b"HTTP/1.1", NextReply::NoSocks5(b'H')),
            (b"\x00\x5b", NextReply::NoSocks5(0)),
            (b"\x05\x00\x04\x00\x00\x01", NextReply::NoSocks5(4)),
            (b"\x05\x00\x05\x00\x00\x03", NextReply::UnknownAddressType(3)),
            (b"\x05\x00\x05\x00\x00\x00", NextReply::UnknownAddressType(0)),
        ] {
            assert_eq!(told(Command::Connect, said, 100).0.last(), Some(&Step::End(reply)));
        }
    }

    #[test]
    fn names_and_addresses_are_asked_for_as_the_protocol_has_them() {
        let name = Destination::Name(Name::new(b"web.test").unwrap());
        for (command, destination, written) in [
            (Command::Connect, name, b"\x05\x01\x00\x03\x08web.test\x00\x50".to_vec()),
            (Command::Bind, to("0.0.0.0"), b"\x05\x02\x00\x01\0\0\0\0\x00\x50".to_vec()),
            (Command::Connect, to("::1"), [&b"\x05\x01\x00\x04"[..], &[0; 15], b"\x01\x00\x50"].concat()),
        ] {
            assert_eq!(v5::asking(&request(command, destination)), Some(written));
        }
        let empty = Destination::Name(Name::new(b"").unwrap());
        assert_eq!(v5::asking(&request(Command::Connect, empty)), None);
        assert_eq!(v5::asking(&request(Command::Associate, to("192.0.2.1"))), None);
    }

    proptest! {
        #[test]
        fn no_server_is_read_beyond_its_last_word_whatever_the_pieces(
            bind in any::<bool>(), chosen in any::<bool>(), said in any::<Vec<u8>>(), piece in 1usize..30
        ) {
            let said = [if chosen { &b"\x05\x00"[..] } else { b"" }, &said].concat();
            let command = if bind { Command::Bind } else { Command::Connect };
            prop_assert_eq!(told(command, &said, piece), told(command, &said, 1000));
        }
    }
}
