//! How a process gives up for good what it does not need: the same ritual for spawner, loader, hook and monitor.

use crate::process::error::StartError;
use crate::process::{descriptors, signals};
use nix::sys::signal::SigSet;
use sockd_lockdown::{self as lockdown, Capability, Gid, Grants, LandlockStatus, Row, Uid};
use std::os::fd::BorrowedFd;

/// The privileges that a process keeps.
#[derive(Debug)]
pub struct Power<'a> {
    /// The user and group that it becomes; `None` to keep those it has.
    pub user: Option<(u32, u32)>,
    /// The capabilities that it keeps.
    pub capabilities: &'a [Capability],
    /// The files that it may use; `None` if Landlock does not restrict files.
    pub files: Option<Grants<'a>>,
    /// Its system calls.
    pub calls: Calls<'a>,
}

/// System calls of a process.
#[derive(Debug)]
pub enum Calls<'a> {
    /// These alone.
    Only(&'a [Row]),
    /// All but these, for a process that starts programs of others: they inherit its filter.
    AllBut(&'a [Row]),
}

/// Locks the process down: closes all descriptors that the monitor has left but these, makes `null` the standard ones,
/// and blocks all signals.
///
/// A terminal's Ctrl-C, a service manager's SIGTERM and `pkill -HUP sockd` go to every process, but only the monitor
/// decides when the others end.
pub fn lock_down(
    kept: &[BorrowedFd<'_>],
    null: BorrowedFd<'_>,
    power: &Power<'_>,
) -> Result<LandlockStatus, StartError> {
    signals::block(&SigSet::all())?;
    descriptors::close_all_but(&[kept, &[null]].concat())?;
    descriptors::leave_terminal(null, 3)?;
    give_up(power, true)
}

/// Puts all locks on.
///
/// The order matters: a step that needs a privilege comes before that privilege is given up, a change of ids or
/// capabilities clears the parent-death signal, and the filter, which forbids most of the rest, comes last.
pub fn give_up(power: &Power<'_>, dies_with_parent: bool) -> Result<LandlockStatus, StartError> {
    if let Some((uid, gid)) = power.user {
        let ids = [Capability::CAP_SETPCAP, Capability::CAP_SETUID, Capability::CAP_SETGID];
        // This sets and locks NO_SETUID_FIXUP, so that the capabilities left survive the change of user.
        lockdown::keep_only(&[power.capabilities, &ids].concat())?;
        lockdown::become_user(Uid::from_raw(uid), Gid::from_raw(gid))?;
    }
    lockdown::keep_only(power.capabilities)?;
    lockdown::not_dumpable()?;
    if dies_with_parent {
        lockdown::die_with_parent()?;
    }
    lockdown::no_new_privileges()?;
    let landlock = match &power.files {
        Some(grants) => lockdown::landlock_deny_all_but(grants)?,
        None => LandlockStatus { abi: 0, enforced: true },
    };
    match power.calls {
        Calls::Only(rows) => {
            lockdown::deny_write_execute();
            lockdown::install_filter(rows)?;
        }
        Calls::AllBut(rows) => lockdown::install_denials(rows)?,
    }
    Ok(landlock)
}
