//! Programs started by a test: ended when the test is over, together with their own children.

use crate::wait::{LONG, until_within};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::process::{Child, ExitStatus};
use std::time::Duration;

/// A running program; killed when dropped.
pub struct Program {
    child: Child,
    name: String,
}

impl Program {
    /// A child that leads a process group of its own.
    pub(crate) fn new(child: Child, name: String) -> Self {
        Self { child, name }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait")
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_within(LONG)
    }

    /// Waits for its end, which has to come within `limit`.
    pub fn wait_within(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        until_within(limit, &what, || self.ended())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The number cannot be reused before the child has been waited for and the group has no members.
        let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
