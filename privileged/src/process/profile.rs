//! What monitor and spawner may ask of the kernel: one row for each system call, with its conditions and the reason.

use sockd_lockdown::Test::{Int, NoneOf, OnlyBits};
use sockd_lockdown::When::{Always, Args};
use sockd_lockdown::{Arg, Row, libc, rare, row};

/// The monitor's calls once it serves: no fork, no program, no file opened for writing.
pub const MONITOR: &[Row] = &[
    row!(SYS_epoll_pwait, Always, "wait for everything at once"),
    row!(SYS_epoll_ctl, Always, "watch sockets on their way"),
    row!(SYS_accept4, Always, "clients, and servers that come back on a BIND"),
    row!(SYS_socket, Args(&[int(0, libc::AF_INET)]), "dial, nameservers, BIND ports"),
    row!(SYS_socket, Args(&[int(0, libc::AF_INET6)]), "the same for IPv6"),
    row!(SYS_socket, Args(&[int(0, libc::AF_UNIX)]), "reach a restarted syslogd"),
    row!(SYS_socketpair, Args(&[int(0, libc::AF_UNIX)]), "the channel of a new worker"),
    row!(SYS_bind, Always, "source addresses of the route file, BIND ports"),
    row!(SYS_listen, Always, "BIND ports"),
    row!(SYS_connect, Always, "dial what the rules permit; identd, nameservers, /dev/log"),
    row!(SYS_getsockname, Always, "which address a client used, which port a BIND got"),
    row!(SYS_getpeername, Always, "check who answered"),
    row!(
        SYS_getsockopt,
        Args(&[int(1, libc::SOL_SOCKET)]),
        "what became of a connect",
        rare("a connect has failed")
    ),
    row!(
        SYS_setsockopt,
        Always,
        "what workers cannot set: no delay, urgent data in place, no descriptors upwards"
    ),
    row!(SYS_sendmsg, Always, "hand a descriptor to a worker"),
    row!(SYS_sendto, Always, "messages to workers, log lines, questions about routes"),
    row!(SYS_recvfrom, Always, "messages from workers, without room for descriptors; answers about routes"),
    row!(SYS_read, Always, "signals, and resolv.conf"),
    row!(SYS_write, Always, "log lines on standard error", rare("--log stderr")),
    row!(SYS_poll, Always, "whether standard error takes a line (older C libraries)", rare("--log stderr")),
    row!(SYS_ppoll, Always, "whether standard error takes a line", rare("--log stderr")),
    row!(SYS_close, Always, "everything handed over or no longer needed"),
    row!(
        SYS_fcntl,
        Args(&[int(1, libc::F_DUPFD_CLOEXEC)]),
        "the descriptor in reserve for the day when there are no others"
    ),
    row!(
        SYS_fcntl,
        Args(&[int(1, libc::F_GETFD)]),
        "the standard library looks whether a descriptor is open before it closes it (debug builds)"
    ),
    row!(SYS_openat, Args(&[READ_ONLY]), "resolv.conf and hosts, changed; Landlock says where", CHANGED),
    row!(SYS_newfstatat, Always, "whether resolv.conf or hosts have changed", CHANGED),
    row!(SYS_fstat, Always, "that they are regular files", CHANGED),
    row!(SYS_pread64, Always, "the configuration that the loader has compiled"),
    row!(SYS_statx, Always, "the size of a file that is read whole", CHANGED),
    row!(SYS_lseek, Always, "the same", CHANGED),
    row!(SYS_getpid, Always, "%p in rule commands"),
    row!(SYS_unlinkat, Always, "the process id file at the end; Landlock says where"),
    row!(SYS_mmap, Args(&[NOT_EXECUTABLE]), "memory", MORE),
    row!(SYS_munmap, Always, "memory", MORE),
    row!(SYS_mremap, Always, "memory", MORE),
    row!(SYS_brk, Always, "memory", MORE),
    row!(SYS_clock_gettime, Always, "the time where it has no vDSO", NO_VDSO),
    row!(SYS_exit_group, Always, "end"),
];

/// The loader's calls: it reads files and writes to the memory that it shares with the monitor.
pub const LOADER: &[Row] = &[
    row!(SYS_poll, Always, "wait for the monitor", rare("a C library that waits so")),
    row!(SYS_ppoll, Always, "the same"),
    row!(SYS_recvmsg, Always, "a word from the monitor"),
    row!(SYS_sendto, Always, "say what has been read"),
    row!(SYS_openat, Args(&[READ_ONLY]), "configuration files"),
    row!(SYS_newfstatat, Always, "who owns the folders above them"),
    row!(SYS_fstat, Always, "who owns them"),
    row!(SYS_statx, Always, "the size of a file that is read whole"),
    row!(SYS_lseek, Always, "the same", rare("a standard library that asks for the place in a file")),
    row!(SYS_read, Always, "configuration files"),
    row!(SYS_pwrite64, Always, "the shared memory"),
    row!(SYS_ftruncate, Always, "the shared memory"),
    row!(SYS_getuid, Always, "whose files count as one's own"),
    row!(SYS_close, Always, "files that have been read"),
    row!(SYS_fcntl, Args(&[int(1, libc::F_GETFD)]), "debug builds, before a close"),
    row!(SYS_mmap, Args(&[NOT_EXECUTABLE]), "memory", MORE),
    row!(SYS_munmap, Always, "memory", MORE),
    row!(SYS_mremap, Always, "memory", MORE),
    row!(SYS_brk, Always, "memory", MORE),
    row!(SYS_clock_gettime, Always, "the time where it has no vDSO", NO_VDSO),
    row!(SYS_exit_group, Always, "end"),
];

/// The spawner's own calls.
pub const SPAWNER: &[Row] = &[
    row!(SYS_poll, Always, "wait for the monitor and for children"),
    row!(SYS_ppoll, Always, "the same"),
    row!(SYS_recvmsg, Always, "what to start, with the worker's end of its channel"),
    row!(SYS_sendto, Always, "tell the monitor what has ended"),
    row!(SYS_read, Always, "SIGCHLD"),
    row!(SYS_clone, Args(&[Arg { index: 0, test: OnlyBits(FORK) }]), "fork; no namespace, no shared memory"),
    row!(SYS_execveat, Always, "the worker's program, by its descriptor: there are no files to execute"),
    row!(SYS_wait4, Always, "reap"),
    row!(SYS_kill, Always, "end a worker; nobody else is there", rare("a worker has to be killed")),
    row!(SYS_dup2, Always, "put the channel where the worker expects it"),
    row!(SYS_close, Always, "the channel that has been given to a worker"),
    row!(SYS_fcntl, Always, "whether a descriptor is open (debug builds); size of the workers' pipes"),
    row!(SYS_rt_sigprocmask, Always, "a worker starts with no signal blocked"),
    row!(SYS_setgroups, Always, "an id of its own for a worker", IDS),
    row!(SYS_setresuid, Always, "an id of its own for a worker", IDS),
    row!(SYS_setresgid, Always, "an id of its own for a worker", IDS),
    row!(SYS_getresuid, Always, "read it back", IDS),
    row!(SYS_getresgid, Always, "read it back", IDS),
    row!(SYS_getgroups, Always, "read them back", IDS),
    row!(SYS_set_robust_list, Always, "the C library's fork"),
    row!(SYS_mmap, Args(&[NOT_EXECUTABLE]), "memory"),
    row!(SYS_munmap, Always, "memory", MORE),
    row!(SYS_mremap, Always, "memory", MORE),
    row!(SYS_brk, Always, "memory"),
    row!(SYS_exit_group, Always, "end"),
];

/// A filter is inherited by the programs that a process starts, and they can only narrow it. So the spawner's has
/// to let through what its workers need to start and to lock themselves down, and what their own profiles allow.
pub const WORKERS: &[Row] = &[
    row!(SYS_arch_prctl, Always, "start of a program"),
    row!(SYS_set_tid_address, Always, "start of a program"),
    row!(SYS_rseq, Always, "start of a program"),
    row!(SYS_readlink, Always, "start of a program: the static C library asks where it came from"),
    row!(SYS_readlinkat, Always, "the same in newer C libraries", rare("a C library that asks so")),
    row!(SYS_getrandom, Always, "start of a program: the allocator; ids of DNS queries"),
    row!(SYS_mprotect, Args(&[NOT_EXECUTABLE]), "start of a program: relocations become read-only"),
    row!(SYS_rt_sigaction, Always, "start of a program: SIGPIPE, stack overflow"),
    row!(SYS_sigaltstack, Always, "start of a program: stack overflow"),
    row!(SYS_gettid, Always, "start of a program", STACK),
    row!(SYS_sched_getaffinity, Always, "start of a program: the bounds of the stack", STACK),
    row!(SYS_prlimit64, Always, "start of a program; lockdown"),
    row!(SYS_prctl, Always, "lockdown"),
    row!(SYS_capget, Always, "lockdown"),
    row!(SYS_capset, Always, "lockdown"),
    row!(SYS_getuid, Always, "lockdown"),
    row!(SYS_geteuid, Always, "lockdown"),
    row!(SYS_getgid, Always, "lockdown"),
    row!(SYS_getegid, Always, "lockdown"),
    row!(SYS_close_range, Always, "lockdown"),
    row!(SYS_openat, Always, "lockdown probes /proc, which is not there"),
    row!(SYS_landlock_create_ruleset, Always, "lockdown"),
    row!(SYS_landlock_restrict_self, Always, "lockdown"),
    row!(SYS_seccomp, Always, "lockdown"),
    row!(SYS_epoll_create1, Always, "before lockdown"),
    row!(SYS_epoll_pwait, Always, "every role"),
    row!(SYS_epoll_ctl, Always, "every role"),
    row!(SYS_recvfrom, Always, "every role"),
    row!(SYS_splice, Always, "session"),
    row!(SYS_pipe2, Always, "session"),
    row!(SYS_shutdown, Always, "session"),
    row!(SYS_getpeername, Always, "session"),
    row!(SYS_clock_gettime, Always, "deadlines where the clock has no vDSO", NO_VDSO),
];

// Occasions of calls that are rarely made.
const CHANGED: Option<&str> = rare("a file has changed, 5 seconds after it was looked at");
const MORE: Option<&str> = rare("more is going on than ever before");
const IDS: Option<&str> = rare("worker_ids");
const NO_VDSO: Option<&str> = rare("where the machine has no clock in the vDSO");
const STACK: Option<&str> = rare("a standard library that asks for the bounds of the stack");

const fn int(index: u8, value: i32) -> Arg {
    Arg { index, test: Int(value.cast_unsigned()) }
}

/// openat(2) without a way to write, create or cut a file.
const READ_ONLY: Arg = Arg {
    index: 2,
    test: NoneOf((libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND) as u64),
};

const NOT_EXECUTABLE: Arg = Arg { index: 2, test: NoneOf(libc::PROT_EXEC as u64) };

/// What the C library's fork sets: SIGCHLD and two places for the child's thread id.
const FORK: u32 = (libc::SIGCHLD | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID) as u32;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn calls(rows: &[Row]) -> BTreeSet<i64> {
        rows.iter().map(|row| row.call).collect()
    }

    #[test]
    fn the_budgets_hold() {
        assert!(calls(MONITOR).len() <= 45, "{}", calls(MONITOR).len());
        assert!(calls(SPAWNER).len() <= 28, "{}", calls(SPAWNER).len());
    }

    #[test]
    fn the_monitor_cannot_start_anything() {
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
            libc::SYS_creat,
        ] {
            assert!(!calls(MONITOR).contains(&call), "{call}");
        }
    }

    #[test]
    fn neither_spawner_nor_workers_can_make_or_aim_a_socket() {
        for call in [libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen, libc::SYS_sendmsg]
        {
            assert!(!calls(SPAWNER).contains(&call) && !calls(WORKERS).contains(&call), "{call}");
        }
    }
}
