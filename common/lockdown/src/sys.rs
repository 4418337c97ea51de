//! The calls for which no safe wrapper exists: all unsafe code of this package.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Closes every descriptor from `first` upwards: those that a parent left open without close-on-exec.
///
/// The caller owns none of them any longer. Called at start, before a process has opened anything of its own.
pub fn close_from(first: RawFd) -> Result<(), crate::LockError> {
    let first = libc::c_uint::try_from(first).unwrap_or(libc::c_uint::MAX);
    // By its number, as not every C library has it under its name.
    // SAFETY: close_range(2) touches no memory. No owner of a descriptor in the range exists, as the caller
    // assures; an owner that did would see EBADF, not foreign memory.
    match unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(crate::LockError::new("close_range", io::Error::last_os_error())),
    }
}

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

/// Memory cannot become executable once it was writable (PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN, Linux 6.3). False where
/// the kernel lacks this.
pub fn deny_write_execute() -> bool {
    let (on, unused): (libc::c_ulong, libc::c_ulong) = (libc::PR_MDWE_REFUSE_EXEC_GAIN.into(), 0);
    // SAFETY: this prctl(2) takes plain numbers and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_MDWE, on, unused, unused, unused) == 0 }
}

/// This process neither speculates past its stores nor shares what branches it took with others of its processor, and
/// cannot change that (PR_SET_SPECULATION_CTRL, PR_SPEC_FORCE_DISABLE). A kernel or a processor that leaves no choice is as
/// it is.
pub fn restrict_speculation() {
    // By their numbers, as not every C library has them under their names.
    const PR_SET_SPECULATION_CTRL: libc::c_int = 53;
    const STORE_BYPASS_AND_INDIRECT_BRANCH: [libc::c_ulong; 2] = [0, 1];
    let (off, unused): (libc::c_ulong, libc::c_ulong) = (1 << 3, 0);
    for feature in STORE_BYPASS_AND_INDIRECT_BRANCH {
        // SAFETY: this prctl(2) takes plain numbers and touches no memory.
        unsafe { libc::prctl(PR_SET_SPECULATION_CTRL, feature, off, unused, unused) };
    }
}

/// The Landlock ABI that the running kernel offers; 0 without Landlock.
pub(crate) fn landlock_abi() -> u8 {
    const VERSION: libc::c_ulong = 1;
    let (none, size): (*const libc::c_void, libc::size_t) = (std::ptr::null(), 0);
    // SAFETY: with LANDLOCK_CREATE_RULESET_VERSION the kernel reads no attribute and only returns a number.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, size, VERSION) };
    u8::try_from(abi).unwrap_or(0)
}

/// Gives up all supplementary groups; the error of the kernel where that is not permitted.
pub(crate) fn drop_groups() -> io::Result<()> {
    // SAFETY: no element is read from an empty list.
    match unsafe { libc::setgroups(0, std::ptr::null()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// setresgid(2) and setresuid(2) with all three ids alike.
pub(crate) fn set_ids(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: both calls take plain numbers. The processes have one thread, so libc has none to bring along.
    match unsafe { libc::setresgid(gid, gid, gid) == 0 && libc::setresuid(uid, uid, uid) == 0 } {
        true => Ok(()),
        false => Err(io::Error::last_os_error()),
    }
}

/// Real, effective and saved user id, and the same of the group.
pub(crate) fn ids() -> io::Result<([u32; 3], [u32; 3])> {
    let (mut uid, mut gid) = ([0; 3], [0; 3]);
    let [ruid, euid, suid] = &mut uid;
    let [rgid, egid, sgid] = &mut gid;
    // SAFETY: every pointer is a live, exclusive reference to an id for the time of the call.
    match unsafe { libc::getresuid(ruid, euid, suid) == 0 && libc::getresgid(rgid, egid, sgid) == 0 } {
        true => Ok((uid, gid)),
        false => Err(io::Error::last_os_error()),
    }
}
