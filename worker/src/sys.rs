//! The one call without a safe form.
#![allow(unsafe_code)]

use std::io;

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
