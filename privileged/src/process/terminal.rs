//! Standard output and error, which may have no reader.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// Writes to standard output or error without waiting. Either may be a pipe that nobody reads, or a terminal shared
/// with other processes: a write could block, and making it non-blocking would affect them. A pipe that polls as
/// writable takes PIPE_BUF bytes.
pub(crate) fn write_now(standard: BorrowedFd<'_>, packet: &[u8]) -> Result<(), Errno> {
    let mut ready = [PollFd::new(&standard, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut ready, Some(&at_once))? {
        0 => Err(Errno::AGAIN),
        _ => rustix::io::write(standard, packet.get(..packet.len().min(libc::PIPE_BUF)).unwrap_or(packet))
            .map(|_| ()),
    }
}
