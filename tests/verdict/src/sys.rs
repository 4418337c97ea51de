//! A call that no safe wrapper makes, of any number, in a child.
#![allow(unsafe_code)]

use sockd_lockdown::{Program, exit_now, libc};
use std::io;

/// Makes a call in a child behind a filter. Gives the child's status as wait(2) has it: how it was killed, or an exit
/// with the call's errno, 0 if it did not fail.
pub(crate) fn call_in_a_child(filter: &Program, number: i64, args: [u64; 6]) -> io::Result<libc::c_int> {
    // SAFETY: the C library's fork leaves its allocator usable in the child, whatever other threads were doing; the
    // child does nothing but install the filter, make the call and end.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        if filter.install().is_err() {
            exit_now(255);
        }
        let [a, b, c, d, e, f] = args;
        // SAFETY: the arguments are not addresses of anything in this process, so the kernel finds nothing to read or
        // to write even if it lets the call through.
        let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        exit_now(if answer == -1 { errno } else { 0 });
    }
    let mut status = 0;
    // SAFETY: the status is written to a live place.
    match pid > 0 && unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
        true => Ok(status),
        false => Err(io::Error::last_os_error()),
    }
}
