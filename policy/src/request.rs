//! A request as the rules see it, and the facts about it.

use core::net::IpAddr;

use sockd_table::{FactState, HostName, Protocol};

use crate::embedded::Nat64Prefix;
use crate::user::UserId;

/// A request as the rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The client host, from `accept`, never from a message.
    pub source: IpAddr,
    /// The address that will be dialled; `None` for a name that this host does not resolve. A permit line with a network
    /// does not match such a destination. A deny line with a network does, because the name may lead into it.
    pub destination: Option<IpAddr>,
    /// The destination port.
    pub port: u16,
    /// The command that the client asks for.
    pub command: Command,
    /// The version of the protocol that the client speaks.
    pub version: Version,
    /// The user that the client claims to be.
    pub user: &'a UserId,
    /// The mode of lines without `?=`, from the options `-i` and `-I`.
    pub ident_default: IdentMode,
    /// The site's prefixes for IPv4 addresses inside IPv6 ones.
    pub nat64: &'a [Nat64Prefix],
}

/// A command that a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// A connection to the destination.
    Connect,
    /// A connection from the destination.
    Bind,
    /// Datagrams to the destination, and its answers. Only lines that name this command permit it.
    Udp,
}

impl Command {
    /// `connect`, `bind` or `udp`, as commands and `test_sockd_conf` have it.
    pub fn name(self) -> &'static str {
        match self {
            Command::Connect => "connect",
            Command::Bind => "bind",
            Command::Udp => "udp",
        }
    }
}

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// SOCKS4 and SOCKS4A.
    Socks4,
    /// SOCKS5.
    Socks5,
}

impl Request<'_> {
    /// Whether the client may be this user. SOCKS5 without a password claims no user; identd names the user then.
    pub(crate) fn may_be(&self, user: &UserId) -> bool {
        user == self.user || (self.version == Version::Socks5 && self.user.is_empty())
    }

    /// The command, the version and the way in which the client has shown who it is, as the table has them. identd is
    /// not asked before a line matches.
    pub(crate) fn protocol(&self, login: Option<Login>) -> Protocol {
        let commands = match self.command {
            Command::Connect => 1,
            Command::Bind => 2,
            Command::Udp => Protocol::UDP,
        };
        let versions = match self.version {
            Version::Socks4 => 1,
            Version::Socks5 => 2,
        };
        let methods = match login {
            Some(_) => Protocol::PASSWORD,
            None => Protocol::NONE | Protocol::IDENT,
        };
        Protocol { commands, versions, methods }
    }
}

/// Whether identd on the client host is asked who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentMode {
    /// It is not asked.
    Off,
    /// It is asked; a client host without an answer is let in.
    Lenient,
    /// It is asked; a client host without an answer is refused.
    Strict,
}

/// The facts found out so far. All names are forward-confirmed.
///
/// A fact that could not be had is [`FactState::Unavailable`], which is not the same as no name or no user: a line that
/// denies and depends on it refuses the request, and a line that permits and depends on it does not match.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// The names of the client host; empty if it has none.
    pub source_names: FactState<&'a [HostName]>,
    /// The names of the destination, that of a SOCKS4A request among them; empty if it has none.
    pub destination_names: FactState<&'a [HostName]>,
    /// The answer of identd.
    pub identity: FactState<&'a Identity>,
    /// The user that a password has shown the client to be, if one has.
    pub login: Option<Login<'a>>,
}

/// A user that a password has shown the client to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login<'a> {
    /// The user.
    pub user: &'a UserId,
    /// The groups of the user, with commas between them.
    pub groups: &'a [u8],
}

/// The methods by which clients may show who they are, as the rules ask for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Methods {
    /// Not at all.
    None,
    /// By a password.
    Password,
    /// By a password or not at all.
    Either,
}

impl Methods {
    /// Returns the methods of these bits. Without any, no method is wanted: the rules refuse the request.
    pub(crate) fn of(bits: u8) -> Methods {
        match (bits & Protocol::PASSWORD != 0, bits & Protocol::NONE != 0) {
            (false, _) => Methods::None,
            (true, false) => Methods::Password,
            (true, true) => Methods::Either,
        }
    }
}

/// The answer of identd on the client host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The connection belongs to this user. An empty id counts as [`Identity::Unknown`].
    Known(UserId),
    /// No identd, no answer in time, an error, or an answer that does not fit the question.
    Unknown,
}

/// A fact that has to be found out before there is a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The names of the client host.
    SourceNames,
    /// The names of the destination.
    DestinationNames,
    /// The answer of identd.
    Identity,
}
