//! The control process of a takeover, which somebody runs who may start the daemon: a service manager (ExecReload=), or
//! root by hand. It starts the new tree and ends when that serves, or cannot.
//!
//! The new monitor is a child of the service manager before that hears of it. Of another process systemd would not learn
//! the end (its `service_set_main_pid`). So it is forked twice. Only the control process may name the new one: that is
//! what NotifyAccess=exec permits.

use crate::config::pid_file;
use crate::monitor::notify::Notifier;
use crate::process::error::StartError;
use crate::process::{descriptors, sys};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, getppid};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

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

/// The rest of the control process's life: gives its status.
fn control(monitor: &OwnedFd, notifier: &Notifier, pid_file: Option<&Path>) -> i32 {
    let mut packet = [0; 5];
    while let Ok((5, _)) = recv(monitor, &mut packet, RecvFlags::empty()) {
        let [kind, number @ ..] = packet;
        let number = u32::from_le_bytes(number);
        if kind == DONE {
            return number.cast_signed();
        }
        if let Some(Err(error)) = pid_file.map(|path| pid_file::put(path, number)) {
            error.lines.iter().for_each(|line| eprintln!("sockd: {line}"));
            pid_file.iter().for_each(|path| pid_file::give_up(path, number));
            return error.status;
        }
        notifier.main_process(number);
        if send(monitor, &[READY], SendFlags::NOSIGNAL).is_err() {
            break;
        }
    }
    71
}

impl Control {
    /// Lets go of the terminal.
    pub fn let_go(&self) -> Result<(), StartError> {
        let null = descriptors::open_null()?;
        descriptors::leave_terminal(null.as_fd())
    }

    /// The new monitor can serve. Comes back when the service manager has been told that it is the daemon.
    pub fn is_ready(&self) -> Result<(), StartError> {
        self.say(READY, std::process::id());
        match recv(&self.0, &mut [0; 1][..], RecvFlags::empty()) {
            Ok((1, _)) => Ok(()),
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
