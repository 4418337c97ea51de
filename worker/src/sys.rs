//! The calls without a safe form.
#![allow(unsafe_code)]

use sockd_common::users::{LONGEST, PREFIX};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Maps a table of users, hands over what stands behind its length, and gives it back. Nothing where it says that it is
/// longer than a table can be. Memory that ends before its length says so ends the process (SIGBUS, mmap(2)).
pub(crate) fn with_table<T>(table: &OwnedFd, with: impl FnOnce(&[u8]) -> T) -> io::Result<Option<T>> {
    // SAFETY: a new mapping at a place of the kernel's choice replaces nothing. What is read of it lies inside it, and does
    // not change: the loader has sealed the memory against writing, shrinking and growing before the monitor has had it.
    // The slice does not outlive the mapping, as `with` has to take any lifetime of it.
    unsafe {
        let place = libc::mmap(
            std::ptr::null_mut(),
            LONGEST,
            libc::PROT_READ,
            libc::MAP_PRIVATE,
            table.as_raw_fd(),
            0,
        );
        if place == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let bytes = place.cast::<u8>();
        let length = u32::from_le_bytes(bytes.cast::<[u8; PREFIX]>().read_unaligned()) as usize;
        let fits = length <= LONGEST.saturating_sub(PREFIX);
        let read = fits.then(|| with(std::slice::from_raw_parts(bytes.add(PREFIX), length)));
        match libc::munmap(place, LONGEST) {
            0 => Ok(read),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Maps a page that is writable and executable at once, and gives it back.
pub(crate) fn map_executable() -> io::Result<()> {
    const LENGTH: usize = 4096;
    let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping at a place of the kernel's choice replaces nothing, and nobody else learns
    // its address before it is unmapped again.
    unsafe {
        let page = libc::mmap(std::ptr::null_mut(), LENGTH, protection, flags, -1, 0);
        match page {
            libc::MAP_FAILED => Err(io::Error::last_os_error()),
            page => match libc::munmap(page, LENGTH) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            },
        }
    }
}
