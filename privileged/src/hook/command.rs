//! What happens between fork(2) and a command: a session and limits of its own, nothing inherited.

use crate::process::descriptors;
use crate::process::error::StartError;
use crate::process::sys;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::execve;
use sockd_lockdown::{self as lockdown, LockError, Resource};
use sockd_session::hook_values::{Values, environment, expand_words};
use sockd_session::settings::Commands;
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::BorrowedFd;

/// A command that is to run.
pub(super) struct Command<'a> {
    /// Whether a shell runs it.
    pub(super) by: Commands,
    /// Its line in the rules.
    pub(super) template: &'a str,
    /// What the `%`s in it stand for.
    pub(super) values: &'a Values,
    /// The monitor's process id, for `%p` and SOCKD_PID.
    pub(super) pid: u32,
}

/// What a command may use up.
const LIMITS: [(Resource, u64); 6] = [
    (Resource::Core, 0),
    (Resource::Cpu, 10),
    (Resource::Fsize, 64 << 20),
    (Resource::As, 512 << 20),
    (Resource::Nproc, 64),
    (Resource::Nofile, 64),
];

/// Why a child did not become its command.
pub(super) enum NotStarted {
    /// The program is not there, or cannot be executed.
    NotFound,
    /// A step before that failed.
    Step(StartError),
}

impl From<StartError> for NotStarted {
    fn from(error: StartError) -> Self {
        Self::Step(error)
    }
}

impl From<LockError> for NotStarted {
    fn from(error: LockError) -> Self {
        Self::Step(error.into())
    }
}

/// In the child: becomes the command. `channel` is open until then, and nothing else but /dev/null.
pub(super) fn become_command(
    command: &Command<'_>,
    null: BorrowedFd<'_>,
    channel: BorrowedFd<'_>,
) -> Result<Infallible, NotStarted> {
    let words = texts(words(command))?;
    let environment = texts(environment(command.values, command.pid))?;
    let Some(program) = words.first() else { return Err(NotStarted::NotFound) };
    descriptors::leave_terminal(null)?;
    descriptors::close_all_but(&[channel])?;
    rustix::process::setsid().map_err(StartError::at("setsid"))?;
    lockdown::die_with_parent()?;
    LIMITS.iter().try_for_each(|(resource, value)| lockdown::limit(*resource, Some(*value)))?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(StartError::at("sigprocmask"))?;
    // An ignored signal stays ignored in a program that is started. The standard library ignores SIGPIPE, with which
    // `yes | head` would never end; nohup(1) and shells ignore others. SIGKILL and SIGSTOP cannot be.
    for signal in Signal::iterator() {
        let _ = sys::default_action(signal);
    }
    execve(program, &words, &environment).map_err(|_| NotStarted::NotFound)
}

/// The words of its command line; none where it does not run.
fn words(command: &Command<'_>) -> Vec<String> {
    let values = command.values.for_policy(command.pid);
    match command.by {
        Commands::Off => Vec::new(),
        Commands::Sh => {
            vec!["/bin/sh".into(), "-c".into(), sockd_policy::hook::expand(command.template, &values)]
        }
        Commands::Argv => expand_words(command.template, &values),
    }
}

fn texts(texts: Vec<String>) -> Result<Vec<CString>, StartError> {
    texts.into_iter().map(CString::new).collect::<Result<_, _>>().map_err(StartError::at("a value"))
}
