//! Conditions and occasions that several tables of calls repeat.

use sockd_lockdown::Test::{Int, NoneOf};
use sockd_lockdown::{Arg, libc, rare};

/// A row whose call is made when memory grows.
pub(crate) const MORE: Option<&str> = rare("more is going on than ever before");

/// A row whose call is made by the clock.
pub(crate) const NO_VDSO: Option<&str> = rare("where the machine has no clock in the vDSO");

/// An int of this value.
pub(crate) const fn int(index: u8, value: i32) -> Arg {
    Arg { index, test: Int(value.cast_unsigned()) }
}

/// openat(2) without a way to write, create or cut a file.
pub(crate) const READ_ONLY: Arg = Arg {
    index: 2,
    test: NoneOf((libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND) as u64),
};

/// mmap(2) and mprotect(2) of memory that cannot be executed.
pub(crate) const NOT_EXECUTABLE: Arg = Arg { index: 2, test: NoneOf(libc::PROT_EXEC as u64) };
