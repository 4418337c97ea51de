//! The spawner: the only maker of workers, process 1 of an empty config.
//!
//! It is forked before the daemon has read a rule, gets namespaces of its own for users, processes, network, mounts,
//! IPC and host name, an empty root, and an unprivileged user. From then on it starts, reaps and kills workers as
//! the monitor says. It dies with its channel, and with it, as process 1, every worker.

use crate::process::namespaces::{self, Ids};
use crate::process::profile::{SPAWNER, WORKERS};
use crate::process::sys;
use crate::process::{descriptors, signals};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize};
use sockd_common::channel::{ChannelError, MonitorEnd, Received, WorkerEnd};
use sockd_common::message::{CHANNEL_FD, Message, Role};
use sockd_lockdown as lockdown;
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

/// Monitor to spawner.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToSpawner {
    /// The user and group ids of the new user namespace are in place.
    Mapped,
    /// Start a worker; its end of the channel comes with this message.
    Spawn {
        /// A number that no other worker has had.
        serial: u32,
        /// What it is for.
        role: Role,
    },
    /// Kill a worker.
    Kill {
        /// The worker.
        serial: u32,
    },
}

/// Spawner to monitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromSpawner {
    /// The empty config stands.
    Ready {
        /// What of it this kernel does not have.
        missing: Vec<String>,
    },
    /// The spawner cannot work; it has ended.
    Failed {
        /// Why.
        why: String,
    },
    /// A worker has ended, or could not be started.
    Ended {
        /// The worker.
        serial: u32,
        /// How it ended.
        how: Ending,
    },
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// With an exit status.
    Exit(i32),
    /// By a signal.
    Signal(i32),
    /// It could not be started: fork(2) or execveat(2) failed with this errno.
    NotStarted(i32),
}

impl Message for ToSpawner {
    fn carries_descriptor(&self) -> bool {
        matches!(self, Self::Spawn { .. })
    }
}

impl Message for FromSpawner {}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(70) => write!(f, "exit status 70 (a panic)"),
            Self::Exit(126) => write!(f, "exit status 126 (its program cannot be executed)"),
            Self::Exit(127) => write!(f, "exit status 127 (its program is not static)"),
            Self::Exit(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => match Signal::try_from(*signal) {
                Ok(signal) => write!(f, "{signal}"),
                Err(_) => write!(f, "signal {signal}"),
            },
            Self::NotStarted(errno) => write!(f, "not started: {}", Errno::from_raw(*errno).desc()),
        }
    }
}

/// The monitor's end of the spawner's channel.
pub type Channel = MonitorEnd<ToSpawner, FromSpawner>;

/// What the spawner needs to know.
#[derive(Debug)]
pub struct Plan {
    /// The worker's program, opened for execution.
    pub program: OwnedFd,
    /// /dev/null, for the workers' standard descriptors.
    pub null: OwnedFd,
    /// The ids that spawner and workers run with.
    pub ids: Ids,
}

/// The spawner, as the monitor knows it.
#[derive(Debug)]
pub struct Spawner {
    /// The channel to it.
    pub channel: Channel,
    /// Its process id.
    pub pid: libc::pid_t,
    /// What the kernel did not have for its config.
    pub missing: Vec<String>,
}

/// Forks the spawner and waits until its config stands.
pub fn start(plan: Plan) -> Result<Spawner, String> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(|error| format!("socketpair: {error}"))?;
    let mut missing = Vec::new();
    let (pid, user_namespace) = namespaces::fork_into_namespaces(&mut missing)?;
    let Some(pid) = pid else {
        drop(ours);
        run(theirs, plan, user_namespace, missing)
    };
    drop(theirs);
    let channel = Channel::new(ours);
    if user_namespace {
        namespaces::map_ids(pid, plan.ids)?;
    }
    channel.send(&ToSpawner::Mapped, None).map_err(|error| format!("spawner: {error}"))?;
    match wait_for(&channel)? {
        FromSpawner::Ready { missing } => Ok(Spawner { channel, pid, missing }),
        FromSpawner::Failed { why } => Err(why),
        FromSpawner::Ended { .. } => Err("spawner: an end before a start".into()),
    }
}

fn wait_for(channel: &Channel) -> Result<FromSpawner, String> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    let readable = poll(&mut [PollFd::new(channel, PollFlags::IN)], Some(&limit)).unwrap_or(0);
    match (readable, channel.receive()) {
        (_, Ok(Received::Message(message, _))) => Ok(message),
        (0, _) => Err("the spawner does not answer".into()),
        (_, result) => Err(format!("the spawner has ended at its start ({result:?})")),
    }
}

type Monitor = WorkerEnd<FromSpawner, ToSpawner>;

/// The spawner's whole life.
fn run(socket: OwnedFd, plan: Plan, user_namespace: bool, mut missing: Vec<String>) -> ! {
    namespaces::die_quietly_on_panic();
    let monitor = Monitor::new(socket);
    let prepared = wait_until_mapped(&monitor)
        .and_then(|()| namespaces::enter(plan.ids, user_namespace, &mut missing))
        .and_then(|()| confine(&monitor, &plan));
    match prepared {
        Ok(signals) => {
            if monitor.send(&FromSpawner::Ready { missing }).is_ok() {
                serve(&monitor, &plan, &signals);
            }
        }
        Err(why) => drop(monitor.send(&FromSpawner::Failed { why })),
    }
    lockdown::exit_now(0)
}

fn wait_until_mapped(monitor: &Monitor) -> Result<(), String> {
    use rustix::event::{PollFd, PollFlags, poll};
    poll(&mut [PollFd::new(monitor, PollFlags::IN)], None).map_err(|error| format!("poll: {error}"))?;
    match monitor.receive() {
        Ok(Received::Message(ToSpawner::Mapped, None)) => Ok(()),
        other => Err(format!("the monitor is gone ({other:?})")),
    }
}

/// Everything but the channel, the program, /dev/null and the signals is closed; then the spawner's own filter.
fn confine(monitor: &Monitor, plan: &Plan) -> Result<nix::sys::signalfd::SignalFd, String> {
    use nix::sys::signalfd::{SfdFlags, SignalFd};
    // Not a session of its own: the scheduler shares the processors out by sessions (sched(7), autogroup), and in another
    // one workers would get theirs at the cost of the monitor that works for them all.
    rustix::process::setpgid(None, None).map_err(|error| format!("setpgid: {error}"))?;
    let child = signals::only_child_signals()?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&child, flags).map_err(|error| format!("signalfd: {error}"))?;
    let kept = [monitor.as_fd(), plan.program.as_fd(), plan.null.as_fd(), signals.as_fd()];
    descriptors::close_all_but(&kept)?;
    descriptors::leave_terminal(plan.null.as_fd())?;
    // Hundreds of workers that each ran at once when a packet comes would let nobody, the monitor included, do several
    // things in one go. Where a service manager's filter forbids it, its unit says the same.
    let _ = crate::process::sys::give_way();
    namespaces::drop_privileges(plan.ids.range.is_some())?;
    lockdown::install_filter(&[SPAWNER, WORKERS].concat()).map_err(|error| error.to_string())?;
    Ok(signals)
}

/// Obeys the monitor until it is gone.
fn serve(monitor: &Monitor, plan: &Plan, signals: &nix::sys::signalfd::SignalFd) {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut children = Children::default();
    loop {
        // Until the monitor has heard of one end it is not told of the next, nor obeyed: so nothing piles up here.
        let wanted = if children.untold.is_some() { PollFlags::OUT } else { PollFlags::IN };
        let ready = &mut [PollFd::new(monitor, wanted), PollFd::new(signals, PollFlags::IN)];
        if poll(ready, None).is_err_and(|error| error != rustix::io::Errno::INTR) {
            return;
        }
        while let Ok(Some(_)) = signals.read_signal() {}
        children.reap(monitor);
        while children.untold.is_none() {
            match monitor.receive() {
                Ok(Received::Message(ToSpawner::Spawn { serial, role }, Some(channel))) => {
                    children.spawn(serial, role, channel, plan, monitor);
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

/// The workers that are running.
#[derive(Default)]
struct Children {
    by_serial: HashMap<u32, Pid>,
    by_pid: HashMap<Pid, u32>,
    used_ids: HashMap<Pid, u32>,
    /// What the monitor's channel had no room for.
    untold: Option<FromSpawner>,
}

impl Children {
    fn spawn(&mut self, serial: u32, role: Role, channel: OwnedFd, plan: &Plan, monitor: &Monitor) {
        let id = self.free_id(plan.ids);
        match sys::fork() {
            Ok(ForkResult::Child) => match become_worker(role, &channel, plan, id) {
                Err(Errno::ENOENT) => lockdown::exit_now(127),
                _ => lockdown::exit_now(126),
            },
            Ok(ForkResult::Parent { child }) => {
                self.by_serial.insert(serial, child);
                self.by_pid.insert(child, serial);
                self.used_ids.extend(id.map(|id| (child, id)));
            }
            Err(errno) => self.report(monitor, serial, Ending::NotStarted(errno as i32)),
        }
    }

    /// An id of the range that no running worker has, while there is one; else the first.
    fn free_id(&self, ids: Ids) -> Option<u32> {
        let (first, count) = ids.range?;
        let used: Vec<u32> = self.used_ids.values().copied().collect();
        (first..first.saturating_add(count)).find(|id| !used.contains(id)).or(Some(first))
    }

    fn kill(&self, serial: u32) {
        if let Some(pid) = self.by_serial.get(&serial) {
            // A worker that has just ended by itself is no longer there to be killed.
            let _ = kill(*pid, Signal::SIGKILL);
        }
    }

    /// Who cannot be told of yet stays a zombie.
    fn reap(&mut self, monitor: &Monitor) {
        self.tell(monitor);
        while self.untold.is_none()
            && let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG))
        {
            let (pid, how) = match status {
                WaitStatus::Exited(pid, status) => (pid, Ending::Exit(status)),
                WaitStatus::Signaled(pid, signal, _) => (pid, Ending::Signal(signal as i32)),
                WaitStatus::StillAlive => return,
                _ => continue,
            };
            self.used_ids.remove(&pid);
            // Process 1 also reaps what workers leave behind, though their filter lets them leave nothing.
            if let Some(serial) = self.by_pid.remove(&pid) {
                self.by_serial.remove(&serial);
                self.report(monitor, serial, how);
            }
        }
    }

    /// The monitor is told of every worker's end, exactly once.
    fn report(&mut self, monitor: &Monitor, serial: u32, how: Ending) {
        self.untold = Some(FromSpawner::Ended { serial, how });
        self.tell(monitor);
    }

    fn tell(&mut self, monitor: &Monitor) {
        match self.untold.as_ref().map(|ended| monitor.send(ended)) {
            None | Some(Err(ChannelError::Io(rustix::io::Errno::AGAIN))) => {}
            Some(Ok(())) => self.untold = None,
            Some(Err(_)) => lockdown::exit_now(0),
        }
    }
}

/// Puts the descriptors where a worker expects them and becomes its program.
fn become_worker(role: Role, channel: &OwnedFd, plan: &Plan, id: Option<u32>) -> Result<(), Errno> {
    for target in 0..CHANNEL_FD {
        sys::duplicate_onto(plan.null.as_fd(), target)?;
    }
    sys::duplicate_onto(channel.as_fd(), CHANNEL_FD)?;
    if let Some(id) = id {
        namespaces::become_one_of_the_range(id)?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    let words = [c"sockd-worker".to_owned(), CString::new(role.word()).map_err(|_| Errno::EINVAL)?];
    let nothing: [CString; 0] = [];
    let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
    nix::unistd::execveat(plan.program.as_fd(), c"", &words, &nothing, flags)?;
    Ok(())
}
