//! The upstream worker's channel.
//!
//! If a destination is reached through another SOCKS server, an upstream worker asks that server. The session worker
//! gets the socket only after that server has granted exactly the request that the monitor decided on:
//!
//! ```text
//! monitor                              upstream worker
//! Ask{id, request} + server ------->   writes the request, reads exactly the reply
//!                           <-------   Answer{id, reply}
//!   for BIND, once more                reads exactly the second reply
//!                           <-------   Answer{id, reply}
//! ```
//!
//! The monitor keeps its own descriptor of the same connection, and hands it to the session worker with `Relay`.
//! `Cancel{id}` works as for lookups.

use super::request::{RefusalReason, Request};
use super::{Errno, Id, LockdownReport, Message, Role, ToWorker};
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// Monitor to upstream worker.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToUpstream {
    /// Nothing to set up; the first message on every channel.
    Setup,
    /// Ask the SOCKS server at the other end of the socket that comes with this message.
    Ask {
        /// The query.
        id: Id,
        /// The request, in the version of the protocol that the server is asked in. SOCKS4 can only name IPv6
        /// destinations, and SOCKS5 tells no user.
        request: Request,
    },
    /// Nobody waits for this answer any longer.
    Cancel {
        /// The query.
        id: Id,
    },
}

/// Upstream worker to monitor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FromUpstream {
    /// Locked down and waiting.
    Ready(LockdownReport),
    /// The next server has replied, or will not. The last word on a query, except for the first reply to a BIND.
    Answer {
        /// The query.
        id: Id,
        /// The reply.
        reply: NextReply,
    },
}

/// The result of asking a next server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NextReply {
    /// Port and address as it sent them.
    Granted(SocketAddr),
    /// It refuses.
    Refused(RefusalReason),
    /// SOCKS4: the first byte of the reply, which ought to be 0.
    WrongVersion(u8),
    /// SOCKS4: the second byte of the reply, which ought to be 90 to 93.
    UnknownCode(u8),
    /// SOCKS5: the first byte of an answer, which ought to be 5.
    NoSocks5(u8),
    /// SOCKS5: it demands authentication.
    NoMethod,
    /// SOCKS5: it grants the request with an address of this kind, which ought to be 1 or 4.
    UnknownAddressType(u8),
    /// The connection has ended, with this errno, before a whole reply.
    Closed(Errno),
    /// The worker has not asked, or was told to give up.
    Cancelled,
}

impl Message for ToUpstream {
    fn carries_descriptor(&self) -> bool {
        matches!(self, Self::Ask { .. })
    }
}

impl ToWorker for ToUpstream {
    const ROLE: Role = Role::Upstream;
}

impl Message for FromUpstream {}
