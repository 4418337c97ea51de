//! The handshake: the messages of a client before its relay, as a state machine without a socket.
//!
//! A connection shows the handshake the bytes that the client has sent. They wait in its socket until the request is
//! there, which ends the handshake. The handshake says how many bytes it has, and the connection takes exactly those:
//! bytes behind them are for the server. SOCKS4 has one message, the request. SOCKS5 has a greeting before it, which is
//! answered, and a login if the method wants one. A whole login is taken at once, so that the password is in no buffer
//! while the monitor has it compared; the handshake rests until then.

use crate::socks::v5::{Login, Method};
use crate::socks::{Reading, Reply, v4, v5};
use sockd_common::message::request::{Command, RefusalReason, Request};
use sockd_common::message::session::{self, CloseReason, Methods, Protocols};
use std::net::SocketAddr;

/// The length of the longest handshake.
pub const LONGEST: usize = {
    let v5 = v5::LONGEST_GREETING + v5::LONGEST_LOGIN;
    assert!(v5::LONGEST_REQUEST < v5::LONGEST_LOGIN);
    if v4::LONGEST > v5 { v4::LONGEST } else { v5 }
};

/// How far a client's handshake has come, and with it the protocol that the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// The protocol is not known yet. SOCKS5 has these methods.
    Fresh(Methods),
    /// SOCKS4 or SOCKS4A.
    Socks4,
    /// SOCKS5: a greeting of this length has been answered with the method of passwords.
    Login(u16),
    /// SOCKS5: a login has been read, and is not answered yet.
    Verifying,
    /// SOCKS5: a greeting of this length or a login has been answered, and the request comes next.
    Socks5(u16),
}

/// The meaning of the bytes that have been shown.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// All of them belong to the handshake, and more must come.
    Incomplete,
    /// This reply is to be sent. The same bytes are to be shown again.
    Answer(Reply),
    /// The first `length` bytes end with a login. The handshake goes on with the bytes behind them, and not before
    /// [`Handshake::verified`].
    Login {
        /// Bytes of the handshake so far.
        length: usize,
        /// The places of name and password behind `start`.
        login: Login,
        /// Bytes before the login.
        start: usize,
    },
    /// The first `length` bytes end with the request.
    Request {
        /// Bytes of the handshake.
        length: usize,
        /// The request.
        request: Request,
    },
    /// They ask for something impossible, or in a protocol that is not spoken here. The client is told `reply`, the
    /// monitor `closed`.
    Refused {
        /// The reply to the client; `None` if the protocol has none.
        reply: Option<Reply>,
        /// The reason for the monitor.
        closed: CloseReason,
    },
}

impl Handshake {
    /// Resumes at the point that another worker has reached. If that has taken the request, returns the command too.
    pub fn resumed(come: session::Handshake) -> (Self, Option<Command>) {
        match come {
            session::Handshake::Fresh(methods) => (Self::Fresh(methods), None),
            session::Handshake::Socks4(command) => (Self::Socks4, Some(command)),
            session::Handshake::Socks5(command) => (Self::Socks5(0), Some(command)),
        }
    }

    /// Reads everything that the client has sent. The steps but [`Step::Incomplete`] do not depend on the segments in
    /// which the bytes arrive.
    pub fn read(&mut self, seen: &[u8], protocols: Protocols) -> Step {
        match (*self, seen) {
            (Self::Fresh(_), []) => Step::Incomplete,
            (Self::Fresh(_), [4, ..]) if protocols.socks4 => {
                *self = Self::Socks4;
                self.request(v4::read(seen), 0)
            }
            (Self::Fresh(methods), [5, ..]) if protocols.socks5 => self.greeted(seen, methods),
            (Self::Fresh(_), [version, ..]) => switched_off(*version),
            (Self::Socks4, _) => self.request(v4::read(seen), 0),
            (Self::Login(greeting), _) => self.login(seen, greeting.into()),
            (Self::Verifying, _) => Step::Incomplete,
            (Self::Socks5(greeting), _) => {
                let behind = seen.get(usize::from(greeting)..).unwrap_or_default();
                self.request(v5::request(behind), greeting)
            }
        }
    }

    /// Reads a greeting, and chooses the method.
    fn greeted(&mut self, seen: &[u8], methods: Methods) -> Step {
        let Reading::Complete { length, message: offered } = v5::greeting(seen) else {
            return Step::Incomplete;
        };
        let method = v5::choose(offered, methods);
        let reply = v5::chosen(method);
        match (method, u16::try_from(length)) {
            (Some(method), Ok(length)) => {
                *self = match method {
                    Method::None => Self::Socks5(length),
                    Method::Password => Self::Login(length),
                };
                Step::Answer(reply)
            }
            _ => {
                let closed = CloseReason::NoMethod(v5::offered(offered));
                Step::Refused { reply: Some(v5::chosen(None)), closed }
            }
        }
    }

    /// Reads a login that begins at `start`.
    fn login(&mut self, seen: &[u8], start: usize) -> Step {
        match v5::login(seen.get(start..).unwrap_or_default()) {
            Reading::Incomplete => Step::Incomplete,
            Reading::Complete { length, message: login } => {
                *self = Self::Verifying;
                Step::Login { length: length.saturating_add(start), login, start }
            }
            Reading::Refused(closed) => Step::Refused { reply: Some(v5::verdict(false)), closed },
            Reading::Foreign(closed) => Step::Refused { reply: None, closed },
        }
    }

    /// Returns the answer to an accepted login. The request comes next, and its first byte is the first that is shown.
    pub fn verified(&mut self) -> Reply {
        *self = Self::Socks5(0);
        v5::verdict(true)
    }

    /// Returns the step for a request behind a greeting of this length. Another protocol is not answered.
    fn request(&self, reading: Reading<Request>, greeting: u16) -> Step {
        match reading {
            Reading::Incomplete => Step::Incomplete,
            Reading::Complete { length, message: request } => {
                Step::Request { length: length.saturating_add(greeting.into()), request }
            }
            Reading::Refused(closed) => {
                Step::Refused { reply: Some(self.refused(reason_of(closed))), closed }
            }
            Reading::Foreign(closed) => Step::Refused { reply: None, closed },
        }
    }

    /// The reply that grants the request.
    pub fn granted(self, bound: SocketAddr) -> Reply {
        match self {
            Self::Socks5(_) | Self::Login(_) | Self::Verifying => v5::granted(bound),
            Self::Fresh(_) | Self::Socks4 => Reply::of(&v4::granted(bound)),
        }
    }

    /// The reply that refuses the request, or the login.
    pub fn refused(self, why: RefusalReason) -> Reply {
        match self {
            Self::Socks5(_) => v5::refused(why),
            Self::Login(_) | Self::Verifying => v5::verdict(false),
            Self::Fresh(_) | Self::Socks4 => Reply::of(&v4::refused(why)),
        }
    }

    /// The reply that refuses a request before it is there. Only a client whose greeting was answered waits for one.
    pub fn refused_unread(self) -> Option<Reply> {
        match self {
            Self::Socks5(_) | Self::Login(_) | Self::Verifying => Some(self.refused(RefusalReason::General)),
            Self::Fresh(_) | Self::Socks4 => None,
        }
    }
}

/// A client whose protocol is switched off is told so in its own words, and does not try again.
fn switched_off(version: u8) -> Step {
    let reply = match version {
        4 => Some(Reply::of(&v4::refused(RefusalReason::General))),
        5 => Some(v5::chosen(None)),
        _ => None,
    };
    Step::Refused { reply, closed: CloseReason::WrongVersion(version) }
}

/// Returns the reason that a client is told if its request cannot be read.
fn reason_of(closed: CloseReason) -> RefusalReason {
    match closed {
        CloseReason::UndefinedCommand(_) => RefusalReason::CommandNotSupported,
        CloseReason::UndefinedAddressType(_) => RefusalReason::AddressNotSupported,
        CloseReason::BadName => RefusalReason::HostUnreachable,
        _ => RefusalReason::General,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: Protocols = Protocols::ALL;
    const SOCKS4: &[u8] = b"\x04\x01\x00\x50\x00\x00\x00\x01joe\0www.example\0";
    const SOCKS5: &[u8] = b"\x05\x02\x02\x00\x05\x01\x00\x03\x0bwww.example\x00\x50";

    fn fresh() -> Handshake {
        Handshake::Fresh(Methods::NONE)
    }

    /// Returns all steps for a client that has sent these bytes, up to the first that is not an answer.
    fn steps(handshake: &mut Handshake, sent: &[u8]) -> Vec<Step> {
        let mut steps = Vec::new();
        loop {
            steps.push(handshake.read(sent, ALL));
            if !matches!(steps.last(), Some(Step::Answer(_))) {
                return steps;
            }
        }
    }

    #[test]
    fn a_request_is_read_when_its_last_byte_is_there_and_ends_there() {
        for (sent, version, answers) in [(SOCKS4, 4, 0), (SOCKS5, 5, 1)] {
            let (mut handshake, mut seen) = (fresh(), Vec::new());
            for end in 0..sent.len() {
                seen.extend(steps(&mut handshake, &sent[..end]));
            }
            seen.retain(|step| *step != Step::Incomplete);
            assert_eq!(seen.len(), answers, "{seen:?}");
            let behind = [sent, b"GET / HTTP/1.0\r\n\r\n"].concat();
            let Step::Request { length, request } = handshake.read(&behind, ALL) else {
                panic!("no request")
            };
            assert_eq!((length, request.port, request.version), (sent.len(), 80, version));
        }
    }

    #[test]
    fn everything_may_come_at_once() {
        let found = steps(&mut fresh(), &[SOCKS5, b"GET / HTTP/1.0\r\n\r\n"].concat());
        let [Step::Answer(reply), Step::Request { length, .. }] = &found[..] else { panic!("{found:?}") };
        assert_eq!((reply.bytes(), *length), (&[5, 0][..], SOCKS5.len()));
    }

    const LOGIN: &[u8] = b"\x05\x01\x02\x01\x05hnjoe\x08sesame\0x";

    #[test]
    fn a_login_ends_with_its_password_and_nothing_is_read_until_it_is_answered() {
        let sent = [LOGIN, &SOCKS5[4..], b"GET / HTTP/1.0\r\n\r\n"].concat();
        for end in 3..LOGIN.len() {
            assert_eq!(Handshake::Login(3).read(&sent[..end], ALL), Step::Incomplete);
        }
        let mut handshake = Handshake::Login(3);
        let Step::Login { length, login, start } = handshake.read(&sent, ALL) else { panic!("no login") };
        let credentials = login.credentials(&sent[start..]).unwrap();
        let read = (length, credentials.user.as_bytes(), credentials.password.as_bytes());
        assert_eq!(read, (LOGIN.len(), &b"hnjoe"[..], &b"sesame\0x"[..]));
        assert_eq!(handshake.read(&sent[length..], ALL), Step::Incomplete, "it is not answered");
        assert_eq!(handshake.verified().bytes(), [1, 0]);
        let Step::Request { length, .. } = handshake.read(&sent[length..], ALL) else { panic!("no request") };
        assert_eq!(length, SOCKS5.len() - 4);
    }

    #[test]
    fn a_login_is_refused_in_its_own_words_whatever_the_reason() {
        for why in [RefusalReason::NotAllowed, RefusalReason::General, RefusalReason::NoIdentd] {
            assert_eq!(Handshake::Login(3).refused(why).bytes(), [1, 1]);
            assert_eq!(Handshake::Verifying.refused(why).bytes(), [1, 1]);
        }
        for empty in [&b"\x05\x01\x02\x01\x00"[..], b"\x05\x01\x02\x01\x03joe\x00"] {
            let Step::Refused { reply: Some(reply), closed } = Handshake::Login(3).read(empty, ALL) else {
                panic!("not refused")
            };
            assert_eq!((reply.bytes(), closed), (&[1, 1][..], CloseReason::EmptyCredentials));
        }
        for version in [0, 5] {
            let step = Handshake::Login(3).read(&[5, 1, 2, version], ALL);
            assert_eq!(step, Step::Refused { reply: None, closed: CloseReason::WrongVersion(version) });
        }
    }

    #[test]
    fn another_protocol_is_known_by_its_first_byte() {
        for first in [0, 1, 6, b'G', 0x16] {
            let step = fresh().read(&[first], ALL);
            assert_eq!(step, Step::Refused { reply: None, closed: CloseReason::WrongVersion(first) });
        }
    }

    #[test]
    fn a_protocol_that_is_switched_off_is_refused_in_its_own_words() {
        let none = Protocols { socks4: false, socks5: false };
        for (sent, reply) in [(SOCKS4, &[0, 91, 0, 0, 0, 0, 0, 0][..]), (SOCKS5, &[5, 0xff])] {
            let Step::Refused { reply: Some(said), closed } = fresh().read(sent, none) else {
                panic!("not refused")
            };
            assert_eq!((said.bytes(), closed), (reply, CloseReason::WrongVersion(sent[0])));
        }
    }

    #[test]
    fn a_client_that_offers_nothing_acceptable_is_told_so() {
        for greeting in [&b"\x05\x00"[..], b"\x05\x01\x02", b"\x05\x02\x01\x80"] {
            let step = fresh().read(greeting, ALL);
            let Step::Refused { reply: Some(reply), closed: CloseReason::NoMethod(_) } = step else {
                panic!("{step:?}")
            };
            assert_eq!(reply.bytes(), [5, 0xff]);
        }
    }

    #[test]
    fn a_request_that_cannot_be_is_refused_for_its_own_reason() {
        let v4 = |user: &[u8], name: &[u8]| [&SOCKS4[..8], user, b"\0", name, b"\0"].concat();
        let v5 = |request: &[u8]| [&SOCKS5[..4], request].concat();
        for (sent, code) in [
            (b"\x04\x03".to_vec(), 91),
            (v4(b"joe", b""), 91),
            (v4(&[b'u'; 256], b"www.example"), 91),
            (v5(b"\x05\x04"), 7),
            (v5(b"\x05\x01\x00\x02"), 8),
            (v5(b"\x05\x01\x00\x03\x00\x00\x50"), 4),
        ] {
            let found = steps(&mut fresh(), &sent);
            let Some(Step::Refused { reply: Some(reply), .. }) = found.last() else { panic!("{found:?}") };
            assert_eq!(reply.bytes()[1], code, "{}", sent.escape_ascii());
        }
    }

    #[test]
    fn another_protocol_behind_a_greeting_is_not_answered() {
        let found = steps(&mut fresh(), b"\x05\x01\x00\x01\x7f");
        let wrong = Step::Refused { reply: None, closed: CloseReason::WrongVersion(1) };
        assert_eq!(found.last(), Some(&wrong));
    }

    proptest! {
        #[test]
        fn the_segments_make_no_difference(
            five in any::<bool>(), tail in any::<Vec<u8>>(), cut in 0..SOCKS5.len()
        ) {
            let sent = [if five { SOCKS5 } else { SOCKS4 }, &tail].concat();
            let (mut handshake, whole) = (fresh(), steps(&mut fresh(), &sent));
            let mut parts = steps(&mut handshake, &sent[..cut]);
            prop_assert_eq!(parts.pop(), Some(Step::Incomplete));
            parts.extend(steps(&mut handshake, &sent));
            prop_assert_eq!(parts, whole);
        }

        #[test]
        fn what_is_not_whole_is_shorter_than_the_longest_handshake(
            first in 4u8..6, sent in proptest::collection::vec(any::<u8>(), 0..700)
        ) {
            let sent = [&[first], &sent[..]].concat();
            match steps(&mut fresh(), &sent).pop() {
                Some(Step::Incomplete) => prop_assert!(sent.len() < LONGEST),
                Some(Step::Request { length, .. }) => {
                    prop_assert!(length <= sent.len() && length <= LONGEST);
                }
                _ => {}
            }
        }
    }
}
