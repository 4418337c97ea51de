//! The signals that the daemon obeys, and who hears them.

use crate::process::error::StartError;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

/// Signals that the monitor reads from a descriptor; they are blocked otherwise.
pub const SIGNALS: [Signal; 4] = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGTERM, Signal::SIGINT];

/// A terminal's Ctrl-C and a service manager's SIGTERM go to every process, but it is the monitor that decides when
/// the others end. Gives the set with SIGCHLD, which is read from a descriptor.
pub fn only_child_signals() -> Result<SigSet, StartError> {
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGCHLD);
    let child = blocked;
    SIGNALS.iter().for_each(|signal| blocked.add(*signal));
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&blocked), None).map_err(StartError::at("sigprocmask"))?;
    Ok(child)
}
