//! A worker in the hands of an attacker: started by the real spawner in the place of `sockd-worker`, it has put on
//! no lock, says that it has, and keeps to the protocol until it is told not to.
//!
//! Its peers choose what it does wrong: the session worker takes it from the user id of a request, the resolver from
//! the name that is asked about, the ident worker from what the identd says. Anybody else is served honestly, and
//! passwords are compared honestly, so that a test can see whether others notice.

mod hoard;
mod ident;
mod raw;
mod resolver;
mod session;
mod upstream;

use sockd_common::message::{CHANNEL_FD, LockdownReport, PROTOCOL_VERSION};
use sockd_worker::lockdown::Inherited;
use sockd_worker::roles;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("auth") {
        return honest("auth");
    }
    let channel = sockd_lockdown::take_descriptor(CHANNEL_FD).expect("a channel");
    let _ended = match std::env::args().nth(1).as_deref() {
        Some("session") => session::run(channel),
        Some("resolver") => resolver::run(channel),
        Some("ident") => ident::run(channel),
        Some("upstream") => upstream::run(channel),
        other => panic!("an unknown role: {other:?}"),
    };
}

/// No byte of the network comes to these workers: an attacker has no way into them.
fn honest(role: &str) {
    let entry = roles::named(role).expect("a role");
    let inherited = Inherited::take(entry.role.pipes()).expect("a channel");
    (entry.run)(inherited, entry.profile).exit();
}

/// The first lie: none of this holds.
fn locks() -> LockdownReport {
    LockdownReport {
        protocol: PROTOCOL_VERSION,
        landlock_abi: 7,
        landlock_enforced: true,
        memory_deny_write_execute: true,
    }
}
