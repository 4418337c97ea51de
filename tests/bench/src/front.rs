//! The ceiling for proxies that keep client hosts apart and log: the ideal proxy, cut in two as sockd is.
//!
//! One front accepts, connects, and writes as many lines to `/dev/log` as sockd does. It keeps both sockets of a
//! session, so that it could end it, and has the kernel count the relayed bytes. Behind it a process for each client
//! host, an [`ideal`](crate::ideal) with a channel for its input, reads requests, answers and relays. There are no
//! rules, limits or deadlines, and no locks: sockd's further cost is the price of those, and the cost of this beyond
//! the ideal proxy is the price of separation and log.

use crate::ideal::Moves;
use crate::message::{Down, Up};
use crate::net::{self, Events, Listen, Outcome};
use crate::sys;
use rustix::event::epoll::EventFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use slab::Slab;
use sockd_common::channel::{MonitorEnd, Received};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

/// Starts the front, with the listening socket as its standard input.
pub(crate) fn start(moves: Moves, address: SocketAddrV4) -> Outcome<Child> {
    let listener = net::listen(address, Listen { deferred: true, ..Listen::default() })?;
    Ok(Command::new("/proc/self/exe").args(["front", moves.word()]).stdin(Stdio::from(listener)).spawn()?)
}

const LISTENER: u64 = u64::MAX;

/// Runs the front itself.
pub(crate) fn run(moves: Moves) -> Outcome<()> {
    let log = UnixDatagram::unbound()?;
    log.connect(sockd_tests::host::SYSLOG_SOCKET)?;
    log.set_nonblocking(true)?;
    let events = Events::new()?;
    events.add(rustix::stdio::stdin(), LISTENER, EventFlags::IN)?;
    let (hosts, kept) = (Slab::new(), Slab::new());
    let mut front = Front { moves, log, events, hosts, kept, by_address: HashMap::new() };
    loop {
        for event in 0..front.events.wait(None)? {
            match front.events.get(event).0 {
                LISTENER => front.accept()?,
                host => front.hear(host as usize)?,
            }
        }
    }
}

struct Front {
    moves: Moves,
    log: UnixDatagram,
    events: Events,
    hosts: Slab<Host>,
    kept: Slab<Kept>,
    by_address: HashMap<Ipv4Addr, usize>,
}

/// The sockets of a session.
struct Kept {
    client: OwnedFd,
    server: Option<OwnedFd>,
}

struct Host {
    address: Ipv4Addr,
    channel: MonitorEnd<Down, Up>,
    /// Ended by its death signal, when this process ends.
    _process: Child,
}

impl Front {
    fn accept(&mut self) -> Outcome<()> {
        for _ in 0..64 {
            let Some((client, address)) = net::accept_from(rustix::stdio::stdin()) else { break };
            let number = match self.by_address.get(&address) {
                Some(number) => *number,
                None => self.start_host(address)?,
            };
            let kept = Down::Client { kept: self.kept.vacant_key() as u32 };
            self.hosts[number].channel.send(&kept, Some(client.as_fd()))?;
            self.kept.insert(Kept { client, server: None });
        }
        Ok(())
    }

    fn start_host(&mut self, address: Ipv4Addr) -> Outcome<usize> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (channel, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // As sockd's workers: a process that wakes up preempts nobody (sched(7), SCHED_BATCH). chrt(1) runs this very
        // program.
        let own = format!("/proc/{}/exe", std::process::id());
        let process = Command::new("chrt")
            .args(["--batch", "0", &own, "ideal", self.moves.word(), "channel"])
            .stdin(Stdio::from(theirs))
            .spawn()?;
        let channel = MonitorEnd::new(channel);
        let number = self.hosts.insert(Host { address, channel, _process: process });
        self.events.add(&self.hosts[number].channel, number as u64, EventFlags::IN)?;
        self.by_address.insert(address, number);
        Ok(number)
    }

    fn hear(&mut self, number: usize) -> Outcome<()> {
        let Host { address, channel, .. } = &self.hosts[number];
        match channel.receive()? {
            Received::Message(Up::Dial { session, kept, destination }, _) => {
                let (server, is_connected) = net::dial(destination)?;
                channel.send(&Down::Server { session, is_connected }, Some(server.as_fd()))?;
                self.kept[kept as usize].server = Some(server);
                let (to, port) = (destination.ip(), destination.port());
                self.write(&format!("connected -- Connect from bench(unknown)@{address} to {to} ({port})"));
            }
            Received::Message(Up::Ended { kept }, _) => {
                let Kept { client, server } = self.kept.remove(kept as usize);
                sys::ask_tcp_info(client);
                let _ = server.map(sys::ask_tcp_info);
                let end = format!("terminated -- Connect from bench(unknown)@{address} to 127.0.0.1 (9001)");
                self.write(&end);
                self.write("1 bytes from client; 1 bytes from server");
            }
            Received::Nothing => {}
            _ => return Err(format!("the process of {address} has ended").into()),
        }
        Ok(())
    }

    /// A line that syslogd has no room for is lost; the table says how many arrived.
    fn write(&self, line: &str) {
        let _ = self.log.send(format!("<29>Jan  1 00:00:00 front[1]: {line}").as_bytes());
    }
}
