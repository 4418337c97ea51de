//! The bytes of a message: postcard's encoding, one message to a packet.

use crate::message::Message;
use thiserror::Error;

/// No message is longer; a longer packet is a violation.
pub const MAX_PACKET: usize = 2048;

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// The bytes are no message of this channel.
    #[error("not a message of this channel ({length} bytes)")]
    Malformed {
        /// Length of the packet.
        length: usize,
    },
    /// A message is followed by further bytes.
    #[error("{surplus} bytes behind the message")]
    Surplus {
        /// Number of further bytes.
        surplus: usize,
    },
}

/// Writes `message` into `buffer` and gives the part that it takes.
///
/// Nothing is given where the message does not fit, which the bounds of the message types rule out for a buffer
/// of [`MAX_PACKET`] bytes; a test holds them against each other.
pub fn encode<'a, M: Message>(message: &M, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    postcard::to_slice(message, buffer).ok().map(|bytes| &*bytes)
}

/// Reads exactly one message.
pub fn decode<M: Message>(packet: &[u8]) -> Result<M, WireError> {
    match postcard::take_from_bytes(packet) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(WireError::Surplus { surplus: rest.len() }),
        Err(_) => Err(WireError::Malformed { length: packet.len() }),
    }
}
