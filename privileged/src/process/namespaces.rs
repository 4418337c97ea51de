//! The empty config that workers live in: namespaces, ids, an empty root, no privileges.

use crate::process::error::StartError;
use crate::process::sys;
use caps::Capability;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::process::{Gid, Uid};
use sockd_lockdown as lockdown;
use std::fs;
use std::path::Path;

/// User and group ids of spawner and workers; the same number serves for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The spawner's user id, and that of workers without one of their own.
    pub uid: u32,
    /// The spawner's group id.
    pub gid: u32,
    /// First id and number of ids that workers get one each of.
    pub range: Option<(u32, u32)>,
}

const NAMESPACES: libc::c_int =
    libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// Forks a child into a user namespace with all others below it; where that is not permitted, into the others with
/// the privileges of root; where that is not permitted either, into none. Gives the child's id (nothing in the
/// child) and whether there is a user namespace.
pub fn fork_into_namespaces(missing: &mut Vec<String>) -> Result<(Option<libc::pid_t>, bool), StartError> {
    let attempts = [
        (NAMESPACES | libc::CLONE_NEWUSER, None),
        (NAMESPACES, Some("user namespace")),
        (0, Some("process, network, mount, ipc and uts namespaces")),
    ];
    let mut last = None;
    for (namespaces, lacking) in attempts {
        missing.extend(lacking.map(Into::into));
        match sys::fork_into(namespaces) {
            Ok(pid) => {
                return Ok(((pid != 0).then_some(pid), namespaces & libc::CLONE_NEWUSER != 0));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(StartError::system(format_args!("fork: {}", last.map(|error| error.to_string()).unwrap_or_default())))
}

/// The monitor gives the child's user namespace its ids: each keeps its number, and no other exists there.
pub fn map_ids(pid: libc::pid_t, ids: Ids) -> Result<(), StartError> {
    let write = |name: &str, text: &str| {
        fs::write(format!("/proc/{pid}/{name}"), text)
            .map_err(|error| StartError::system(format_args!("/proc/{pid}/{name}: {error}")))
    };
    // Without CAP_SETGID a group may be mapped only once setgroups(2) is denied (user_namespaces(7)).
    if !rustix::process::geteuid().is_root() {
        write("setgroups", "deny")?;
    }
    let range = ids.range.map(|(first, count)| format!("{first} {first} {count}\n")).unwrap_or_default();
    write("uid_map", &format!("{0} {0} 1\n{range}", ids.uid))?;
    write("gid_map", &format!("{0} {0} 1\n{range}", ids.gid))
}

/// In the child: becomes the unprivileged user and leaves the host's file system.
pub fn enter(ids: Ids, user_namespace: bool, missing: &mut Vec<String>) -> Result<(), StartError> {
    // When memory runs out workers go before the monitor; a kernel that does not let itself be told chooses itself.
    let _ = fs::write("/proc/self/oom_score_adj", "500");
    if user_namespace {
        // The capabilities in the new namespace stay: there is no id 0 in it whose loss would clear them.
        become_user(ids.uid, ids.gid, missing)?;
        allow_nothing_further();
    }
    if missing.iter().any(|layer| layer.contains("mount")) {
        missing.push("empty root".into());
    } else {
        empty_root()?;
    }
    if !user_namespace {
        // NO_SETUID_FIXUP, which this locks, keeps what is left across the change of user.
        lockdown::keep_only(FOR_WORKERS_OF_OTHER_IDS)?;
        become_user(ids.uid, ids.gid, missing)?;
    }
    Ok(lockdown::not_dumpable()?)
}

/// In the new user namespace there are no further namespaces and no inotify: a worker in an attacker's hands would
/// reach much of the kernel through them. Only in a namespace of one's own, as these limits are its and not the host's
/// (namespaces(7), /proc/sys/user). The filters forbid the same: where this is refused, little is lost.
fn allow_nothing_further() {
    for what in ["user", "pid", "net", "mnt", "ipc", "uts", "cgroup", "time"] {
        let _ = fs::write(format!("/proc/sys/user/max_{what}_namespaces"), "0");
    }
    for what in ["max_inotify_instances", "max_fanotify_groups"] {
        let _ = fs::write(Path::new("/proc/sys/user").join(what), "0");
    }
}

fn become_user(uid: u32, gid: u32, missing: &mut Vec<String>) -> Result<(), StartError> {
    if let lockdown::Groups::Kept(_) = lockdown::become_user(Uid::from_raw(uid), Gid::from_raw(gid))? {
        missing.push("dropping the user's groups".into());
    }
    Ok(())
}

/// An empty, read-only root: a tmpfs without room for anything takes the place of the host's root, which is then
/// detached (pivot_root(2), "pivot_root(".", ".")").
fn empty_root() -> Result<(), StartError> {
    let at = StartError::at::<nix::Error>;
    let nowhere = "/";
    mount(None::<&str>, nowhere, None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(at("mount --make-rprivate /"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Any directory will do as the place of the new root; this one is everywhere that has mount namespaces.
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

/// What the spawner needs while workers have ids of their own.
pub const FOR_WORKERS_OF_OTHER_IDS: &[Capability] =
    &[Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_KILL];
