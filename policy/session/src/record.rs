//! What is recorded of sessions: typed, so that the classic lines are one way to write it and counting is another.
//!
//! Strings in records are as they came from the network. Who writes them escapes them.

use crate::checks::Login;
use crate::flow::Moved;
use crate::limits::limit::Limit;
use sockd_common::message::session::{Methods, Offered};
use sockd_common::message::upstream::NextReply;
use sockd_common::message::{self, Errno};
use sockd_policy::{Command, DenyReason, HostName, Server, UserId, Version, guard};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// One thing that happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// There was no request, or none that can be read.
    Unread {
        /// Whose it was.
        client: SocketAddr,
        /// What was wrong with it.
        why: Unread,
    },
    /// A user has shown no password that is accepted, and is told so.
    LoginRefused {
        /// Whose it was.
        client: SocketAddr,
        /// The user that the client wants to be.
        user: message::UserId,
        /// Why; never that it was accepted.
        why: Login,
    },
    /// The request is permitted although identd names no user.
    Unverified(Parties),
    /// Both ends are there, and the relay begins; or datagrams of the client are relayed from now on.
    Connected(Parties),
    /// The request has come to nothing, and the client is told so.
    Refused {
        /// Whose it was.
        parties: Parties,
        /// Why.
        why: Failure,
    },
    /// The request has come to nothing, and nobody is told any more.
    Abandoned {
        /// Whose it was.
        parties: Parties,
        /// Why.
        why: Abandonment,
    },
    /// Somebody else than the peer of a BIND has come to its port and was sent away.
    Stranger {
        /// Whose BIND it is.
        parties: Parties,
        /// Who came.
        peer: SocketAddr,
    },
    /// So many strangers have come that have no record of their own.
    Strangers {
        /// Whose BIND it is.
        parties: Parties,
        /// How many.
        number: u32,
    },
    /// The rules that have come into force refuse what is being relayed.
    Revoked(Parties),
    /// A flow of an association is over.
    Flow {
        /// Whose it was.
        parties: Parties,
        /// What it has moved.
        moved: Moved,
    },
    /// The relay is over, or the association.
    Ended {
        /// Whose it was.
        parties: Parties,
        /// What ended it.
        why: EndCause,
        /// What it has moved.
        moved: Moved,
    },
}

impl Record {
    /// Whether the client has gone before its request was there.
    pub fn is_cut_short(&self) -> bool {
        matches!(self, Self::Unread { why: Unread::CutShort | Unread::ClientFailed(_), .. })
    }

    /// Whether it is the last one of its session: each session leaves one of these, or none where it is closed before its
    /// request.
    pub fn is_last(&self) -> bool {
        match self {
            Self::Unread { .. } | Self::LoginRefused { .. } | Self::Refused { .. } => true,
            Self::Abandoned { .. } | Self::Ended { .. } => true,
            Self::Unverified(_) | Self::Connected(_) | Self::Revoked(_) => false,
            Self::Stranger { .. } | Self::Strangers { .. } | Self::Flow { .. } => false,
        }
    }

    /// The line of the rules that has decided, where the record says that it has.
    pub fn deciding_rule(&self) -> Option<u32> {
        match self {
            Self::Connected(parties) => parties.rule,
            Self::Refused { why: Failure::Denied { rule, .. }, .. } => *rule,
            _ => None,
        }
    }

    /// Whether it is about a relay. There are no more of these than relays; of others a client can cause any number.
    pub fn is_about_relay(&self) -> bool {
        matches!(self, Self::Connected(_) | Self::Revoked(_) | Self::Ended { .. })
    }
}

/// Who wants what from whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parties {
    /// What the client asks for. Of an association as a whole there is no destination.
    pub command: Command,
    /// What the client speaks. The classic lines do not say it.
    pub version: Version,
    /// Where the client has connected from.
    pub client: SocketAddr,
    /// The client's verified name, where it has been asked for.
    pub client_name: Option<HostName>,
    /// The user that the client claims to be.
    pub claimed_user: UserId,
    /// The user that a password or identd has named.
    pub verified_user: Option<UserId>,
    /// It was a password.
    pub by_password: bool,
    /// The address that was tried last; the unspecified one is anybody's, of a BIND.
    pub destination: Option<IpAddr>,
    /// The name that was asked for, else the verified one, where it has been asked for.
    pub destination_name: Option<HostName>,
    /// The port that was asked for.
    pub port: u16,
    /// The port's name.
    pub service: Option<Arc<str>>,
    /// The port of the peer, of a BIND to which it has come.
    pub peer_port: Option<u16>,
    /// The next SOCKS server that was tried last.
    pub upstream: Option<SocketAddr>,
    /// The line of sockd.conf(5) that permits the request, where one does.
    pub rule: Option<u32>,
}

/// What ended a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// Both sides have ended their streams.
    Finished,
    /// The connection to the client has failed.
    ClientFailed(Errno),
    /// The connection to the server has failed.
    ServerFailed(Errno),
    /// No byte for as long as `idle_limit` or `half_close_limit` allows.
    Idle,
    /// The worker lacked descriptors or memory for it.
    NoResources,
    /// The rules that have come into force refuse it.
    Revoked,
    /// An administrator has ended it.
    Killed,
    /// The daemon stops.
    Stopped,
    /// The worker that had the sockets has ended.
    WorkerEnded,
    /// It was over, and the worker did not say so.
    Unsaid,
}

/// Why there is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It begins with the byte of another version, or of one that is switched off.
    WrongVersion(u8),
    /// The client offers no method of authentication that is acceptable.
    NoMethod {
        /// What it offers.
        offered: Offered,
        /// What the rules ask of it.
        wanted: Methods,
    },
    /// The client has shown an empty user or an empty password.
    EmptyCredentials,
    /// It is neither CONNECT nor BIND.
    UndefinedCommand(u8),
    /// Its destination is neither an IPv4 or IPv6 address nor a name.
    UndefinedAddressType(u8),
    /// The client has closed before all of it was there.
    CutShort,
    /// The connection to the client has failed.
    ClientFailed(Errno),
    /// It did not come in time.
    Late,
    /// The user id is too long.
    UserTooLong,
    /// The destination's name is empty or too long.
    BadName,
    /// The destination's name is no name of a host.
    NoHostName,
    /// The worker had no room for it.
    NoResources,
    /// There is one, but the balancer has said that nobody has connected to it.
    HealthCheck,
}

/// Why a request has come to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The rules refuse it.
    Denied {
        /// On what ground.
        why: DenyReason,
        /// The line of sockd.conf(5) that refuses it, where one does.
        rule: Option<u32>,
    },
    /// No line matches a client without a password, and this one has shown none. Of a client that offers both it is not
    /// asked for where a line permits clients of the same source without one.
    NoPassword,
    /// A line of socks.conf(5) refuses it; 0 where none matches.
    NoWay(u32),
    /// A line of socks.conf(5) or sockd.route(5) depends on the names of the destination, which could not be had.
    NamesUnavailable,
    /// It is refused whatever the rules say.
    Guarded(guard::Refusal),
    /// No line of sockd.route(5) matches the address.
    NoInterface(IpAddr),
    /// The destination's name has no address here, and no next server may look for one.
    Unresolved,
    /// A system call failed on the way to the destination or to a next server.
    Call(FailedCall),
    /// Nobody has answered in time.
    TimedOut,
    /// A line permits it, and has as many connections of this user or host as it may.
    Full {
        /// The line of sockd.conf(5).
        rule: u32,
        /// How many.
        limit: u32,
    },
    /// A limit of the settings is reached.
    Limited(Limit),
    /// A next server has not done what it was asked for.
    Upstream(UpstreamFailure),
}

/// Why a next server has not done what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamFailure {
    /// There is none that could be asked.
    NoneUsable,
    /// Its name has no address.
    Unresolved(Server),
    /// It is at an address that is never used.
    Guarded(SocketAddr, guard::Refusal),
    /// It has said this, and granted nothing.
    Replied(NextReply),
    /// Somebody else than the peer of the BIND has come to it.
    WrongPeer(SocketAddr),
}

/// Why nobody is told any more what became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandonment {
    /// The client has gone.
    ClientGone,
    /// The worker that has the client's socket has ended.
    WorkerEnded,
    /// An administrator has ended it.
    Killed,
    /// The daemon stops.
    Stopping,
}

/// A system call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedCall {
    /// The call's name.
    pub call: &'static str,
    /// What it failed with.
    pub errno: Errno,
}

impl FailedCall {
    /// Whether a connection has failed by the word of the other host or of the network, and not for something that this
    /// host lacks. EACCES is what a firewall on the way says over IPv6 (administratively prohibited).
    pub fn is_said_from_outside(self) -> bool {
        const CONNRESET: Errno = Errno(104);
        const ACCES: Errno = Errno(13);
        let said =
            [Errno::CONNREFUSED, Errno::TIMEDOUT, Errno::HOSTUNREACH, Errno::NETUNREACH, CONNRESET, ACCES];
        self.call == "connect" && said.contains(&self.errno)
    }
}
