//! Mapped memory.
#![allow(unsafe_code)]

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use sockd_common::counters::Counters;
use std::io;
use std::os::fd::AsFd;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::AtomicU64;

/// Bytes of a word.
const WORD: usize = size_of::<AtomicU64>();

/// Shared memory of a file, as words.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<AtomicU64>,
    words: usize,
}

impl Mapping {
    /// Maps the first `length` bytes, rounded down to whole words. The file must have all of them for as long as the
    /// mapping exists.
    pub(crate) fn new(file: impl AsFd, length: usize, writable: bool) -> io::Result<Self> {
        let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: a new mapping at a place of the kernel's choice replaces nothing.
        let start = unsafe { mmap(null_mut(), length, protection, MapFlags::SHARED, file, 0)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, words: length / WORD })
    }

    /// The words. Other processes may write them meanwhile. A store to a mapping for reading only would be a fault
    /// (SIGSEGV), so only [`crate::memory::Writable`] hands words out for writing.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping begins at a page, holds this many words, any bits of which are valid, and lives as long as
        // `self`. It is only ever read and written through atomics, here and in the other processes that have it. The
        // file does not shrink below it: its creator has sealed it, and `memory` has looked for that seal.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

/// Words as counters; `None` if there are too few.
pub(crate) fn counters(words: &[AtomicU64]) -> Option<&Counters> {
    let is_long_enough = size_of_val(words) >= size_of::<Counters>();
    // SAFETY: `Counters` is `repr(C)` and consists of atomic words alone, as a test beside it holds by size and alignment:
    // any bits are valid, and it begins where the words do and ends no later. The borrow is that of the words.
    is_long_enough.then(|| unsafe { &*words.as_ptr().cast::<Counters>() })
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let length = self.words.saturating_mul(WORD);
        // SAFETY: nobody else has the address: `words` borrows `self`, which ends here.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), length) };
    }
}
