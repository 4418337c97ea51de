//! System calls by another way than the usual one of this architecture.

use super::row::{Row, a, act, child, classic, p};
use crate::sys::call;

pub(super) const ACTS: &[Row] = &[
    classic("fork(2)", |_| child(call(libc::SYS_fork, &[]))),
    classic("open(2)", |_| call(libc::SYS_open, &[p(c"/etc/passwd"), 0])),
    classic("creat(2)", |_| call(libc::SYS_creat, &[p(c"creat"), 0o600])),
    classic("iopl(3)", |_| call(libc::SYS_iopl, &[3])),
    act("ioperm", |_| call(libc::SYS_ioperm, &[0x80, 1, 1])),
    classic("modify_ldt", |_| call(libc::SYS_modify_ldt, &[0, a([0_u8; 64]), 64])),
    act("arch_prctl", |_| call(libc::SYS_arch_prctl, &[0x1003, a([0_u64])])),
    classic("int 0x80 getpid (32 bits)", |_| crate::sys::interrupt_80()),
    classic("x32 getpid", |_| call(0x4000_0000 + 39, &[])),
    classic("x32 read", |slot| call(0x4000_0000, &[slot.channel, a([0_u8; 4]), 4])),
    act("no such call", |_| call(4000, &[])),
];
