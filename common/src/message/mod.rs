//! Everything that monitor and workers may say to each other, a file for each role.
//!
//! One packet is one message. Messages carry no identity: the monitor knows from its own `accept` who the client is,
//! and an id means something only on the channel that it was given to. Descriptors travel downwards only, exactly one
//! with each message that [`Message::carries_descriptor`] names.
//!
//! Every worker begins alike: the monitor queues `Setup`, the worker locks itself down and says `Ready`. The rest is
//! told at the top of each role's file.

pub mod auth;
pub mod datagram;
pub mod ident;
pub mod probe;
pub mod request;
pub mod resolver;
pub mod session;
pub mod takeover;
pub mod upstream;

use crate::bounded::BoundedBytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The version of the protocol, which both programs must share: it rises by one with every change of a message.
pub const PROTOCOL_VERSION: u16 = 9;

/// The most bytes of a USERID and of a domain name; longer ones are refused, never cut.
pub const MAX_NAME: usize = 255;

/// The user id that a client claims (SOCKS4 USERID), or the one that its identd reports.
pub type UserId = BoundedBytes<MAX_NAME>;

/// A domain name in its textual form without the final dot, as it came from the network.
pub type Name = BoundedBytes<MAX_NAME>;

/// Tells one session, lookup or identd query from the others on the same channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Id(pub u32);

/// A message of one direction of one role's channel.
pub trait Message: Serialize + DeserializeOwned {
    /// The most bytes of such a message, if a shorter buffer than that for any message is of use.
    const LONGEST: usize = usize::MAX;

    /// Whether exactly one descriptor travels with this message; no other message has any.
    fn carries_descriptor(&self) -> bool {
        false
    }
}

/// A message to the workers of one role.
pub trait ToWorker: Message {
    /// The role.
    const ROLE: Role;
}

/// The locks that a worker has put on itself when it says `Ready`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LockdownReport {
    /// [`PROTOCOL_VERSION`] of the worker's program.
    pub protocol: u16,
    /// The Landlock ABI that the kernel offers; 0 without Landlock.
    pub landlock_abi: u8,
    /// Everything that this ABI can handle is denied.
    pub landlock_enforced: bool,
    /// Memory cannot become executable once it was writable (PR_SET_MDWE).
    pub memory_deny_write_execute: bool,
}

/// A number of errno(3); 0 if no call failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Errno(pub u16);

/// The errors that a network reports for a destination.
impl Errno {
    /// No route leads to the network.
    pub const NETUNREACH: Self = Self::of(rustix::io::Errno::NETUNREACH);
    /// The host does not speak this family of addresses.
    pub const AFNOSUPPORT: Self = Self::of(rustix::io::Errno::AFNOSUPPORT);
    /// The host has no address of this family to speak from.
    pub const ADDRNOTAVAIL: Self = Self::of(rustix::io::Errno::ADDRNOTAVAIL);
    /// The network cannot reach the host.
    pub const HOSTUNREACH: Self = Self::of(rustix::io::Errno::HOSTUNREACH);
    /// Nobody listens at the port.
    pub const CONNREFUSED: Self = Self::of(rustix::io::Errno::CONNREFUSED);
    /// The host has not answered in time.
    pub const TIMEDOUT: Self = Self::of(rustix::io::Errno::TIMEDOUT);

    /// A number of the system's; the kernel has none above 4095.
    pub const fn of(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error().unsigned_abs() as u16)
    }
}

/// The purpose of a worker; the first argument of its program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Parses the requests of one client host and relays its data.
    Session,
    /// Relays the datagrams of one client host.
    Datagram,
    /// Asks the identd of one client host.
    Ident,
    /// Speaks DNS.
    Resolver,
    /// Asks the SOCKS server at one address.
    Upstream,
    /// Compares passwords with the table of users.
    Auth,
    /// Tries out the locks of a session worker, for `sockd -ver`.
    Probe,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Session, Self::Datagram, Self::Ident, Self::Resolver, Self::Upstream, Self::Auth, Self::Probe];

    /// The word on the worker's command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Datagram => "datagram",
            Self::Ident => "ident",
            Self::Resolver => "resolver",
            Self::Upstream => "upstream",
            Self::Auth => "auth",
            Self::Probe => "probe",
        }
    }

    /// The number of pipes that a worker is started with: its filter permits no call that makes one.
    pub const fn pipes(self) -> usize {
        match self {
            Self::Session => PIPES,
            _ => 0,
        }
    }
}

/// The word after the role for a worker that may be root, because no other user could be given to it.
pub const AS_ROOT: &str = "as-root";

/// The descriptor of a worker's end of its channel; 0, 1 and 2 are /dev/null, and nothing else is open.
pub const CHANNEL_FD: i32 = 3;

/// The descriptor behind the channel.
pub const FIRST_PIPE_FD: i32 = CHANNEL_FD + 1;

/// The number of pipes that a session worker is started with, as it cannot make any. Their ends, for reading and for
/// writing in turn, are its descriptors from [`FIRST_PIPE_FD`] on.
pub const PIPES: usize = 8;
