//! The few system interfaces that have no safe form in the libraries.
#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::ForkResult;
use sockd_session::flow::TCP_INFO_LENGTH;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{SystemTime, UNIX_EPOCH};

/// fork(2) into new namespaces: the child gets 0, the parent the child's process id.
pub(crate) fn fork_into(namespaces: libc::c_int) -> io::Result<libc::pid_t> {
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: with a null stack clone(2) copies the address space like fork(2), and this process has one thread
    // (design rule, kept by `clone` with CLONE_VM missing from every profile), so no lock is held by a thread
    // that the child lacks.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    libc::pid_t::try_from(pid).ok().filter(|pid| *pid >= 0).ok_or_else(io::Error::last_os_error)
}

/// fork(2).
pub(crate) fn fork() -> nix::Result<ForkResult> {
    // SAFETY: as for `fork_into`, there is one thread, so the child finds no lock held and nothing half done.
    unsafe { nix::unistd::fork() }
}

/// Restores a signal's default action: a program that is started inherits ignored signals.
pub(crate) fn default_action(signal: Signal) -> nix::Result<()> {
    // SAFETY: the default action runs no code of this program.
    unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }.map(drop)
}

/// Ignores a signal.
pub(crate) fn ignore(signal: Signal) -> nix::Result<()> {
    // SAFETY: to ignore a signal runs no code of this program.
    unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) }.map(drop)
}

/// Makes this process, and what it starts, preempt no other when it wakes up (sched(7), SCHED_BATCH).
pub(crate) fn give_way() -> nix::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads `parameters`, which lives on this stack until the call is over, and writes nothing.
    Errno::result(unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) }).map(drop)
}

/// dup2(2) onto a descriptor number that the new program expects; it stays open across execve(2).
pub(crate) fn duplicate_onto(descriptor: BorrowedFd<'_>, number: RawFd) -> nix::Result<()> {
    // dup2(2) onto itself would leave close-on-exec set.
    if descriptor.as_raw_fd() == number {
        // SAFETY: F_SETFD with a plain number touches no memory.
        return Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }).map(drop);
    }
    // SAFETY: dup2 touches no memory. The descriptor that was open under `number` is a standard one, which no owner in
    // this program closes, or was left by the monitor to a child that is about to exec.
    Errno::result(unsafe { libc::dup2(descriptor.as_raw_fd(), number) }).map(drop)
}

/// Duplicates the descriptor that the starter has left open under this number.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC touches no memory; it fails if nothing is open under `number`.
    let own = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if own < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, so it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(own) })
}

/// Closes the descriptors from `first` to `last`.
pub(crate) fn close_range(first: RawFd, last: RawFd) -> nix::Result<()> {
    let (Ok(first), Ok(last)) = (libc::c_uint::try_from(first), libc::c_uint::try_from(last)) else {
        return Err(Errno::EBADF);
    };
    // SAFETY: touches no memory. The caller is a fresh fork that will never drop the owners it inherited.
    Errno::result(unsafe { libc::close_range(first, last, 0) }).map(drop)
}

/// Refuses descriptors on a Unix socket (SO_PASSRIGHTS, Linux 6.16). An older kernel answers ENOPROTOOPT.
pub(crate) fn refuse_descriptors(socket: impl AsFd) -> io::Result<()> {
    const SO_PASSRIGHTS: libc::c_int = 83;
    set_flag(socket, libc::SOL_SOCKET, SO_PASSRIGHTS, 0)
}

/// The kernel's state of a TCP connection (tcp(7), TCP_INFO), as far as struct tcp_info fits this buffer. Fields that
/// an older kernel does not have stay 0.
pub(crate) fn tcp_info(socket: impl AsFd) -> io::Result<[u8; TCP_INFO_LENGTH]> {
    let mut info = [0; TCP_INFO_LENGTH];
    read_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info)?;
    Ok(info)
}

/// The user and process that connected to a Unix socket (unix(7), SO_PEERCRED). The process is 0 if it is in a PID
/// namespace that this process does not see.
pub(crate) fn peer_credentials(socket: impl AsFd) -> io::Result<(u32, i32)> {
    // struct ucred: the ids of process, user and group.
    let mut ucred = [[u8::MAX; 4]; 3];
    read_option(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, ucred.as_flattened_mut())?;
    let [pid, uid, _gid] = ucred.map(i32::from_ne_bytes);
    Ok((uid.cast_unsigned(), pid))
}

/// Limits how many bytes a second a TCP connection sends (socket(7), SO_MAX_PACING_RATE); `u32::MAX` means no limit.
pub(crate) fn limit_pace(socket: impl AsFd, rate: u32) -> io::Result<()> {
    set_flag(socket, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, rate.cast_signed())
}

/// Chooses the local port at connect(2) and not at bind(2), so that one port serves many destinations (ip(7)).
pub(crate) fn bind_address_no_port(socket: impl AsFd) -> io::Result<()> {
    const IP_BIND_ADDRESS_NO_PORT: libc::c_int = 24;
    set_flag(socket, libc::IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
}

/// Makes accept(2) wait for a client's first bytes (tcp(7)), so that a client that sends none occupies no worker. A
/// client that is silent for a second is accepted even so, and the request limit takes over.
pub(crate) fn accept_with_data(socket: impl AsFd) -> io::Result<()> {
    set_flag(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 1)
}

/// Makes epoll(7) report a socket only once `bytes` are here, or no more will come (socket(7), SO_RCVLOWAT).
pub(crate) fn wake_at(socket: impl AsFd, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    set_flag(socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes)
}

/// Makes the filter of a socket final (socket(7), SO_LOCK_FILTER).
pub(crate) fn lock_filter(socket: impl AsFd) -> io::Result<()> {
    set_flag(socket, libc::SOL_SOCKET, libc::SO_LOCK_FILTER, 1)
}

/// Makes the kernel hand over datagrams in bundles (udp(7), UDP_GRO, Linux 5.0).
pub(crate) fn receive_bundles(socket: impl AsFd) -> io::Result<()> {
    set_flag(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
}

/// Reads the value of an option, as far as the buffer has room. The rest of the buffer stays as it is.
fn read_option(
    socket: impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: &mut [u8],
) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(value.len()).unwrap_or(libc::socklen_t::MAX);
    // SAFETY: the kernel writes at most `length` bytes to `value` and the written length to `length`; both live until
    // the call is over, and any bytes are valid in `value`.
    let done = unsafe {
        let value = value.as_mut_ptr().cast();
        libc::getsockopt(socket.as_fd().as_raw_fd(), level, option, value, &raw mut length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set_flag(
    socket: impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the option value is read from `value`, which lives through the call, with exactly its length.
    let done = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, (&raw const value).cast(), length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The local time, broken down as by localtime(3). The time zone is read at the first call and kept, so that calls
/// after the lockdown open no file.
pub(crate) fn local_time() -> libc::tm {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = libc::time_t::try_from(now).unwrap_or_default();
    let mut broken_down = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to live values of the right type; an all-zero `tm` is valid, so `assume_init`
    // holds even where localtime_r fails and leaves it as it is.
    unsafe {
        libc::localtime_r(&raw const now, broken_down.as_mut_ptr());
        broken_down.assume_init()
    }
}
