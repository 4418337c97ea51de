//! `--daemon`: the starter waits until the daemon serves, and then leaves it alone.

use crate::process::error::StartError;
use crate::process::{descriptors, sys};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsFd, OwnedFd};

/// The daemon's side, before it serves.
#[derive(Debug)]
pub struct Background {
    starter: OwnedFd,
    null: OwnedFd,
}

/// Forks. The starter ends with the status of the start; the child goes on in a session of its own, with standard
/// error still open so that errors of the start are seen.
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
            let null = descriptors::open_null()?;
            Ok(Background { starter: theirs, null })
        }
    }
}

/// How a daemon ended that never served; it has said why on standard error.
fn status_of(child: Pid) -> i32 {
    match waitpid(child, None) {
        Ok(WaitStatus::Exited(_, status)) => status,
        _ => 71,
    }
}

impl Background {
    /// Lets go of the terminal. From here on only the log tells what happens.
    pub fn let_go(&self) -> Result<(), StartError> {
        descriptors::leave_terminal(self.null.as_fd())
    }

    /// The daemon serves: the starter may end with success. It has ended already where this fails.
    pub fn serves(&self) {
        let _ = rustix::io::write(&self.starter, &[0]);
    }
}
