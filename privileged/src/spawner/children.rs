//! The workers that are running: started, reaped, killed.

use crate::process::namespaces::Ids;
use crate::process::sys;
use crate::spawner::protocol::{Ending, FromSpawner, Monitor};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, execveat};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use sockd_common::channel::ChannelError;
use sockd_common::message::{AS_ROOT, CHANNEL_FD, Role};
use sockd_common::message::{FIRST_PIPE_FD, PIPES};
use sockd_lockdown::{self as lockdown, Gid, Uid};
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd, RawFd};

/// Everything that a worker is started with.
#[derive(Debug)]
pub(super) struct Plan {
    /// The worker's program, opened for execution.
    pub(super) program: OwnedFd,
    /// /dev/null, for its standard descriptors.
    pub(super) null: OwnedFd,
    /// The ids that spawner and workers run with.
    pub(super) ids: Ids,
    /// Whether the ids may be root's, as this process could not change its own.
    pub(super) as_root: bool,
}

/// The workers that are running.
#[derive(Default)]
pub(super) struct Children {
    by_serial: HashMap<u32, Pid>,
    by_pid: HashMap<Pid, u32>,
    used_ids: HashMap<Pid, u32>,
    /// The message for which the monitor's channel had no room.
    untold: Option<FromSpawner>,
}

impl Children {
    /// Starts a worker. A failure to start it is reported like an end.
    pub(super) fn spawn(
        &mut self,
        serial: u32,
        role: Role,
        channel: &OwnedFd,
        plan: &Plan,
        monitor: &Monitor,
    ) {
        let id = self.id_for(role, plan.ids);
        match sys::fork() {
            Ok(ForkResult::Child) => match become_worker(role, channel, plan, id) {
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

    /// The id of a new worker. The auth worker has the first id of the range alone, if the range has more than one.
    /// Others get an id that no running worker has or, if none is left, the second.
    fn id_for(&self, role: Role, ids: Ids) -> Option<u32> {
        let (first, count) = ids.range?;
        if role == Role::Auth {
            return Some(first);
        }
        let used: Vec<u32> = self.used_ids.values().copied().collect();
        let second = first.saturating_add(u32::from(count > 1));
        (second..first.saturating_add(count)).find(|id| !used.contains(id)).or(Some(second))
    }

    /// Kills a worker. If it has just ended by itself, there is nothing to kill.
    pub(super) fn kill(&self, serial: u32) {
        if let Some(pid) = self.by_serial.get(&serial) {
            let _ = kill(*pid, Signal::SIGKILL);
        }
    }

    /// Whether an end has yet to be reported to the monitor.
    pub(super) fn owes_news(&self) -> bool {
        self.untold.is_some()
    }

    /// Reaps the children that have ended. A child stays unreaped until its end can be reported. One SIGCHLD may stand
    /// for several ends (signal(7): such signals do not queue), so waitpid(2) is called until it has no more.
    pub(super) fn reap(&mut self, monitor: &Monitor) {
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

    /// Reports a worker's end to the monitor, exactly once.
    pub(super) fn report(&mut self, monitor: &Monitor, serial: u32, how: Ending) {
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

/// The descriptor behind a worker's last pipe.
const BEHIND_PIPES: RawFd = FIRST_PIPE_FD + 2 * PIPES as RawFd;

/// The size of each pipe until its worker needs more: one page, as all pipes of a user share a limit.
const PIPE: usize = 4 << 10;

/// Puts the descriptors under the numbers that a worker expects, and becomes its program.
fn become_worker(role: Role, channel: &OwnedFd, plan: &Plan, id: Option<u32>) -> Result<(), Errno> {
    for target in 0..CHANNEL_FD {
        sys::duplicate_onto(plan.null.as_fd(), target)?;
    }
    sys::duplicate_onto(channel.as_fd(), CHANNEL_FD)?;
    if let Some(id) = id {
        // execveat(2) then clears the capabilities.
        lockdown::become_user(Uid::from_raw(id), Gid::from_raw(id)).map_err(|_| Errno::EPERM)?;
    }
    // A signal to all processes of the name is meant for the monitor. A fault of the worker's own still ends it.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    let mut words = vec![c"sockd-worker".to_owned(), CString::new(role.as_str()).map_err(|_| Errno::EINVAL)?];
    if plan.as_root {
        words.push(CString::new(AS_ROOT).map_err(|_| Errno::EINVAL)?);
    }
    let nothing: [CString; 0] = [];
    let flags = AtFlags::AT_EMPTY_PATH;
    // The program's number must be one that no other descriptor is put under.
    let program = fcntl_dupfd_cloexec(&plan.program, BEHIND_PIPES).map_err(|_| Errno::EMFILE)?;
    make_pipes(role.pipes())?;
    execveat(program, c"", &words, &nothing, flags)?;
    Ok(())
}

/// Makes the pipes of a worker, as the user that the worker is: its filter permits no call that makes any.
fn make_pipes(count: usize) -> Result<(), Errno> {
    sys::close_range(FIRST_PIPE_FD, BEHIND_PIPES.saturating_sub(1))?;
    for _ in 0..count {
        // The lowest free numbers are those that the worker expects. With fewer pipes, a worker copies more.
        let Ok((out, into)) = pipe_with(PipeFlags::NONBLOCK) else { break };
        let _ = fcntl_setpipe_size(&into, PIPE);
        let _stay_open_for_the_worker = (out.into_raw_fd(), into.into_raw_fd());
    }
    Ok(())
}
