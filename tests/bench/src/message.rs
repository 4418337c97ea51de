//! What a front and its hosts' processes say to each other.

use serde::{Deserialize, Serialize};
use sockd_common::message::Message;
use std::net::SocketAddrV4;

/// What a host's process says.
#[derive(Deserialize, Serialize)]
pub(crate) enum Up {
    /// A session wants to be connected.
    Dial { session: u64, kept: u32, destination: SocketAddrV4 },
    /// A session is over.
    Ended { kept: u32 },
}

/// What the front says, each with a descriptor.
#[derive(Deserialize, Serialize)]
pub(crate) enum Down {
    /// There is a new session, and this is where its sockets are kept.
    Client { kept: u32 },
    /// The session that wanted to be connected is, or will be.
    Server { session: u64, is_connected: bool },
}

impl Message for Up {}

impl Message for Down {
    fn carries_descriptor(&self) -> bool {
        true
    }
}
