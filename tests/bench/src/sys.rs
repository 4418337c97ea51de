//! The calls that no safe library offers.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// TCP_DEFER_ACCEPT, tcp(7): a connection can be accepted only once its first byte is here.
pub(crate) fn defer_accept(listener: impl AsFd) -> io::Result<()> {
    let seconds: libc::c_int = 5;
    // SAFETY: the option's value is an int, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            listener.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Asks the kernel for the state of a TCP connection (tcp(7), TCP_INFO), and ignores the answer.
pub(crate) fn ask_tcp_info(socket: impl AsFd) {
    let mut info = [0_u8; 256];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`, and the written length to `length`; both live until the
    // call returns.
    unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        );
    }
}

/// Clock ticks of proc(5) as a time.
pub(crate) fn ticks(number: u64) -> Duration {
    // SAFETY: sysconf(3) reads nothing of ours.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_secs_f64(number as f64 / per_second.max(1) as f64)
}
