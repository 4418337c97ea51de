//! The signals that the daemon obeys, and who hears them.

use crate::process::error::StartError;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

/// Signals that the monitor reads from a descriptor; they are blocked otherwise.
pub const SIGNALS: [Signal; 4] = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGTERM, Signal::SIGINT];

/// A terminal's Ctrl-C, a service manager's SIGTERM and `pkill -HUP sockd` go to every process, but it is the monitor
/// that decides when the others end: they block every signal. Gives the set with SIGCHLD, which is read from a
/// descriptor.
pub fn only_child_signals() -> Result<SigSet, StartError> {
    let mut child = SigSet::empty();
    child.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)
        .map_err(StartError::at("sigprocmask"))?;
    Ok(child)
}
