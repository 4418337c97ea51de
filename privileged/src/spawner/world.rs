//! The empty world that workers live in: namespaces, ids, an empty root, no privileges.

use crate::process::error::StartError;
use crate::process::namespaces::{Ids, Place, allow_nothing_further, mount_privately};
use caps::Capability;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sockd_lockdown::{self as lockdown, Gid, Uid};
use sockd_policy::in_words;
use std::fs;

/// In the child: becomes the unprivileged user and leaves the host's file system.
pub fn enter(ids: Ids, place: &mut Place) -> Result<(), StartError> {
    let Place { user_namespace, missing } = place;
    // When memory runs out, workers go before the monitor. A kernel that does not accept the value uses its own.
    let _ = fs::write("/proc/self/oom_score_adj", "500");
    if *user_namespace {
        // The capabilities in the new namespace stay: there is no id 0 in it whose loss would clear them.
        become_user(ids.uid, ids.gid, missing);
        allow_nothing_further();
    }
    if missing.iter().any(|layer| layer.contains("mount")) {
        missing.push("empty root".into());
    } else if let Err(error) = empty_root() {
        missing.push(format!("empty root ({error})"));
    }
    if !*user_namespace {
        // This sets and locks NO_SETUID_FIXUP, so that the capabilities left survive the change of user.
        lockdown::keep_only(FOR_WORKERS_OF_OTHER_IDS)?;
        become_user(ids.uid, ids.gid, missing);
    }
    Ok(lockdown::not_dumpable()?)
}

/// The layer that makes workers another user and group than the one who started the daemon.
pub const OWN_USER: &str = "a user of their own for workers";

/// Becomes this user. Without the right to change ids the starter's stay, which the monitor has to accept.
fn become_user(uid: u32, gid: u32, missing: &mut Vec<String>) {
    match lockdown::become_user(Uid::from_raw(uid), Gid::from_raw(gid)) {
        Ok(lockdown::Groups::Dropped) => {}
        Ok(lockdown::Groups::Kept(_)) => missing.push("dropping the user's groups".into()),
        Err(error) => {
            missing.push(format!("{OWN_USER}, which needs CAP_SETUID and CAP_SETGID ({})", in_words(error)))
        }
    }
}

/// Makes an empty, read-only root: a tmpfs without room for anything takes the place of the host's root, which is then
/// detached (pivot_root(2), "pivot_root(".", ".")").
fn empty_root() -> Result<(), StartError> {
    let at = StartError::at::<nix::Error>;
    mount_privately()?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Any directory will do as the mount point; this one exists everywhere that has mount namespaces.
    let place = "/proc";
    mount(Some("sockd"), place, Some("tmpfs"), flags, Some("size=4k,nr_inodes=2,mode=0555"))
        .map_err(at("mount tmpfs"))?;
    nix::unistd::chdir(place).map_err(at("chdir"))?;
    nix::unistd::pivot_root(".", ".").map_err(at("pivot_root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(at("umount the host's root"))?;
    nix::unistd::chdir("/").map_err(at("chdir"))?;
    let read_only = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(None::<&str>, "/", None::<&str>, read_only, None::<&str>).map_err(at("remount read-only"))
}

/// The capabilities of a spawner whose workers have ids of their own.
pub const FOR_WORKERS_OF_OTHER_IDS: &[Capability] =
    &[Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_KILL];
