//! Undoes what the starter left behind: descriptors, masks, ignored signals, limits.

use crate::process::error::StartError;
use crate::process::signals::{self, SIGNALS};
use crate::process::{descriptors, sys};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::fd::BorrowedFd;

/// Begins anew, with these descriptors and the standard ones. Returns the descriptor for the daemon's signals.
pub fn clean_start(kept: &[BorrowedFd<'_>]) -> Result<SignalFd, StartError> {
    descriptors::close_all_but(kept)?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    rustix::process::chdir("/").map_err(StartError::at("chdir /"))?;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .map_err(StartError::at("RLIMIT_NOFILE"))?;
    // The time zone is read here, as its file cannot be opened later.
    sys::local_time();
    // An ignored signal would never arrive at the descriptor.
    for signal in SIGNALS.into_iter().chain([Signal::SIGCHLD]) {
        sys::default_action(signal).map_err(StartError::at("sigaction"))?;
    }
    // At its size limit, a log file then costs lines and not the daemon.
    sys::ignore(Signal::SIGXFSZ).map_err(StartError::at("sigaction"))?;
    signals::block(&SIGNALS.into_iter().collect())?;
    signals::descriptor(SIGNALS)
}
