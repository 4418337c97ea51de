//! The descriptors of a process: it has only those that it is meant to have.

use crate::process::error::StartError;
use crate::process::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create};
use sockd_common::wait::within;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

/// /dev/null for reading and writing.
pub fn open_null() -> Result<OwnedFd, StartError> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(StartError::at("/dev/null"))
}

/// Memory that processes share. If the kernel knows the flag (Linux 6.3), nothing in it can ever be executed.
pub fn memory(name: &str) -> Result<OwnedFd, StartError> {
    memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| memfd_create(name, MemfdFlags::CLOEXEC))
        .map_err(StartError::at("memfd"))
}

/// Memory that can be sealed once it is filled. Nothing in it can be executed, as above.
pub fn sealable(name: &str) -> rustix::io::Result<OwnedFd> {
    memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING))
}

/// Makes a socket refuse descriptors. False if the kernel cannot (before Linux 6.16).
pub fn refuse_descriptors(socket: impl AsFd) -> bool {
    sys::refuse_descriptors(socket).is_ok()
}

/// Makes /dev/null the standard descriptors below `end`, which is 3 for input, output and error: a reader of the
/// starter's output, which waits for its end, must not wait for this process.
pub fn leave_terminal(null: BorrowedFd<'_>, end: RawFd) -> Result<(), StartError> {
    (0..end).try_for_each(|standard| sys::duplicate_onto(null, standard)).map_err(StartError::at("dup2"))
}

/// Waits until there is something to read, or the other end has closed; false if neither comes in time.
pub fn readable(descriptor: impl AsFd, limit: Duration) -> rustix::io::Result<bool> {
    let wait = Timespec::try_from(limit).ok();
    within(limit, || poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], wait.as_ref()))
        .map(|ready| ready > 0)
}

/// Closes all descriptors but these and the standard ones.
pub fn close_all_but(kept: &[BorrowedFd<'_>]) -> Result<(), StartError> {
    let mut kept: Vec<RawFd> = kept.iter().map(AsRawFd::as_raw_fd).collect();
    kept.sort_unstable();
    let mut first = 3;
    for descriptor in kept {
        if descriptor > first {
            sys::close_range(first, descriptor.saturating_sub(1)).map_err(StartError::at("close_range"))?;
        }
        first = first.max(descriptor.saturating_add(1));
    }
    sys::close_range(first, RawFd::MAX).map_err(StartError::at("close_range"))
}
