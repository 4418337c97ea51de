//! Leaves to the exporter what it needs once it listens: to reach the daemon, read numbers, answer.

use rustix::param::{clock_ticks_per_second, page_size};
use sockd_lockdown::When::{Always, Args};
use sockd_lockdown::profile_rows::{
    MORE, NO_VDSO, NOT_EXECUTABLE, READ_ONLY, brk, close_check, end, int, munmap,
};
use sockd_lockdown::{
    Grants, Row, install_filter, landlock_deny_all_but, libc, no_new_privileges, not_dumpable, row,
};
use std::path::Path;

/// The calls that are left.
const CALLS: &[Row] = &[
    row!(SYS_poll, Always, "wait for clients (older C libraries)"),
    row!(SYS_ppoll, Always, "wait for clients"),
    row!(SYS_accept4, Always, "clients"),
    row!(SYS_recvfrom, Always, "requests"),
    row!(SYS_sendto, Always, "answers"),
    row!(SYS_shutdown, Always, "the end of an answer"),
    row!(SYS_socket, Args(&[int(0, libc::AF_UNIX)]), "reach the daemon"),
    row!(SYS_setsockopt, Always, "for no longer than a moment"),
    row!(SYS_connect, Always, "the daemon's socket; no other kind can be made"),
    row!(SYS_recvmsg, Always, "the descriptor of the counters"),
    row!(SYS_fcntl, Args(&[int(1, libc::F_GET_SEALS)]), "whether they are sealed"),
    close_check(),
    row!(SYS_fstat, Always, "how long they are"),
    row!(SYS_newfstatat, Always, "the same (newer C libraries)"),
    row!(SYS_statx, Always, "the length of a file of /proc"),
    row!(SYS_openat, Args(&[READ_ONLY]), "what /proc says of the daemon"),
    row!(SYS_read, Always, "the same"),
    row!(SYS_lseek, Always, "the same"),
    row!(SYS_write, Always, "why there are no counters, on standard error"),
    row!(SYS_clock_nanosleep, Always, "a pause before the daemon is asked again"),
    row!(SYS_close, Always, "everything that is over"),
    row!(SYS_mmap, Args(&[NOT_EXECUTABLE]), "the counters; memory"),
    munmap(None),
    row!(SYS_mremap, Always, "memory", MORE),
    row!(SYS_madvise, Always, "memory given back", MORE),
    brk(MORE),
    row!(SYS_clock_gettime, Always, "the time where it has no vDSO", NO_VDSO),
    row!(SYS_rt_sigreturn, Always, "the end of a signal handler"),
    row!(SYS_sigaltstack, Always, "the end of the main thread"),
    end(None),
];

/// Puts the locks on. Returns what this kernel lacks, if anything: the unit's own locks hold then.
pub(super) fn put_on() -> Result<Option<String>, String> {
    // They are asked of the kernel once, by calls that are not left afterwards.
    let _ = (page_size(), clock_ticks_per_second());
    let failed = |error: sockd_lockdown::LockError| error.to_string();
    not_dumpable().map_err(failed)?;
    no_new_privileges().map_err(failed)?;
    let grants = Grants { read: &[Path::new("/proc")], network: true, ..Grants::default() };
    let landlock = landlock_deny_all_but(&grants).map_err(failed)?;
    install_filter(CALLS).map_err(failed)?;
    Ok((!landlock.enforced).then(|| "Landlock does not hold on this kernel".into()))
}
