//! Every layer of the sandbox, as it holds in a worker that is started for this purpose.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sockd::process::child;
use sockd::process::error::StartError;
use sockd::spawner::Spawner;
use sockd::spawner::protocol::{Ending, FromSpawner, ToSpawner};
use sockd_common::channel::{MonitorEnd, Received};
use sockd_common::message::probe::{Act, FromProbe, ToProbe};
use sockd_common::message::{LockdownReport, Role};
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

/// One lock and what was found of it.
pub(crate) struct Layer {
    pub(crate) name: &'static str,
    pub(crate) holds: bool,
    pub(crate) found: String,
}

fn layer(name: &'static str, holds: bool, found: impl Into<String>) -> Layer {
    Layer { name, holds, found: found.into() }
}

/// Tries them all.
pub(crate) fn layers(spawner: &Spawner) -> Result<Vec<Layer>, StartError> {
    let (mut probe, locks) = probe(spawner, 0)?;
    let process =
        worker_of(spawner.pid).ok_or_else(|| StartError::system("the probe worker is not found in /proc"))?;
    let mut layers = from_proc(&process, &spawner.missing);
    layers.push(landlock(&locks));
    for (serial, act) in (0u32..).zip(Act::ALL) {
        if serial > 0 {
            probe = self::probe(spawner, serial)?.0;
        }
        layers.push(attempt(spawner, &probe, act)?);
    }
    Ok(layers)
}

fn landlock(report: &LockdownReport) -> Layer {
    let holds = report.landlock_enforced;
    let found = match report.landlock_abi {
        0 => "not in this kernel".into(),
        abi => format!("ABI {abi}, {} enforced", if holds { "fully" } else { "not fully" }),
    };
    layer("Landlock", holds, found)
}

type Probe = MonitorEnd<ToProbe, FromProbe>;

/// Starts a probe worker as every worker is started.
fn probe(spawner: &Spawner, serial: u32) -> Result<(Probe, LockdownReport), StartError> {
    let (ours, theirs) = child::channel()?;
    let probe = Probe::new(ours);
    probe.send(&ToProbe::Setup, None).map_err(StartError::at("probe"))?;
    let spawn = ToSpawner::Spawn { serial, role: Role::Probe };
    spawner.channel.send(&spawn, Some(theirs.as_fd())).map_err(StartError::at("spawner"))?;
    drop(theirs);
    wait(&probe)?;
    match probe.receive() {
        Ok(Received::Message(FromProbe::Ready(report), _)) => Ok((probe, report)),
        _ => {
            let how = ending(spawner)?;
            Err(StartError::system(format_args!("the worker has ended at its start: {how}")))
        }
    }
}

fn wait(readable: impl AsFd) -> Result<(), StartError> {
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    match poll(&mut [PollFd::new(&readable, PollFlags::IN)], Some(&limit)) {
        Ok(1) => Ok(()),
        _ => Err(StartError::system("the worker does not answer")),
    }
}

fn ending(spawner: &Spawner) -> Result<Ending, StartError> {
    wait(&spawner.channel)?;
    match spawner.channel.receive() {
        Ok(Received::Message(FromSpawner::Ended { how, .. }, _)) => Ok(how),
        _ => Err(StartError::system("the spawner does not tell how a worker ended")),
    }
}

/// Lets the probe try one forbidden act: it must be killed for it.
fn attempt(spawner: &Spawner, probe: &Probe, act: Act) -> Result<Layer, StartError> {
    probe.send(&ToProbe::Try(act), None).map_err(StartError::at("probe"))?;
    wait(probe)?;
    let name = match act {
        Act::OpenFile => "Tried to open a file",
        Act::MakeSocket => "Tried to make a socket",
        Act::StartProgram => "Tried to start a program",
        Act::Signal => "Tried to signal a process",
        Act::MapExecutable => "Tried to map executable memory",
    };
    if let Ok(Received::Message(FromProbe::Survived { errno }, _)) = probe.receive() {
        let answer = nix::errno::Errno::from_raw(errno.0.into());
        return Ok(layer(name, false, format!("survived, with {answer}")));
    }
    let how = ending(spawner)?;
    Ok(layer(name, how == Ending::Signal(libc::SIGSYS), format!("ended by {how}")))
}

/// The process directory of the spawner's one child.
fn worker_of(spawner: libc::pid_t) -> Option<String> {
    let parent = format!("PPid:\t{spawner}\n");
    fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path()).find_map(|path| {
        let status = fs::read_to_string(path.join("status")).ok()?;
        status.contains(&parent).then(|| path.to_string_lossy().into_owned())
    })
}

/// What the kernel says of the worker.
fn from_proc(process: &str, missing: &[String]) -> Vec<Layer> {
    let status = Status::of(process);
    let (privileges, filter, filters) =
        (status.field("NoNewPrivs"), status.field("Seccomp"), status.field("Seccomp_filters"));
    let namespaces = namespaces(process);
    let shared = missing.iter().any(|layer| layer.contains("namespace"))
        || namespaces.iter().any(|(_, own)| *own == Some(false));
    vec![
        status.user(),
        status.groups(),
        status.capabilities(),
        layer("No new privileges", privileges == "1", format!("no_new_privs {privileges}")),
        layer("System call filter", filter == "2", format!("seccomp mode {filter}, {filters} filters")),
        layer("Own namespaces", !shared, describe(&namespaces)),
        root(process, missing),
    ]
}

/// `/proc/PID/status`.
struct Status(String);

impl Status {
    fn of(process: &str) -> Self {
        Self(fs::read_to_string(format!("{process}/status")).unwrap_or_default())
    }

    /// A field, its words separated by one blank each.
    fn field(&self, name: &str) -> String {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or("unknown").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn user(&self) -> Layer {
        let (uid, gid) = (self.field("Uid"), self.field("Gid"));
        layer("User", !uid.split(' ').any(|id| id == "0"), format!("uid {uid}, gid {gid}"))
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

    fn capabilities(&self) -> Layer {
        let sets = ["CapInh", "CapPrm", "CapEff", "CapAmb"].map(|set| self.field(set));
        let none = sets.iter().all(|set| set.chars().all(|digit| digit == '0'));
        layer("Capabilities", none, if none { "none".into() } else { sets.join(" ") })
    }
}

/// Which namespaces differ from this process's own; nothing where that cannot be read.
fn namespaces(process: &str) -> Vec<(&'static str, Option<bool>)> {
    let link = |process: &str, name: &str| fs::read_link(format!("{process}/ns/{name}")).ok();
    let own = |name: &str| Some(link(process, name)? != link("/proc/self", name)?);
    ["user", "pid", "net", "mnt", "ipc", "uts"].map(|name| (name, own(name))).into()
}

fn describe(namespaces: &[(&'static str, Option<bool>)]) -> String {
    let of = |wanted: Option<bool>| {
        let names: Vec<&str> =
            namespaces.iter().filter(|(_, own)| *own == wanted).map(|(name, _)| *name).collect();
        (!names.is_empty()).then(|| names.join(" "))
    };
    let parts =
        [("own", of(Some(true))), ("SHARED", of(Some(false))), ("not readable by this user", of(None))];
    let parts = parts.into_iter().filter_map(|(word, names)| Some(format!("{word} {}", names?)));
    parts.collect::<Vec<_>>().join(", ")
}

fn root(process: &str, missing: &[String]) -> Layer {
    const NAME: &str = "Root directory";
    let lacking = missing.iter().any(|layer| layer.contains("root"));
    match fs::read_dir(Path::new(process).join("root")).map(Iterator::count) {
        Ok(0) => layer(NAME, true, "empty"),
        Ok(entries) => layer(NAME, false, format!("{entries} entries")),
        Err(_) if lacking => layer(NAME, false, "the host's"),
        Err(_) => layer(NAME, true, "empty, by the spawner's word: not readable by this user"),
    }
}
