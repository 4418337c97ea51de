//! How a process that the monitor has forked locks itself down: the same ritual for spawner, loader and hook.

use crate::process::error::StartError;
use crate::process::{descriptors, signals};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use sockd_lockdown::{self as lockdown, Capability, Row};
use std::os::fd::{AsFd, BorrowedFd};

/// What a process keeps. It gives up everything else.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Its descriptors. The standard ones become /dev/null.
    pub descriptors: &'a [BorrowedFd<'a>],
    /// /dev/null.
    pub null: BorrowedFd<'a>,
    /// Its capabilities.
    pub capabilities: &'a [Capability],
    /// Whether it ends at the death of its parent without having noticed.
    pub dies_with_parent: bool,
    /// Its system calls; all where the programs that it starts would inherit the filter.
    pub calls: Option<&'a [Row]>,
}

/// Puts all locks on. Gives the descriptor that tells of the ends of children.
///
/// The order matters: what needs a privilege comes before that privilege is given up, the change of capabilities
/// clears the parent-death signal, and the filter, which forbids most of the rest, comes last.
pub fn lock_down(plan: &Plan<'_>) -> Result<SignalFd, StartError> {
    let child = signals::only_child_signals()?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&child, flags).map_err(StartError::at("signalfd"))?;
    descriptors::close_all_but(&[plan.descriptors, &[plan.null, signals.as_fd()]].concat())?;
    descriptors::leave_terminal(plan.null)?;
    lockdown::keep_only(plan.capabilities)?;
    lockdown::not_dumpable()?;
    if plan.dies_with_parent {
        lockdown::die_with_parent()?;
    }
    lockdown::no_new_privileges()?;
    if let Some(calls) = plan.calls {
        lockdown::install_filter(calls)?;
    }
    Ok(signals)
}
