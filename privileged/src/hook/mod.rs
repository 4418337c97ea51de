//! The hook process: runs the `: shell_cmd`s of the rules, as a user of its own, while nobody waits.
//!
//! It is forked before the monitor locks itself down and reads the rules itself, so that a monitor that has been
//! taken over can ask only for commands that an administrator has written. Values are cleaned here, at the moment
//! at which they are put into a command line.

mod command;
mod commands;
pub mod handle;
pub mod protocol;

use crate::config::options::Options;
use crate::config::read;
use crate::hook::commands::{Commands, Orders, Place};
use crate::hook::handle::Hook;
use crate::hook::protocol::{Monitor, ToHook};
use crate::process::error::StartError;
use crate::process::{child, descriptors, ritual};
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, set_child_subreaper, setsid};
use sockd_common::channel::Received;
use sockd_lockdown::Capability;
use sockd_policy::Upstreams;
use sockd_session::config::Config;
use std::os::fd::{AsFd, BorrowedFd};

/// Forks the hook process, which runs the commands of this configuration as this user and group.
pub fn start(options: &Options, config: &Config, ids: (u32, u32)) -> Result<Hook, StartError> {
    let (pid, null) = (std::process::id(), descriptors::open_null()?);
    let channel = child::fork_server(|monitor| {
        if let Ok(signals) = lock_down(&monitor, null.as_fd()) {
            let mut commands = Commands::new(monitor, Place { pid, ids, null }, orders(config));
            serve(&mut commands, &signals, options);
            commands.end_everything(&signals);
        }
    })?;
    Ok(Hook::new(channel))
}

/// What a configuration says of commands.
fn orders(config: &Config) -> Orders {
    let upstream = config.upstreams.iter().flat_map(Upstreams::templates);
    let templates = config.rules.templates().chain(upstream).map(|template| template.text().to_owned());
    Orders { settings: config.settings.clone(), templates: templates.collect() }
}

/// Keeps what is needed to start a command as another user, and nothing else. There is no filter and no Landlock:
/// the commands would inherit both.
fn lock_down(monitor: &Monitor, null: BorrowedFd<'_>) -> Result<SignalFd, StartError> {
    setsid().map_err(StartError::at("setsid"))?;
    // What a command leaves behind becomes this process's to reap.
    set_child_subreaper(Pid::from_raw(1)).map_err(StartError::at("subreaper"))?;
    ritual::lock_down(&ritual::Plan {
        descriptors: &[monitor.as_fd()],
        null,
        capabilities: &[Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_KILL],
        // At the monitor's death its end of the channel closes, and the commands still have to be ended.
        dies_with_parent: false,
        calls: None,
    })
}

/// Runs commands until the monitor is gone.
fn serve(commands: &mut Commands, signals: &SignalFd, options: &Options) {
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
        if !hear(commands, options) {
            return;
        }
        commands.start_waiting();
    }
}

/// False where the monitor is gone.
fn hear(commands: &mut Commands, options: &Options) -> bool {
    loop {
        match commands.monitor().receive() {
            Ok(Received::Message(ToHook::Run { template, values }, None)) => {
                commands.take(&template, values);
                commands.start_waiting();
            }
            Ok(Received::Message(ToHook::Reload, None)) => {
                // With files that cannot be read the monitor keeps the old rules as well.
                if let Ok(read::Loaded { config, .. }) = read::load(options) {
                    commands.orders = orders(&config);
                }
            }
            Ok(Received::Nothing) => return true,
            _ => return false,
        }
    }
}
