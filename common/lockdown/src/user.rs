//! Becoming another user, for good.

use crate::LockError;
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid};
use std::io;

/// The fate of the supplementary groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    /// None is left, or at most the user's own group once more.
    Dropped,
    /// This many groups of an ordinary user are still there. The user namespace does not permit setgroups(2)
    /// (user_namespaces(7), `/proc/PID/setgroups`).
    Kept(usize),
}

/// Gives up all groups, then changes the real, effective and saved ids of group and user, and reads them back.
///
/// Clears the parent-death signal and makes the process undumpable (prctl(2)), so that [`crate::die_with_parent`]
/// comes after it. A process that lacks the capabilities and already has these ids may call it as well.
pub fn become_user(uid: Uid, gid: Gid) -> Result<Groups, LockError> {
    let groups = match (setgroups(&[]), getgroups()) {
        (Ok(()), _) => Groups::Dropped,
        // A service manager lists a user's own group once more, which grants no right.
        (Err(_), Ok(groups)) if groups.iter().all(|group| *group == gid) => Groups::Dropped,
        (Err(Errno::EPERM), Ok(groups)) => Groups::Kept(groups.len()),
        (Err(error), _) => return Err(failed("setgroups")(error)),
    };
    setresgid(gid, gid, gid).map_err(failed("setresgid, setresuid"))?;
    setresuid(uid, uid, uid).map_err(failed("setresgid, setresuid"))?;
    let found = getresuid().and_then(|uids| Ok((uids, getresgid()?)));
    let (uids, gids) = found.map_err(failed("getresuid, getresgid"))?;
    let uids = [uids.real, uids.effective, uids.saved].map(Uid::as_raw);
    let gids = [gids.real, gids.effective, gids.saved].map(Gid::as_raw);
    match uids == [uid.as_raw(); 3] && gids == [gid.as_raw(); 3] {
        true => Ok(groups),
        false => Err(LockError::new("user", format!("wanted {uid}:{gid}, but is {uids:?}:{gids:?}"))),
    }
}

/// A call that failed, in the words of the standard library.
fn failed(call: &'static str) -> impl Fn(Errno) -> LockError {
    move |errno| LockError::new(call, io::Error::from(errno))
}
