//! The spawner: the only maker of workers, process 1 of an empty world.
//!
//! It is forked before the daemon has read a rule, gets namespaces of its own for users, processes, network, mounts,
//! IPC and host name, an empty root, and an unprivileged user. From then on it starts, reaps and kills workers as
//! the monitor says. It dies with its channel, and with it, as process 1, every worker.

mod children;
pub mod profile;
pub mod protocol;

use crate::process::error::StartError;
use crate::process::namespaces::{self, Ids};
use crate::process::{child, descriptors, ritual, sys};
use crate::spawner::children::{Children, Plan};
use crate::spawner::profile::{SPAWNER, WORKERS};
use crate::spawner::protocol::{Channel, Ending, FromSpawner, Monitor, ToSpawner};
use nix::errno::Errno;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::fcntl_dupfd_cloexec;
use sockd_common::channel::Received;
use sockd_common::message::CHANNEL_FD;
use sockd_lockdown as lockdown;
use std::os::fd::{AsFd, OwnedFd};

/// The spawner, as the monitor knows it.
#[derive(Debug)]
pub struct Spawner {
    /// The channel to it.
    pub channel: Channel,
    /// Its process id.
    pub pid: libc::pid_t,
    /// What the kernel did not have for its world.
    pub missing: Vec<String>,
}

/// Forks the spawner, which starts workers of this program with these ids, and waits until its world stands.
pub fn start(program: OwnedFd, ids: Ids) -> Result<Spawner, StartError> {
    // Out of the way of the number under which a worker expects its channel.
    let program =
        fcntl_dupfd_cloexec(&program, CHANNEL_FD.saturating_add(1)).map_err(StartError::at("dup"))?;
    let plan = Plan { program, null: descriptors::open_null()?, ids };
    let (ours, theirs) = child::channel()?;
    let mut missing = Vec::new();
    let (pid, user_namespace) = namespaces::fork_into_namespaces(&mut missing)?;
    let Some(pid) = pid else {
        drop(ours);
        run(theirs, &plan, user_namespace, missing)
    };
    drop(theirs);
    let channel = Channel::new(ours);
    if user_namespace {
        namespaces::map_ids(pid, ids)?;
    }
    channel.send(&ToSpawner::Mapped, None).map_err(StartError::at("spawner"))?;
    match wait_for(&channel)? {
        FromSpawner::Ready { missing } => Ok(Spawner { channel, pid, missing }),
        FromSpawner::Failed { why } => Err(StartError::system(why)),
        FromSpawner::Ended { .. } => Err(StartError::system("spawner: an end before a start")),
    }
}

fn wait_for(channel: &Channel) -> Result<FromSpawner, StartError> {
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    let readable = poll(&mut [PollFd::new(channel, PollFlags::IN)], Some(&limit)).unwrap_or(0);
    match (readable, channel.receive()) {
        (_, Ok(Received::Message(message, _))) => Ok(message),
        (0, _) => Err(StartError::system("the spawner does not answer")),
        _ => Err(StartError::system("the spawner has ended at its start")),
    }
}

/// The spawner's whole life.
fn run(socket: OwnedFd, plan: &Plan, user_namespace: bool, mut missing: Vec<String>) -> ! {
    child::die_quietly_on_panic();
    let monitor = Monitor::new(socket);
    let prepared = wait_until_mapped(&monitor)
        .and_then(|()| namespaces::enter(plan.ids, user_namespace, &mut missing))
        .and_then(|()| lock_down(&monitor, plan));
    match prepared {
        Ok(signals) => {
            if monitor.send(&FromSpawner::Ready { missing }).is_ok() {
                serve(&monitor, plan, &signals);
            }
        }
        Err(error) => drop(monitor.send(&FromSpawner::Failed { why: error.to_string() })),
    }
    lockdown::exit_now(0)
}

fn wait_until_mapped(monitor: &Monitor) -> Result<(), StartError> {
    poll(&mut [PollFd::new(monitor, PollFlags::IN)], None).map_err(StartError::at("poll"))?;
    match monitor.receive() {
        Ok(Received::Message(ToSpawner::Mapped, None)) => Ok(()),
        _ => Err(StartError::system("the monitor is gone")),
    }
}

fn lock_down(monitor: &Monitor, plan: &Plan) -> Result<SignalFd, StartError> {
    // Not a session of its own: the scheduler shares the processors out by sessions (sched(7), autogroup), and in another
    // one workers would get theirs at the cost of the monitor that works for them all.
    rustix::process::setpgid(None, None).map_err(StartError::at("setpgid"))?;
    // Hundreds of workers that each ran at once when a packet comes would let nobody, the monitor included, do several
    // things in one go. Where a service manager's filter forbids it, its unit says the same.
    let _ = sys::give_way();
    let own_ids = plan.ids.range.is_some();
    ritual::lock_down(&ritual::Plan {
        descriptors: &[monitor.as_fd(), plan.program.as_fd()],
        null: plan.null.as_fd(),
        capabilities: if own_ids { namespaces::FOR_WORKERS_OF_OTHER_IDS } else { &[] },
        dies_with_parent: true,
        calls: Some(&[SPAWNER, WORKERS].concat()),
    })
}

/// Obeys the monitor until it is gone.
fn serve(monitor: &Monitor, plan: &Plan, signals: &SignalFd) {
    let mut children = Children::default();
    loop {
        // Until the monitor has heard of one end it is not told of the next, nor obeyed: so nothing piles up here.
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
