//! The hook process: runs the `: shell_cmd`s of the rules, as a user of its own, without holding anybody up.
//!
//! It is forked before the monitor locks itself down, if a rule has a command. It becomes the user of the commands, and
//! process 1 of a namespace that has only its commands: no signal of theirs reaches it, and they end with it. The
//! loader tells it which commands it may run, so that a compromised monitor can ask only for commands that an
//! administrator has written. Values are cleaned here, when they are put into a command line.

mod command;
mod commands;
pub mod handle;
pub mod orders;
pub mod profile;
pub mod protocol;

use crate::hook::command::Surroundings;
use crate::hook::commands::Commands;
use crate::hook::orders::{Orders, Told};
use crate::hook::profile::DENIED;
use crate::hook::protocol::{FromHook, Monitor, ToHook};
use crate::process::error::StartError;
use crate::process::namespaces::{self, Place, World};
use crate::process::ritual::{self, Calls, Power};
use crate::process::{child, descriptors, signals, sys};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::setsid;
use sockd_common::channel::Received;
use sockd_lockdown as lockdown;
use std::os::fd::{AsFd, BorrowedFd};

/// The hook process, as the start knows it.
pub type Server = child::Server<ToHook, FromHook>;

/// Forks the hook process, which runs commands as this user and group: at first those of `orders`, then those that the
/// loader sends over `told`.
pub fn start(orders: Orders, told: Told, ids: (u32, u32)) -> Result<Server, StartError> {
    let surroundings = Surroundings { pid: std::process::id(), null: descriptors::open_null()? };
    let lock_down = |monitor: &Monitor, place: &mut Place| {
        let _ = descriptors::refuse_descriptors(monitor);
        enter(place)?;
        let signals = signals::descriptor([Signal::SIGCHLD])?;
        let kept = [monitor.as_fd(), told.as_fd(), signals.as_fd()];
        lock_down(&kept, surroundings.null.as_fd(), ids)?;
        Ok((signals, surroundings))
    };
    let serve = |monitor, (signals, surroundings)| {
        serve(&mut Commands::new(monitor, surroundings, orders), &told, &signals);
    };
    child::start("hook process", World::of_commands(ids), lock_down, serve)
}

/// Leaves the host's processes behind.
fn enter(place: &Place) -> Result<(), StartError> {
    if place.missing.is_empty() {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        // The kernel refuses another /proc if the host's hides something, or its root is no mount point. Then that one
        // stays.
        if namespaces::mount_privately().is_ok() {
            let _ = mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>);
        }
    }
    if place.user_namespace {
        namespaces::allow_nothing_further();
    }
    Ok(())
}

/// Keeps no privileges: its commands must not have more than it has. There is no Landlock for files: the commands would
/// inherit it.
fn lock_down(kept: &[BorrowedFd<'_>], null: BorrowedFd<'_>, ids: (u32, u32)) -> Result<(), StartError> {
    setsid().map_err(StartError::at("setsid"))?;
    // Commands inherit ignored signals.
    sys::default_action(Signal::SIGXFSZ).map_err(StartError::at("sigaction"))?;
    lockdown::landlock_keep_signals_inside()?;
    let power = Power { user: Some(ids), capabilities: &[], files: None, calls: Calls::AllBut(DENIED) };
    ritual::lock_down(kept, null, &power).map(drop)
}

/// Runs commands until the monitor is gone.
fn serve(commands: &mut Commands, told: &Told, signals: &SignalFd) {
    loop {
        let timeout = commands.until_due();
        let ready =
            &mut [PollFd::new(commands.monitor(), PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        if poll(ready, timeout.as_ref()).is_err_and(|error| error != rustix::io::Errno::INTR) {
            return;
        }
        while let Ok(Some(_)) = signals.read_signal() {}
        commands.reap();
        commands.end_overdue();
        if !hear(commands, told) {
            return;
        }
        commands.start_waiting();
    }
}

/// Takes the monitor's messages; false if it is gone.
fn hear(commands: &mut Commands, told: &Told) -> bool {
    loop {
        match commands.monitor().receive() {
            Ok(Received::Message(ToHook::Run { template, values }, None)) => {
                commands.take(&template, values);
                commands.start_waiting();
            }
            // The loader has sent the new orders before it answered the monitor.
            Ok(Received::Message(ToHook::Reload, None)) => commands.follow(orders::last(told)),
            Ok(Received::Nothing) => return true,
            _ => return false,
        }
    }
}
