//! The choices that settings offer.

use serde::{Deserialize, Serialize};

/// Who may share a session worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// One client host.
    Client,
    /// One user of one client host, if identd names one: a client has a worker alone until then.
    User,
    /// Nobody: a fresh worker for every connection.
    Connection,
    /// All client hosts, by hash over this number of workers.
    Shared(u16),
}

impl Isolation {
    pub(super) fn check(self, crowded: Crowded) -> Result<(), String> {
        match (self, crowded) {
            (Self::Shared(0), _) => {
                Err("isolation: expected shared(n) with n from 1, found shared(0)".into())
            }
            (Self::User, Crowded::Share) => {
                Err("crowded: expected refuse with isolation: user, found share".into())
            }
            _ => Ok(()),
        }
    }
}

/// Whether there is a socket for administrators, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Socket {
    /// In the runtime directory of the service manager, if there is one.
    Auto,
    /// Nowhere.
    Off,
    /// At this path.
    At(String),
}

impl Socket {
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        match self {
            Self::At(path) if !path.starts_with('/') || path.len() > 100 => {
                Err(format!("{name}: expected a path from / on of at most 100 bytes, found {path:?}"))
            }
            _ => Ok(()),
        }
    }
}

/// How a client host is treated when no session worker has a place for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crowded {
    /// It gets the place of a worker that is idle or has no whole request. Without such a worker it is turned away.
    Refuse,
    /// It shares a worker with other client hosts, by hash.
    Share,
}

/// Whether all layers of the sandbox must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// Refuse to start when one is missing.
    Required,
    /// Start and report what is missing; seccomp is required even so.
    BestEffort,
}

/// A protocol that clients may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// SOCKS4 and SOCKS4A.
    Socks4,
    /// SOCKS5.
    Socks5,
}

/// The version of the header that names the client at listeners for balancers. The other version is rejected there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// In bytes, with a length.
    V2,
    /// A line of text.
    V1,
}

/// TCP keepalive (tcp(7)): seconds of silence before a probe, seconds between probes, and number of probes. The
/// connection has failed when that many probes are unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keepalive(pub u16, pub u16, pub u16);

impl Keepalive {
    /// Checks the kernel's limits: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL, MAX_TCP_KEEPCNT (include/net/tcp.h).
    pub(super) fn check(self) -> Result<(), String> {
        let Self(idle, interval, count) = self;
        match (1..=32_767).contains(&idle) && (1..=32_767).contains(&interval) && (1..=127).contains(&count) {
            true => Ok(()),
            false => Err(format!(
                "keepalive: expected two numbers from 1 to 32767 and one from 1 to 127, found ({idle}, {interval}, {count})"
            )),
        }
    }
}

/// Whether clients are asked for a password that the rules do not ask of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Only clients that no line of the rules would permit without one.
    Rules,
    /// All clients that offer one. A wrong password is a refusal then.
    Prefer,
}

/// The address in the reply to a granted CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoundAddress {
    /// Neither address nor port: zeros, as from the classic server. They reveal nothing of the proxy's networks.
    None,
    /// The proxy's end of the connection to the destination, for clients that use it as their own address.
    Real,
}

/// How requests for this host itself or its links are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalDestinations {
    /// A permit line must lie wholly inside them.
    Guarded,
    /// The rules alone decide.
    ByRules,
}

/// How a line that depends on unavailable names is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingNames {
    /// Unknown: a line that denies refuses the request, and one that permits does not match.
    Refuse,
    /// None, as in the classic server: a line that names a host does not match.
    NoMatch,
}

/// The port that a client's datagrams may come from. The address is always that of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UdpSource {
    /// The port of its first datagram.
    Any,
    /// The port that its request names, if any. A client behind a translator does not know it.
    Strict,
}

/// The log lines about datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UdpLog {
    /// One at the beginning and one at the end of each association.
    Associations,
    /// One more at the end of each flow.
    Flows,
}

/// How the lines about sessions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// As the classic server wrote them.
    Classic,
    /// One line for each record, with everything that is known about it.
    Full,
    /// The same as an object of JSON.
    Json,
    /// An object of JSON for the last record of each session alone.
    Session,
}

/// Whether the rules' commands are run, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Commands {
    /// Not at all.
    Off,
    /// By `/bin/sh -c`, as the classic server did.
    Sh,
    /// Without a shell: split at blanks, the first word is the path of a program.
    Argv,
}

/// Which names are passed on to a next server (SOCKS4A) instead of being resolved here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamNames {
    /// None.
    Never,
    /// The names that this host cannot resolve.
    Unresolved,
    /// All names whose route does not depend on their addresses.
    Always,
}
