//! `--daemon`: the starter waits until the daemon serves, and then leaves it alone.

use crate::sys;
use nix::unistd::ForkResult;
use rustix::fs::{Mode, OFlags};
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
pub fn fork() -> Result<Background, String> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| format!("pipe: {error}"))?;
    match sys::fork().map_err(|error| format!("fork: {error}"))? {
        ForkResult::Parent { .. } => {
            drop(theirs);
            let mut byte = [0];
            let served = rustix::io::read(&ours, &mut byte).is_ok_and(|length| length == 1);
            // The child has said why on standard error.
            std::process::exit(if served { 0 } else { 1 })
        }
        ForkResult::Child => {
            drop(ours);
            rustix::process::setsid().map_err(|error| format!("setsid: {error}"))?;
            let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| format!("/dev/null: {error}"))?;
            Ok(Background { starter: theirs, null })
        }
    }
}

impl Background {
    /// Lets go of the terminal. From here on only the log tells what happens.
    pub fn let_go(&self) -> Result<(), String> {
        for standard in 0..3 {
            sys::duplicate_onto(self.null.as_fd(), standard).map_err(|error| format!("dup2: {error}"))?;
        }
        Ok(())
    }

    /// The daemon serves: the starter may end with success. It has ended already where this fails.
    pub fn serves(self) {
        let _ = rustix::io::write(&self.starter, &[0]);
    }
}
