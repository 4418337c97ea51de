//! The SOCKS protocol as bytes, without sockets: the messages of a client, and the replies to it.

pub mod next;
pub mod v4;
pub mod v5;

use sockd_common::message::session::CloseReason;

/// The meaning of the bytes that a client has sent so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading<T> {
    /// They are the beginning of a message. All of them belong to it, and more must come.
    Incomplete,
    /// The first `length` bytes are a whole message. The bytes behind them do not belong to it.
    Complete {
        /// Bytes of the message.
        length: usize,
        /// Its contents.
        message: T,
    },
    /// They cannot become a request that is served, and are answered with a refusal.
    Refused(CloseReason),
    /// They are of another protocol, and are not answered.
    Foreign(CloseReason),
}

/// The longest reply: SOCKS5 with an IPv6 address.
const LONGEST_REPLY: usize = 22;

/// A message to a client. It is written with one call, since some clients take a part for the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    bytes: [u8; LONGEST_REPLY],
    length: u8,
}

impl Reply {
    /// A reply of these bytes, at most [`LONGEST_REPLY`].
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut reply = Self { bytes: [0; LONGEST_REPLY], length: 0 };
        for (place, byte) in reply.bytes.iter_mut().zip(bytes) {
            *place = *byte;
            reply.length = reply.length.saturating_add(1);
        }
        reply
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}
