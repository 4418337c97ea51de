//! Isolates a process: the namespaces that the kernel permits, and the ids in them.

use crate::process::error::StartError;
use crate::process::sys;
use nix::mount::{MsFlags, mount};
use sockd_policy::in_words;
use std::fs;
use std::path::Path;

/// User and group ids of spawner and workers; the same number serves for both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// The spawner's user id, and that of workers without one of their own.
    pub uid: u32,
    /// The spawner's group id.
    pub gid: u32,
    /// The first id, and the number of ids, of workers with an id of their own.
    pub range: Option<(u32, u32)>,
}

impl Ids {
    /// Whether the spawner or a worker runs as this user.
    pub fn has(&self, uid: u32) -> bool {
        let in_range = |(first, count): (u32, u32)| (first..first.saturating_add(count)).contains(&uid);
        uid == self.uid || self.range.is_some_and(in_range)
    }
}

/// New namespaces, as flags of clone(2), and the layer that is missing if no more than these are permitted.
type Attempt = (libc::c_int, Option<&'static str>);

/// The namespaces of workers, beside a user namespace: nothing of the host is in them.
const EMPTY: libc::c_int =
    libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// The namespaces of rule commands: they have the host's files and its network, but no process of the host.
const OWN_PROCESSES: libc::c_int = libc::CLONE_NEWPID | libc::CLONE_NEWNS;

/// The world that a process is forked into.
#[derive(Debug)]
pub struct World {
    /// Tried in this order, up to the first that is permitted.
    attempts: &'static [Attempt],
    ids: Ids,
    /// Whether all other ids of the host are mapped too, if this process may do so.
    all_ids: bool,
}

impl World {
    /// The host's own namespaces.
    pub fn of_host() -> Self {
        Self { attempts: &[(0, None)], ids: Ids::default(), all_ids: false }
    }

    /// The spawner's world.
    pub fn of_workers(ids: Ids) -> Self {
        let attempts = &[
            (EMPTY | libc::CLONE_NEWUSER, None),
            (EMPTY, Some("user namespace")),
            (
                0,
                Some("process, network, mount, ipc and uts namespaces, which need CAP_SYS_ADMIN without one"),
            ),
        ];
        Self { attempts, ids, all_ids: false }
    }

    /// The hook process's world, in which files keep their owners.
    pub fn of_commands((uid, gid): (u32, u32)) -> Self {
        let attempts = &[
            (OWN_PROCESSES | libc::CLONE_NEWUSER, None),
            (OWN_PROCESSES, None),
            (0, Some("process namespace of rule commands")),
        ];
        Self { attempts, ids: Ids { uid, gid, range: None }, all_ids: true }
    }

    /// The same without a user namespace, for a system that lets nobody give one ids.
    pub fn without_user_namespace(self) -> Self {
        Self { attempts: self.attempts.get(1..).unwrap_or_default(), ..self }
    }

    /// Maps the ids of the child's user namespace: each keeps its number. If this process may map only the ids that it
    /// runs with itself, they get the numbers there.
    pub fn map_ids(&self, pid: libc::pid_t) -> Result<(), StartError> {
        let write = |name: &str, text: &str| {
            fs::write(format!("/proc/{pid}/{name}"), text)
                .map_err(|error| StartError::system(format_args!("/proc/{pid}/{name}: {error}")))
        };
        // Id 0 among them needs CAP_SETFCAP (user_namespaces(7)). Files of unmapped ids belong to nobody.
        let all = "0 0 4294967295\n";
        if self.all_ids && write("uid_map", all).is_ok() {
            return write("gid_map", all);
        }
        // Without CAP_SETGID a group may be mapped only once setgroups(2) is denied.
        if !rustix::process::geteuid().is_root() {
            write("setgroups", "deny")?;
        }
        let Ids { uid, gid, range } = self.ids;
        let range = range.map(|(first, count)| format!("{first} {first} {count}\n")).unwrap_or_default();
        let (own_uid, own_gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        write("uid_map", &format!("{uid} {uid} 1\n{range}"))
            .or_else(|_| write("uid_map", &format!("{uid} {own_uid} 1\n")))?;
        write("gid_map", &format!("{gid} {gid} 1\n{range}"))
            .or_else(|_| write("gid_map", &format!("{gid} {own_gid} 1\n")))
    }
}

/// The parts of its world that a child has got.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Whether it is in a user namespace of its own, whose ids its parent has to map.
    pub user_namespace: bool,
    /// The missing layers.
    pub missing: Vec<String>,
}

/// Forks a child into a user namespace with all others below it. If that is not permitted, into the others with the
/// privileges of root; and if that is not permitted either, into none. Returns the child's id (`None` in the child),
/// and what it has got.
pub fn fork_into(world: &World) -> Result<(Option<libc::pid_t>, Place), StartError> {
    let mut missing = Vec::new();
    let mut last = None::<std::io::Error>;
    for (flags, lacking) in world.attempts {
        let why = last.as_ref().map(|error| format!(" ({})", in_words(error))).unwrap_or_default();
        missing.extend(lacking.map(|layer| format!("{layer}{why}")));
        match sys::fork_into(*flags) {
            Ok(pid) => {
                let user_namespace = flags & libc::CLONE_NEWUSER != 0;
                return Ok(((pid != 0).then_some(pid), Place { user_namespace, missing }));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(StartError::system(format_args!("fork: {}", last.map(|error| error.to_string()).unwrap_or_default())))
}

/// Forbids further namespaces and inotify in the new user namespace: a process in an attacker's hands would reach much
/// of the kernel through them. To be called only in a namespace of its own, as these limits are then not the host's
/// (namespaces(7), /proc/sys/user). The filters forbid the same, so little is lost if this is refused.
pub fn allow_nothing_further() {
    for what in ["user", "pid", "net", "mnt", "ipc", "uts", "cgroup", "time"] {
        let _ = fs::write(format!("/proc/sys/user/max_{what}_namespaces"), "0");
    }
    for what in ["max_inotify_instances", "max_fanotify_groups"] {
        let _ = fs::write(Path::new("/proc/sys/user").join(what), "0");
    }
}

/// Hides all later mounts of this process from the host.
pub fn mount_privately() -> Result<(), StartError> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(StartError::at("mount --make-rprivate /"))
}
