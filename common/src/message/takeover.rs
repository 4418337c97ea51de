//! The messages between two versions of sockd while one takes over from the other.
//!
//! This channel joins two programs of different ages, and a control process with either. So its messages are few, and
//! tell nothing of sessions. Their bytes never change: a later version adds messages at the end, and sends them only to
//! a peer whose version knows them.
//!
//! The new side says [`ToServing::Hello`] and is told [`FromServing::About`]. A control process goes on with `Reload`. A
//! new monitor asks for one socket after the other with `Take`, says `Go` once it can serve, and keeps the channel: it
//! hears what is `Left`, and may say `Recheck` and `End`.

use super::Message;
use crate::bounded::BoundedBytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The newest version that this program speaks.
pub const VERSION: u8 = 1;

/// How long each side of a takeover waits for the other's next message. A message takes milliseconds, but a new monitor
/// that starts its first worker may take this long on a host that swaps. A stopped process holds nobody up for longer:
/// the serving daemon has lost nothing, and another process can take over.
pub const SILENCE: Duration = Duration::from_secs(20);

/// How long a side waits for another process to read all files: a million rules take seconds. Together with [`SILENCE`]
/// this is less than TimeoutStartSec= of the units, so that a process that gives up can say why.
pub const READING: Duration = Duration::from_secs(60);

/// The new side to the monitor that serves, or drains.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToServing {
    /// The first message.
    Hello {
        /// The sender's [`VERSION`].
        version: u8,
    },
    /// Read the files again, and report the result.
    Reload,
    /// Hand over the socket at this place. The first one is at 0.
    Take {
        /// The place.
        place: u16,
    },
    /// Accept no more clients and drain: the sockets are served.
    Go,
    /// Read the files again, and end whatever they forbid; everything if they cannot be read.
    Recheck,
    /// End, as at SIGTERM.
    End,
    /// The files have errors, and so nothing is read again.
    Unreadable,
    /// The monitor that took over from your old peer has this channel, and serves.
    Serves {
        /// Its process id.
        pid: u32,
    },
}

/// The monitor that serves, or drains, to the new side.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FromServing {
    /// In answer to `Hello`.
    About(About),
    /// In answer to `Reload`.
    Reloaded {
        /// Whether the files that were read are in force.
        in_force: bool,
    },
    /// In answer to `Take`: a socket, which comes with it.
    Socket {
        /// Its purpose.
        kind: SocketKind,
        /// Its name.
        name: SocketName,
    },
    /// In answer to `Take`: all sockets have been handed over.
    Last,
    /// In answer to `Take`: another process is taking over. Before the end of the connection: the receiver has been
    /// silent for too long, and may no longer take over.
    Busy,
    /// Everything that it still has open while it drains.
    Left(Totals),
    /// Instead of `Last`: an administrator wants no new clients, of whichever tree.
    LastClosed,
    /// In answer to `Reload`: the process that reads the files has ended, and nothing is read again.
    NoLoader,
}

/// A socket's name.
pub type SocketName = BoundedBytes<255>;

/// The process that serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct About {
    /// Its [`VERSION`].
    pub version: u8,
    /// Its process id.
    pub pid: u32,
    /// Tells its programs from others.
    pub build: u64,
    /// Microseconds of silence after which the service manager kills it; 0 if it does not.
    pub watchdog: u64,
    /// It notifies a service manager.
    pub managed: bool,
}

/// The purpose of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SocketKind {
    /// Clients connect to it. The daemon has opened it.
    Listener,
    /// The same, but the process that started the daemon has it open as well.
    Activated,
    /// A process that takes over connects to it.
    Takeover,
    /// It leads to an older tree that drains, as this channel will.
    Older {
        /// The process id of that tree's monitor.
        pid: u32,
    },
    /// Administrators connect to it. Its path says which one it is.
    Door,
}

/// The open objects of a tree, of every kind that has a limit in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Sessions.
    pub sessions: u32,
    /// Workers.
    pub workers: u32,
    /// Requests that are not finished.
    pub requests: u32,
    /// Lookups.
    pub lookups: u32,
    /// Questions to identds.
    pub idents: u32,
    /// Ports of BINDs.
    pub binds: u32,
    /// Flows of associations.
    pub flows: u32,
}

impl Totals {
    /// The sums for two trees.
    pub fn plus(self, other: Self) -> Self {
        Self {
            sessions: self.sessions.saturating_add(other.sessions),
            workers: self.workers.saturating_add(other.workers),
            requests: self.requests.saturating_add(other.requests),
            lookups: self.lookups.saturating_add(other.lookups),
            idents: self.idents.saturating_add(other.idents),
            binds: self.binds.saturating_add(other.binds),
            flows: self.flows.saturating_add(other.flows),
        }
    }
}

impl Message for ToServing {}

impl Message for FromServing {
    fn carries_descriptor(&self) -> bool {
        matches!(self, Self::Socket { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{MAX_PACKET, decode, encode};

    fn bytes(message: &impl Message) -> Vec<u8> {
        encode(message, &mut [0; MAX_PACKET]).unwrap().to_vec()
    }

    #[test]
    fn the_bytes_of_version_1_never_change() {
        let messages = [
            (ToServing::Hello { version: 1 }, &[0, 1][..]),
            (ToServing::Reload, &[1]),
            (ToServing::Take { place: 300 }, &[2, 0xAC, 2]),
            (ToServing::Go, &[3]),
            (ToServing::Recheck, &[4]),
            (ToServing::End, &[5]),
            (ToServing::Unreadable, &[6]),
            (ToServing::Serves { pid: 300 }, &[7, 0xAC, 2]),
        ];
        for (message, expected) in messages {
            assert_eq!(bytes(&message), expected, "{message:?}");
        }
        let name = SocketName::new(b"ab").unwrap();
        let about = About { version: 1, pid: 2, build: 3, watchdog: 4, managed: true };
        let left = Totals { sessions: 1, workers: 2, requests: 3, lookups: 4, idents: 5, binds: 6, flows: 7 };
        let socket = |kind| FromServing::Socket { kind, name: name.clone() };
        let messages = [
            (FromServing::About(about), &[0, 1, 2, 3, 4, 1][..]),
            (FromServing::Reloaded { in_force: true }, &[1, 1]),
            (socket(SocketKind::Listener), &[2, 0, 2, b'a', b'b']),
            (socket(SocketKind::Activated), &[2, 1, 2, b'a', b'b']),
            (socket(SocketKind::Takeover), &[2, 2, 2, b'a', b'b']),
            (socket(SocketKind::Older { pid: 5 }), &[2, 3, 5, 2, b'a', b'b']),
            (socket(SocketKind::Door), &[2, 4, 2, b'a', b'b']),
            (FromServing::Last, &[3]),
            (FromServing::Busy, &[4]),
            (FromServing::Left(left), &[5, 1, 2, 3, 4, 5, 6, 7]),
            (FromServing::LastClosed, &[6]),
            (FromServing::NoLoader, &[7]),
        ];
        for (message, expected) in messages {
            assert_eq!(bytes(&message), expected, "{message:?}");
            assert_eq!(decode::<FromServing>(expected).unwrap(), message);
        }
    }

    #[test]
    fn only_a_socket_comes_with_a_descriptor() {
        let name = SocketName::new(b"").unwrap();
        assert!(FromServing::Socket { kind: SocketKind::Listener, name }.carries_descriptor());
        assert!(!FromServing::Last.carries_descriptor() && !ToServing::Go.carries_descriptor());
    }
}
