//! Processes and programs of its own.

use super::row::{Row, a, act, bits, child, classic, p};
use crate::sys::call;

pub(super) const ACTS: &[Row] = &[
    classic("execve /bin/true", |_| {
        call(libc::SYS_execve, &[p(c"/bin/true"), a([p(c"true"), 0]), a([0_usize])])
    }),
    act("execveat of a descriptor", |slot| {
        call(
            libc::SYS_execveat,
            &[slot.client, p(c""), a([0_usize]), a([0_usize]), bits(libc::AT_EMPTY_PATH)],
        )
    }),
    act("fork by clone", |_| child(call(libc::SYS_clone, &[bits(libc::SIGCHLD)]))),
    classic("clone a thread", |_| {
        std::thread::Builder::new().spawn(|| ()).map_or(-1, |thread| thread.join().map_or(-1, |()| 0))
    }),
    classic("clone3", |_| child(call(libc::SYS_clone3, &[a([0_u64, 0, 0, 0, 17, 0, 0, 0]), 64]))),
    classic("clone that shares memory, as vfork", |_| crate::sys::clone_sharing_memory()),
    act("posix_spawn", |_| std::process::Command::new("/bin/true").status().map_or(-1, |_| 0)),
    act("wait4", |_| call(libc::SYS_wait4, &[usize::MAX, 0, 1, 0])),
];
