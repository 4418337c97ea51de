//! The monitor gives up everything that only the start needs: no fork, no program, no file, nearly no capability.

use crate::monitor::profile::MONITOR;
use crate::process::apparmor;
use crate::process::error::StartError;
use crate::process::ritual::{Calls, Power, give_up};
use crate::process::sys;
use nix::sys::signal::Signal;
use sockd_lockdown::{Capability, Grants, LandlockStatus};

/// Locks the monitor down for good. It continues as this user and group; with `None`, as its present one.
pub fn lock_down(user: Option<(u32, u32)>) -> Result<LandlockStatus, StartError> {
    // The kernel then reaps children: as process 1 of a container the daemon gets the orphans of others. The ends of
    // its own children show on their channels.
    let _always_possible = sys::ignore(Signal::SIGCHLD);
    // Done while it may still write to /proc.
    apparmor::confine_monitor()?;
    let files = Some(Grants { network: true, ..Grants::default() });
    let capabilities = &[Capability::CAP_NET_BIND_SERVICE];
    give_up(&Power { user, capabilities, files, calls: Calls::Only(MONITOR) }, false)
}
