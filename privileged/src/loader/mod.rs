//! The loader: reads and compiles the configuration anew while the monitor goes on serving.
//!
//! A million rules take longer to parse than a client should wait. So a reload is the work of a process of its own,
//! forked before the monitor locks itself down: it hands over the rules in their frozen form, which the monitor
//! takes in within milliseconds and checks as it checks every frozen file. No byte from the network reaches it.

use crate::config::options::Options;
use crate::config::read::{self, Loaded};
use crate::process::profile::LOADER;
use crate::process::{descriptors, namespaces, signals};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use serde::{Deserialize, Serialize};
use sockd_common::channel::{MonitorEnd, Received, WorkerEnd};
use sockd_common::message::Message;
use sockd_lockdown as lockdown;
use sockd_policy::Services;
use sockd_policy::frozen::{
    Provenance, freeze_routes, freeze_rules, freeze_upstreams, thaw_routes, thaw_rules, thaw_upstreams,
};
use sockd_session::config::Config;
use sockd_session::settings::Settings;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

/// Monitor to loader.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToLoader {
    /// Read everything again.
    Load,
}

/// Loader to monitor: what stands in the memory that both share, part behind part; lengths in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromLoader {
    /// The configuration is in order.
    Loaded {
        /// Frozen rules.
        rules: usize,
        /// Frozen routes, where there is a route file.
        routes: Option<usize>,
        /// Frozen upstream lines, where there is a file of them.
        upstreams: Option<usize>,
        /// Settings, services and remarks.
        rest: usize,
    },
    /// It is not; these are the lines that say why.
    Failed {
        /// A list of strings.
        errors: usize,
    },
}

impl Message for ToLoader {}
impl Message for FromLoader {}

/// What is small.
#[derive(Debug, Serialize, Deserialize)]
struct Rest {
    settings: Settings,
    services: String,
    remarks: Vec<String>,
}

/// The monitor's side.
#[derive(Debug)]
pub struct Loader {
    channel: MonitorEnd<ToLoader, FromLoader>,
    memory: File,
    /// What has been asked for has not come yet, and whether it is to be asked for once more then.
    under_way: Option<bool>,
}

/// Forks the loader.
pub fn start(options: &Options) -> Result<Loader, String> {
    let memory = memfd_create("sockd", MemfdFlags::CLOEXEC).map_err(|error| format!("memfd: {error}"))?;
    let memory = File::from(memory);
    let channel = namespaces::fork_server(|monitor| {
        if confine(&monitor, &memory).is_ok() {
            serve(&monitor, &memory, options);
        }
    })?;
    Ok(Loader { channel, memory, under_way: None })
}

type Monitor = WorkerEnd<FromLoader, ToLoader>;

/// It reads files as root's user id may, and does nothing else.
fn confine(monitor: &Monitor, memory: &File) -> Result<(), String> {
    rustix::process::setsid().map_err(|error| format!("setsid: {error}"))?;
    signals::only_child_signals()?;
    descriptors::leave_terminal(descriptors::open_null()?.as_fd())?;
    descriptors::close_all_but(&[monitor.as_fd(), memory.as_fd()])?;
    lockdown::keep_only(&[]).map_err(|error| error.to_string())?;
    lockdown::not_dumpable().map_err(|error| error.to_string())?;
    lockdown::die_with_parent().map_err(|error| error.to_string())?;
    lockdown::no_new_privileges().map_err(|error| error.to_string())?;
    lockdown::install_filter(LOADER).map_err(|error| error.to_string())
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

impl Loader {
    /// Asks for everything to be read again; while that is under way, once more when it is done.
    pub fn ask(&mut self) -> Result<(), String> {
        match &mut self.under_way {
            Some(again) => *again = true,
            None => {
                self.channel.send(&ToLoader::Load, None).map_err(|error| format!("loader: {error}"))?;
                self.under_way = Some(false);
            }
        }
        Ok(())
    }

    /// What has come, if anything has. The outer error is the end of the loader, the inner one what is wrong with
    /// the configuration.
    pub fn take(&mut self, old: &Config) -> Result<Option<Result<Loaded, Vec<String>>>, String> {
        let answer = match self.channel.receive() {
            Ok(Received::Message(answer, _)) => answer,
            Ok(Received::Nothing) => return Ok(None),
            other => return Err(format!("the loader has ended ({other:?})")),
        };
        if self.under_way.take() == Some(true) {
            self.ask()?;
            return Ok(None);
        }
        let taken = self.take_in(answer, old).map_err(|error| format!("what the loader wrote: {error}"))?;
        Ok(Some(taken))
    }

    fn take_in(&self, answer: FromLoader, old: &Config) -> Result<Result<Loaded, Vec<String>>, String> {
        match answer {
            FromLoader::Failed { errors } => {
                let errors = self.part(0, errors)?;
                postcard::from_bytes(&errors).map(Err).map_err(|error| error.to_string())
            }
            FromLoader::Loaded { rules, routes, upstreams, rest } => {
                let to_upstreams = rules.saturating_add(routes.unwrap_or(0));
                let to_rest = to_upstreams.saturating_add(upstreams.unwrap_or(0));
                let Rest { settings, services, remarks } =
                    postcard::from_bytes(&self.part(to_rest, rest)?).map_err(|error| error.to_string())?;
                let routes = routes.map(|length| self.thaw(rules, length, thaw_routes)).transpose()?;
                let upstreams =
                    upstreams.map(|length| self.thaw(to_upstreams, length, thaw_upstreams)).transpose()?;
                let rules = self.thaw(0, rules, thaw_rules)?;
                let config = Config {
                    rules,
                    routes,
                    upstreams,
                    services: Services::parse(services.as_bytes()),
                    settings,
                    ident_default: old.ident_default,
                };
                Ok(Ok(Loaded { config, services, remarks }))
            }
        }
    }

    fn thaw<T>(&self, place: usize, length: usize, thaw: read::Thaw<T>) -> Result<T, String> {
        let (table, _) = thaw(&self.part(place, length)?).map_err(|error| error.to_string())?;
        Ok(table)
    }

    fn part(&self, place: usize, length: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; length];
        self.memory.read_exact_at(&mut bytes, place as u64).map_err(|error| error.to_string())?;
        Ok(bytes)
    }
}

impl AsFd for Loader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
