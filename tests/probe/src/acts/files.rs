//! Files and folders.

use super::row::{CWD, Row, a, act, bits, classic, p, wide};
use crate::sys::call;
use std::ffi::CString;

pub(super) const ACTS: &[Row] = &[
    classic("open /etc/passwd O_RDONLY", |_| {
        call(libc::SYS_openat, &[CWD, p(c"/etc/passwd"), bits(libc::O_RDONLY)])
    }),
    classic("open / O_DIRECTORY", |_| call(libc::SYS_openat, &[CWD, p(c"/"), bits(libc::O_DIRECTORY)])),
    classic("open .. O_PATH", |_| call(libc::SYS_openat, &[CWD, p(c".."), bits(libc::O_PATH)])),
    classic("open a world-writable file O_WRONLY", |_| {
        call(libc::SYS_openat, &[CWD, p(c"own"), bits(libc::O_WRONLY)])
    }),
    classic("create a file", |_| {
        call(libc::SYS_openat, &[CWD, p(c"new"), bits(libc::O_CREAT | libc::O_WRONLY), 0o600])
    }),
    classic("open O_TMPFILE", |_| {
        call(libc::SYS_openat, &[CWD, p(c"."), bits(libc::O_TMPFILE | libc::O_RDWR), 0o600])
    }),
    classic("open /proc/self/mem", |_| {
        call(libc::SYS_openat, &[CWD, p(c"/proc/self/mem"), bits(libc::O_RDWR)])
    }),
    classic("open /proc/self/environ", |_| call(libc::SYS_openat, &[CWD, p(c"/proc/self/environ"), 0])),
    classic("open /proc/VICTIM/status", |slot| {
        let path = CString::new(format!("/proc/{}/status", slot.victim)).unwrap_or_default();
        call(libc::SYS_openat, &[CWD, path.as_ptr() as usize, 0])
    }),
    classic("open /dev/null", |_| call(libc::SYS_openat, &[CWD, p(c"/dev/null"), bits(libc::O_RDWR)])),
    classic("open /dev/ptmx", |_| call(libc::SYS_openat, &[CWD, p(c"/dev/ptmx"), bits(libc::O_RDWR)])),
    classic("openat2", |_| call(libc::SYS_openat2, &[CWD, p(c"/etc/passwd"), a([0_u64; 3]), 24])),
    classic("stat /etc/passwd", |_| call(libc::SYS_newfstatat, &[CWD, p(c"/etc/passwd"), a([0_u64; 32]), 0])),
    act("statx /etc/passwd", |_| call(libc::SYS_statx, &[CWD, p(c"/etc/passwd"), 0, 0xfff, a([0_u64; 64])])),
    classic("access /etc/shadow F_OK", |_| call(libc::SYS_faccessat, &[CWD, p(c"/etc/shadow"), 0])),
    classic("readlink /proc/self/exe", |_| {
        call(libc::SYS_readlinkat, &[CWD, p(c"/proc/self/exe"), a([0_u8; 256]), 256])
    }),
    act("getcwd", |_| call(libc::SYS_getcwd, &[a([0_u8; 256]), 256])),
    act("getdents of what is open", |slot| call(libc::SYS_getdents64, &[slot.client, a([0_u8; 256]), 256])),
    classic("mkdir", |_| call(libc::SYS_mkdirat, &[CWD, p(c"dir"), 0o700])),
    classic("unlink", |_| call(libc::SYS_unlinkat, &[CWD, p(c"unlink"), 0])),
    classic("rename", |_| call(libc::SYS_renameat2, &[CWD, p(c"rename"), CWD, p(c"renamed"), 0])),
    classic("symlink", |_| call(libc::SYS_symlinkat, &[p(c"/etc/passwd"), CWD, p(c"symlink")])),
    classic("link", |_| call(libc::SYS_linkat, &[CWD, p(c"own"), CWD, p(c"link"), 0])),
    classic("chmod", |_| call(libc::SYS_fchmodat, &[CWD, p(c"own"), 0o777])),
    act("chown", |_| call(libc::SYS_fchownat, &[CWD, p(c"own"), usize::MAX, usize::MAX, 0])),
    classic("truncate", |_| call(libc::SYS_truncate, &[p(c"own"), 0])),
    act("utimensat", |_| call(libc::SYS_utimensat, &[CWD, p(c"own"), 0, 0])),
    classic("mkfifo", |_| call(libc::SYS_mknodat, &[CWD, p(c"fifo"), wide(libc::S_IFIFO | 0o600), 0])),
    classic("statfs /", |_| call(libc::SYS_statfs, &[p(c"/"), a([0_u64; 32])])),
    act("getxattr", |_| call(libc::SYS_getxattr, &[p(c"own"), p(c"user.x"), a([0_u8; 64]), 64])),
    classic("chdir /etc", |_| call(libc::SYS_chdir, &[p(c"/etc")])),
    classic("chroot", |_| call(libc::SYS_chroot, &[p(c".")])),
    classic("open_by_handle_at", |_| call(libc::SYS_open_by_handle_at, &[CWD, a([8_u32, 1, 0, 0, 0, 0]), 0])),
    act("name_to_handle_at", |_| {
        call(libc::SYS_name_to_handle_at, &[CWD, p(c"/etc/passwd"), a([64_u32; 32]), a([0_u32]), 0])
    }),
    classic("inotify_init1", |_| call(libc::SYS_inotify_init1, &[0])),
    act("fanotify_init", |_| call(libc::SYS_fanotify_init, &[0, 0])),
    classic("memfd_create", |_| call(libc::SYS_memfd_create, &[p(c"x"), 0])),
    act("umask", |_| call(libc::SYS_umask, &[0o77])),
    act("flock", |slot| call(libc::SYS_flock, &[slot.channel, 8])),
];
