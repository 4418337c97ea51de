//! The control process of a takeover, which somebody runs who may start the daemon: a service manager (ExecReload=), or
//! root by hand. It starts the new tree and ends when that serves, or cannot.
//!
//! The new monitor is a child of the service manager before that hears of it. Of another process systemd would not learn
//! the end (its `service_set_main_pid`). So it is forked twice. Only the control process may name the new one: that is
//! what NotifyAccess=exec permits.

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

/// The new monitor waits for the service manager to hear of it. Who serves until then waits for twice as long: a takeover
/// that fails for this fails before that gives up.
const HEARD: Duration = Duration::from_secs(10);

/// The new monitor waits in such steps for the end of the one between it and the control process.
const STEP: Duration = Duration::from_millis(1);

/// So many of them.
const STEPS: usize = 10_000;

/// The new monitor can serve.
const READY: u8 = 1;

/// It does, or has ended with the status behind this.
const DONE: u8 = 2;

/// The control process, as the new monitor knows it.
#[derive(Debug)]
pub struct Control(OwnedFd);

/// Forks twice. The control process does not come back; it ends with the status of the new monitor's start.
pub fn fork_twice(notifier: &Notifier, pid_file: Option<&Path>) -> Result<Control, StartError> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(StartError::at("socketpair"))?;
    // Before the lockdown, after which no other call than recv is needed for the wait.
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

/// So long is waited for what comes from the other end.
fn limit(socket: &OwnedFd, time: Duration) -> rustix::io::Result<()> {
    set_socket_timeout(socket, Timeout::Recv, Some(time))
}

/// The rest of the control process's life: gives its status. Where the new monitor fails although its process id file has
/// been put in its place, the one before it goes back.
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

/// Until the new monitor serves, or cannot. Gives the status, and whose process id file has been put in its place.
fn accompany(monitor: &OwnedFd, notifier: &Notifier, pid_file: Option<&Path>, put: &mut Option<u32>) -> i32 {
    let mut wait = READING.saturating_add(SILENCE);
    loop {
        let number = match hear(monitor, wait) {
            Ok((DONE, 0)) => return 0,
            Ok((DONE, status)) => {
                // It says why, and ends: whoever waits for this process finds that said.
                let _ = hear(monitor, SILENCE);
                return status.cast_signed();
            }
            // It has waited in vain for this process, and takes over no more.
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
        // Where it has ended, that is heard next.
        let _ = send(monitor, &[READY], SendFlags::NOSIGNAL);
        wait = SILENCE;
    }
}

/// Whether there is more to hear, or nothing any more.
fn has_more(monitor: &OwnedFd) -> bool {
    recv(monitor, &mut [0; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT).err() != Some(Errno::AGAIN)
}

/// What the new monitor says, and the number with it. The error is why nothing more will come.
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

/// Waits on a socket with this limit; gives the length of what has come.
fn wait_for(socket: &OwnedFd, time: Duration, packet: &mut [u8]) -> rustix::io::Result<usize> {
    within(time, || recv(socket, &mut *packet, RecvFlags::empty())).map(|(length, _)| length)
}

impl Control {
    /// The new monitor can serve. Comes back when the service manager has been told that it is the daemon.
    pub fn is_ready(&self) -> Result<(), StartError> {
        self.say(READY, std::process::id());
        match wait_for(&self.0, HEARD, &mut [0; 1]) {
            Ok(1) => Ok(()),
            Err(Errno::AGAIN) => Err(StartError::system("the control process does not answer")),
            _ => Err(StartError::system("the control process has ended")),
        }
    }

    /// The new monitor serves, or has failed with this status.
    pub fn ended(&self, status: i32) {
        self.say(DONE, status.cast_unsigned());
    }

    /// A control process that has gone hears nothing.
    fn say(&self, kind: u8, number: u32) {
        let [a, b, c, d] = number.to_le_bytes();
        let _ = send(&self.0, &[kind, a, b, c, d], SendFlags::NOSIGNAL);
    }
}
