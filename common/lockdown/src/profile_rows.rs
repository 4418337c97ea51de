//! Rows, conditions and occasions that several profiles repeat.

use crate::Test::{Int, Long, NoneOf, OnlyBits};
use crate::When::{Always, Args};
use crate::{Arg, Row, libc, rare, row};

/// The occasion of a call that is made when memory grows.
pub const MORE: Option<&str> = rare("more is going on than ever before");

/// The occasion of a call that reads the clock.
pub const NO_VDSO: Option<&str> = rare("where the machine has no clock in the vDSO");

/// The end of the process.
pub const fn end(rare: Option<&'static str>) -> Row {
    row!(SYS_exit_group, Always, "end", rare)
}

/// Memory of the allocator that grows at the end of the program's data.
pub const fn brk(rare: Option<&'static str>) -> Row {
    row!(SYS_brk, Always, "memory of the allocator", rare)
}

/// Mapped memory that is given back.
pub const fn munmap(rare: Option<&'static str>) -> Row {
    row!(SYS_munmap, Always, "give mapped memory back", rare)
}

/// The check of the standard library, with debug assertions, that a descriptor is open before it closes it.
pub const fn close_check() -> Row {
    row!(
        SYS_fcntl,
        Args(const { &[int(1, libc::F_GETFD)] }),
        "asked before every close in builds with debug assertions"
    )
}

/// An int argument of this value.
pub const fn int(index: u8, value: i32) -> Arg {
    Arg { index, test: Int(value.cast_unsigned()) }
}

/// An int argument with no bits but these.
pub const fn flags(index: u8, bits: i32) -> Arg {
    Arg { index, test: OnlyBits(bits.cast_unsigned()) }
}

/// A null pointer.
pub const fn null(index: u8) -> Arg {
    Arg { index, test: Long(0) }
}

/// mmap(2) and mprotect(2) of memory that cannot be executed.
pub const NOT_EXECUTABLE: Arg = Arg { index: 2, test: NoneOf(libc::PROT_EXEC as u64) };

/// openat(2) without a way to write, create or cut a file.
pub const READ_ONLY: Arg = Arg {
    index: 2,
    test: NoneOf((libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND) as u64),
};
