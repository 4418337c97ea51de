//! The system calls of spawner and workers: one row for each, with its conditions and the reason.

use sockd_lockdown::Test::OnlyBits;
use sockd_lockdown::When::{Always, Args};
use sockd_lockdown::profile_rows::{MORE, NO_VDSO, NOT_EXECUTABLE, brk, end, int, munmap, null};
use sockd_lockdown::{Arg, Row, libc, rare, row};

/// The spawner's own calls.
pub const SPAWNER: &[Row] = &[
    row!(SYS_poll, Always, "wait for the monitor and for children"),
    row!(SYS_ppoll, Always, "the same"),
    row!(SYS_recvmsg, Always, "what to start, with the worker's end of its channel"),
    row!(SYS_sendto, Args(&[null(4)]), "tell the monitor what has ended; never to an address"),
    row!(SYS_read, Always, "SIGCHLD"),
    row!(SYS_clone, Args(&[Arg { index: 0, test: OnlyBits(FORK) }]), "fork; no namespace, no shared memory"),
    row!(SYS_execveat, Always, "the worker's program, by its descriptor: there are no files to execute"),
    row!(SYS_wait4, Always, "reap"),
    row!(SYS_kill, Always, "end a worker; nobody else is there", rare("a worker has to be killed")),
    row!(SYS_dup2, Always, "put the channel where the worker expects it"),
    row!(SYS_close, Always, "the channel that has been given to a worker"),
    row!(SYS_pipe2, Always, "the pipes of a session worker"),
    row!(SYS_close_range, Always, "make room for them; lockdown of a worker"),
    row!(SYS_fcntl, Always, "whether a descriptor is open (debug builds); size of the pipes"),
    row!(SYS_rt_sigprocmask, Always, "a worker starts with every signal blocked"),
    row!(SYS_setgroups, Always, "an id of its own for a worker", IDS),
    row!(SYS_setresuid, Always, "an id of its own for a worker", IDS),
    row!(SYS_setresgid, Always, "an id of its own for a worker", IDS),
    row!(SYS_getresuid, Always, "read it back", IDS),
    row!(SYS_getresgid, Always, "read it back", IDS),
    row!(SYS_getgroups, Always, "read them back", IDS),
    row!(SYS_set_robust_list, Always, "the C library's fork"),
    row!(SYS_mmap, Args(&[NOT_EXECUTABLE]), "memory"),
    munmap(MORE),
    row!(SYS_mremap, Always, "memory", MORE),
    brk(None),
    end(None),
];

/// The calls of workers. A filter is inherited by the programs that a process starts, and they can only narrow it. So
/// the spawner's has to permit what workers need to start and to lock themselves down, and their own profiles' calls.
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
    row!(SYS_openat, Always, "lockdown probes /proc, which is not there"),
    row!(SYS_fstat, Always, "start of a program: the bounds of the stack", PROC),
    row!(SYS_newfstatat, Args(&[int(3, libc::AT_EMPTY_PATH)]), "the same in newer C libraries", PROC),
    row!(SYS_landlock_create_ruleset, Always, "lockdown"),
    row!(SYS_landlock_restrict_self, Always, "lockdown"),
    row!(SYS_seccomp, Always, "lockdown"),
    row!(SYS_epoll_create1, Always, "before lockdown"),
    row!(SYS_epoll_pwait, Always, "every role"),
    row!(SYS_epoll_ctl, Always, "every role"),
    row!(SYS_recvfrom, Always, "every role"),
    row!(SYS_recvmmsg, Always, "datagram"),
    row!(SYS_pread64, Always, "resolver"),
    row!(SYS_splice, Always, "session"),
    row!(SYS_shutdown, Always, "session"),
    row!(SYS_getpeername, Always, "session"),
    row!(SYS_clock_gettime, Always, "deadlines where the clock has no vDSO", NO_VDSO),
];

// Occasions of calls that are rarely made.
const IDS: Option<&str> = rare("worker_ids");
const PROC: Option<&str> = rare("no mount namespace: /proc/self/maps is there");
const STACK: Option<&str> = rare("a standard library that asks for the bounds of the stack");

/// The flags of the C library's fork: SIGCHLD and two places for the child's thread id.
const FORK: u32 = (libc::SIGCHLD | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID) as u32;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn calls(rows: &[Row]) -> BTreeSet<i64> {
        rows.iter().map(|row| row.call).collect()
    }

    #[test]
    fn the_budget_holds() {
        assert!(calls(SPAWNER).len() <= 28, "{}", calls(SPAWNER).len());
    }

    #[test]
    fn neither_spawner_nor_workers_can_make_or_aim_a_socket() {
        for call in [libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen, libc::SYS_sendmsg]
        {
            assert!(!calls(SPAWNER).contains(&call) && !calls(WORKERS).contains(&call), "{call}");
        }
    }
}
