//! The loader: reads and compiles the configuration anew while the monitor goes on serving.
//!
//! A million rules take longer to parse than a client should wait. So a process of its own, forked before the monitor
//! locks itself down, does the work of a reload. It hands over the rules in their frozen form, which the monitor takes
//! in within milliseconds and checks like every frozen file. It also copies resolv.conf and hosts for the monitor,
//! which can open no file, and removes the process id file at the end. No byte from the network reaches it.

pub mod copies;
pub mod handle;
pub mod profile;
pub mod protocol;
pub mod system_files;
pub mod users;

use crate::config::options::Options;
use crate::config::pid_file;
use crate::config::read::{self, Loaded};
use crate::hook::orders::{self, Teller};
use crate::loader::copies::SystemFiles;
use crate::loader::handle::Loader;
use crate::loader::profile::LOADER;
use crate::loader::protocol::{FromLoader, Frozen, Monitor, ToLoader, Written};
use crate::loader::system_files::Originals;
use crate::process::child::Server;
use crate::process::error::StartError;
use crate::process::namespaces::{Place, World};
use crate::process::ritual::{self, Calls, Power};
use crate::process::{child, descriptors};
use rustix::fs::ftruncate;
use rustix::process::setsid;
use sockd_common::channel::Received;
use sockd_lockdown::Grants;
use sockd_policy::frozen::{Provenance, freeze_routes, freeze_rules, freeze_upstreams};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// How often the loader looks at the system files.
const LOOK: Duration = Duration::from_secs(5);

/// Everything that the loader works with.
struct Desk<'a> {
    options: &'a Options,
    /// The memory for the configuration that it has read.
    memory: &'a File,
    /// The channel to the hook process.
    teller: &'a Teller,
    /// The daemon's process id.
    pid: u32,
}

/// The loader, as the start knows it.
#[derive(Debug)]
pub struct Started {
    /// The monitor's handle.
    pub loader: Loader,
    /// The copies of the system files.
    pub copies: SystemFiles,
    /// Its process id.
    pub pid: libc::pid_t,
    /// Parts of its lockdown that the kernel does not support.
    pub missing: Vec<String>,
}

/// Forks the loader, which tells the hook process the commands of a new configuration. If there is memory for the table
/// of users, it reads them before anything else, and fails if their file is at fault.
pub fn start(options: &Options, teller: &Teller, users: Option<&File>) -> Result<Started, StartError> {
    let memory = File::from(descriptors::memory("sockd")?);
    let (mut originals, copies) = system_files::shared()?;
    // Done before anything is asked, so that the first lookup knows the nameservers.
    originals.look();
    let desk = Desk { options, memory: &memory, teller, pid: std::process::id() };
    let lock_down = |monitor: &Monitor, place: &mut Place| {
        users.map_or(Ok(()), |memory| users::load_first(options, memory))?;
        lock_down(&desk, monitor, &originals, place)?;
        Ok(originals)
    };
    let serve = |monitor: Monitor, originals| serve(&desk, &monitor, originals);
    let Server { channel, pid, missing } = child::start("loader", World::of_host(), lock_down, serve)?;
    Ok(Started { loader: Loader::new(channel, memory), copies, pid, missing })
}

/// Locks the loader down: it may read files as root's user id may, and remove the process id file, and nothing else.
fn lock_down(
    desk: &Desk<'_>,
    monitor: &Monitor,
    originals: &Originals,
    place: &mut Place,
) -> Result<(), StartError> {
    setsid().map_err(StartError::at("setsid"))?;
    let null = descriptors::open_null()?;
    let [conf, hosts] = originals.memory();
    let kept = [monitor.as_fd(), desk.memory.as_fd(), desk.teller.as_fd(), conf.as_fd(), hosts.as_fd()];
    let everywhere = [Path::new("/")];
    let folder: Vec<&Path> = desk.options.pid_file.iter().filter_map(|file| file.parent()).collect();
    let files = Some(Grants { read: &everywhere, remove: &folder, network: false });
    let power = Power { user: None, capabilities: &[], files, calls: Calls::Only(LOADER) };
    let landlock = ritual::lock_down(&kept, null.as_fd(), &power)?;
    place.missing.extend((!landlock.enforced).then(|| "Landlock".into()));
    Ok(())
}

/// Loads whenever the monitor asks for it, and looks at the system files now and then, until the daemon ends.
fn serve(desk: &Desk<'_>, monitor: &Monitor, mut originals: Originals) {
    while let Some(asked) = obey(desk, monitor) {
        let changed = originals.look();
        if asked {
            originals.tell_again();
        }
        let copied = changed.contains(&true).then_some(FromLoader::Copied(changed));
        let mut news = copied.into_iter().chain(originals.untold().map(FromLoader::Unread));
        if news.any(|news| monitor.send(&news).is_err()) {
            break;
        }
        let _ = descriptors::readable(monitor, LOOK);
    }
    // This is also done after the monitor has been killed.
    if let Some(file) = &desk.options.pid_file {
        pid_file::remove(file, desk.pid);
        pid_file::give_up(file, desk.pid);
    }
}

/// Does what the monitor asks for. Returns whether it asked; `None` once it is gone or the daemon ends.
fn obey(desk: &Desk<'_>, monitor: &Monitor) -> Option<bool> {
    let mut asked = false;
    loop {
        let memory = match monitor.receive() {
            Ok(Received::Message(ToLoader::Load, Some(users))) => Some(users),
            Ok(Received::DescriptorLost(ToLoader::Load)) => None,
            Ok(Received::Nothing) => return Some(asked),
            _ => return None,
        };
        asked = true;
        let loaded = load(desk.options, memory);
        loaded.iter().try_for_each(|(loaded, _)| orders::tell(desk.teller, &loaded.config)).ok()?;
        monitor.send(&answer(desk.memory, loaded).ok()?).ok()?;
    }
}

/// Loads everything, and the users into memory of their own. Returns every error of both.
fn load(options: &Options, memory: Option<OwnedFd>) -> Result<(Loaded, u32), Vec<String>> {
    let none = || vec!["the table of users: no descriptor for its memory".into()];
    let users = memory.map(File::from).ok_or_else(none).and_then(|memory| users::load(options, &memory));
    match (read::load(options), users) {
        (Ok(loaded), Ok(users)) => Ok((loaded, users)),
        (Err(errors), Ok(_)) => Err(errors),
        // Both have read the settings, which are at fault.
        (Err(errors), Err(of_users)) if of_users.iter().all(|error| errors.contains(error)) => Err(errors),
        (loaded, Err(errors)) => Err(loaded.err().into_iter().flatten().chain(errors).collect()),
    }
}

/// Writes the outcome into the memory that the monitor reads.
fn answer(memory: &File, loaded: Result<(Loaded, u32), Vec<String>>) -> std::io::Result<FromLoader> {
    let (Loaded { config, services, remarks }, users) = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => return write(memory, &Err(errors)),
    };
    let from = Provenance::default();
    let rules = freeze_rules(&config.rules, &from);
    let routes = config.routes.as_ref().map(|routes| freeze_routes(routes, &from));
    let upstreams = config.upstreams.as_ref().map(|lines| freeze_upstreams(lines, &from));
    let (routes, upstreams) = (routes.as_deref(), upstreams.as_deref());
    let settings = config.settings;
    write(memory, &Ok(Frozen { rules: &rules, routes, upstreams, settings, services, remarks, users }))
}

fn write(memory: &File, written: &Written<'_>) -> std::io::Result<FromLoader> {
    let bytes = postcard::to_stdvec(written).map_err(std::io::Error::other)?;
    ftruncate(memory, 0)?;
    memory.write_all_at(&bytes, 0)?;
    Ok(FromLoader::Read { length: bytes.len() })
}
