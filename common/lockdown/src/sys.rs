//! The calls for which no safe wrapper exists: all unsafe code of this package.

#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes over a descriptor that was left open by the parent for this program. May be called once for each.
pub fn take_descriptor(descriptor: RawFd) -> Option<OwnedFd> {
    // SAFETY: F_GETFD touches no memory and tells whether the descriptor is open.
    if descriptor < 0 || unsafe { libc::fcntl(descriptor, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: the descriptor is open, and by the contract of this function nothing else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Ends the process at once with this status through exit_group(2) alone: no handler, no flush, no other call.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) does not return and touches no memory.
    unsafe { libc::_exit(status) }
}

/// Memory cannot become executable once it was writable (PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN, Linux 6.3). False
/// if the kernel lacks this.
pub fn deny_write_execute() -> bool {
    let (on, unused): (libc::c_ulong, libc::c_ulong) = (libc::PR_MDWE_REFUSE_EXEC_GAIN.into(), 0);
    // SAFETY: this prctl(2) takes plain numbers and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_MDWE, on, unused, unused, unused) == 0 }
}

/// The Landlock ABI that the running kernel offers; 0 without Landlock.
pub(crate) fn landlock_abi() -> u8 {
    const VERSION: libc::c_ulong = 1;
    let (none, size): (*const libc::c_void, libc::size_t) = (std::ptr::null(), 0);
    // SAFETY: with LANDLOCK_CREATE_RULESET_VERSION the kernel reads no attribute and only returns a number.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, size, VERSION) };
    u8::try_from(abi).unwrap_or(0)
}
