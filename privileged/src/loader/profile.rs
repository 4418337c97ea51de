//! The system calls of the loader: one row for each, with its conditions and the reason.

use sockd_lockdown::When::{Always, Args};
use sockd_lockdown::profile_rows::{
    MORE, NO_VDSO, NOT_EXECUTABLE, READ_ONLY, brk, close_check, end, int, munmap,
};
use sockd_lockdown::{Row, libc, rare, row};

/// The loader's calls: it reads files and writes to the memory that it shares with the monitor.
pub const LOADER: &[Row] = &[
    row!(SYS_poll, Always, "wait for the monitor", rare("a C library that waits so")),
    row!(SYS_ppoll, Always, "the same"),
    row!(SYS_recvmsg, Always, "a word from the monitor"),
    row!(SYS_sendto, Always, "say what has been read"),
    row!(SYS_openat, Args(&[READ_ONLY]), "configuration files"),
    row!(SYS_getdents64, Always, "folders of included files", rare("a configuration that includes files")),
    row!(SYS_newfstatat, Always, "who owns the folders above them"),
    row!(SYS_readlink, Always, "where links among them lead", rare("a file that is a link")),
    row!(SYS_readlinkat, Always, "the same", rare("a C library that asks so")),
    row!(SYS_fstat, Always, "who owns them"),
    row!(SYS_statx, Always, "the size of a file that is read whole"),
    row!(SYS_lseek, Always, "the same", rare("a standard library that asks for the place in a file")),
    row!(SYS_read, Always, "configuration files"),
    row!(SYS_pwrite64, Always, "the shared memory"),
    row!(SYS_memfd_create, Always, "memory for the hook process"),
    row!(SYS_sendmsg, Always, "hand it over"),
    row!(SYS_ftruncate, Always, "the shared memory"),
    row!(SYS_unlinkat, Always, "the process id file at the end; Landlock says where"),
    row!(SYS_fcntl, Args(&[int(1, libc::F_ADD_SEALS)]), "nobody can write the table of users any more"),
    row!(SYS_getuid, Always, "whose files count as one's own"),
    row!(SYS_close, Always, "files that have been read"),
    close_check(),
    row!(SYS_mmap, Args(&[NOT_EXECUTABLE]), "memory", MORE),
    munmap(MORE),
    row!(SYS_mremap, Always, "memory", MORE),
    brk(MORE),
    row!(SYS_clock_gettime, Always, "the time where it has no vDSO", NO_VDSO),
    end(rare("only with the daemon, whose end is quicker")),
];
