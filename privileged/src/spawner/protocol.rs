//! The messages between monitor and spawner.

use nix::errno::Errno;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use sockd_common::channel::{MonitorEnd, WorkerEnd};
use sockd_common::counters::DeathCause;
use sockd_common::message::{Message, Role};
use std::fmt::{self, Display, Formatter};

/// Monitor to spawner.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToSpawner {
    /// Start a worker; its end of the channel comes with this message.
    Spawn {
        /// A number that no other worker has had.
        serial: u32,
        /// Its role.
        role: Role,
    },
    /// Kill a worker.
    Kill {
        /// The worker.
        serial: u32,
    },
}

/// Spawner to monitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromSpawner {
    /// A worker has ended, or could not be started.
    Ended {
        /// The worker.
        serial: u32,
        /// How it ended.
        how: Ending,
    },
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// It ended with this exit status.
    Exit(i32),
    /// This signal ended it.
    Signal(i32),
    /// It could not be started: fork(2) or execveat(2) failed with this errno.
    NotStarted(i32),
}

impl Ending {
    /// Whether an administrator, or the kernel for lack of memory, has killed the worker. Neither the worker nor its
    /// client can bring that about: a worker has no call that sends a signal, and every signal that can be blocked is.
    pub fn is_from_outside(self) -> bool {
        match self {
            Self::Signal(signal) => !FAULTS.iter().any(|fault| *fault as i32 == signal),
            Self::Exit(_) | Self::NotStarted(_) => false,
        }
    }

    /// The cause under which it is counted.
    pub fn cause(self) -> DeathCause {
        match self {
            Self::NotStarted(_) => DeathCause::NotStarted,
            Self::Exit(_) => DeathCause::Exit,
            Self::Signal(_) if self.is_from_outside() => DeathCause::Outside,
            Self::Signal(_) => DeathCause::Fault,
        }
    }
}

/// The signals by which the kernel ends a program for a fault of its own.
const FAULTS: [Signal; 7] = [
    Signal::SIGSYS,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGTRAP,
    Signal::SIGABRT,
];

/// The monitor's end of the spawner's channel.
pub type Channel = MonitorEnd<ToSpawner, FromSpawner>;

/// The spawner's end of the channel.
pub(super) type Monitor = WorkerEnd<FromSpawner, ToSpawner>;

impl Message for ToSpawner {
    fn carries_descriptor(&self) -> bool {
        matches!(self, Self::Spawn { .. })
    }
}

impl Message for FromSpawner {}

impl Display for Ending {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(70) => write!(f, "exit status 70 (a panic)"),
            Self::Exit(126) => write!(f, "exit status 126 (its program cannot be executed)"),
            Self::Exit(127) => write!(f, "exit status 127 (its program is not static)"),
            Self::Exit(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => match Signal::try_from(*signal) {
                Ok(signal) => write!(f, "{signal}"),
                Err(_) => write!(f, "signal {signal}"),
            },
            Self::NotStarted(errno) => write!(f, "not started: {}", Errno::from_raw(*errno).desc()),
        }
    }
}
