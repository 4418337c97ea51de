//! The bytes of a message: postcard's encoding, one message to a packet.

use crate::message::Message;
use thiserror::Error;

/// The most bytes of a message; a longer packet is a violation.
pub const MAX_PACKET: usize = 2048;

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// The bytes are not a message of this channel.
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

/// Writes `message` into `buffer` and returns the part that it fills.
///
/// `None` if the message does not fit. The bounds of the message types rule that out for a buffer of [`MAX_PACKET`]
/// bytes; a test compares them.
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
