//! Memory, its own and what is shared.

use super::row::{MAP, Row, a, act, acts_page, bits, classic, p, wide};
use crate::sys::call;

pub(super) const ACTS: &[Row] = &[
    classic("mmap writable and executable", |_| call(libc::SYS_mmap, &[0, 4096, 7, MAP, usize::MAX, 0])),
    classic("mmap executable", |_| call(libc::SYS_mmap, &[0, 4096, 5, MAP, usize::MAX, 0])),
    classic("mmap, then mprotect to executable", |_| {
        let page = call(libc::SYS_mmap, &[0, 4096, 3, MAP, usize::MAX, 0]);
        call(libc::SYS_mprotect, &[wide(page), 4096, 5])
    }),
    classic("mprotect the code writable", |_| call(libc::SYS_mprotect, &[acts_page(), 4096, 7])),
    act("pkey_mprotect", |_| call(libc::SYS_pkey_mprotect, &[acts_page(), 4096, 5, usize::MAX])),
    act("mmap at a fixed place", |_| {
        call(libc::SYS_mmap, &[0x10_0000_0000, 4096, 3, MAP | bits(libc::MAP_FIXED), usize::MAX, 0])
    }),
    classic("mmap over the code", |_| {
        call(libc::SYS_mmap, &[unused_page(), 4096, 3, MAP | bits(libc::MAP_FIXED), usize::MAX, 0])
    }),
    act("mmap of a descriptor", |slot| {
        call(libc::SYS_mmap, &[0, 4096, 1, bits(libc::MAP_PRIVATE), slot.channel, 0])
    }),
    classic("mmap of 4 GiB", |_| {
        call(libc::SYS_mmap, &[0, 4 << 30, 3, MAP | bits(libc::MAP_NORESERVE), usize::MAX, 0])
    }),
    classic("remap_file_pages", |_| {
        let shared = bits(libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        let pages = call(libc::SYS_mmap, &[0, 8192, 3, shared, usize::MAX, 0]);
        call(libc::SYS_remap_file_pages, &[wide(pages), 4096, 0, 1, 0])
    }),
    classic("personality READ_IMPLIES_EXEC", |_| call(libc::SYS_personality, &[0x40_0000])),
    classic("userfaultfd", |_| call(libc::SYS_userfaultfd, &[0])),
    act("userfaultfd for faults in user mode", |_| call(libc::SYS_userfaultfd, &[1])),
    classic("shmget", |_| then_remove(call(libc::SYS_shmget, &[0, 4096, 0o600]), libc::SYS_shmctl, &[0, 0])),
    classic("msgget", |_| then_remove(call(libc::SYS_msgget, &[0, 0o600]), libc::SYS_msgctl, &[0, 0])),
    act("semget", |_| then_remove(call(libc::SYS_semget, &[0, 1, 0o600]), libc::SYS_semctl, &[0, 0, 0])),
    classic("mq_open", |_| {
        let queue =
            call(libc::SYS_mq_open, &[p(c"sockd-probe"), bits(libc::O_CREAT | libc::O_RDWR), 0o600, 0]);
        if queue >= 0 {
            call(libc::SYS_mq_unlink, &[p(c"sockd-probe")]);
        }
        queue
    }),
    classic("mlock of 64 MiB", |_| {
        let pages = call(libc::SYS_mmap, &[0, 64 << 20, 3, MAP, usize::MAX, 0]);
        call(libc::SYS_mlock, &[wide(pages), 64 << 20])
    }),
    act("mlock of a page", |_| call(libc::SYS_mlock, &[acts_page(), 4096])),
    act("mlockall", |_| call(libc::SYS_mlockall, &[4])),
    act("madvise", |_| call(libc::SYS_madvise, &[acts_page(), 4096, 3])),
    act("memfd_secret", |_| call(libc::SYS_memfd_secret, &[0])),
    act("mincore", |_| call(libc::SYS_mincore, &[acts_page(), 4096, a([0_u8; 8])])),
];

/// A page of code that nothing here runs.
fn unused_page() -> usize {
    (std::thread::park_timeout as *const () as usize) & !4095
}

/// Removes an object again that belongs to the system and not to the process, if it could be made.
fn then_remove(made: i64, call_number: libc::c_long, words: &[usize]) -> i64 {
    if made >= 0 {
        let id = [wide(made)];
        call(call_number, &[&id, words].concat());
    }
    made
}
