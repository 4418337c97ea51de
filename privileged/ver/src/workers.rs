//! Starts workers one at a time, as the daemon does, and inspects them.

use crate::layers::{Expected, Status, landlock, layers};
use crate::report::Process;
use sockd::monitor::roles;
use sockd::process::error::StartError;
use sockd::process::{child, descriptors};
use sockd::spawner::Spawner;
use sockd::spawner::protocol::{Ending, FromSpawner, ToSpawner};
use sockd_common::channel::Received;
use sockd_common::message::{LockdownReport, Role};
use sockd_common::outbox::Outbox;
use sockd_session::settings::Settings;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How long a worker may take to answer; a slower one will never do so.
const LIMIT: Duration = Duration::from_secs(20);

/// A worker that has been inspected.
pub(crate) struct Seen {
    pub(crate) process: Process,
    pub(crate) locks: LockdownReport,
    pub(crate) status: Status,
}

/// Starts a worker, inspects it and ends it.
pub(crate) fn worker(
    spawner: &Spawner,
    settings: &Settings,
    name: &'static str,
    role: Role,
) -> Result<Seen, StartError> {
    let (channel, locks) = start(spawner, settings, role)?;
    let pid = child_of(spawner.pid).ok_or_else(|| StartError::system("a worker is not found in /proc"))?;
    let landlock = landlock(locks.landlock_abi, locks.landlock_enforced);
    let layers = layers(pid, &Expected::WORKER, &spawner.missing, Some(landlock));
    let status = Status::of(pid);
    drop(channel);
    ending(spawner)?;
    Ok(Seen { process: Process { name, layers }, locks, status })
}

/// Starts a worker. Returns the channel to it, and the locks that hold by its own word.
fn start(spawner: &Spawner, settings: &Settings, role: Role) -> Result<(Outbox, LockdownReport), StartError> {
    let (ours, theirs) = child::channel().map_err(StartError::at("socketpair"))?;
    let channel = roles::open(role, ours, settings).map_err(StartError::at("worker"))?;
    spawn(spawner, role, theirs)?;
    wait(&channel)?;
    if let Ok(Received::Message(message, _)) = roles::receive(role, &channel)
        && let Some(locks) = message.ready()
    {
        return Ok((channel, locks));
    }
    Err(ended_early(spawner))
}

/// The error that a worker has ended before it was of use.
pub(crate) fn ended_early(spawner: &Spawner) -> StartError {
    match ending(spawner) {
        Ok(how) => StartError::system(format_args!("the worker has ended at its start: {how}")),
        Err(error) => error,
    }
}

/// Has a worker started. There is only one at a time, so they need no numbers.
pub(crate) fn spawn(spawner: &Spawner, role: Role, channel: OwnedFd) -> Result<(), StartError> {
    let spawn = ToSpawner::Spawn { serial: 0, role };
    spawner.channel.send(&spawn, Some(channel.as_fd())).map_err(StartError::at("spawner"))
}

/// Waits for a worker or for the spawner.
pub(crate) fn wait(other: impl AsFd) -> Result<(), StartError> {
    match descriptors::readable(other, LIMIT) {
        Ok(true) => Ok(()),
        _ => Err(StartError::system("the worker does not answer")),
    }
}

/// How the worker ended.
pub(crate) fn ending(spawner: &Spawner) -> Result<Ending, StartError> {
    wait(&spawner.channel)?;
    match spawner.channel.receive() {
        Ok(Received::Message(FromSpawner::Ended { how, .. }, _)) => Ok(how),
        _ => Err(StartError::system("the spawner does not tell how a worker ended")),
    }
}

/// The spawner's one child.
fn child_of(spawner: libc::pid_t) -> Option<libc::pid_t> {
    let parent = format!("PPid:\t{spawner}\n");
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        status.contains(&parent).then(|| entry.file_name().to_str()?.parse().ok())?
    })
}
