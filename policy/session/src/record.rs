//! The records of sessions. They are typed: the classic lines are one way to write them and counting is another.
//!
//! Strings in records are as they came from the network. Code that writes them escapes them.

use crate::checks::Login;
use crate::flow::Moved;
use crate::limits::limit::Limit;
use sockd_common::message::session::{Methods, Offered};
use sockd_common::message::upstream::NextReply;
use sockd_common::message::{self, Errno};
use sockd_policy::{Command, DenyReason, HostName, Server, UserId, Version, guard};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// One event in the life of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// No request came, or none that can be read.
    Unread {
        /// The client.
        client: SocketAddr,
        /// The fault of the request.
        why: Unread,
    },
    /// A user has shown no acceptable password, and is told so.
    LoginRefused {
        /// The client.
        client: SocketAddr,
        /// The user that the client wants to be.
        user: message::UserId,
        /// Why; never [`Login::Verified`].
        why: Login,
    },
    /// The request is permitted although identd names no user.
    Unverified(Parties),
    /// Both ends are connected, and the relay begins; or datagrams of the client are relayed from now on.
    Connected(Parties),
    /// The request has failed, and the client is told so.
    Refused {
        /// The parties of the request.
        parties: Parties,
        /// Why.
        why: Failure,
    },
    /// The request has failed, and nobody can be told.
    Abandoned {
        /// The parties of the request.
        parties: Parties,
        /// Why.
        why: Abandonment,
    },
    /// A stranger, not the peer of a BIND, has connected to its port and was sent away.
    Stranger {
        /// The parties of the BIND.
        parties: Parties,
        /// The stranger.
        peer: SocketAddr,
    },
    /// Further strangers have connected that have no record of their own.
    Strangers {
        /// The parties of the BIND.
        parties: Parties,
        /// The number of strangers.
        number: u32,
    },
    /// The rules that have come into force refuse the relay.
    Revoked(Parties),
    /// A flow of an association is over.
    Flow {
        /// The parties of the request.
        parties: Parties,
        /// The bytes that it has moved.
        moved: Moved,
    },
    /// The relay is over, or the association.
    Ended {
        /// The parties of the request.
        parties: Parties,
        /// Why it ended.
        why: EndCause,
        /// The bytes that it has moved.
        moved: Moved,
    },
}

impl Record {
    /// Whether the client has gone before its whole request had arrived.
    pub fn is_cut_short(&self) -> bool {
        matches!(self, Self::Unread { why: Unread::CutShort | Unread::ClientFailed(_), .. })
    }

    /// Whether it is the last record of its session. Each session leaves one such record, or none if it is closed
    /// before its request.
    pub fn is_last(&self) -> bool {
        match self {
            Self::Unread { .. } | Self::LoginRefused { .. } | Self::Refused { .. } => true,
            Self::Abandoned { .. } | Self::Ended { .. } => true,
            Self::Unverified(_) | Self::Connected(_) | Self::Revoked(_) => false,
            Self::Stranger { .. } | Self::Strangers { .. } | Self::Flow { .. } => false,
        }
    }

    /// The line of the rules that has decided, if the record reports a decision.
    pub fn deciding_rule(&self) -> Option<u32> {
        match self {
            Self::Connected(parties) => parties.rule,
            Self::Refused { why: Failure::Denied { rule, .. }, .. } => *rule,
            _ => None,
        }
    }

    /// Whether it is about a relay. Relays bound the number of such records; a client can cause any number of others.
    pub fn is_about_relay(&self) -> bool {
        matches!(self, Self::Connected(_) | Self::Revoked(_) | Self::Ended { .. })
    }
}

/// The client, its request and the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parties {
    /// The command that the client asks for. An association as a whole has no destination.
    pub command: Command,
    /// The version that the client speaks. The classic lines leave it out.
    pub version: Version,
    /// The address that the client has connected from.
    pub client: SocketAddr,
    /// The client's verified name, if it has been asked for.
    pub client_name: Option<HostName>,
    /// The user that the client claims to be.
    pub claimed_user: UserId,
    /// The user that a password or identd has named.
    pub verified_user: Option<UserId>,
    /// Whether a password has named the user.
    pub by_password: bool,
    /// The address that was tried last; the unspecified one stands for anybody in a BIND.
    pub destination: Option<IpAddr>,
    /// The name in the request, else the verified name, if it has been asked for.
    pub destination_name: Option<HostName>,
    /// The port in the request.
    pub port: u16,
    /// The port's name.
    pub service: Option<Arc<str>>,
    /// The port of the peer that has connected for a BIND.
    pub peer_port: Option<u16>,
    /// The next SOCKS server that was tried last.
    pub upstream: Option<SocketAddr>,
    /// The line of sockd.conf(5) that permits the request, if one does.
    pub rule: Option<u32>,
}

/// Why a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// Both sides have ended their streams.
    Finished,
    /// The connection to the client has failed.
    ClientFailed(Errno),
    /// The connection to the server has failed.
    ServerFailed(Errno),
    /// No byte has moved for as long as `idle_limit` or `half_close_limit` allows.
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
    /// The relay was over, and the worker did not say so.
    Unsaid,
}

/// Why there is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It begins with the byte of another version, or of a version that is switched off.
    WrongVersion(u8),
    /// The client offers no method of authentication that is acceptable.
    NoMethod {
        /// The methods it offers.
        offered: Offered,
        /// The methods that the rules accept.
        wanted: Methods,
    },
    /// The client has shown an empty user or an empty password.
    EmptyCredentials,
    /// Its command is unknown or not offered.
    UndefinedCommand(u8),
    /// Its destination is neither an IPv4 or IPv6 address nor a name.
    UndefinedAddressType(u8),
    /// The client has closed before the whole request had arrived.
    CutShort,
    /// The connection to the client has failed.
    ClientFailed(Errno),
    /// The request did not arrive in time.
    Late,
    /// The user id is too long.
    UserTooLong,
    /// The destination's name is empty or too long.
    BadName,
    /// The destination's name is not the name of a host.
    NoHostName,
    /// The worker had no room for the request.
    NoResources,
    /// A request came, but the balancer has said that no client has connected to it.
    HealthCheck,
}

/// Why a request has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The rules refuse it.
    Denied {
        /// The reason.
        why: DenyReason,
        /// The line of sockd.conf(5) that refuses it, if one does.
        rule: Option<u32>,
    },
    /// No line matches a client without a password, and this one has shown none. A client that offers both methods is
    /// not asked for a password if a line permits clients of the same source without one.
    NoPassword,
    /// A line of socks.conf(5) refuses it; 0 if none matches.
    NoWay(u32),
    /// A line of socks.conf(5) or sockd.route(5) depends on names of the destination that are unavailable.
    NamesUnavailable,
    /// A guard refuses it, whatever the rules say.
    Guarded(guard::Refusal),
    /// No line of sockd.route(5) matches the address.
    NoInterface(IpAddr),
    /// The destination's name has no address here, and no next server may look for one.
    Unresolved,
    /// A system call failed on the way to the destination or to a next server.
    Call(FailedCall),
    /// No answer has come in time.
    TimedOut,
    /// A line permits it, but has reached its limit of connections for this user or host.
    Full {
        /// The line of sockd.conf(5).
        rule: u32,
        /// The limit.
        limit: u32,
    },
    /// A limit of the settings is reached.
    Limited(Limit),
    /// A next server has failed.
    Upstream(UpstreamFailure),
}

/// Why a next server has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamFailure {
    /// No server could be asked.
    NoneUsable,
    /// Its name has no address.
    Unresolved(Server),
    /// Its address is never used.
    Guarded(SocketAddr, guard::Refusal),
    /// It has replied this instead of granting the request.
    Replied(NextReply),
    /// A stranger, not the peer of the BIND, has connected to it.
    WrongPeer(SocketAddr),
}

/// Why nobody can be told the outcome of a request.
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
    /// The error.
    pub errno: Errno,
}

impl FailedCall {
    /// Whether a connection has failed because the other host or the network said so. It has not if this host lacks
    /// something. EACCES stands for a firewall's answer over IPv6 (administratively prohibited).
    pub fn is_said_from_outside(self) -> bool {
        const CONNRESET: Errno = Errno(104);
        const ACCES: Errno = Errno(13);
        let said =
            [Errno::CONNREFUSED, Errno::TIMEDOUT, Errno::HOSTUNREACH, Errno::NETUNREACH, CONNRESET, ACCES];
        self.call == "connect" && said.contains(&self.errno)
    }
}
