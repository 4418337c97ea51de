//! The rest of the kernel.

use super::row::{CWD, Row, a, act, bits, child, classic, p};
use crate::sys::call;

pub(super) const ACTS: &[Row] = &[
    classic("io_uring_setup", |_| call(libc::SYS_io_uring_setup, &[1, a([0_u64; 32])])),
    act("io_setup", |_| call(libc::SYS_io_setup, &[1, a([0_u64])])),
    classic("bpf", |_| {
        call(libc::SYS_bpf, &[0, a([1_u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 72])
    }),
    classic("perf_event_open", |_| {
        call(
            libc::SYS_perf_event_open,
            &[
                a([
                    1_u32, 112, 0, 0, 0, 0, 0, 0, 0, 0, 0x63, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                    0,
                ]),
                0,
                usize::MAX,
                usize::MAX,
                0,
            ],
        )
    }),
    classic("add_key", |_| {
        call(libc::SYS_add_key, &[p(c"user"), p(c"x"), a([0_u8; 1]), 1, (-2_isize).cast_unsigned()])
    }),
    act("keyctl", |_| call(libc::SYS_keyctl, &[0, (-3_isize).cast_unsigned(), 1])),
    classic("unshare NEWUSER", |_| call(libc::SYS_unshare, &[bits(libc::CLONE_NEWUSER)])),
    classic("unshare NEWUSER and NEWNET", |_| {
        call(libc::SYS_unshare, &[bits(libc::CLONE_NEWUSER | libc::CLONE_NEWNET)])
    }),
    classic("clone NEWUSER", |_| child(call(libc::SYS_clone, &[bits(libc::CLONE_NEWUSER | libc::SIGCHLD)]))),
    classic("setns", |slot| call(libc::SYS_setns, &[slot.channel, 0])),
    classic("mount", |_| call(libc::SYS_mount, &[p(c"x"), p(c"."), p(c"tmpfs"), 0, 0])),
    act("umount", |_| call(libc::SYS_umount2, &[p(c"."), 0])),
    act("fsopen", |_| call(libc::SYS_fsopen, &[p(c"tmpfs"), 0])),
    act("move_mount", |_| call(libc::SYS_move_mount, &[CWD, p(c"."), CWD, p(c"dir"), 0])),
    act("pivot_root", |_| call(libc::SYS_pivot_root, &[p(c"."), p(c".")])),
    classic("seccomp: a further filter", |_| {
        call(libc::SYS_prctl, &[bits(libc::PR_SET_NO_NEW_PRIVS), 1, 0, 0, 0]);
        call(libc::SYS_seccomp, &[1, 0, a([1_usize, a([6_u64 | 0x7fff_0000 << 32])])])
    }),
    classic("landlock_create_ruleset", |_| call(libc::SYS_landlock_create_ruleset, &[a([1_u64]), 8, 0])),
    classic("setresuid(0)", |_| call(libc::SYS_setresuid, &[0, 0, 0])),
    act("setresgid(0)", |_| call(libc::SYS_setresgid, &[0, 0, 0])),
    classic("setgroups([0])", |_| call(libc::SYS_setgroups, &[1, a([0_u32])])),
    classic("capset", |_| call(libc::SYS_capset, &[a([0x2008_0522_u32, 0]), a([u32::MAX; 6])])),
    act("capset of nothing", |_| call(libc::SYS_capset, &[a([0x2008_0522_u32, 0]), a([0_u32; 6])])),
    classic("PR_SET_DUMPABLE 1", |_| call(libc::SYS_prctl, &[4, 1, 0, 0, 0])),
    classic("PR_SET_PDEATHSIG 0", |_| call(libc::SYS_prctl, &[1, 0, 0, 0, 0])),
    act("PR_SET_NAME", |_| call(libc::SYS_prctl, &[15, p(c"kworker"), 0, 0, 0])),
    act("PR_SET_KEEPCAPS", |_| call(libc::SYS_prctl, &[8, 1, 0, 0, 0])),
    classic("RLIMIT_NOFILE raised", |_| call(libc::SYS_prlimit64, &[0, 7, a([1_u64 << 40; 2]), 0])),
    act("RLIMIT_NOFILE lowered", |_| call(libc::SYS_prlimit64, &[0, 7, a([16_u64; 2]), 0])),
    classic("init_module", |_| call(libc::SYS_init_module, &[a([0_u8; 8]), 8, p(c"")])),
    classic("kexec_load", |_| call(libc::SYS_kexec_load, &[0, 0, 0, 0])),
    classic("reboot(CAD_OFF)", |_| call(libc::SYS_reboot, &[0xfee1_dead, 672_274_793, 0, 0])),
    classic("clock_settime", |_| call(libc::SYS_clock_settime, &[0, a([0_u64; 2])])),
    classic("sethostname", |_| call(libc::SYS_sethostname, &[p(c"x"), 1])),
    act("swapon", |_| call(libc::SYS_swapon, &[p(c"own"), 0])),
    act("acct", |_| call(libc::SYS_acct, &[p(c"own")])),
    act("quotactl", |_| call(libc::SYS_quotactl, &[0x80_0001 << 8, 0, 0, 0])),
    classic("syslog(READ_ALL)", |_| call(libc::SYS_syslog, &[3, a([0_u8; 64]), 64])),
    classic("timer_create", |_| call(libc::SYS_timer_create, &[1, 0, a([0_u64])])),
    act("timerfd_create", |_| call(libc::SYS_timerfd_create, &[1, 0])),
    act("setitimer", |_| call(libc::SYS_setitimer, &[0, a([0_u64; 4]), 0])),
    act("signalfd", |_| call(libc::SYS_signalfd4, &[usize::MAX, a([0_u64]), 8, 0])),
    classic("eventfd", |_| call(libc::SYS_eventfd2, &[0, 0])),
    act("epoll_create1", |_| call(libc::SYS_epoll_create1, &[0])),
    act("rt_sigaction", |_| call(libc::SYS_rt_sigaction, &[10, 0, a([0_u64; 4]), 8])),
    act("rt_sigprocmask", |_| call(libc::SYS_rt_sigprocmask, &[0, a([0_u64]), 0, 8])),
    classic("uname", |_| call(libc::SYS_uname, &[a([0_u8; 512])])),
    classic("sysinfo", |_| call(libc::SYS_sysinfo, &[a([0_u64; 16])])),
    act("getpid", |_| call(libc::SYS_getpid, &[])),
    act("getrusage", |_| call(libc::SYS_getrusage, &[0, a([0_u64; 18])])),
    act("clock_gettime of the wall", |_| call(libc::SYS_clock_gettime, &[0, a([0_u64; 2])])),
    act("nanosleep", |_| call(libc::SYS_nanosleep, &[a([0_u64, 1]), 0])),
    act("futex", |_| call(libc::SYS_futex, &[a([0_u32]), 1, 1])),
    act("membarrier", |_| call(libc::SYS_membarrier, &[0, 0, 0])),
    act("rseq", |_| call(libc::SYS_rseq, &[0, 0, 0, 0])),
    act("set_tid_address", |_| call(libc::SYS_set_tid_address, &[0])),
    act("sched_yield", |_| call(libc::SYS_sched_yield, &[])),
    classic("dup until EMFILE", |slot| {
        (0..257).map(|_| call(libc::SYS_dup, &[slot.client])).min().unwrap_or(0)
    }),
    act("fcntl F_DUPFD", |slot| call(libc::SYS_fcntl, &[slot.client, bits(libc::F_DUPFD), 10])),
    act("close_range of everything", |_| call(libc::SYS_close_range, &[1000, 2000, 0])),
];
