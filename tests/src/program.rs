//! Programs started by a test: ended, by process id, when the test is over.

use crate::host::Host;
use crate::wait::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Child, Command, ExitStatus};

/// A running program; killed when dropped.
pub struct Program {
    child: Child,
    name: String,
}

impl Program {
    /// Starts `command` on `host`.
    pub fn start(host: &Host, command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let child = host.spawn(command).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { child, name }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The process itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// How it ended, or nothing while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait")
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        until(&what, || self.ended())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
