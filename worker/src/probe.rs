//! The probe worker, for `sockd -ver`: it tries what the locks of a session worker forbid, from behind these very
//! locks.
//!
//! No act would do harm if it succeeded, and the worker should survive none: the filter kills.

use crate::Ending;
use crate::lockdown::{Inherited, lock_down};
use rustix::event::epoll::EventFlags;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketType};
use sockd_common::channel::{Received, WorkerEnd};
use sockd_common::message::Errno;
use sockd_common::message::probe::{Act, FromProbe, ToProbe};
use sockd_lockdown::Row;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Tries one act after the other, as told.
pub fn run(inherited: Inherited, profile: &[Row]) -> Ending {
    let monitor = WorkerEnd::<FromProbe, ToProbe>::new(inherited.channel);
    // A session worker has these two calls to wait.
    let Ok(epoll) = crate::event::Epoll::new() else { return Ending::System };
    let Ok(locks) = lock_down(profile) else { return Ending::System };
    let watched = epoll.add(&monitor, 0, EventFlags::IN);
    if watched.is_err() || monitor.send(&FromProbe::Ready(locks)).is_err() {
        return Ending::System;
    }
    let mut events = Vec::with_capacity(1);
    loop {
        match monitor.receive() {
            Ok(Received::Message(ToProbe::Setup, None)) => {}
            Ok(Received::Message(ToProbe::Try(act), None)) => {
                let errno = attempt(act).err().and_then(|error| error.raw_os_error()).unwrap_or(0);
                let errno = Errno(u16::try_from(errno).unwrap_or(u16::MAX));
                if monitor.send(&FromProbe::Survived { errno }).is_err() {
                    return Ending::System;
                }
            }
            Ok(Received::Nothing) if epoll.wait(&mut events, None).is_ok() => {}
            Ok(Received::Closed) => return Ending::Finished,
            _ => return Ending::Protocol,
        }
    }
}

fn attempt(act: Act) -> io::Result<()> {
    match act {
        Act::OpenFile => rustix::fs::open("/etc/passwd", OFlags::RDONLY, Mode::empty()).map(drop)?,
        Act::MakeSocket => rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).map(drop)?,
        Act::StartProgram => return Err(Command::new("/bin/true").exec()),
        Act::Signal => rustix::process::test_kill_process(rustix::process::Pid::INIT)?,
        Act::MapExecutable => crate::sys::map_executable()?,
    }
    Ok(())
}
