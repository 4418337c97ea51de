//! The protective layers of a process, as the kernel reports them.

use crate::report::{Layer, layer};
use sockd_lockdown::Capability;
use std::fs;

/// The state that a process must have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// Whether it may have the user id 0.
    pub(crate) may_be_root: bool,
    /// Capabilities that it may have.
    pub(crate) capabilities: &'a [Capability],
    /// Namespaces that it shares with nobody outside.
    pub(crate) namespaces: &'static [&'static str],
    /// Whether its root directory must be empty.
    pub(crate) has_empty_root: bool,
}

impl Expected<'_> {
    /// A process among those of the host.
    pub(crate) const ON_THE_HOST: Self =
        Self { may_be_root: false, capabilities: &[], namespaces: &[], has_empty_root: false };
    /// A worker.
    pub(crate) const WORKER: Self = Self {
        namespaces: &["user", "pid", "net", "mnt", "ipc", "uts"],
        has_empty_root: true,
        ..Self::ON_THE_HOST
    };
}

/// The layers of a process: those that the kernel shows, the `missing` ones by its starter's word, and Landlock's.
pub(crate) fn layers(
    pid: libc::pid_t,
    expected: &Expected<'_>,
    missing: &[String],
    landlock: Option<Layer>,
) -> Vec<Layer> {
    let status = Status::of(pid);
    let mut layers = vec![
        status.user(expected.may_be_root),
        status.groups(),
        status.capabilities(expected.capabilities),
        status.privileges(),
        status.filter(),
    ];
    layers.extend(landlock);
    if !expected.namespaces.is_empty() {
        let namespaces = namespaces(pid, expected.namespaces);
        let shared = missing.iter().any(|layer| layer.contains("namespace"))
            || namespaces.iter().any(|(_, own)| *own == Some(false));
        layers.push(layer("Own namespaces", !shared, describe(&namespaces)));
    }
    layers.extend(expected.has_empty_root.then(|| root(pid, missing)));
    layers
}

/// The layer of Landlock with this ABI.
pub(crate) fn landlock(abi: u8, holds: bool) -> Layer {
    let found = match abi {
        0 => "not in this kernel".into(),
        abi => format!("ABI {abi}, {} enforced", if holds { "fully" } else { "not fully" }),
    };
    layer("Landlock", holds, found)
}

/// `/proc/PID/status`.
pub(crate) struct Status(String);

impl Status {
    pub(crate) fn of(pid: libc::pid_t) -> Self {
        Self(fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default())
    }

    /// A field, its words separated by one blank each.
    pub(crate) fn field(&self, name: &str) -> String {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or("unknown").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn user(&self, may_be_root: bool) -> Layer {
        let (uid, gid) = (self.field("Uid"), self.field("Gid"));
        let is_root = uid.split(' ').any(|id| id == "0");
        layer("User", may_be_root || !is_root, format!("uid {}, gid {}", once(&uid), once(&gid)))
    }

    fn groups(&self) -> Layer {
        let groups = self.field("Groups");
        let own = self.field("Gid").split(' ').all(|gid| gid == groups);
        match (groups.as_str(), own) {
            ("", _) => layer("Groups", true, "none"),
            (_, true) => layer("Groups", true, "none but its own"),
            _ => layer("Groups", false, groups),
        }
    }

    fn privileges(&self) -> Layer {
        let privileges = self.field("NoNewPrivs");
        layer("No new privileges", privileges == "1", format!("no_new_privs {privileges}"))
    }

    fn filter(&self) -> Layer {
        let (mode, filters) = (self.field("Seccomp"), self.field("Seccomp_filters"));
        layer("System call filter", mode == "2", format!("seccomp mode {mode}, {filters} filters"))
    }

    fn capabilities(&self, allowed: &[Capability]) -> Layer {
        const NAME: &str = "Capabilities";
        let sets = ["CapInh", "CapPrm", "CapEff", "CapAmb"].map(|set| self.field(set));
        let bits = sets.iter().map(|set| u64::from_str_radix(set, 16).unwrap_or(u64::MAX));
        let held = bits.fold(0, |held, bits| held | bits);
        let rest = allowed.iter().fold(held, |rest, capability| rest & !capability.bitmask());
        let names = allowed.iter().filter(|capability| held & capability.bitmask() != 0);
        let names: Vec<String> = names.map(ToString::to_string).collect();
        match (held, rest) {
            (0, _) => layer(NAME, true, "none"),
            (_, 0) => layer(NAME, true, names.join(" ")),
            _ => layer(NAME, false, sets.join(" ")),
        }
    }
}

/// Shortens four ids that are all the same to one.
fn once(ids: &str) -> &str {
    let first = ids.split(' ').next().unwrap_or_default();
    if ids.split(' ').all(|id| id == first) { first } else { ids }
}

/// Whether each of these namespaces differs from this process's own; `None` if that cannot be read.
fn namespaces(pid: libc::pid_t, names: &'static [&'static str]) -> Vec<(&'static str, Option<bool>)> {
    let link = |process: &str, name: &str| fs::read_link(format!("/proc/{process}/ns/{name}")).ok();
    let own = |name: &str| Some(link(&pid.to_string(), name)? != link("self", name)?);
    names.iter().map(|name| (*name, own(name))).collect()
}

fn describe(namespaces: &[(&'static str, Option<bool>)]) -> String {
    let of = |wanted: Option<bool>| {
        let names: Vec<&str> =
            namespaces.iter().filter(|(_, own)| *own == wanted).map(|(name, _)| *name).collect();
        (!names.is_empty()).then(|| names.join(" "))
    };
    let parts =
        [("own", of(Some(true))), ("SHARED", of(Some(false))), ("not readable by this user:", of(None))];
    let parts = parts.into_iter().filter_map(|(word, names)| Some(format!("{word} {}", names?)));
    parts.collect::<Vec<_>>().join(", ")
}

fn root(pid: libc::pid_t, missing: &[String]) -> Layer {
    const NAME: &str = "Root directory";
    let lacking = missing.iter().any(|layer| layer.contains("root"));
    match fs::read_dir(format!("/proc/{pid}/root")).map(Iterator::count) {
        Ok(0) => layer(NAME, true, "empty"),
        Ok(entries) => layer(NAME, false, format!("{entries} entries")),
        Err(_) if lacking => layer(NAME, false, "the host's"),
        Err(_) => layer(NAME, true, "empty, by the spawner's word: not readable by this user"),
    }
}
