//! The probe worker's channel.

use super::{Errno, LockdownReport, Message};
use serde::{Deserialize, Serialize};

/// Monitor to probe worker: a worker behind a session worker's locks that tries, for `sockd -ver`, what they forbid.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToProbe {
    /// Nothing to set up; the first message on every channel.
    Setup,
    /// Do this now.
    Try(Act),
}

/// An act that a probe worker tries. Outside the sandbox each would do no harm.
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
    Ready(LockdownReport),
    /// The act did not end the worker.
    Survived {
        /// The kernel's answer; 0 if the act succeeded.
        errno: Errno,
    },
}

impl Message for ToProbe {}
impl Message for FromProbe {}
