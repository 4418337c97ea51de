//! The messages between a front and its hosts' processes.

use serde::{Deserialize, Serialize};
use sockd_common::message::Message;
use std::net::SocketAddrV4;

/// A message of a host's process.
#[derive(Deserialize, Serialize)]
pub(crate) enum Up {
    /// A session wants to be connected.
    Dial { session: u64, kept: u32, destination: SocketAddrV4 },
    /// A session is over.
    Ended { kept: u32 },
}

/// A message of the front, each with a descriptor.
#[derive(Deserialize, Serialize)]
pub(crate) enum Down {
    /// There is a new session; its sockets are kept at this place.
    Client { kept: u32 },
    /// The session is connected, or will be.
    Server { session: u64, is_connected: bool },
}

impl Message for Up {}

impl Message for Down {
    fn carries_descriptor(&self) -> bool {
        true
    }
}
