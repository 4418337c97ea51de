//! The control process of a takeover, run by a service manager (ExecReload=) or by root, who may start the daemon. It
//! starts the new tree, and ends when that serves or cannot.
//!
//! The new monitor is a child of the service manager before that hears of it: systemd would not learn of the end of a
//! process that is not its child (its `service_set_main_pid`). So it is forked twice. Only the control process may name
//! the new main process, as NotifyAccess=exec permits.

use crate::config::pid_file;
use crate::process::descriptors::readable;
use crate::process::error::StartError;
use crate::process::notify::Notifier;
use crate::process::{child, sys};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, getppid};
use serde::{Deserialize, Serialize};
use sockd_common::channel::{MonitorEnd, Received, WorkerEnd};
use sockd_common::message::Message;
use sockd_common::message::takeover::{READING, SILENCE};
use std::path::Path;
use std::time::Duration;

/// How long the new monitor waits for the service manager to hear of it. The monitor that serves until then waits twice
/// as long, so that a takeover that fails for this reason fails before that gives up.
const HEARD: Duration = Duration::from_secs(10);

/// How long each step of the new monitor's wait for the end of its parent, the process between the two forks, takes.
const STEP: Duration = Duration::from_millis(1);

/// The most steps of that wait.
const STEPS: usize = 10_000;

/// A message of the new monitor to the control process.
#[derive(Debug, Serialize, Deserialize)]
enum FromNew {
    /// The new monitor can serve; its process id.
    Ready { pid: u32 },
    /// The new monitor serves, or has ended with this status.
    Done { status: i32 },
}

/// A message of the control process to the new monitor.
#[derive(Debug, Serialize, Deserialize)]
enum ToNew {
    /// The service manager has heard of the new monitor.
    Heard,
}

impl Message for FromNew {}
impl Message for ToNew {}

/// The new monitor, as the control process knows it.
type New = WorkerEnd<ToNew, FromNew>;

/// The control process, as the new monitor knows it.
#[derive(Debug)]
pub struct Control(MonitorEnd<FromNew, ToNew>);

/// Forks twice. The control process does not return; it ends with the status of the new monitor's start.
pub fn fork_twice(notifier: &Notifier, pid_file: Option<&Path>) -> Result<Control, StartError> {
    let (ours, theirs) = child::channel().map_err(StartError::at("socketpair"))?;
    let fork = || sys::fork().map_err(StartError::at("fork"));
    if let ForkResult::Parent { child } = fork()? {
        drop(theirs);
        let _ = waitpid(child, None);
        sockd_lockdown::exit_now(control(&New::new(ours), notifier, pid_file));
    }
    drop(ours);
    let between = nix::unistd::getpid();
    if let ForkResult::Parent { .. } = fork()? {
        sockd_lockdown::exit_now(0);
    }
    rustix::process::setsid().map_err(StartError::at("setsid"))?;
    for _ in 0..STEPS {
        if getppid() != between {
            return Ok(Control(MonitorEnd::new(theirs)));
        }
        std::thread::sleep(STEP);
    }
    Err(StartError::system("the process between the new monitor and the control process does not end"))
}

/// Runs the rest of the control process's life, and returns its status. If the new monitor fails after its process id
/// file was put in place, the earlier daemon's file goes back.
fn control(monitor: &New, notifier: &Notifier, pid_file: Option<&Path>) -> i32 {
    let mut put = None;
    let status = accompany(monitor, notifier, pid_file, &mut put);
    if let (Some(path), Some(number)) = (pid_file, put) {
        if status != 0 {
            pid_file::put_back(path, number);
        }
        pid_file::give_up(path, std::process::id());
    }
    status
}

/// Accompanies the new monitor until it serves or cannot. Returns the status. `put` gets the owner of the file put.
fn accompany(monitor: &New, notifier: &Notifier, pid_file: Option<&Path>, put: &mut Option<u32>) -> i32 {
    let mut wait = READING.saturating_add(SILENCE);
    loop {
        let pid = match hear(monitor, wait) {
            Ok(FromNew::Done { status: 0 }) => return 0,
            Ok(FromNew::Done { status }) => {
                // The new monitor says why, and ends; a program that waits for this process then finds the reason.
                let _ = hear(monitor, SILENCE);
                return status;
            }
            // The new monitor has waited in vain for this process, and no longer takes over.
            Ok(FromNew::Ready { .. }) if readable(monitor, Duration::ZERO) != Ok(false) => continue,
            Ok(FromNew::Ready { pid }) => pid,
            Err(why) => {
                eprintln!("sockd: the new server {why}");
                return 71;
            }
        };
        if let Some(Err(error)) = pid_file.map(|path| pid_file::put(path, pid)) {
            error.lines.iter().for_each(|line| eprintln!("sockd: {line}"));
            pid_file.iter().for_each(|path| pid_file::give_up(path, pid));
            return error.status;
        }
        *put = Some(pid);
        notifier.main_process(pid);
        // If the new monitor has ended, the next receive tells.
        let _ = monitor.send(&ToNew::Heard);
        wait = SILENCE;
    }
}

/// Receives a message of the new monitor. The error is the reason why no more will come.
fn hear(monitor: &New, wait: Duration) -> Result<FromNew, String> {
    let _ = readable(monitor, wait);
    match monitor.receive() {
        Ok(Received::Message(said, _)) => Ok(said),
        Ok(Received::Nothing) => Err(format!("has been silent for {} seconds", wait.as_secs())),
        _ => Err("has ended".into()),
    }
}

impl Control {
    /// Says that the new monitor can serve. Returns when the service manager has been told that it is the daemon.
    pub fn is_ready(&self) -> Result<(), StartError> {
        self.say(&FromNew::Ready { pid: std::process::id() });
        let _ = readable(&self.0, HEARD);
        match self.0.receive() {
            Ok(Received::Message(ToNew::Heard, _)) => Ok(()),
            Ok(Received::Nothing) => Err(StartError::system("the control process does not answer")),
            _ => Err(StartError::system("the control process has ended")),
        }
    }

    /// Says that the new monitor serves, or has failed with this status.
    pub fn ended(&self, status: i32) {
        self.say(&FromNew::Done { status });
    }

    /// Sends a message. A control process that has ended gets none.
    fn say(&self, message: &FromNew) {
        let _ = self.0.send(message, None);
    }
}
