//! The system calls that the hook process and its commands may not make, and why no command misses them.
//!
//! The commands inherit the filter, and any program may be one. So this table denies instead of permitting: it has the
//! calls that reach other processes, or parts of the kernel that only an administrator's programs use. They fail with
//! EPERM, as they do for a user without privileges in any case, or with ENOSYS if programs detect support by that.

use sockd_lockdown::When::Answer;
use sockd_lockdown::{Row, libc, row};

/// Calls that fail.
pub const DENIED: &[Row] = &[
    row!(SYS_ptrace, Answer(libc::EPERM), "another process"),
    row!(SYS_process_vm_readv, Answer(libc::EPERM), "another process's memory"),
    row!(SYS_process_vm_writev, Answer(libc::EPERM), "another process's memory"),
    row!(SYS_pidfd_getfd, Answer(libc::EPERM), "another process's descriptors"),
    row!(SYS_kcmp, Answer(libc::EPERM), "another process's resources"),
    row!(SYS_bpf, Answer(libc::EPERM), "programs in the kernel"),
    row!(SYS_perf_event_open, Answer(libc::EPERM), "counters of the kernel"),
    row!(SYS_userfaultfd, Answer(libc::EPERM), "page faults, which exploits stretch time with"),
    row!(SYS_io_uring_setup, Answer(libc::ENOSYS), "calls past this filter; programs do without"),
    row!(SYS_keyctl, Answer(libc::EPERM), "keys in the kernel"),
    row!(SYS_add_key, Answer(libc::EPERM), "keys in the kernel"),
    row!(SYS_request_key, Answer(libc::EPERM), "keys in the kernel"),
    row!(SYS_unshare, Answer(libc::EPERM), "namespaces"),
    row!(SYS_setns, Answer(libc::EPERM), "namespaces"),
    row!(SYS_mount, Answer(libc::EPERM), "mounts"),
    row!(SYS_umount2, Answer(libc::EPERM), "mounts"),
    row!(SYS_pivot_root, Answer(libc::EPERM), "mounts"),
    row!(SYS_chroot, Answer(libc::EPERM), "another root"),
    row!(SYS_move_mount, Answer(libc::EPERM), "mounts"),
    row!(SYS_open_tree, Answer(libc::EPERM), "mounts"),
    row!(SYS_mount_setattr, Answer(libc::EPERM), "mounts"),
    row!(SYS_fsopen, Answer(libc::EPERM), "mounts"),
    row!(SYS_fsmount, Answer(libc::EPERM), "mounts"),
    row!(SYS_fspick, Answer(libc::EPERM), "mounts"),
    row!(SYS_open_by_handle_at, Answer(libc::EPERM), "files past their folders"),
    row!(SYS_fanotify_init, Answer(libc::EPERM), "what others do with files"),
    row!(SYS_init_module, Answer(libc::EPERM), "modules"),
    row!(SYS_finit_module, Answer(libc::EPERM), "modules"),
    row!(SYS_delete_module, Answer(libc::EPERM), "modules"),
    row!(SYS_kexec_load, Answer(libc::EPERM), "another kernel"),
    row!(SYS_reboot, Answer(libc::EPERM), "the machine"),
    row!(SYS_swapon, Answer(libc::EPERM), "the machine's memory"),
    row!(SYS_swapoff, Answer(libc::EPERM), "the machine's memory"),
    row!(SYS_move_pages, Answer(libc::EPERM), "where memory lies"),
    row!(SYS_migrate_pages, Answer(libc::EPERM), "where memory lies"),
    row!(SYS_acct, Answer(libc::EPERM), "accounting"),
    row!(SYS_quotactl, Answer(libc::EPERM), "quotas"),
    row!(SYS_syslog, Answer(libc::EPERM), "the kernel's log; programs log elsewhere"),
    row!(SYS_settimeofday, Answer(libc::EPERM), "the clock"),
    row!(SYS_clock_settime, Answer(libc::EPERM), "the clock"),
    row!(SYS_clock_adjtime, Answer(libc::EPERM), "the clock"),
    row!(SYS_vhangup, Answer(libc::EPERM), "the terminal"),
];
