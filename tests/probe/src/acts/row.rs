//! A row of the tables, and the words that its system calls are made with.

use std::ffi::CStr;

/// The descriptors in a worker's hands, and the targets that it might turn against.
pub(crate) struct Slot {
    /// A connected TCP socket.
    pub client: usize,
    /// Its end of the monitor's channel.
    pub channel: usize,
    /// The other end of it. In a worker's place it is whatever is open.
    pub other_end: usize,
    /// A TCP socket that is not connected, and one that listens and has a client waiting: the monitor never passes
    /// either. In a worker's place they are whatever is open, as none can be made there.
    pub loose: usize,
    pub listener: usize,
    /// The end for writing of a pipe, as a session worker has some: its filter has no call that makes one.
    pub pipe: usize,
    /// A process of the same user that runs this program too: another worker.
    pub victim: usize,
    /// The process that gives the orders.
    pub monitor: usize,
    /// An address at which nothing from here may ever arrive: a sockaddr_in.
    pub canary: [u8; 16],
}

/// One act in the table of what it is about.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) classic: bool,
    pub(super) attempt: fn(&Slot) -> i64,
}

/// An act that is one of the 139 that the floors of each layer were first measured with.
pub(super) const fn classic(name: &'static str, attempt: fn(&Slot) -> i64) -> Row {
    Row { name, classic: true, attempt }
}

/// Any other act.
pub(super) const fn act(name: &'static str, attempt: fn(&Slot) -> i64) -> Row {
    Row { name, classic: false, attempt }
}

/// The folder that acts on files are tried in.
pub(super) const CWD: usize = libc::AT_FDCWD.cast_unsigned() as usize;

/// Private memory without a file.
pub(super) const MAP: usize = bits(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);

/// Flags as a word of a call.
pub(super) const fn bits(number: i32) -> usize {
    number.cast_unsigned() as usize
}

/// An answer or another number as a word of a call.
pub(super) fn wide(number: impl TryInto<usize>) -> usize {
    number.try_into().unwrap_or(usize::MAX)
}

/// The address of a text.
pub(super) fn p(text: &'static CStr) -> usize {
    text.as_ptr() as usize
}

/// The address of a value of its own that the kernel may read and write; the process soon ends.
pub(super) fn a<T>(value: T) -> usize {
    std::ptr::from_mut(Box::leak(Box::new(value))).cast::<u8>() as usize
}

/// A page of this program's code.
pub(super) fn acts_page() -> usize {
    (acts_page as *const () as usize) & !4095
}

/// In a child that should not be there: ends it.
pub(super) fn child(answer: i64) -> i64 {
    if answer == 0 {
        sockd_lockdown::exit_now(0);
    }
    answer
}
