//! The resolver worker's channel.
//!
//! A lookup, as the monitor and the resolver worker tell it:
//!
//! ```text
//! monitor                              resolver worker
//! Resolve{id, query}        ------->   answers from its hosts table or its cache, or
//!                           <-------   NeedSocket{id, record, transport, attempt}
//! Socket{id, record}        ------->   asks with a fresh query id; may need a further socket
//!    + nameserver
//!   or NoSocket{id, record}
//!                           <-------   Answer{id, answer}
//! ```
//!
//! A lookup may ask for the IPv4 and the IPv6 addresses of a name at the same time, each on a socket of its own: it waits
//! for one socket at most for each type of record.
//!
//! `Cancel{id}` ends a lookup early. It is answered by `Answer` like every lookup, so that an id is free when its answer
//! has come.

use super::{Id, LockdownReport, Message, Name, Role, ToWorker};
use crate::bounded::BoundedVec;
use core::net::IpAddr;
use serde::{Deserialize, Serialize};

/// The most lookups at a time; any further one is answered with [`Answer::Failed`].
pub const MAX_LOOKUPS: u32 = 4096;

/// The most addresses of a name that are used.
pub const MAX_ADDRESSES: usize = 16;

/// The most names of an address that are used.
pub const MAX_NAMES: usize = 4;

/// The most search domains of resolv.conf(5) that are used, as in old C libraries.
pub const MAX_SEARCH: usize = 6;

/// Monitor to resolver worker.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToResolver {
    /// The contents of resolv.conf(5) besides the nameservers; sent again when they change, which empties the cache.
    Setup {
        /// Number of nameservers; attempt `n` goes to server `n` modulo this number. 0: hosts table only.
        servers: u8,
        /// Seconds that one attempt may take.
        timeout: u8,
        /// Times that each server is tried.
        attempts: u8,
        /// Names with fewer dots are first tried with the search domains.
        ndots: u8,
        /// Every question goes by TCP, and none by UDP.
        by_tcp: bool,
        /// The search domains.
        search: BoundedVec<Name, MAX_SEARCH>,
    },
    /// The hosts(5) file comes with this message, opened for reading; it replaces the table read before.
    Hosts,
    /// A new lookup.
    Resolve {
        /// The lookup.
        id: Id,
        /// The question.
        query: Query,
    },
    /// The socket that was needed comes with this message, connected to the nameserver of that attempt.
    Socket {
        /// The lookup.
        id: Id,
        /// The type of record that it needed the socket for.
        record: RecordType,
    },
    /// There is no socket for this attempt: the nameserver cannot be reached or the limits are used up.
    NoSocket {
        /// The lookup.
        id: Id,
        /// The type of record that it needed the socket for.
        record: RecordType,
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
    Ready(LockdownReport),
    /// A connected socket to the nameserver of this attempt is needed.
    NeedSocket {
        /// The lookup.
        id: Id,
        /// The type of record that it will ask for.
        record: RecordType,
        /// Datagram or stream.
        transport: Transport,
        /// The number of the attempt, from 0: it chooses the nameserver.
        attempt: u8,
    },
    /// The lookup has ended.
    Answer {
        /// The lookup.
        id: Id,
        /// The result.
        answer: Answer,
    },
}

/// The type of record that a nameserver is asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum RecordType {
    /// Its IPv4 addresses.
    A,
    /// Its IPv6 addresses.
    Aaaa,
    /// The name that this name, made from an address, points to.
    Ptr,
}

/// How a nameserver is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP: after a truncated answer (RFC 7766), or for every question.
    Tcp,
}

/// A question to the resolver.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// The addresses of a name as the client wrote it: those of IPv4, then those of IPv6.
    Addresses(Name),
    /// The names of an address, of which each has the address among its own (forward-confirmed).
    Names(IpAddr),
}

/// The resolver's answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Answers [`Query::Addresses`]; never empty.
    Addresses(BoundedVec<IpAddr, MAX_ADDRESSES>),
    /// Answers [`Query::Names`]; never empty.
    Names(BoundedVec<Name, MAX_NAMES>),
    /// There is no such name, or it has no such data.
    NotFound,
    /// No nameserver gave a usable answer in time, or the lookup was cancelled.
    Failed,
}

impl Message for ToResolver {
    fn carries_descriptor(&self) -> bool {
        matches!(self, Self::Hosts | Self::Socket { .. })
    }
}

impl ToWorker for ToResolver {
    const ROLE: Role = Role::Resolver;
}

impl Message for FromResolver {}
