//! Starts and locks down every kind of process as the daemon does, and inspects it.

use crate::attempts::attempts;
use crate::layers::{Expected, landlock, layers};
use crate::newer::newer;
use crate::report::{Found, Layer, Process, layer};
use crate::workers::{Seen, worker};
use rustix::event::{PollFd, PollFlags, poll};
use sockd::config::options::Options;
use sockd::config::read;
use sockd::hook::orders::{self, Orders};
use sockd::monitor::lock_down::lock_down;
use sockd::process::child::{self, Server};
use sockd::process::error::StartError;
use sockd::process::namespaces::{Ids, Place, World};
use sockd::spawner::world::FOR_WORKERS_OF_OTHER_IDS;
use sockd::spawner::{self, Spawner};
use sockd::start::account::UserGroup;
use sockd::start::{account, program};
use sockd::{hook, loader};
use sockd_common::channel::WorkerEnd;
use sockd_common::message::Role;
use sockd_common::message::probe::{FromProbe, ToProbe};
use sockd_lockdown::Capability;
use sockd_session::settings::Settings;
use std::collections::HashSet;

const OTHER_WORKERS: [(&str, Role); 5] = [
    ("Datagram worker", Role::Datagram),
    ("Ident worker", Role::Ident),
    ("Resolver worker", Role::Resolver),
    ("Upstream worker", Role::Upstream),
    ("Auth worker", Role::Auth),
];

/// Starts one process of each kind and inspects it. `note` gets remarks for the administrator.
pub(crate) fn look(
    options: &Options,
    settings: &Settings,
    note: &mut dyn FnMut(&str),
) -> Result<Found, StartError> {
    let placed = |error| read::placed(error, &options.settings);
    account::check(settings).map_err(placed)?;
    let program = program::open_to_try(&mut *note)?;
    let ids = account::of_workers(settings, &mut *note).map_err(placed)?;
    let user = account::of_monitor(settings, ids, &mut *note).map_err(placed)?;
    let owner = account::of_commands(settings, ids, user, &mut *note).map_err(placed)?;
    let spawner = spawner::start(program, ids)?;
    let Seen { process: session, locks, status } =
        worker(&spawner, settings, "Session worker", Role::Session)?;
    let abi = locks.landlock_abi;
    let mut processes = vec![monitor(user, abi)?, loader(options, abi)?, process_of(&spawner, ids)];
    processes.extend(owner.map(|owner| hook(settings, owner, abi)).transpose()?);
    processes.push(session);
    for (name, role) in OTHER_WORKERS {
        processes.push(worker(&spawner, settings, name, role)?.process);
    }
    Ok(Found { processes, attempts: attempts(&spawner)?, newer_kernels: newer(&locks, &status) })
}

fn process_of(spawner: &Spawner, ids: Ids) -> Process {
    let capabilities = if ids.range.is_some() { FOR_WORKERS_OF_OTHER_IDS } else { &[] };
    let expected = Expected { capabilities, ..Expected::WORKER };
    Process { name: "Spawner", layers: layers(spawner.pid, &expected, &spawner.missing, None) }
}

/// A process that locks itself down as the monitor does before it serves.
fn monitor(user: Option<UserGroup>, abi: u8) -> Result<Process, StartError> {
    let lock_down = |_: &WorkerEnd<FromProbe, ToProbe>, place: &mut Place| {
        let landlock = lock_down(user)?;
        place.missing.extend((!landlock.enforced).then(|| "Landlock".into()));
        Ok(())
    };
    let serve = |channel: WorkerEnd<FromProbe, ToProbe>, ()| {
        let _ = poll(&mut [PollFd::new(&channel, PollFlags::IN)], None);
    };
    let Server { channel: _channel, pid, missing } =
        child::start("monitor", World::of_host(), lock_down, serve)?;
    let expected = Expected {
        // A note says so if it is.
        may_be_root: user.is_none(),
        capabilities: &[Capability::CAP_NET_BIND_SERVICE],
        ..Expected::ON_THE_HOST
    };
    let found = layers(pid, &expected, &missing, Some(of_child(abi, &missing)));
    Ok(Process { name: "Monitor", layers: found })
}

fn loader(options: &Options, abi: u8) -> Result<Process, StartError> {
    let (teller, _told) = orders::channel()?;
    let loader::Started { loader: _loader, pid, missing, .. } = loader::start(options, &teller, None)?;
    // It reads files that only root may read.
    let expected = Expected { may_be_root: true, ..Expected::ON_THE_HOST };
    let found = layers(pid, &expected, &missing, Some(of_child(abi, &missing)));
    Ok(Process { name: "Loader", layers: found })
}

fn hook(settings: &Settings, owner: UserGroup, abi: u8) -> Result<Process, StartError> {
    let (_teller, told) = orders::channel()?;
    let limits = (settings.max_commands, settings.max_commands_per_host);
    let orders = Orders { commands: settings.commands, limits, templates: HashSet::new() };
    let hook::Server { channel: _channel, pid, missing } = hook::start(orders, told, owner)?;
    // Its commands inherit its layers: files stay open to them, and signals to others can be denied since ABI 6.
    let landlock = layer("Landlock", true, if abi < 6 { "not used" } else { "no signal leaves it" });
    let expected = Expected { namespaces: &["pid", "mnt"], ..Expected::ON_THE_HOST };
    Ok(Process { name: "Hook process", layers: layers(pid, &expected, &missing, Some(landlock)) })
}

fn of_child(abi: u8, missing: &[String]) -> Layer {
    landlock(abi, !missing.iter().any(|layer| layer == "Landlock"))
}
