//! The phases of a session.

use crate::record::EndCause;
use sockd_common::ledger;

/// The phase of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The worker reads the request.
    Requesting,
    /// The password that the worker has read is being checked.
    Verifying,
    /// Facts have been asked for.
    Asking,
    /// The client is moved to the worker of its user.
    Settling,
    /// The monitor connects to a candidate.
    Dialling,
    /// The monitor waits for the server of a BIND.
    Listening,
    /// The addresses of a next server are being looked up.
    FindingUpstream,
    /// The monitor connects to a next server.
    DiallingUpstream,
    /// The next server has been asked.
    AskingUpstream,
    /// The next server waits for the peer of a BIND.
    AwaitingUpstreamPeer,
    /// The port for the datagrams of the client is being opened.
    Associating,
    /// Datagrams are relayed.
    Associated,
    /// The association is over, and its flows are being ended.
    Dissociating,
    /// The same, and the session worker has closed the connection.
    DissociatingClosed,
    /// The worker has both sockets.
    Relaying,
    /// The relay is over, and its connections are being closed.
    ClosingRelay(EndCause),
    /// The worker has been told to refuse.
    Refusing,
    /// The worker has been told to end or to refuse before a request was read: one may still be under way.
    ClosingUnread,
    /// The worker has been told to end.
    Closing,
}

impl Phase {
    /// Whether there is an association, or there is about to be one.
    pub(super) fn is_of_association(self) -> bool {
        matches!(self, Self::Associating | Self::Associated | Self::Dissociating | Self::DissociatingClosed)
    }

    /// The phase in the ledger.
    pub fn listed(self) -> ledger::Phase {
        match self {
            Self::Requesting => ledger::Phase::Requesting,
            Self::Verifying => ledger::Phase::Verifying,
            Self::Asking | Self::Settling => ledger::Phase::Deciding,
            Self::Dialling | Self::Associating => ledger::Phase::Dialling,
            Self::Listening => ledger::Phase::Waiting,
            Self::FindingUpstream
            | Self::DiallingUpstream
            | Self::AskingUpstream
            | Self::AwaitingUpstreamPeer => ledger::Phase::Upstream,
            Self::Relaying => ledger::Phase::Relaying,
            Self::Associated => ledger::Phase::Associated,
            Self::Dissociating
            | Self::DissociatingClosed
            | Self::ClosingRelay(_)
            | Self::Refusing
            | Self::ClosingUnread
            | Self::Closing => ledger::Phase::Closing,
        }
    }

    /// Whether no request has been read yet.
    pub fn is_before_request(self) -> bool {
        matches!(self, Self::Requesting | Self::Verifying)
    }

    /// Whether the session waits for its worker alone.
    pub(super) fn rests(self) -> bool {
        use ledger::Phase::{Associated, Closing, Relaying};
        matches!(self.listed(), Relaying | Associated | Closing)
    }
}
