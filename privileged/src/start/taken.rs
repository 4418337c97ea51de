//! The start's part in a takeover: it takes the sockets of the daemon that serves, or makes the socket by which another
//! daemon will take its own.

use crate::config::options::Options;
use crate::log::Log;
use crate::monitor::clients::Listener;
use crate::monitor::takeover::Takeover;
use crate::process::notify::Notifier;
use crate::start::{program, service_manager};
use crate::takeover::link::{Link, Taken, TakenListener};
use crate::takeover::place;
use sockd_common::message::takeover::{About, VERSION};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Takes the sockets. The service manager's watchdog goes on, and only the daemon that it has started knows of that.
pub fn take(options: &Options, notifier: &mut Notifier) -> Result<Taken, String> {
    let path = place::path(options).ok_or("there is no folder for the takeover socket")?;
    let link = Link::open(place::reach(&path).map_err(|error| place::nobody(&path, error))?)?;
    let About { pid, watchdog, managed, .. } = link.about;
    may_follow(pid, managed, notifier.is_heard(), std::env::var("MAINPID").ok().as_deref())?;
    if notifier.watchdog().is_none() && watchdog > 0 {
        notifier.watch(Some(Duration::from_micros(watchdog)));
    }
    link.take()
}

/// Checks the service manager: if it did not hear of the new daemon, it would take the old one's end for the service's.
fn may_follow(pid: u32, managed: bool, is_heard: bool, main: Option<&str>) -> Result<(), String> {
    match main {
        Some(main) if main != pid.to_string() => {
            Err(format!("process {pid} serves there, and the service's main process is {main}"))
        }
        Some(_) if !is_heard => Err("the unit lacks NotifyAccess=exec".into()),
        None if managed && !is_heard => {
            Err(format!("process {pid} belongs to a service manager, which has to be told: systemctl reload"))
        }
        _ => Ok(()),
    }
}

/// The listeners that the starter of the first daemon has open too, and those that the daemon has opened itself.
pub fn listeners(taken: Vec<TakenListener>) -> Result<(Vec<Listener>, Vec<Listener>), String> {
    let (mut handed_over, mut own) = (Vec::new(), Vec::new());
    for TakenListener { socket, name, activated } in taken {
        let address = service_manager::prepare(&socket);
        let address = address.map_err(|error| format!("the socket {name:?} taken over: {error}"))?;
        let list = if activated { &mut handed_over } else { &mut own };
        list.push(Listener { socket, address, name, activated });
    }
    Ok((handed_over, own))
}

/// Makes a takeover socket. A daemon without one serves, and cannot be taken over.
pub fn own_socket(options: &Options, log: &mut Log) -> Option<OwnedFd> {
    let socket = place::open(&place::path(options)?);
    socket.map_err(|why| log.notice(&format!("without takeover: {why}"))).ok()
}

/// The monitor's state for a takeover.
pub fn room(socket: Option<OwnedFd>, older: Vec<(OwnedFd, u32)>, notifier: &Notifier) -> Takeover {
    // Without /proc it is a number that no other build has.
    let build = program::build().unwrap_or_default();
    let watchdog = notifier.watchdog().and_then(|time| u64::try_from(time.as_micros()).ok()).unwrap_or(0);
    let (pid, managed) = (std::process::id(), notifier.is_heard());
    let about = About { version: VERSION, pid, build, watchdog, managed };
    Takeover::new(socket, rustix::process::geteuid().as_raw(), about, older)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_manager_has_to_hear_of_who_follows() {
        for (managed, is_heard, main, expected) in [
            (false, false, None, ""),
            (true, false, None, "systemctl reload"),
            (true, true, Some("7"), ""),
            (true, false, Some("7"), "NotifyAccess=exec"),
            (true, true, Some("8"), "main process is 8"),
        ] {
            let error = may_follow(7, managed, is_heard, main).err().unwrap_or_default();
            assert!(error.ends_with(expected), "{error}");
            assert_eq!(error.is_empty(), expected.is_empty(), "{error}");
        }
    }
}
