//! The control process of a takeover, run by a service manager (ExecReload=) or by root, who may start the daemon. It
//! starts the new tree, and ends when that serves or cannot.
//!
//! The new monitor is a child of the service manager before that hears of it: systemd would not learn of the end of a
//! process that is not its child (its `service_set_main_pid`). So it is forked twice. Only the control process may name
//! the new main process, as NotifyAccess=exec permits.

use crate::config::pid_file;
use crate::process::error::StartError;
use crate::process::notify::Notifier;
use crate::process::sys;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, getppid};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use sockd_common::message::takeover::{READING, SILENCE};
use sockd_common::wait::within;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// How long the new monitor waits for the service manager to hear of it. The monitor that serves until then waits twice
/// as long, so that a takeover that fails for this reason fails before that gives up.
const HEARD: Duration = Duration::from_secs(10);

/// How long each step of the new monitor's wait for the end of its parent, the process between the two forks, takes.
const STEP: Duration = Duration::from_millis(1);

/// The most steps of that wait.
const STEPS: usize = 10_000;

/// The new monitor can serve.
const READY: u8 = 1;

/// The new monitor serves, or has ended with the status that follows.
const DONE: u8 = 2;

/// The control process, as the new monitor knows it.
#[derive(Debug)]
pub struct Control(OwnedFd);

/// Forks twice. The control process does not return; it ends with the status of the new monitor's start.
pub fn fork_twice(notifier: &Notifier, pid_file: Option<&Path>) -> Result<Control, StartError> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(StartError::at("socketpair"))?;
    // Set before the lockdown, after which the wait needs no call but recv.
    limit(&theirs, HEARD).map_err(StartError::at("SO_RCVTIMEO"))?;
    let fork = || sys::fork().map_err(StartError::at("fork"));
    if let ForkResult::Parent { child } = fork()? {
        drop(theirs);
        let _ = waitpid(child, None);
        sockd_lockdown::exit_now(control(&ours, notifier, pid_file));
    }
    drop(ours);
    let between = nix::unistd::getpid();
    if let ForkResult::Parent { .. } = fork()? {
        sockd_lockdown::exit_now(0);
    }
    rustix::process::setsid().map_err(StartError::at("setsid"))?;
    for _ in 0..STEPS {
        if getppid() != between {
            return Ok(Control(theirs));
        }
        std::thread::sleep(STEP);
    }
    Err(StartError::system("the process between the new monitor and the control process does not end"))
}

/// Limits how long a receive on this socket waits.
fn limit(socket: &OwnedFd, time: Duration) -> rustix::io::Result<()> {
    set_socket_timeout(socket, Timeout::Recv, Some(time))
}

/// Runs the rest of the control process's life, and returns its status. If the new monitor fails after its process id
/// file was put in place, the earlier daemon's file goes back.
fn control(monitor: &OwnedFd, notifier: &Notifier, pid_file: Option<&Path>) -> i32 {
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
fn accompany(monitor: &OwnedFd, notifier: &Notifier, pid_file: Option<&Path>, put: &mut Option<u32>) -> i32 {
    let mut wait = READING.saturating_add(SILENCE);
    loop {
        let number = match hear(monitor, wait) {
            Ok((DONE, 0)) => return 0,
            Ok((DONE, status)) => {
                // The new monitor says why, and ends; a program that waits for this process then finds the reason.
                let _ = hear(monitor, SILENCE);
                return status.cast_signed();
            }
            // The new monitor has waited in vain for this process, and no longer takes over.
            Ok(_) if has_more(monitor) => continue,
            Ok((_, number)) => number,
            Err(why) => {
                eprintln!("sockd: the new server {why}");
                return 71;
            }
        };
        if let Some(Err(error)) = pid_file.map(|path| pid_file::put(path, number)) {
            error.lines.iter().for_each(|line| eprintln!("sockd: {line}"));
            pid_file.iter().for_each(|path| pid_file::give_up(path, number));
            return error.status;
        }
        *put = Some(number);
        notifier.main_process(number);
        // If the new monitor has ended, the next receive tells.
        let _ = send(monitor, &[READY], SendFlags::NOSIGNAL);
        wait = SILENCE;
    }
}

/// Whether another message has come, or the other end has closed.
fn has_more(monitor: &OwnedFd) -> bool {
    recv(monitor, &mut [0; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT).err() != Some(Errno::AGAIN)
}

/// Receives a message of the new monitor, with its number. The error is the reason why no more will come.
fn hear(monitor: &OwnedFd, wait: Duration) -> Result<(u8, u32), String> {
    let mut packet = [0; 5];
    match limit(monitor, wait).and_then(|()| wait_for(monitor, wait, &mut packet)) {
        Ok(5) => {
            let [kind, number @ ..] = packet;
            Ok((kind, u32::from_le_bytes(number)))
        }
        Err(Errno::AGAIN) => Err(format!("has been silent for {} seconds", wait.as_secs())),
        _ => Err("has ended".into()),
    }
}

/// Waits on a socket with this limit. Returns the length of the packet.
fn wait_for(socket: &OwnedFd, time: Duration, packet: &mut [u8]) -> rustix::io::Result<usize> {
    within(time, || recv(socket, &mut *packet, RecvFlags::empty())).map(|(length, _)| length)
}

impl Control {
    /// Says that the new monitor can serve. Returns when the service manager has been told that it is the daemon.
    pub fn is_ready(&self) -> Result<(), StartError> {
        self.say(READY, std::process::id());
        match wait_for(&self.0, HEARD, &mut [0; 1]) {
            Ok(1) => Ok(()),
            Err(Errno::AGAIN) => Err(StartError::system("the control process does not answer")),
            _ => Err(StartError::system("the control process has ended")),
        }
    }

    /// Says that the new monitor serves, or has failed with this status.
    pub fn ended(&self, status: i32) {
        self.say(DONE, status.cast_unsigned());
    }

    /// Sends a message. A control process that has ended gets none.
    fn say(&self, kind: u8, number: u32) {
        let [a, b, c, d] = number.to_le_bytes();
        let _ = send(&self.0, &[kind, a, b, c, d], SendFlags::NOSIGNAL);
    }
}
