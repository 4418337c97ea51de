//! Everything that monitor and workers may say to each other.
//!
//! One packet is one message. Messages carry no identity: who the client is, the monitor knows from its own
//! `accept`, and a session id means something only on the channel it was given to. Descriptors travel only
//! downwards, exactly one with each message that [`Message::carries_descriptor`] names.
//!
//! Every worker begins alike: the monitor queues `Setup`, the worker locks itself down and says `Ready`.
//!
//! A session, as the monitor and a session worker tell it:
//!
//! ```text
//! monitor                              session worker
//! Serve{id} + client        ------->   reads exactly the request
//!                           <-------   Request{id, command, destination, port, user}
//! (decides; asks identd, resolver)
//! Relay{id} + server        ------->   writes the granting reply, relays both ways
//!   or Refuse{id, code}     ------->   writes the refusing reply, closes
//!   or for BIND
//! Listening{id, address}    ------->   writes the first reply; later comes Relay or Refuse
//!                           <-------   Closed{id, up, down, why}
//! ```
//!
//! `End{id}` may come at any time after `Serve` and asks for an early `Closed`. `Closed` is the last word on
//! every session, whatever went before, and is said exactly once. Messages may cross: a worker that has said
//! `Closed` drops what still arrives for that id.
//!
//! A lookup, as the monitor and the resolver worker tell it:
//!
//! ```text
//! monitor                              resolver worker
//! Resolve{id, query}        ------->   answers from its hosts table or its cache, or
//!                           <-------   NeedSocket{id, transport, attempt}
//! Socket{id} + nameserver   ------->   asks with a fresh query id; may need a further socket
//!   or NoSocket{id}
//!                           <-------   Answer{id, answer}
//! ```
//!
//! `Cancel{id}` ends a lookup early; it is answered by `Answer` like every lookup, so that an id is free when
//! its answer has come. An ident worker hears `Ask{id, client_port, server_port}` with a socket connected to
//! port 113, and says `Answer{id, ..}` exactly once; `Cancel{id}` works as for lookups.
//!
//! Where a destination is reached through another SOCKS server, an upstream worker asks that server. The session
//! worker gets the socket only when the next server has granted exactly what the monitor decided on:
//!
//! ```text
//! monitor                              upstream worker
//! Ask{id, request} + next   ------->   writes the request, reads exactly the reply
//!                           <-------   Answer{id, reply}
//!   for BIND, once more                reads exactly the second reply
//!                           <-------   Answer{id, reply}
//! ```
//!
//! The monitor keeps a descriptor of its own of the same connection, and hands that one to the session worker with
//! `Relay`. `Cancel{id}` works as for lookups.

use crate::bounded::{Bytes, Few};
use core::net::{IpAddr, SocketAddr, SocketAddrV4};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Both programs must have been built from the same protocol: raised by one with every change in this file.
pub const PROTOCOL_VERSION: u16 = 3;

/// USERID and domain name each have at most this many bytes; longer ones are refused, never cut.
pub const MAX_NAME: usize = 255;

/// The user id that a client claims (SOCKS4 USERID), or the one that its identd reports.
pub type UserId = Bytes<MAX_NAME>;

/// A domain name in its textual form without the final dot, as it came from the network.
pub type Name = Bytes<MAX_NAME>;

/// Tells one session, lookup or identd query from the others on the same channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Id(pub u32);

/// A message of one direction of one role's channel.
pub trait Message: Serialize + DeserializeOwned {
    /// Whether exactly one descriptor travels with this message; no other message has any.
    fn carries_descriptor(&self) -> bool {
        false
    }
}

/// What the worker that says `Ready` has put between itself and the system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Locks {
    /// [`PROTOCOL_VERSION`] of the worker's program.
    pub protocol: u16,
    /// The Landlock ABI that the kernel offers; 0 without Landlock.
    pub landlock_abi: u8,
    /// Everything that this ABI can handle is denied.
    pub landlock_enforced: bool,
    /// Memory cannot become executable once it was writable (PR_SET_MDWE).
    pub memory_deny_write_execute: bool,
}

/// How a session worker moves bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RelayMode {
    /// Small amounts are copied through the worker's memory, bulk is spliced.
    Adaptive,
    /// Every byte goes from socket to pipe to socket and never enters the worker's memory.
    Splice,
}

/// Monitor to session worker.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToSession {
    /// The settings that a session worker needs; also sent again when they change.
    Setup {
        /// How bytes are moved.
        relay: RelayMode,
        /// A relay without a byte in either direction for this long is closed, in seconds.
        idle_limit: u32,
    },
    /// A client has connected; its socket comes with this message.
    Serve {
        /// The new session.
        id: Id,
    },
    /// BIND: the monitor listens at `address` for the server.
    Listening {
        /// The session.
        id: Id,
        /// Address and port for the first reply.
        address: SocketAddr,
    },
    /// The request is granted; the connected socket of the server comes with this message.
    Relay {
        /// The session.
        id: Id,
        /// The port and address for the reply: unspecified for CONNECT, the peer for BIND.
        bound: SocketAddr,
    },
    /// The request is refused.
    Refuse {
        /// The session.
        id: Id,
        /// The code of the reply.
        code: ReplyCode,
    },
    /// Close this session now, whatever it does.
    End {
        /// The session.
        id: Id,
    },
}

/// Session worker to monitor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FromSession {
    /// Locked down and waiting.
    Ready(Locks),
    /// A client's whole request has been read.
    Request {
        /// The session.
        id: Id,
        /// What the client asks for.
        request: Request,
    },
    /// The session has ended; its descriptors are closed.
    Closed {
        /// The session.
        id: Id,
        /// Bytes relayed from the client to the server.
        up: u64,
        /// Bytes relayed from the server to the client.
        down: u64,
        /// What ended it.
        why: End,
    },
}

/// A SOCKS request as it was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The version byte: 4 for SOCKS4 and SOCKS4A.
    pub version: u8,
    /// CONNECT or BIND.
    pub command: Command,
    /// Where to, or from where.
    pub destination: Destination,
    /// DSTPORT.
    pub port: u16,
    /// The claimed user id; may be empty.
    pub user: UserId,
}

/// What a client may ask for (SOCKS4 CD).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// CD 1: connect to the destination.
    Connect,
    /// CD 2: wait for a connection from the destination.
    Bind,
}

/// The destination of a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Destination {
    /// A numeric address.
    Address(IpAddr),
    /// A name for the proxy to resolve (SOCKS4A).
    Name(Name),
}

/// The code of a SOCKS4 reply (CD).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ReplyCode {
    /// 91: rejected or failed.
    Rejected,
    /// 92: the client's identd cannot be reached.
    NoIdentd,
    /// 93: identd reports another user.
    BadUser,
}

/// What ended a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum End {
    /// The request began with another version byte than 4; closed without a reply.
    WrongVersion(u8),
    /// Neither CONNECT nor BIND; answered with 91.
    UndefinedCommand(u8),
    /// The client closed before its request was complete.
    CutShort,
    /// The USERID is longer than [`MAX_NAME`]; answered with 91.
    UserTooLong,
    /// The domain name is empty or longer than [`MAX_NAME`]; answered with 91.
    BadName,
    /// The client closed, or its socket failed with this errno, before the relay began.
    ClientGone(Errno),
    /// The refusing reply has been sent.
    Refused,
    /// Relayed until both sides had closed.
    Finished,
    /// Reading from or writing to the client failed with this errno.
    ClientFailed(Errno),
    /// Reading from or writing to the server failed with this errno.
    ServerFailed(Errno),
    /// No byte for as long as `idle_limit` allows.
    Idle,
    /// The monitor said `End`.
    Ended,
    /// The worker lacks descriptors or memory for this session.
    NoResources,
}

/// A number of errno(3); 0 where no call failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Errno(pub u16);

/// At most this many addresses of a name are used.
pub const MAX_ADDRESSES: usize = 16;

/// At most this many names of an address are used.
pub const MAX_NAMES: usize = 4;

/// At most this many search domains of resolv.conf(5) are used, as in the C library of old.
pub const MAX_SEARCH: usize = 6;

/// Monitor to resolver worker.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToResolver {
    /// What resolv.conf(5) says besides the nameservers; also sent again when it changes, which empties the cache.
    Setup {
        /// Number of nameservers; attempt `n` goes to server `n` modulo this number. 0: hosts table only.
        servers: u8,
        /// Seconds that one attempt may take.
        timeout: u8,
        /// Times that each server is tried.
        attempts: u8,
        /// Names with fewer dots are first tried with the search domains.
        ndots: u8,
        /// The search domains.
        search: Few<Name, MAX_SEARCH>,
    },
    /// The hosts(5) file comes with this message, opened for reading; it replaces the table read before.
    Hosts,
    /// A new lookup.
    Resolve {
        /// The lookup.
        id: Id,
        /// What is to be found.
        query: Query,
    },
    /// The socket that was needed comes with this message, connected to the nameserver of that attempt.
    Socket {
        /// The lookup.
        id: Id,
    },
    /// There is no socket for this attempt: the nameserver cannot be reached or the limits are used up.
    NoSocket {
        /// The lookup.
        id: Id,
    },
    /// Nobody waits for this lookup any longer.
    Cancel {
        /// The lookup.
        id: Id,
    },
}

/// Resolver worker to monitor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FromResolver {
    /// Locked down and waiting.
    Ready(Locks),
    /// A connected socket to the nameserver of this attempt is needed.
    NeedSocket {
        /// The lookup.
        id: Id,
        /// Datagram or stream.
        transport: Transport,
        /// The number of the attempt, from 0: it chooses the nameserver.
        attempt: u8,
    },
    /// The lookup has ended.
    Answer {
        /// The lookup.
        id: Id,
        /// What was found.
        answer: Answer,
    },
}

/// How a nameserver is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP, after a truncated answer (RFC 7766).
    Tcp,
}

/// A question to the resolver.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// The addresses of a name: IPv4, or IPv6 where there is no IPv4 address.
    Addresses(Name),
    /// The names of an address, of which each has the address among its own (forward-confirmed).
    Names(IpAddr),
}

/// The resolver's answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Answers [`Query::Addresses`]; never empty.
    Addresses(Few<IpAddr, MAX_ADDRESSES>),
    /// Answers [`Query::Names`]; never empty.
    Names(Few<Name, MAX_NAMES>),
    /// There is no such name, or it has no such data.
    NotFound,
    /// No nameserver gave a usable answer in time, or the lookup was cancelled.
    Failed,
}

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
    Ready(Locks),
    /// The query has ended.
    Answer {
        /// The query.
        id: Id,
        /// The user that identd names, or nothing where it names none (RFC 1413 ERROR, garbage, silence).
        user: Option<IdentUser>,
    },
}

/// A user id from an identd answer: longer ones count as no answer.
pub type IdentUser = Bytes<64>;

/// Monitor to upstream worker.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToUpstream {
    /// Nothing to set up; the first message on every channel.
    Setup,
    /// Ask the SOCKS server at the other end of the socket that comes with this message.
    Ask {
        /// The query.
        id: Id,
        /// What to ask for; of IPv6 destinations only names.
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
    Ready(Locks),
    /// The next server has replied, or will not. The last word on a query, except for the first reply to a BIND.
    Answer {
        /// The query.
        id: Id,
        /// What it says.
        reply: NextReply,
    },
}

/// What came of asking a next server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NextReply {
    /// 90, with port and address as it sent them.
    Granted(SocketAddrV4),
    /// 91 to 93.
    Refused(ReplyCode),
    /// The first byte of the reply, which ought to be 0.
    WrongVersion(u8),
    /// The second byte of the reply, which ought to be 90 to 93.
    UnknownCode(u8),
    /// The connection has ended, with this errno, before a whole reply.
    Closed(Errno),
    /// The worker has not asked, or was told to give up.
    Cancelled,
}

/// Monitor to probe worker: a worker behind a session worker's locks that tries, for `sockd -ver`, what they forbid.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToProbe {
    /// Nothing to set up; the first message on every channel.
    Setup,
    /// Do this now.
    Try(Act),
}

/// What a probe worker tries. Outside the sandbox each would do no harm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Act {
    /// Open a file for reading.
    OpenFile,
    /// Make a TCP socket.
    MakeSocket,
    /// Start a program.
    StartProgram,
    /// Ask whether process 1 can be signalled.
    Signal,
    /// Map memory that is writable and executable.
    MapExecutable,
}

impl Act {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::OpenFile, Self::MakeSocket, Self::StartProgram, Self::Signal, Self::MapExecutable];
}

/// Probe worker to monitor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FromProbe {
    /// Locked down and waiting.
    Ready(Locks),
    /// The act did not end the worker.
    Survived {
        /// What the kernel answered; 0 where it was done.
        errno: Errno,
    },
}

impl Message for ToSession {
    fn carries_descriptor(&self) -> bool {
        matches!(self, Self::Serve { .. } | Self::Relay { .. })
    }
}

impl Message for ToResolver {
    fn carries_descriptor(&self) -> bool {
        matches!(self, Self::Hosts | Self::Socket { .. })
    }
}

impl Message for ToIdent {
    fn carries_descriptor(&self) -> bool {
        matches!(self, Self::Ask { .. })
    }
}

impl Message for ToUpstream {
    fn carries_descriptor(&self) -> bool {
        matches!(self, Self::Ask { .. })
    }
}

impl Message for FromSession {}
impl Message for FromResolver {}
impl Message for FromIdent {}
impl Message for FromUpstream {}
impl Message for ToProbe {}
impl Message for FromProbe {}

/// What a worker is for; the only argument of its program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Parses the requests of one client host and relays its data.
    Session,
    /// Asks the identd of one client host.
    Ident,
    /// Speaks DNS.
    Resolver,
    /// Asks the SOCKS server at one address.
    Upstream,
    /// Tries out the locks of a session worker, for `sockd -ver`.
    Probe,
}

impl Role {
    /// The word on the worker's command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Ident => "ident",
            Self::Resolver => "resolver",
            Self::Upstream => "upstream",
            Self::Probe => "probe",
        }
    }

    /// The role that a word on the command line names.
    pub fn from_word(word: &str) -> Option<Self> {
        let roles = [Self::Session, Self::Ident, Self::Resolver, Self::Upstream, Self::Probe];
        roles.into_iter().find(|role| role.word() == word)
    }
}

/// The descriptor of a worker's end of its channel; 0, 1 and 2 are /dev/null, and nothing else is open.
pub const CHANNEL_FD: i32 = 3;
