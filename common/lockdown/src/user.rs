//! Becoming another user, for good.

use crate::{LockError, sys};
use rustix::process::{Gid, Uid};

/// What became of the supplementary groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    /// There are none any longer, or at most the user's own group once more.
    Dropped,
    /// The user namespace does not permit setgroups(2) (user_namespaces(7), `/proc/PID/setgroups`): an ordinary
    /// user's own groups are still there, as many as this.
    Kept(usize),
}

/// Gives up all groups, then changes the real, effective and saved ids of group and user, and reads them back.
///
/// Clears the parent-death signal and makes the process undumpable (prctl(2)), so that [`crate::die_with_parent`]
/// comes after it. A process that lacks the capabilities and already has these ids may call it as well.
pub fn become_user(uid: Uid, gid: Gid) -> Result<Groups, LockError> {
    let groups = match (sys::drop_groups(), rustix::process::getgroups()) {
        (Ok(()), _) => Groups::Dropped,
        // A service manager gives a user its own group once more: no right comes from that.
        (Err(_), Ok(groups)) if groups.iter().all(|group| *group == gid) => Groups::Dropped,
        (Err(error), Ok(groups)) if error.raw_os_error() == Some(libc::EPERM) => Groups::Kept(groups.len()),
        (Err(error), _) => return Err(LockError::new("setgroups", error)),
    };
    let (uid, gid) = (uid.as_raw(), gid.as_raw());
    sys::set_ids(uid, gid).map_err(LockError::at("setresgid, setresuid"))?;
    match sys::ids().map_err(LockError::at("getresuid, getresgid"))? {
        (uids, gids) if uids == [uid; 3] && gids == [gid; 3] => Ok(groups),
        (uids, gids) => Err(LockError::new("user", format!("wanted {uid}:{gid}, but is {uids:?}:{gids:?}"))),
    }
}
