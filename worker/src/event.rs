//! epoll(7), with which most roles wait.

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// A set of descriptors to wait for. It is made before the lockdown, since no profile has a call to make one.
#[derive(Debug)]
pub struct Epoll {
    descriptor: OwnedFd,
}

impl Epoll {
    /// Makes an empty set.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self { descriptor: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Watches `source`, whose events carry `token`. Closing the descriptor ends the watch.
    pub fn add(&self, source: impl AsFd, token: u64, flags: EventFlags) -> Result<(), Errno> {
        epoll::add(&self.descriptor, source, EventData::new_u64(token), flags)
    }

    /// Watches `source` for other events from now on. Events that are ready are reported again.
    pub fn change(&self, source: impl AsFd, token: u64, flags: EventFlags) -> Result<(), Errno> {
        epoll::modify(&self.descriptor, source, EventData::new_u64(token), flags)
    }

    /// Stops watching a descriptor that stays open.
    pub fn remove(&self, source: impl AsFd) -> Result<(), Errno> {
        epoll::delete(&self.descriptor, source)
    }

    /// Waits until something is ready, but no longer than `timeout` (in whole milliseconds), and fills `events` as
    /// far as it has room.
    pub fn wait(&self, events: &mut Vec<Event>, timeout: Option<Duration>) -> Result<(), Errno> {
        events.clear();
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_millis()).saturating_mul(1_000_000),
        });
        match epoll::wait(&self.descriptor, spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
