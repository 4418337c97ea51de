//! What a client asks for, and what it is answered.

use super::{Name, UserId};
use core::net::IpAddr;
use serde::{Deserialize, Serialize};

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
