//! How the monitor forks a process that serves a channel.

use crate::process::error::StartError;
use crate::process::sys;
use nix::unistd::ForkResult;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sockd_common::channel::{MonitorEnd, WorkerEnd};
use sockd_common::message::Message;
use sockd_lockdown as lockdown;
use std::os::fd::OwnedFd;

/// Both ends of a channel.
pub fn channel() -> Result<(OwnedFd, OwnedFd), StartError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(StartError::at("socketpair"))
}

/// Ends the process with status 70 on any panic, through exit_group(2) alone. The monitor's own end, inherited by
/// whatever it forks, reaches for the log: a call that the filter of spawner and loader kills. It is the monitor that
/// tells of their end.
pub fn die_quietly_on_panic() {
    std::panic::set_hook(Box::new(|_| lockdown::exit_now(70)));
}

/// Forks a process that serves a channel and ends; gives the monitor's end of it.
pub fn fork_server<Out: Message, In: Message>(
    serve: impl FnOnce(WorkerEnd<In, Out>),
) -> Result<MonitorEnd<Out, In>, StartError> {
    let (ours, theirs) = channel()?;
    match sys::fork().map_err(StartError::at("fork"))? {
        ForkResult::Parent { .. } => Ok(MonitorEnd::new(ours)),
        ForkResult::Child => {
            drop(ours);
            die_quietly_on_panic();
            serve(WorkerEnd::new(theirs));
            lockdown::exit_now(0)
        }
    }
}
