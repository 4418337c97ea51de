//! `--daemon`: the starter waits until the daemon serves, and then leaves it alone.

use crate::process::error::StartError;
use crate::process::sys;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::OwnedFd;

/// The starter, as the daemon knows it before it serves.
#[derive(Debug)]
pub struct Background(OwnedFd);

/// Forks. The starter ends with the status of the start. The child goes on in a session of its own, with standard error
/// still open to show errors of the start.
pub fn fork() -> Result<Background, StartError> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(StartError::at("pipe"))?;
    match sys::fork().map_err(StartError::at("fork"))? {
        ForkResult::Parent { child } => {
            drop(theirs);
            let served = rustix::io::read(&ours, &mut [0]).is_ok_and(|length| length == 1);
            std::process::exit(if served { 0 } else { status_of(child) })
        }
        ForkResult::Child => {
            drop(ours);
            rustix::process::setsid().map_err(StartError::at("setsid"))?;
            Ok(Background(theirs))
        }
    }
}

/// The exit status of a daemon that never served; it has said why on standard error.
fn status_of(child: Pid) -> i32 {
    match waitpid(child, None) {
        Ok(WaitStatus::Exited(_, status)) => status,
        _ => 71,
    }
}

impl Background {
    /// Says that the daemon serves, so the starter may end with success. A failure means that the starter has ended.
    pub fn serves(&self) {
        let _ = rustix::io::write(&self.0, &[0]);
    }
}
