//! The monitor gives up what it needed to start: no fork, no program, no file, nearly no capability.

use crate::monitor::profile::MONITOR;
use crate::process::error::StartError;
use crate::process::ritual::{Calls, Power, give_up};
use sockd_lockdown::{Capability, Grants, LandlockStatus};

/// Locks the monitor down for good. It goes on as this user and group; as the one that it is where there is none.
pub fn lock_down(user: Option<(u32, u32)>) -> Result<LandlockStatus, StartError> {
    let files = Some(Grants { network: true, ..Grants::default() });
    let capabilities = &[Capability::CAP_NET_BIND_SERVICE];
    give_up(&Power { user, capabilities, files, calls: Calls::Only(MONITOR) }, false)
}
