//! System calls with any number and any arguments: all unsafe code of this program.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// One system call; the negated errno if it fails.
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

/// clone(2) as vfork uses it: the child runs in this process's memory, on a stack of its own, and this process waits.
pub(crate) fn clone_sharing_memory() -> i64 {
    extern "C" fn end(_: *mut libc::c_void) -> libc::c_int {
        sockd_lockdown::exit_now(0)
    }
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let mut stack = vec![0_u128; 4096];
    // SAFETY: the stack grows down from the end of memory that lives on until the child has ended, as CLONE_VFORK
    // makes this process wait for that. The child makes one system call and touches nothing else.
    match unsafe { libc::clone(end, stack.as_mut_ptr_range().end.cast(), flags, std::ptr::null_mut()) } {
        -1 => -i64::from(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)),
        pid => pid.into(),
    }
}

/// fork(2): the process id of the child, `None` in the child.
pub(crate) fn fork() -> io::Result<Option<i32>> {
    // Not the C library's, which in some versions makes calls that the spawner's filter does not know.
    match call(libc::SYS_clone, &[libc::SIGCHLD.cast_unsigned() as usize]) {
        0 => Ok(None),
        error @ ..0 => Err(io::Error::from_raw_os_error(i32::try_from(error.saturating_neg()).unwrap_or(0))),
        pid => Ok(i32::try_from(pid).ok()),
    }
}

/// The status of a child that has ended: wait4(2) with WNOHANG, `None` while it runs.
pub(crate) fn ended(pid: i32) -> io::Result<Option<i32>> {
    let mut status = 0;
    // SAFETY: the status is written to a live place.
    match unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, std::ptr::null_mut()) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        _ => Ok(Some(status)),
    }
}

/// Signals a process that this one has started.
pub(crate) fn kill(pid: i32) {
    call(libc::SYS_kill, &[usize::try_from(pid).unwrap_or(usize::MAX), 9]);
}

/// Makes a descriptor number into its owner. Called once for a descriptor that the kernel has just made.
fn owned(descriptor: i32) -> io::Result<OwnedFd> {
    match descriptor {
        // SAFETY: the descriptor is open and new, so that nobody else owns it.
        0.. => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A TCP socket that is not connected.
pub(crate) fn loose_socket() -> io::Result<OwnedFd> {
    // SAFETY: plain numbers.
    owned(unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) })
}

/// A Unix socket of this type at this address, listening if it can. The address is a sockaddr_un.
pub(crate) fn unix_socket(kind: i32, address: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers.
    let socket = owned(unsafe { libc::socket(libc::AF_UNIX, kind | libc::SOCK_NONBLOCK, 0) })?;
    let length = libc::socklen_t::try_from(address.len()).unwrap_or(0);
    // SAFETY: the kernel reads `length` bytes, and copies them; it does not ask for alignment.
    if unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), length) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if kind == libc::SOCK_STREAM {
        // SAFETY: plain numbers.
        unsafe { libc::listen(socket.as_raw_fd(), 64) };
    }
    Ok(socket)
}

/// Takes one connection or one datagram that waits, if there is one.
pub(crate) fn take_one(socket: &impl AsFd) -> bool {
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: neither call is given a place to write to.
    unsafe {
        match libc::accept(descriptor, std::ptr::null_mut(), std::ptr::null_mut()) {
            -1 => libc::recv(descriptor, std::ptr::null_mut(), 0, libc::MSG_DONTWAIT) >= 0,
            client => libc::close(client) == 0,
        }
    }
}

/// Brings up the loopback interface of a new network namespace.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = loose_socket()?;
    // SAFETY: all-zero bytes are a valid ifreq, and the kernel reads and writes that one only.
    let done = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (place, letter) in request.ifr_name.iter_mut().zip(b"lo") {
            *place = libc::c_char::from_ne_bytes([*letter]);
        }
        request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(1);
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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

/// Waits until there is something to read, for at most this many milliseconds; -1 is without end.
pub(crate) fn wait(descriptor: impl AsFd, limit: i32) -> bool {
    let mut polled = libc::pollfd { fd: descriptor.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live entry, as the number says.
    unsafe { libc::poll(&raw mut polled, 1, limit) > 0 }
}

/// Sleeps for this many milliseconds, by poll(2), which the spawner's filter knows; -1 is without end.
pub(crate) fn sleep(limit: i32) {
    // SAFETY: no entry is read.
    unsafe { libc::poll(std::ptr::null_mut(), 0, limit) };
}
