//! The loader: reads and compiles the configuration anew while the monitor goes on serving.
//!
//! A million rules take longer to parse than a client should wait. So a reload is the work of a process of its own,
//! forked before the monitor locks itself down: it hands over the rules in their frozen form, which the monitor
//! takes in within milliseconds and checks as it checks every frozen file. No byte from the network reaches it.

pub mod handle;
pub mod profile;
pub mod protocol;

use crate::config::options::Options;
use crate::config::read::{self, Loaded};
use crate::hook::orders::Teller;
use crate::loader::handle::Loader;
use crate::loader::profile::LOADER;
use crate::loader::protocol::{FromLoader, Monitor, Rest, ToLoader};
use crate::process::error::StartError;
use crate::process::namespaces::{Place, World};
use crate::process::ritual::{self, Calls, Power};
use crate::process::{child, descriptors};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::ftruncate;
use rustix::process::setsid;
use sockd_common::channel::Received;
use sockd_lockdown::Grants;
use sockd_policy::frozen::{Provenance, freeze_routes, freeze_rules, freeze_upstreams};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Forks the loader, which tells the hook process what commands a new configuration has. Gives also what the kernel did
/// not have for it.
pub fn start(options: &Options, teller: Teller) -> Result<(Loader, Vec<String>), StartError> {
    let memory = File::from(descriptors::memory("sockd")?);
    let lock_down = |monitor: &Monitor, place: &mut Place| {
        lock_down(&[monitor.as_fd(), memory.as_fd(), teller.as_fd()], place)
    };
    let serve = |monitor: Monitor, ()| serve(&monitor, &memory, options, &teller);
    let server = child::start("loader", &World::default(), lock_down, serve)?;
    Ok((Loader::new(server.channel, memory), server.missing))
}

/// It reads files as root's user id may, and does nothing else.
fn lock_down(descriptors: &[BorrowedFd<'_>], place: &mut Place) -> Result<(), StartError> {
    setsid().map_err(StartError::at("setsid"))?;
    let null = descriptors::open_null()?;
    let everywhere = [Path::new("/")];
    let files = Some(Grants { read: &everywhere, ..Grants::default() });
    let power = Power { user: None, capabilities: &[], files, calls: Calls::Only(LOADER) };
    let (_, landlock) = ritual::lock_down(&ritual::Plan { descriptors, null: null.as_fd(), power })?;
    place.missing.extend((!landlock.enforced).then(|| "Landlock".into()));
    Ok(())
}

/// Loads whenever the monitor asks for it, until it is gone.
fn serve(monitor: &Monitor, memory: &File, options: &Options, teller: &Teller) {
    loop {
        if poll(&mut [PollFd::new(monitor, PollFlags::IN)], None).is_err() {
            return;
        }
        match monitor.receive() {
            Ok(Received::Message(ToLoader::Load, None)) => {}
            Ok(Received::Nothing) => continue,
            _ => return,
        }
        let loaded = read::load(options);
        if loaded.as_ref().is_ok_and(|loaded| teller.tell(&loaded.config).is_err()) {
            return;
        }
        let Ok(answer) = answer(memory, loaded) else { return };
        if monitor.send(&answer).is_err() {
            return;
        }
    }
}

fn answer(memory: &File, loaded: Result<Loaded, Vec<String>>) -> std::io::Result<FromLoader> {
    ftruncate(memory, 0)?;
    let failed = |_| std::io::Error::from(std::io::ErrorKind::InvalidData);
    match loaded {
        Ok(Loaded { config, services, remarks }) => {
            let from = Provenance::default();
            let rules = freeze_rules(&config.rules, &from);
            let routes = config.routes.as_ref().map(|routes| freeze_routes(routes, &from));
            let upstreams = config.upstreams.as_ref().map(|lines| freeze_upstreams(lines, &from));
            let rest = Rest { settings: config.settings, services, remarks };
            let rest = postcard::to_stdvec(&rest).map_err(failed)?;
            let mut place = 0;
            for part in [Some(&rules), routes.as_ref(), upstreams.as_ref(), Some(&rest)].into_iter().flatten()
            {
                memory.write_all_at(part, place)?;
                place = place.saturating_add(part.len() as u64);
            }
            Ok(FromLoader::Loaded {
                rules: rules.len(),
                routes: routes.map(|routes| routes.len()),
                upstreams: upstreams.map(|lines| lines.len()),
                rest: rest.len(),
            })
        }
        Err(errors) => {
            let errors = postcard::to_stdvec(&errors).map_err(failed)?;
            memory.write_all_at(&errors, 0)?;
            Ok(FromLoader::Failed { errors: errors.len() })
        }
    }
}
