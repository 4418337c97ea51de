//! Other processes.

use super::row::{Row, a, act, acts_page, bits, classic, wide};
use crate::sys::call;
use std::sync::atomic::AtomicU64;

/// The kernel does not tell whether such a signal has arrived: the fate of the victim shows it.
pub(crate) const SIGIO: &str = "F_SETOWN and O_ASYNC: SIGIO for another";

/// Written to by an act that gets at the memory of another worker.
static TARGET: AtomicU64 = AtomicU64::new(0);

pub(super) const ACTS: &[Row] = &[
    classic("kill(victim, 0)", |slot| call(libc::SYS_kill, &[slot.victim, 0])),
    classic("kill(victim, SIGURG)", |slot| call(libc::SYS_kill, &[slot.victim, bits(libc::SIGURG)])),
    classic("kill(monitor, 0)", |slot| call(libc::SYS_kill, &[slot.monitor, 0])),
    classic("kill(-1, 0)", |_| call(libc::SYS_kill, &[usize::MAX, 0])),
    classic("kill(0, SIGURG)", |_| call(libc::SYS_kill, &[0, bits(libc::SIGURG)])),
    classic("tgkill", |slot| call(libc::SYS_tgkill, &[slot.victim, slot.victim, 0])),
    act("tkill", |slot| call(libc::SYS_tkill, &[slot.victim, 0])),
    classic("rt_sigqueueinfo", |slot| {
        call(
            libc::SYS_rt_sigqueueinfo,
            &[
                slot.victim,
                bits(libc::SIGURG),
                a([
                    23_i32, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                    0, 0, 0, 0,
                ]),
            ],
        )
    }),
    classic(SIGIO, |slot| match call(libc::SYS_fcntl, &[slot.channel, bits(libc::F_SETOWN), slot.victim]) {
        0.. => call(libc::SYS_fcntl, &[slot.channel, bits(libc::F_SETFL), bits(libc::O_ASYNC)])
            .min(call(libc::SYS_sendto, &[slot.other_end, a([0_u8]), 1, bits(libc::MSG_DONTWAIT)])),
        refused => refused,
    }),
    act("F_SETOWN to another", |slot| {
        call(libc::SYS_fcntl, &[slot.client, bits(libc::F_SETOWN), slot.victim])
    }),
    act("F_SETFL O_ASYNC", |slot| {
        call(libc::SYS_fcntl, &[slot.client, bits(libc::F_SETFL), bits(libc::O_ASYNC)])
    }),
    classic("ptrace attach", |slot| call(libc::SYS_ptrace, &[16, slot.victim, 0, 0])),
    classic("ptrace TRACEME", |_| call(libc::SYS_ptrace, &[0, 0, 0, 0])),
    classic("process_vm_readv", |slot| {
        call(libc::SYS_process_vm_readv, &[slot.victim, a([a([0_u8; 8]), 8]), 1, a([acts_page(), 8]), 1, 0])
    }),
    classic("process_vm_writev", |slot| {
        call(
            libc::SYS_process_vm_writev,
            &[slot.victim, a([a([0_u8; 8]), 8]), 1, a([TARGET.as_ptr() as usize, 8]), 1, 0],
        )
    }),
    act("process_madvise", |slot| call(libc::SYS_process_madvise, &[slot.channel, 0, 0, 20, 0])),
    classic("pidfd_open", |slot| call(libc::SYS_pidfd_open, &[slot.victim, 0])),
    classic("pidfd_getfd", |slot| {
        let process = call(libc::SYS_pidfd_open, &[slot.victim, 0]);
        call(libc::SYS_pidfd_getfd, &[wide(process), 0, 0])
    }),
    classic("kcmp", |slot| call(libc::SYS_kcmp, &[slot.victim, slot.victim, 1, 0, 0])),
    classic("prlimit64 of another", |slot| call(libc::SYS_prlimit64, &[slot.victim, 7, 0, a([0_u64; 2])])),
    classic("setpriority of another", |slot| call(libc::SYS_setpriority, &[0, slot.victim, 19])),
    classic("sched_setaffinity of another", |slot| {
        call(libc::SYS_sched_setaffinity, &[slot.victim, 8, a([3_u64])])
    }),
    act("sched_setscheduler of another", |slot| {
        call(libc::SYS_sched_setscheduler, &[slot.victim, 3, a([0_i32])])
    }),
    act("ioprio_set of another", |slot| call(libc::SYS_ioprio_set, &[1, slot.victim, 3 << 13])),
    classic("get_robust_list of another", |slot| {
        call(libc::SYS_get_robust_list, &[slot.victim, a([0_u64]), a([0_u64])])
    }),
    act("getpgid of another", |slot| call(libc::SYS_getpgid, &[slot.victim])),
    act("setsid", |_| child_sets_sid()),
];

/// A process that leads its group cannot leave its session; a child can.
fn child_sets_sid() -> i64 {
    match call(libc::SYS_clone, &[bits(libc::SIGCHLD)]) {
        0 => sockd_lockdown::exit_now(i32::from(call(libc::SYS_setsid, &[]) < 0)),
        answer => answer,
    }
}
