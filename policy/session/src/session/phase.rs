//! Where a session stands.

use crate::record::EndCause;
use crate::session::event::Fact;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The worker reads the request.
    Requesting,
    /// A fact is on its way.
    Asking(Fact),
    /// The monitor connects to a candidate.
    Dialling,
    /// The monitor waits for the server of a BIND.
    Listening,
    /// The monitor connects to a next server.
    DiallingUpstream,
    /// The next server has been asked.
    AskingUpstream,
    /// The next server waits for the peer of a BIND.
    AwaitingUpstreamPeer,
    /// The worker has both sockets.
    Relaying,
    /// The relay is over, and its connections are being closed.
    ClosingRelay(EndCause),
    /// The worker has been told to refuse.
    Refusing,
    /// The worker has been told to end before its request was read: one may be on its way still.
    ClosingUnread,
    /// The worker has been told to end.
    Closing,
}

impl Phase {
    /// Whether something else than the worker is waited for.
    pub fn waits(self) -> bool {
        use Phase::{Asking, AskingUpstream, AwaitingUpstreamPeer, Dialling, DiallingUpstream, Listening};
        matches!(
            self,
            Asking(_) | Dialling | Listening | DiallingUpstream | AskingUpstream | AwaitingUpstreamPeer
        )
    }
}
