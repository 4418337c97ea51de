//! The ident worker's channel.
//!
//! An ident worker hears `Ask{id, client_port, server_port}` with a socket that is connected to port 113, and says
//! `Answer{id, ..}` exactly once. `Cancel{id}` works as for lookups.

use super::{Id, LockdownReport, Message, Role, ToWorker};
use crate::bounded::BoundedBytes;
use serde::{Deserialize, Serialize};

/// Monitor to ident worker.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToIdent {
    /// Nothing to set up; the first message on every channel.
    Setup,
    /// Ask the identd at the other end of the socket that comes with this message.
    Ask {
        /// The query.
        id: Id,
        /// The client's port of the connection that is asked about.
        client_port: u16,
        /// The proxy's port of the connection that is asked about.
        server_port: u16,
    },
    /// Nobody waits for this answer any longer.
    Cancel {
        /// The query.
        id: Id,
    },
}

/// Ident worker to monitor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FromIdent {
    /// Locked down and waiting.
    Ready(LockdownReport),
    /// The query has ended.
    Answer {
        /// The query.
        id: Id,
        /// The user that identd names; `None` if it names none (RFC 1413 ERROR, garbage, silence).
        user: Option<IdentUser>,
    },
}

/// A user id from an identd answer: longer ones count as no answer.
pub type IdentUser = BoundedBytes<64>;

impl Message for ToIdent {
    fn carries_descriptor(&self) -> bool {
        matches!(self, Self::Ask { .. })
    }
}

impl ToWorker for ToIdent {
    const ROLE: Role = Role::Ident;
}

impl Message for FromIdent {}
