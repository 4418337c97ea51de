//! epoll(7): what every role waits with.

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// A set of descriptors to wait for. Made before the lockdown: no profile has a call to make another.
#[derive(Debug)]
pub struct Epoll {
    descriptor: OwnedFd,
}

impl Epoll {
    /// An empty set.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self { descriptor: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Watches `source`; `token` comes back with its events. Closing the descriptor ends the watch.
    pub fn add(&self, source: impl AsFd, token: u64, flags: EventFlags) -> Result<(), Errno> {
        epoll::add(&self.descriptor, source, EventData::new_u64(token), flags)
    }

    /// Watches `source` for other events from now on; what is ready already is reported again.
    pub fn change(&self, source: impl AsFd, token: u64, flags: EventFlags) -> Result<(), Errno> {
        epoll::modify(&self.descriptor, source, EventData::new_u64(token), flags)
    }

    /// Stops watching a descriptor that stays open.
    pub fn remove(&self, source: impl AsFd) -> Result<(), Errno> {
        epoll::delete(&self.descriptor, source)
    }

    /// Waits until something is ready, at most `timeout` (whole milliseconds) where there is one, and puts as many
    /// events into `events` as it has room for.
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
