//! The spawner: the only maker of workers, process 1 of an empty world.
//!
//! It is forked before the daemon has read a rule, gets namespaces of its own for users, processes, network, mounts,
//! IPC and host name, an empty root, and an unprivileged user. From then on it starts, reaps and kills workers as
//! the monitor says. It dies with its channel, and with it, as process 1, every worker.

mod children;
pub mod profile;
pub mod protocol;
pub mod world;

use crate::process::error::StartError;
use crate::process::namespaces::{Ids, Place, World};
use crate::process::ritual::{self, Calls, Power};
use crate::process::{child, descriptors, signals, sys};
use crate::spawner::children::{Children, Plan};
use crate::spawner::profile::{SPAWNER, WORKERS};
use crate::spawner::protocol::{Ending, FromSpawner, Monitor, ToSpawner};
use crate::spawner::world::OWN_USER;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::fcntl_dupfd_cloexec;
use sockd_common::channel::Received;
use sockd_common::message::CHANNEL_FD;
use std::os::fd::{AsFd, OwnedFd};

/// The spawner, as the monitor knows it.
pub type Spawner = child::Server<ToSpawner, FromSpawner>;

/// Forks the spawner, which starts workers of this program with these ids.
pub fn start(program: OwnedFd, ids: Ids) -> Result<Spawner, StartError> {
    // Its number must not be the one under which a worker expects its channel.
    let program =
        fcntl_dupfd_cloexec(&program, CHANNEL_FD.saturating_add(1)).map_err(StartError::at("dup"))?;
    let null = descriptors::open_null()?;
    let lock_down = |monitor: &Monitor, place: &mut Place| {
        world::enter(ids, place)?;
        let as_root = place.missing.iter().any(|layer| layer.starts_with(OWN_USER));
        let plan = Plan { program, null, ids, as_root };
        Ok((lock_down(monitor, &plan)?, plan))
    };
    let serve = |monitor: Monitor, (signals, plan)| serve(&monitor, &plan, &signals);
    child::start("spawner", World::of_workers(ids), lock_down, serve)
}

fn lock_down(monitor: &Monitor, plan: &Plan) -> Result<SignalFd, StartError> {
    // It makes no session of its own: the scheduler shares the processors out by sessions (sched(7), autogroup), and in
    // another one workers would get their share at the cost of the monitor that works for them all.
    rustix::process::setpgid(None, None).map_err(StartError::at("setpgid"))?;
    // If hundreds of workers each ran at once when a packet comes, no process, the monitor included, could handle
    // several events in one go. A service manager's filter may forbid the call; its unit then sets the same.
    let _ = sys::give_way();
    let own_ids = plan.ids.range.is_some();
    let calls = [SPAWNER, WORKERS].concat();
    let power = Power {
        user: None,
        capabilities: if own_ids { world::FOR_WORKERS_OF_OTHER_IDS } else { &[] },
        files: None,
        calls: Calls::Only(&calls),
    };
    let signals = signals::descriptor([Signal::SIGCHLD])?;
    let kept = [monitor.as_fd(), plan.program.as_fd(), signals.as_fd()];
    ritual::lock_down(&kept, plan.null.as_fd(), &power)?;
    Ok(signals)
}

/// Obeys the monitor until it is gone.
fn serve(monitor: &Monitor, plan: &Plan, signals: &SignalFd) {
    let mut children = Children::default();
    loop {
        // Until one end has been reported, the next is not, and the monitor is not obeyed: so nothing piles up here.
        let wanted = if children.owes_news() { PollFlags::OUT } else { PollFlags::IN };
        let ready = &mut [PollFd::new(monitor, wanted), PollFd::new(signals, PollFlags::IN)];
        if poll(ready, None).is_err_and(|error| error != rustix::io::Errno::INTR) {
            return;
        }
        while let Ok(Some(_)) = signals.read_signal() {}
        children.reap(monitor);
        while !children.owes_news() {
            match monitor.receive() {
                Ok(Received::Message(ToSpawner::Spawn { serial, role }, Some(channel))) => {
                    children.spawn(serial, role, &channel, plan, monitor);
                }
                Ok(Received::Message(ToSpawner::Kill { serial }, None)) => children.kill(serial),
                Ok(Received::Nothing) => break,
                Ok(Received::DescriptorLost(ToSpawner::Spawn { serial, .. })) => {
                    children.report(monitor, serial, Ending::NotStarted(Errno::EMFILE as i32));
                }
                _ => return,
            }
        }
    }
}
