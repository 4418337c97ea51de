//! The system calls of the monitor: one row for each, with its conditions and the reason.

use sockd_lockdown::When::{Always, Args};
use sockd_lockdown::profile_rows::{
    MORE, NO_VDSO, NOT_EXECUTABLE, brk, close_check, end, flags, int, munmap,
};
use sockd_lockdown::{Arg, Row, libc, rare, row};

/// The monitor's calls once it serves: no fork, no program, no file.
pub const MONITOR: &[Row] = &[
    row!(SYS_epoll_pwait, Always, "wait for everything at once"),
    row!(SYS_epoll_ctl, Always, "watch sockets on their way"),
    row!(SYS_accept4, Always, "clients, servers that come back on a BIND, and administrators"),
    row!(SYS_socket, Args(&[int(0, libc::AF_INET)]), "dial, nameservers, BIND ports"),
    row!(SYS_socket, Args(&[int(0, libc::AF_INET6)]), "the same for IPv6"),
    row!(SYS_socket, Args(&[int(0, libc::AF_UNIX)]), "reach a restarted syslogd"),
    row!(SYS_socketpair, Args(&[int(0, libc::AF_UNIX)]), "the channel of a new worker"),
    row!(SYS_bind, Always, "source addresses of the route file, BIND ports"),
    row!(SYS_listen, Always, "BIND ports"),
    row!(SYS_connect, Always, "dial what the rules permit; identd, nameservers, /dev/log"),
    row!(SYS_getsockname, Always, "which address a client used, which port a BIND got"),
    row!(SYS_getpeername, Always, "check who answered"),
    row!(SYS_getsockopt, Always, "what the kernel counts of a relay, and what became of a connect"),
    row!(
        SYS_setsockopt,
        Always,
        "what workers cannot set: no delay, urgent data in place, no descriptors upwards"
    ),
    row!(
        SYS_shutdown,
        Always,
        "end a connection for a worker that has kept a copy",
        rare("a worker says that a relay has ended before it has")
    ),
    row!(SYS_sendmsg, Always, "hand a descriptor to a worker, and the ledger to who may look"),
    row!(SYS_sendto, Always, "messages to workers, answers to orders, questions about routes"),
    row!(SYS_sendmmsg, Always, "the log lines of a turn together, and what a worker is told in one"),
    row!(SYS_recvfrom, Always, "messages from workers, without room for descriptors; answers about routes"),
    row!(SYS_read, Always, "signals"),
    row!(SYS_write, Always, "log lines on standard error", rare("--log stderr")),
    row!(SYS_poll, Always, "the same as ppoll in older C libraries", rare("as ppoll")),
    row!(
        SYS_ppoll,
        Always,
        "whether standard error takes a line, or a control process has answered",
        rare("--log stderr; a takeover")
    ),
    row!(SYS_close, Always, "everything handed over or no longer needed"),
    row!(
        SYS_fcntl,
        Args(&[int(1, libc::F_DUPFD_CLOEXEC)]),
        "the descriptor in reserve for the day when there are no others"
    ),
    close_check(),
    row!(SYS_pread64, Always, "what the loader has read"),
    row!(SYS_memfd_create, Args(&[SEALABLE]), "memory for the users that the loader reads again"),
    row!(SYS_getpid, Always, "%p in rule commands"),
    row!(SYS_mmap, Args(&[NOT_EXECUTABLE]), "memory", MORE),
    munmap(MORE),
    row!(SYS_mremap, Always, "memory", MORE),
    brk(MORE),
    row!(SYS_clock_gettime, Always, "the time where it has no vDSO", NO_VDSO),
    end(None),
];

/// The flags of memory that the loader can seal, and that cannot be executed if the kernel knows that flag.
const SEALABLE: Arg =
    flags(1, (libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | libc::MFD_NOEXEC_SEAL).cast_signed());

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn calls(rows: &[Row]) -> BTreeSet<i64> {
        rows.iter().map(|row| row.call).collect()
    }

    #[test]
    fn the_budget_holds() {
        assert!(calls(MONITOR).len() <= 45, "{}", calls(MONITOR).len());
    }

    #[test]
    fn the_monitor_can_neither_start_anything_nor_open_a_file() {
        for call in [
            libc::SYS_fork,
            libc::SYS_vfork,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_kill,
            libc::SYS_open,
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_creat,
            libc::SYS_unlink,
            libc::SYS_unlinkat,
        ] {
            assert!(!calls(MONITOR).contains(&call), "{call}");
        }
    }
}
