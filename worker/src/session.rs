//! The session worker: reads the requests of one client host and relays its data.

use crate::{Ending, event::Epoll, lockdown, profile::PROFILE_SESSION};
use sockd_common::channel::{Received, WorkerEnd};
use sockd_common::message::{FromSession, ToSession};
use std::os::fd::OwnedFd;

/// Serves the channel until the monitor closes it.
pub fn run(channel: OwnedFd) -> Ending {
    let Ok(_epoll) = Epoll::new() else { return Ending::System };
    let channel: WorkerEnd<FromSession, ToSession> = WorkerEnd::new(channel);
    let Ok(locks) = lockdown::lock_down(PROFILE_SESSION) else { return Ending::System };
    if channel.send(&FromSession::Ready(locks)).is_err() {
        return Ending::Finished;
    }
    match channel.receive() {
        Ok(Received::Closed) => Ending::Finished,
        _ => Ending::Protocol,
    }
}
