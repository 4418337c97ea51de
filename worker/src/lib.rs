//! The unprivileged half of `sockd`: everything that touches bytes from the network.
//!
//! One program with the roles of [`roles::ROLES`]. Each role's `run` makes what it needs, calls
//! [`lockdown::lock_down`] with its profile, says `Ready`, and then serves its channel in one loop without threads.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod auth;
pub mod datagram;
pub mod event;
pub mod ident;
pub mod lockdown;
pub mod outbox;
mod poll_loop;
pub mod probe;
pub mod profile;
pub mod relay;
pub mod resolver;
pub mod roles;
pub mod session;
pub mod socks;
mod sys;
pub mod upstream;

/// How a worker ends. The monitor reads it from the exit status (numbers from sysexits.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The monitor has closed the channel: the ordinary end.
    Finished,
    /// The command line names no role.
    Usage,
    /// The program has a fault of its own.
    Panic,
    /// A lock could not be put on, or the system refused something that the worker needs.
    System,
    /// There is no channel, or the monitor did not keep to the protocol.
    Protocol,
    /// Descriptor 3 is not open: the program was not started by the spawner.
    NoChannel,
}

impl Ending {
    /// The exit status.
    pub fn status(self) -> i32 {
        match self {
            Self::Finished => 0,
            Self::Usage | Self::NoChannel => 64,
            Self::Panic => 70,
            Self::System => 71,
            Self::Protocol => 76,
        }
    }

    /// Ends the process with nothing but exit_group(2).
    pub fn exit(self) -> ! {
        sockd_lockdown::exit_now(self.status())
    }
}
