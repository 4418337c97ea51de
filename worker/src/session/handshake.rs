//! The handshake: what a client says before its relay, as a state machine without a socket.
//!
//! A connection shows the handshake the bytes that wait in the client's socket. The handshake says how many of them
//! are a message, and the connection takes exactly those: whatever stands behind the last message is for the server.
//! A message that is not whole stays in the socket and is shown again with more behind it.

use crate::socks::v4::{self, Reading};
use sockd_common::message::request::{RefusalReason, Request};
use sockd_common::message::session::CloseReason;
use std::net::SocketAddr;

/// No message of a handshake is longer.
pub(super) const LONGEST: usize = v4::LONGEST;

/// A message to the client.
pub(super) type Reply = [u8; 8];

/// How far a client's handshake has come, and with it the protocol that the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handshake {
    /// No byte has been seen.
    Fresh,
    /// SOCKS4 or SOCKS4A: one message, the request.
    Socks4,
}

/// What the bytes amount to that have been shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Every one of them belongs to a message, and more must come.
    Incomplete,
    /// The first `length` bytes are the request, and end the handshake.
    Request {
        /// Bytes of the request.
        length: usize,
        /// What it says.
        request: Request,
    },
    /// They ask for something that cannot be. The client is told `why`, the monitor `closed`.
    Refused {
        /// For the client.
        why: RefusalReason,
        /// For the monitor.
        closed: CloseReason,
    },
    /// They are of no protocol that is spoken here, and are not answered.
    Foreign(CloseReason),
}

impl Handshake {
    /// Reads what the client has sent since the last message. The first step other than [`Step::Incomplete`] is the
    /// same for all segments in which the bytes may arrive.
    pub(super) fn read(&mut self, seen: &[u8]) -> Step {
        match (*self, seen) {
            (Self::Fresh, []) => Step::Incomplete,
            (Self::Fresh, [4, ..]) => {
                *self = Self::Socks4;
                self.read(seen)
            }
            (Self::Fresh, [version, ..]) => Step::Foreign(CloseReason::WrongVersion(*version)),
            (Self::Socks4, _) => match v4::read(seen) {
                Reading::Incomplete => Step::Incomplete,
                Reading::Complete { length, request } => Step::Request { length, request },
                Reading::Refused(closed) => Step::Refused { why: reason_of(closed), closed },
                Reading::Foreign(closed) => Step::Foreign(closed),
            },
        }
    }

    /// The reply that grants the request.
    pub(super) fn granted(self, bound: SocketAddr) -> Reply {
        v4::granted(bound)
    }

    /// The reply that refuses it.
    pub(super) fn refused(self, why: RefusalReason) -> Reply {
        v4::refused(why)
    }
}

/// What the client is told of a request that cannot be read.
fn reason_of(closed: CloseReason) -> RefusalReason {
    match closed {
        CloseReason::UndefinedCommand(_) => RefusalReason::CommandNotSupported,
        CloseReason::BadName => RefusalReason::HostUnreachable,
        _ => RefusalReason::General,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REQUEST: &[u8] = b"\x04\x01\x00\x50\x00\x00\x00\x01joe\0www.example\0";

    #[test]
    fn a_request_is_read_when_its_last_byte_is_there_and_ends_there() {
        let mut handshake = Handshake::Fresh;
        for end in 0..REQUEST.len() {
            assert_eq!(handshake.read(&REQUEST[..end]), Step::Incomplete, "{end} bytes");
        }
        let behind = [REQUEST, b"GET / HTTP/1.0\r\n"].concat();
        let Step::Request { length, request } = handshake.read(&behind) else { panic!("no request") };
        assert_eq!((length, request.port), (REQUEST.len(), 80));
    }

    #[test]
    fn another_protocol_is_known_by_its_first_byte() {
        for first in [0, 5, 6, b'G', 0x16] {
            let step = Handshake::Fresh.read(&[first]);
            assert_eq!(step, Step::Foreign(CloseReason::WrongVersion(first)));
        }
    }

    #[test]
    fn a_request_that_cannot_be_is_refused_for_its_own_reason() {
        let named = |user: &[u8], name: &[u8]| [&REQUEST[..8], user, b"\0", name, b"\0"].concat();
        for (seen, why) in [
            (b"\x04\x03".to_vec(), RefusalReason::CommandNotSupported),
            (named(b"joe", b""), RefusalReason::HostUnreachable),
            (named(&[b'u'; 256], b"www.example"), RefusalReason::General),
        ] {
            let step = Handshake::Fresh.read(&seen);
            assert!(matches!(step, Step::Refused { why: said, .. } if said == why), "{step:?}");
        }
    }

    proptest! {
        #[test]
        fn the_segments_make_no_difference(tail in any::<Vec<u8>>(), cut in 0..REQUEST.len()) {
            let sent = [REQUEST, &tail].concat();
            let mut handshake = Handshake::Fresh;
            prop_assert_eq!(handshake.read(&sent[..cut]), Step::Incomplete);
            prop_assert_eq!(handshake.read(&sent), Handshake::Fresh.read(&sent));
        }

        #[test]
        fn what_is_not_whole_is_shorter_than_the_longest_message(sent in any::<Vec<u8>>()) {
            match Handshake::Fresh.read(&sent) {
                Step::Incomplete => prop_assert!(sent.len() < LONGEST),
                Step::Request { length, .. } => prop_assert!(length <= sent.len() && length <= LONGEST),
                _ => {}
            }
        }
    }
}
