//! The starter, which may wait until the daemon serves: a terminal (`--daemon`) or a control process (`--reload`).

use crate::config::options::{LogTo, Options};
use crate::process::descriptors;
use crate::process::error::StartError;
use crate::process::notify::Notifier;
use crate::start::daemonize::{self, Background};
use crate::takeover::control::{self, Control};
use std::os::fd::AsFd;

/// The starter that waits until the daemon serves.
#[derive(Debug)]
pub enum Starter {
    /// The process that was started is the daemon.
    Nobody,
    /// The daemon has gone into the background.
    Terminal(Background),
    /// The daemon takes over.
    Control(Control),
}

impl Starter {
    /// Leaves a waiting starter behind, if that is wanted.
    pub fn fork(options: &Options, notifier: &Notifier) -> Result<Self, StartError> {
        Ok(match (options.reload, options.daemon) {
            (true, _) => Self::Control(control::fork_twice(notifier, options.pid_file.as_deref())?),
            (_, true) => Self::Terminal(daemonize::fork()?),
            _ => Self::Nobody,
        })
    }

    /// Whether the terminal is the daemon's.
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    /// Lets go of the terminal: from here on only the log has reports. Standard error stays if the log goes there. A
    /// service manager's descriptors stay.
    pub fn let_go(&self, options: &Options, is_heard: bool) -> Result<(), StartError> {
        let end = if options.log == LogTo::Stderr { 2 } else { 3 };
        match self {
            Self::Nobody => Ok(()),
            Self::Control(_) if is_heard => Ok(()),
            _ => descriptors::leave_terminal(descriptors::open_null()?.as_fd(), end),
        }
    }

    /// Says that nothing can fail any more. Returns when this process may be the daemon.
    pub fn is_ready(&self) -> Result<(), StartError> {
        match self {
            Self::Control(control) => control.is_ready(),
            _ => Ok(()),
        }
    }

    /// Says that the daemon serves.
    pub fn serves(&self) {
        match self {
            Self::Nobody => {}
            Self::Terminal(background) => background.serves(),
            Self::Control(control) => control.ended(0),
        }
    }

    /// Says that it never will. A terminal gets the child's status; a control process waits until this one has said it.
    pub fn failed(self, error: &StartError) {
        if let Self::Control(control) = self {
            control.ended(error.status);
            // The connection stays open until the end of this process.
            std::mem::forget(control);
        }
    }
}
