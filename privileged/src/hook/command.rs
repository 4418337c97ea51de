//! The steps between fork(2) and a command: a session and limits of its own, nothing inherited.

use crate::process::descriptors;
use crate::process::error::StartError;
use crate::process::{signals, sys};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::execve;
use sockd_lockdown::{self as lockdown, Resource};
use sockd_session::client_host::Host;
use sockd_session::hook_values::{Values, environment, expand_words};
use sockd_session::settings::Commands;
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A command that is to run.
#[derive(Debug)]
pub(super) struct Command {
    /// Its line in the rules.
    pub(super) template: String,
    /// The values of its `%`s.
    pub(super) values: Values,
}

impl Command {
    /// The client host for which it runs.
    pub(super) fn host(&self) -> Host {
        Host::of(self.values.source)
    }

    /// The words of its command line; empty if commands are off.
    fn words(&self, by: Commands, pid: u32) -> Vec<String> {
        let values = self.values.for_policy(pid);
        match by {
            Commands::Off => Vec::new(),
            Commands::Sh => {
                vec!["/bin/sh".into(), "-c".into(), sockd_policy::hook::expand(&self.template, &values)]
            }
            Commands::Argv => expand_words(&self.template, &values),
        }
    }
}

/// The resource limits of a command.
const LIMITS: [(Resource, u64); 6] = [
    (Resource::Core, 0),
    (Resource::Cpu, 10),
    (Resource::Fsize, 64 << 20),
    (Resource::As, 512 << 20),
    (Resource::Nproc, 64),
    (Resource::Nofile, 64),
];

/// The exit status of a command that could not be executed, as in shells.
pub(super) const NOT_FOUND: i32 = 127;

/// The parts of a command's environment that are the same for all commands.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// The monitor's process id, for `%p` and SOCKD_PID.
    pub(super) pid: u32,
    /// /dev/null, for their standard descriptors.
    pub(super) null: OwnedFd,
}

/// In the child: becomes the command, or ends if it cannot be executed. Until then `channel` is open, and nothing else
/// but /dev/null. The error is that of an earlier step.
pub(super) fn become_command(
    command: &Command,
    by: Commands,
    Surroundings { pid, null }: &Surroundings,
    channel: BorrowedFd<'_>,
) -> Result<Infallible, StartError> {
    let words = texts(command.words(by, *pid))?;
    let environment = texts(environment(&command.values, *pid))?;
    let Some(program) = words.first() else { lockdown::exit_now(NOT_FOUND) };
    descriptors::leave_terminal(null.as_fd(), 3)?;
    descriptors::close_all_but(&[channel])?;
    rustix::process::setsid().map_err(StartError::at("setsid"))?;
    lockdown::die_with_parent()?;
    LIMITS.iter().try_for_each(|(resource, value)| lockdown::limit(*resource, Some(*value)))?;
    signals::block(&SigSet::empty())?;
    // A program that is started inherits ignored signals. The standard library ignores SIGPIPE, and `yes | head` would
    // then never end; nohup(1) and shells ignore others. SIGKILL and SIGSTOP cannot be ignored.
    for signal in Signal::iterator() {
        let _ = sys::default_action(signal);
    }
    let _not_found = execve(program, &words, &environment);
    lockdown::exit_now(NOT_FOUND)
}

fn texts(texts: Vec<String>) -> Result<Vec<CString>, StartError> {
    texts.into_iter().map(CString::new).collect::<Result<_, _>>().map_err(StartError::at("a value"))
}
