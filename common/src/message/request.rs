//! The requests of clients, and the reasons for refusals.

use super::{Name, UserId};
use core::net::IpAddr;
use serde::{Deserialize, Serialize};

/// A SOCKS request as it was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The version byte: 4 for SOCKS4 and SOCKS4A, 5 for SOCKS5.
    pub version: u8,
    /// The command.
    pub command: Command,
    /// The destination; for BIND, the host that will connect. For UDP ASSOCIATE, a hint of the client's own address.
    pub destination: Destination,
    /// DSTPORT.
    pub port: u16,
    /// The claimed user id; may be empty. SOCKS5 has none.
    pub user: UserId,
}

/// The command of a request (SOCKS4 CD, SOCKS5 CMD).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// 1: connect to the destination.
    Connect,
    /// 2: wait for a connection from the destination.
    Bind,
    /// 3: relay datagrams (SOCKS5). Each of them names its destination.
    Associate,
}

/// The destination of a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Destination {
    /// A numeric address.
    Address(IpAddr),
    /// A name for the proxy to resolve (SOCKS4A, SOCKS5).
    Name(Name),
}

/// Why a request is refused. The worker that speaks the client's protocol chooses the code of the reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RefusalReason {
    /// Any reason not listed below: this host lacks something, or a next server has given no reason.
    General,
    /// The rules, the guards or the lack of a verified user.
    NotAllowed,
    /// No route leads to the destination's network.
    NetworkUnreachable,
    /// The network cannot reach the destination's host, or nobody knows the host's name.
    HostUnreachable,
    /// Nobody listens at the destination's port.
    ConnectionRefused,
    /// The destination did not answer in time.
    TimedOut,
    /// The command is unknown or switched off.
    CommandNotSupported,
    /// The address is of an unknown kind, or of one that cannot be passed on.
    AddressNotSupported,
    /// The client's identd cannot be reached or names nobody.
    NoIdentd,
    /// The client's identd names another user.
    IdentityMismatch,
}
