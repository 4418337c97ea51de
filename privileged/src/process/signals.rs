//! The signals that the daemon obeys, and how it receives them.

use crate::process::error::StartError;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals that the monitor reads from a descriptor; they are otherwise blocked.
pub const SIGNALS: [Signal; 4] = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGTERM, Signal::SIGINT];

/// Makes a descriptor for these signals, which have to be blocked.
pub fn descriptor(signals: impl IntoIterator<Item = Signal>) -> Result<SignalFd, StartError> {
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    SignalFd::with_flags(&signals.into_iter().collect(), flags).map_err(StartError::at("signalfd"))
}

/// Blocks these and no others.
pub fn block(signals: &SigSet) -> Result<(), StartError> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(signals), None).map_err(StartError::at("sigprocmask"))
}
