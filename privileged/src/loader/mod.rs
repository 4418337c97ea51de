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
use crate::loader::handle::Loader;
use crate::loader::profile::LOADER;
use crate::loader::protocol::{FromLoader, Monitor, Rest, ToLoader};
use crate::process::error::StartError;
use crate::process::{child, descriptors, ritual};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use sockd_common::channel::Received;
use sockd_policy::frozen::{Provenance, freeze_routes, freeze_rules, freeze_upstreams};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// Forks the loader.
pub fn start(options: &Options) -> Result<Loader, StartError> {
    let memory = memfd_create("sockd", MemfdFlags::CLOEXEC).map_err(StartError::at("memfd"))?;
    let memory = File::from(memory);
    let channel = child::fork_server(|monitor| {
        if lock_down(&monitor, &memory).is_ok() {
            serve(&monitor, &memory, options);
        }
    })?;
    Ok(Loader::new(channel, memory))
}

/// It reads files as root's user id may, and does nothing else.
fn lock_down(monitor: &Monitor, memory: &File) -> Result<(), StartError> {
    rustix::process::setsid().map_err(StartError::at("setsid"))?;
    ritual::lock_down(&ritual::Plan {
        descriptors: &[monitor.as_fd(), memory.as_fd()],
        null: descriptors::open_null()?.as_fd(),
        capabilities: &[],
        dies_with_parent: true,
        calls: Some(LOADER),
    })
    .map(drop)
}

fn serve(monitor: &Monitor, memory: &File, options: &Options) {
    loop {
        if poll(&mut [PollFd::new(monitor, PollFlags::IN)], None).is_err() {
            return;
        }
        match monitor.receive() {
            Ok(Received::Message(ToLoader::Load, None)) => {}
            Ok(Received::Nothing) => continue,
            _ => return,
        }
        let Ok(answer) = answer(memory, read::load(options)) else { return };
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
