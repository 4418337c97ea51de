//! The locks that a worker puts on itself before it reads a byte from its channel.
//!
//! The spawner set user, groups and namespaces before it executed this program. The worker checks what it can of
//! them, and puts on everything else from top to bottom.

use crate::{Ending, sys};
use sockd_common::message::FIRST_PIPE_FD;
use sockd_common::message::{CHANNEL_FD, LockdownReport, PROTOCOL_VERSION};
use sockd_lockdown::{
    LockError, Resource, Row, deny_write_execute, die_with_parent, install_filter, keep_only,
    landlock_deny_all, limit, no_new_privileges, not_dumpable, restrict_speculation, take_descriptor,
};
use std::os::fd::OwnedFd;

/// The memory that a worker may have, in bytes: far more than its sessions need, far less than the machine has.
const MEMORY: u64 = 512 << 20;

/// Ends the process with [`Ending::Panic`] on any panic, through exit_group(2) alone, which every profile allows.
pub fn die_quietly_on_panic() {
    std::panic::set_hook(Box::new(|_| Ending::Panic.exit()));
}

/// The descriptors that a worker is started with, besides 0, 1 and 2.
#[derive(Debug)]
pub struct Inherited {
    /// The channel to the monitor.
    pub channel: OwnedFd,
    /// Pipes, by their ends for reading and for writing. There are fewer if the system had no more.
    pub pipes: Vec<(OwnedFd, OwnedFd)>,
}

impl Inherited {
    /// Takes them over, with at most `pipes` pipes, and closes whatever else the parent has left open. `None` if
    /// there is no channel.
    ///
    /// The program calls this once, before it opens anything.
    pub fn take(pipes: usize) -> Option<Self> {
        let pipes = i32::try_from(pipes).ok()?;
        let last = FIRST_PIPE_FD.checked_add(pipes.checked_mul(2)?)?;
        sys::close_from(last).ok()?;
        let channel = take_descriptor(CHANNEL_FD)?;
        let ends = |out: i32| Some((take_descriptor(out)?, take_descriptor(out.checked_add(1)?)?));
        Some(Self { channel, pipes: (FIRST_PIPE_FD..last).step_by(2).map_while(ends).collect() })
    }
}

/// Puts every lock on this process, the system call filter last, and returns which of them hold.
///
/// After an error the worker has to end. A kernel without Landlock or PR_SET_MDWE is no error: the monitor decides
/// whether the other locks are enough.
pub fn lock_down(profile: &[Row]) -> Result<LockdownReport, LockError> {
    let locks = lock_down_without_filter()?;
    install_filter(profile)?;
    Ok(locks)
}

/// Puts on every lock but the last. A worker has no use for this; the probe measures with it what each layer is good
/// for.
pub fn lock_down_without_filter() -> Result<LockdownReport, LockError> {
    keep_only(&[])?;
    limit_resources()?;
    not_dumpable()?;
    die_with_parent()?;
    restrict_speculation();
    let memory_deny_write_execute = deny_write_execute();
    no_new_privileges()?;
    let landlock = landlock_deny_all()?;
    Ok(LockdownReport {
        protocol: PROTOCOL_VERSION,
        landlock_abi: landlock.abi,
        landlock_enforced: landlock.enforced,
        memory_deny_write_execute,
    })
}

/// Whether this process has the user or the group of root, which is a mistake of the spawner unless it says so.
pub fn is_root() -> bool {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    getuid().is_root() || geteuid().is_root() || getgid().is_root() || getegid().is_root()
}

/// Limits every resource but descriptors, which the spawner has limited.
fn limit_resources() -> Result<(), LockError> {
    for resource in [
        Resource::Core,
        Resource::Fsize,
        Resource::Nproc,
        Resource::Memlock,
        Resource::Msgqueue,
        Resource::Sigpending,
    ] {
        limit(resource, Some(0))?;
    }
    limit(Resource::Data, Some(MEMORY))
}
