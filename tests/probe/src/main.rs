//! `sockd-probe`: tries from inside a worker's place what the sandbox forbids, one act to a process.
//!
//! In the place of `sockd-worker` the real spawner starts it as a session worker. It takes the client's socket, puts
//! on the locks of the role that the user id of the request names, and tries the act that it names: `session 17`. An
//! act that is survived is told to the client; any other end is the monitor's to report. `none 17` tries it without
//! locks of its own, behind those only that the spawner has put around every worker.
//!
//! `sockd-probe control 17 PID` tries the same act without any lock; PID is a process of the same user. It shows
//! that the act is one that the system permits. `sockd-probe list` names the acts.

mod acts;
mod sys;

use acts::{Act, Slot};
use sockd_common::channel::{Received, WorkerEnd};
use sockd_common::message::{
    CHANNEL_FD, FromResolver, FromSession, Locks, PROTOCOL_VERSION, ToResolver, ToSession,
};
use sockd_lockdown::Row;
use sockd_worker::{lockdown, profile};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["list"] => acts::all().iter().for_each(|Act { group, name, .. }| println!("{group}\t{name}")),
        ["control", act, victim] => control(number(act), number(victim)),
        ["session"] => in_the_slot(),
        // The daemon wants a resolver; nobody asks this one.
        _ => wait_for_the_end(),
    }
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.trim().parse().unwrap_or_else(|_| panic!("expected a number, found {word:?}"))
}

/// Prints what the system answers to an unconfined process.
fn control(act: usize, victim: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    let (channel, _monitor) = sys::packet_pair();
    let slot = Slot { client: fd(&client), channel: fd(&channel), victim };
    println!("{}", told(attempt(act, &slot)));
}

fn fd(of: &impl AsRawFd) -> usize {
    usize::try_from(of.as_raw_fd()).expect("an open descriptor")
}

fn attempt(act: usize, slot: &Slot) -> i64 {
    (acts::all().get(act).expect("an act of this number").attempt)(slot)
}

fn told(answer: i64) -> String {
    match answer {
        0.. => "done".into(),
        _ => format!("errno {}", answer.saturating_neg()),
    }
}

/// As a session worker that serves one client.
fn in_the_slot() {
    let channel = lockdown::take_channel().expect("a channel");
    let monitor = WorkerEnd::<FromSession, ToSession>::new(channel);
    monitor.send(&FromSession::Ready(locks())).expect("a monitor");
    let mut client = TcpStream::from(client_from(&monitor));
    let (profile, act) = wanted(&mut client);
    let slot = Slot { client: fd(&client), channel: usize::try_from(CHANNEL_FD).unwrap_or(3), victim: 1 };
    if let Some(profile) = profile {
        lockdown::lock_down(profile).expect("locks");
    }
    let answer = attempt(act, &slot);
    let _ = client.write_all(told(answer).as_bytes());
    sockd_lockdown::exit_now(0)
}

/// What the monitor wants to hear. The locks come later, when it is known which.
fn locks() -> Locks {
    Locks {
        protocol: PROTOCOL_VERSION,
        landlock_abi: 0,
        landlock_enforced: true,
        memory_deny_write_execute: false,
    }
}

fn client_from(monitor: &WorkerEnd<FromSession, ToSession>) -> OwnedFd {
    loop {
        match monitor.receive() {
            Ok(Received::Message(ToSession::Serve { .. }, Some(client))) => return client,
            Ok(Received::Message(..)) => {}
            Ok(Received::Nothing) => sys::wait(monitor),
            _ => sockd_lockdown::exit_now(0),
        }
    }
}

/// What the user id of the request says.
fn wanted(client: &mut TcpStream) -> (Option<&'static [Row]>, usize) {
    let mut request = Vec::new();
    while request.len() < 9 || !request.ends_with(&[0]) {
        let mut byte = [0];
        match client.read(&mut byte) {
            Ok(1) => request.extend(byte),
            Err(error) if error.kind() == ErrorKind::WouldBlock => sys::wait(&*client),
            _ => sockd_lockdown::exit_now(0),
        }
    }
    let user = request.get(8..request.len() - 1).unwrap_or_default();
    let user = String::from_utf8_lossy(user).into_owned();
    let (role, act) = user.split_once(' ').expect("a role and a number");
    let profile = match role {
        "session" => Some(profile::PROFILE_SESSION),
        "ident" => Some(profile::PROFILE_IDENT),
        "resolver" => Some(profile::PROFILE_RESOLVER),
        "none" => None,
        _ => panic!("an unknown role: {role}"),
    };
    (profile, number(act))
}

fn wait_for_the_end() {
    let channel = lockdown::take_channel().expect("a channel");
    let monitor = WorkerEnd::<FromResolver, ToResolver>::new(channel);
    monitor.send(&FromResolver::Ready(locks())).expect("a monitor");
    loop {
        match monitor.receive() {
            Ok(Received::Nothing) => sys::wait(&monitor),
            Ok(Received::Message(..)) => {}
            _ => return,
        }
    }
}
