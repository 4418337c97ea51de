//! The administrators' view of sessions, and orders: the ledger, its socket, the control socket, and sockdctl(8).

mod ctl;
mod hostile;
mod look;
mod watch;

use sockd_ledger::fetch::fetch;
use sockd_policy_tools::ledger::Reader;
use sockd_tests::host::Host;
use sockd_tests::lab::Lab;
use sockd_tests::sockd::ADMINISTRATORS;
use sockd_tests::wait::until;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const FOLDER: &str = "/run/sockd";
const STATUS: &str = "/run/sockd/status";
const CONTROL: &str = "/run/sockd/control";

/// A daemon with both sockets.
fn lab(conf: &str, settings: &str) -> Lab {
    Lab::started(conf, |start| start.settings(settings).runtime_directory(FOLDER))
}

/// The memory that the status socket of a host hands out.
fn memory(host: &Host) -> OwnedFd {
    let mut gifts = until("the ledger", || host.run(|| fetch(Path::new(STATUS))).ok());
    gifts.pop().expect("a gift").1
}

fn ledger(host: &Host) -> Reader {
    Reader::open(memory(host)).expect("a ledger")
}

/// A program that an ordinary user runs, in the group of the administrators or not.
fn as_user(is_administrator: bool, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.uid(64_200).gid(if is_administrator { ADMINISTRATORS } else { 64_200 });
    command
}
