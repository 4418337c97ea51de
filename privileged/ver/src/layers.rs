//! What protects this host, as `sockd -ver` says it after trying it out.

use crate::config::options::Options;
use crate::config::read::{SERVICES, upstream_file, upstreams};
use crate::monitor::outbox::Outbox;
use crate::process::error::StartError;
use crate::spawner::protocol::{Ending, FromSpawner, ToSpawner};
use crate::spawner::{self, Spawner};
use crate::start::clean_start::clean_start;
use crate::start::{account, program};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sockd_common::channel::Received;
use sockd_common::message::probe::{Act, FromProbe, ToProbe};
use sockd_common::message::{LockdownReport, Role};
use sockd_policy::Services;
use sockd_session::about;
use sockd_session::settings::Settings;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

/// `sockd -ver`: the classic facts, then every layer as it holds in a worker started for this purpose. True where
/// nothing is missing.
pub fn ver(options: &Options) -> Result<bool, StartError> {
    let options = options.absolute();
    clean_start(&[])?;
    let settings = crate::config::read::settings(&options).map_err(StartError::configuration)?;
    let facts = facts(&options, &settings).map_err(StartError::configuration)?;
    for fact in facts {
        println!("\t{fact}.");
    }
    let note = |line: &str| println!("\tNote: {line}.");
    let program = program::open_to_try(note).map_err(StartError::system)?;
    let spawner = spawner::start(program, account::of_workers(&settings, note)?)?;
    let layers = layers(&spawner).map_err(StartError::system)?;
    for Layer { name, holds, found } in &layers {
        println!("\t{name}: {}{found}.", if *holds { "" } else { "MISSING, " });
    }
    let missing: Vec<&str> = layers.iter().filter(|layer| !layer.holds).map(|layer| layer.name).collect();
    match missing.is_empty() {
        true => println!("sandbox: full"),
        false => println!("sandbox: reduced ({})", missing.join(", ")),
    }
    Ok(missing.is_empty())
}

fn facts(options: &Options, settings: &Settings) -> Result<[String; 9], Vec<String>> {
    let services = Services::parse(&fs::read(SERVICES).unwrap_or_default());
    let lines = upstreams(options, settings, &services, &mut Vec::new())?.map(|lines| lines.len());
    let route = (options.route.as_path(), options.route.exists());
    Ok(about::facts(route, (&upstream_file(options, settings), lines), settings))
}

/// One lock and what was found of it.
struct Layer {
    name: &'static str,
    holds: bool,
    found: String,
}

fn layer(name: &'static str, holds: bool, found: impl Into<String>) -> Layer {
    Layer { name, holds, found: found.into() }
}

fn layers(spawner: &Spawner) -> Result<Vec<Layer>, String> {
    let (mut probe, locks) = probe(spawner, 0)?;
    let process = worker_of(spawner.pid).ok_or("the probe worker is not found in /proc")?;
    let mut layers = from_proc(&process, &spawner.missing);
    layers.push(layer(
        "Landlock",
        locks.landlock_enforced,
        match locks.landlock_abi {
            0 => "not in this kernel".into(),
            abi => {
                format!("ABI {abi}, {} enforced", if locks.landlock_enforced { "fully" } else { "not fully" })
            }
        },
    ));
    for (serial, act) in (0u32..).zip(Act::ALL) {
        if serial > 0 {
            probe = self::probe(spawner, serial)?.0;
        }
        layers.push(attempt(spawner, &mut probe, act)?);
    }
    Ok(layers)
}

type Probe = Outbox<ToProbe, FromProbe>;

/// Starts a probe worker as every worker is started.
fn probe(spawner: &Spawner, serial: u32) -> Result<(Probe, LockdownReport), String> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(|error| format!("socketpair: {error}"))?;
    let mut link = Outbox::new(ours, &ToProbe::Setup).map_err(|error| error.to_string())?;
    let spawn = ToSpawner::Spawn { serial, role: Role::Probe };
    spawner.channel.send(&spawn, Some(theirs.as_fd())).map_err(|error| error.to_string())?;
    drop(theirs);
    wait(&link)?;
    match link.receive() {
        Ok(Received::Message(FromProbe::Ready(locks), _)) => {
            link.mark_ready();
            Ok((link, locks))
        }
        _ => Err(format!("the worker has ended at its start: {}", ending(spawner)?)),
    }
}

fn wait(readable: impl AsFd) -> Result<(), String> {
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    match poll(&mut [PollFd::new(&readable, PollFlags::IN)], Some(&limit)) {
        Ok(1) => Ok(()),
        _ => Err("the worker does not answer".into()),
    }
}

fn ending(spawner: &Spawner) -> Result<Ending, String> {
    wait(&spawner.channel)?;
    match spawner.channel.receive() {
        Ok(Received::Message(FromSpawner::Ended { how, .. }, _)) => Ok(how),
        _ => Err("the spawner does not tell how a worker ended".into()),
    }
}

/// Lets the probe try one forbidden act: it must be killed for it.
fn attempt(spawner: &Spawner, probe: &mut Probe, act: Act) -> Result<Layer, String> {
    probe.send(ToProbe::Try(act), None);
    wait(&*probe)?;
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
    let status = fs::read_to_string(format!("{process}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or("unknown").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let capabilities = ["CapInh", "CapPrm", "CapEff", "CapAmb"].map(field);
    let none = capabilities.iter().all(|set| set.chars().all(|digit| digit == '0'));
    let users = field("Uid");
    let groups = field("Groups");
    let own = !groups.is_empty() && field("Gid").split(' ').all(|gid| gid == groups);
    let groups = if groups.is_empty() { "none".into() } else { groups };
    let groups = if own { "none but its own".into() } else { groups };
    let namespaces = namespaces(process);
    let shared = missing.iter().any(|layer| layer.contains("namespace"));
    vec![
        layer("User", !users.split(' ').any(|id| id == "0"), format!("uid {users}, gid {}", field("Gid"))),
        layer("Groups", groups.starts_with("none"), groups),
        layer("Capabilities", none, if none { "none".into() } else { capabilities.join(" ") }),
        layer(
            "No new privileges",
            field("NoNewPrivs") == "1",
            format!("no_new_privs {}", field("NoNewPrivs")),
        ),
        layer(
            "System call filter",
            field("Seccomp") == "2",
            format!("seccomp mode {}, {} filters", field("Seccomp"), field("Seccomp_filters")),
        ),
        layer(
            "Own namespaces",
            !shared && !namespaces.iter().any(|(_, own)| *own == Some(false)),
            describe(&namespaces),
        ),
        root(process, missing),
    ]
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
