//! System calls with any number and any arguments: all unsafe code of this program.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// One system call; the negated errno where it fails.
pub(crate) fn call(number: libc::c_long, args: &[usize]) -> i64 {
    let arg = |at: usize| args.get(at).copied().unwrap_or(0);
    // SAFETY: pointers among the arguments are to memory that lives through the call, which each act in `acts` sees
    // to. An act that changes the process itself is the last thing but its report that the process does.
    let answer = unsafe { libc::syscall(number, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)) };
    match answer {
        -1 => -i64::from(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)),
        answer => answer,
    }
}

/// getpid(2) of the 32-bit convention.
#[cfg(target_arch = "x86_64")]
pub(crate) fn interrupt_80() -> i64 {
    let mut eax: u64 = 20;
    // SAFETY: the call takes no argument and touches no memory; the kernel may clear r8 to r11.
    unsafe {
        std::arch::asm!("int 0x80", inout("rax") eax, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    i64::from(eax as i32)
}

/// Two ends of a SEQPACKET channel.
pub(crate) fn packet_pair() -> (OwnedFd, OwnedFd) {
    let mut pair = [0; 2];
    // SAFETY: two descriptors are written into an array of two, and owned by nobody else.
    unsafe {
        assert_eq!(
            libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, pair.as_mut_ptr()),
            0,
            "socketpair"
        );
        (OwnedFd::from_raw_fd(pair[0]), OwnedFd::from_raw_fd(pair[1]))
    }
}

/// Waits until there is something to read.
pub(crate) fn wait(descriptor: impl AsFd) {
    let mut polled = libc::pollfd { fd: descriptor.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live entry, as the number says.
    unsafe { libc::poll(&raw mut polled, 1, -1) };
}
