//! The monitor gives up what it needed to start: no fork, no program, no file, nearly no capability.

use crate::monitor::profile::MONITOR;
use crate::process::apparmor;
use crate::process::error::StartError;
use crate::process::ritual::{Calls, Power, give_up};
use crate::process::sys;
use nix::sys::signal::Signal;
use sockd_lockdown::{Capability, Grants, LandlockStatus};

/// Locks the monitor down for good. It goes on as this user and group; as the one that it is where there is none.
pub fn lock_down(user: Option<(u32, u32)>) -> Result<LandlockStatus, StartError> {
    // The kernel reaps then: as process 1 of a container the daemon is given the orphans of others, and of its own
    // children the ends of their channels tell it.
    let _always_possible = sys::ignore(Signal::SIGCHLD);
    // While it may still write to /proc.
    apparmor::confine_monitor()?;
    let files = Some(Grants { network: true, ..Grants::default() });
    let capabilities = &[Capability::CAP_NET_BIND_SERVICE];
    give_up(&Power { user, capabilities, files, calls: Calls::Only(MONITOR) }, false)
}
