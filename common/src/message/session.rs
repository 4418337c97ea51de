//! The session worker's channel.
//!
//! A session, as the monitor and a session worker tell it:
//!
//! ```text
//! monitor                              session worker
//! Serve{id, handshake} + client ---->  negotiates if the protocol does, reads exactly the request
//!   if the method is a password
//!                           <-------   Credentials{id, credentials}
//! (has the auth worker compare)
//! Verified{id}              ------->   says that they are accepted, reads exactly the request
//!   or Refuse{id, why}      ------->   says that they are not, closes
//!                           <-------   Request{id, command, destination, port, user}
//! (decides; asks identd, resolver)
//! Relay{id} + server        ------->   writes the granting reply, relays both ways
//!   or Refuse{id, why}      ------->   writes the refusing reply, closes
//!   or for BIND
//! Listening{id, address}    ------->   writes the first reply; later comes Relay or Refuse
//!   or for UDP ASSOCIATE
//! Associated{id, address}   ------->   writes the granting reply, and says Closed when the client has gone
//!                           <-------   Closed{id, why}
//! ```
//!
//! A client whose request another worker has read comes with `Serve` as well, which says how far that worker has got:
//! `Relay`, `Refuse` or `Listening` come next, and never a `Request`.
//!
//! There is one `Credentials` at most, before the `Request`. A worker that has said it reads nothing more of the client
//! until it has its answer.
//!
//! `End{id}` may come at any time after `Serve` and asks for an early `Closed`. `Closed` is the last word on every
//! session, whatever went before, and is said exactly once. Messages may cross: a worker that has said `Closed` drops
//! what still arrives for that id. Until then the monitor keeps its own descriptors of both sockets: it closes the
//! connections, counts their bytes and notices when they are idle.

use super::auth::Credentials;
use super::request::{Command, RefusalReason, Request};
use super::{Errno, Id, LockdownReport, Message, Role, ToWorker};
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// How a session worker moves bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayMode {
    /// Small amounts are copied through the worker's memory, bulk is spliced.
    Adaptive,
    /// Everything is spliced from socket to pipe to socket, as long as the worker has pipes.
    Splice,
}

/// The protocols that clients may speak. The first byte of a client says which one it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Protocols {
    /// SOCKS4 and SOCKS4A.
    pub socks4: bool,
    /// SOCKS5.
    pub socks5: bool,
}

impl Protocols {
    /// All of them.
    pub const ALL: Self = Self { socks4: true, socks5: true };
}

/// The methods by which a client may show who it is (SOCKS5). If there is none, every client is told so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Methods {
    /// Not at all.
    pub none: bool,
    /// By a password.
    pub password: bool,
    /// A client that offers both is asked for its password.
    pub prefer_password: bool,
}

impl Methods {
    /// Nothing is asked of the client.
    pub const NONE: Self = Self { none: true, password: false, prefer_password: false };
}

/// The methods that a client has offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Offered {
    /// None, 0.
    pub none: bool,
    /// GSSAPI, 1.
    pub gssapi: bool,
    /// A password, 2.
    pub password: bool,
    /// Any other.
    pub other: bool,
}

/// The progress of a client's handshake when a worker begins to serve it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Handshake {
    /// Nothing has been read. The client may show who it is by these methods.
    Fresh(Methods),
    /// Another worker has read a request of SOCKS4 or SOCKS4A, and exactly that.
    Socks4(Command),
    /// Another worker has read exactly a SOCKS5 request and the negotiation before it.
    Socks5(Command),
}

/// Monitor to session worker.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToSession {
    /// The settings that a session worker needs; also sent again when they change.
    Setup {
        /// How bytes are moved.
        relay: RelayMode,
        /// The protocols that clients may speak.
        protocols: Protocols,
    },
    /// A client has connected; its socket comes with this message.
    Serve {
        /// The new session.
        id: Id,
        /// The progress that the client has made with another worker.
        handshake: Handshake,
    },
    /// The credentials are accepted.
    Verified {
        /// The session.
        id: Id,
    },
    /// BIND: the monitor listens at `address` for the server.
    Listening {
        /// The session.
        id: Id,
        /// Address and port for the first reply.
        address: SocketAddr,
    },
    /// UDP ASSOCIATE is granted: datagrams of the client are expected at `address`.
    Associated {
        /// The session.
        id: Id,
        /// Address and port for the reply.
        address: SocketAddr,
    },
    /// The request is granted; the connected socket of the server comes with this message.
    Relay {
        /// The session.
        id: Id,
        /// The port and address for the reply: unspecified for CONNECT, the peer for BIND.
        bound: SocketAddr,
    },
    /// The request is refused, or the credentials are, or it has not come in time.
    Refuse {
        /// The session.
        id: Id,
        /// The reason for the reply. Refused credentials have a single reply.
        why: RefusalReason,
    },
    /// Close this session now, whatever it does.
    End {
        /// The session.
        id: Id,
    },
}

/// Session worker to monitor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromSession {
    /// Locked down and waiting.
    Ready(LockdownReport),
    /// A client has sent these.
    Credentials {
        /// The session.
        id: Id,
        /// Neither part is empty.
        credentials: Credentials,
    },
    /// A client's whole request has been read.
    Request {
        /// The session.
        id: Id,
        /// The request.
        request: Request,
    },
    /// The session has ended; the worker has closed its own descriptors.
    Closed {
        /// The session.
        id: Id,
        /// The cause.
        why: CloseReason,
    },
}

/// The cause of a session's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CloseReason {
    /// A message began with the byte of another version, or of one that is switched off.
    WrongVersion(u8),
    /// SOCKS5: the client offers no method that is acceptable; answered with FF.
    NoMethod(Offered),
    /// SOCKS5: the user or the password is empty, which nobody has; refused.
    EmptyCredentials,
    /// None of the [`Command`]s, or not one of this protocol; refused.
    UndefinedCommand(u8),
    /// SOCKS5: neither an IPv4 or IPv6 address nor a name; refused.
    UndefinedAddressType(u8),
    /// The client closed before its request was complete.
    CutShort,
    /// The USERID is longer than [`MAX_NAME`](super::MAX_NAME); refused.
    UserTooLong,
    /// The domain name is empty or longer than [`MAX_NAME`](super::MAX_NAME); refused.
    BadName,
    /// The client closed, or its socket failed with this errno, before the relay began.
    ClientGone(Errno),
    /// The refusing reply has been sent.
    Refused,
    /// Relayed until both sides had closed; for an association, the client has closed.
    Finished,
    /// Reading from or writing to the client failed with this errno.
    ClientFailed(Errno),
    /// Reading from or writing to the server failed with this errno.
    ServerFailed(Errno),
    /// The monitor said `End`.
    Ended,
    /// The worker lacks descriptors or memory for this session.
    NoResources,
}

impl Message for ToSession {
    const LONGEST: usize = 64;

    fn carries_descriptor(&self) -> bool {
        matches!(self, Self::Serve { .. } | Self::Relay { .. })
    }
}

impl ToWorker for ToSession {
    const ROLE: Role = Role::Session;
}

impl Message for FromSession {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{MAX_PACKET, encode};

    #[test]
    fn no_message_to_a_session_worker_is_longer_than_it_says() {
        let (id, address) = (Id(u32::MAX), SocketAddr::from(([u16::MAX; 8], u16::MAX)));
        let handshake = Handshake::Fresh(Methods { none: true, password: true, prefer_password: true });
        for message in [
            ToSession::Setup { relay: RelayMode::Splice, protocols: Protocols::ALL },
            ToSession::Serve { id, handshake },
            ToSession::Serve { id, handshake: Handshake::Socks5(Command::Associate) },
            ToSession::Verified { id },
            ToSession::Listening { id, address },
            ToSession::Associated { id, address },
            ToSession::Relay { id, bound: address },
            ToSession::Refuse { id, why: RefusalReason::General },
            ToSession::End { id },
        ] {
            let length = encode(&message, &mut [0; MAX_PACKET]).map(<[u8]>::len);
            assert!(length.is_some_and(|length| length <= ToSession::LONGEST), "{message:?}: {length:?}");
        }
    }
}
