//! The resolver worker answers lookups from the hosts(5) table, its cache, and nameservers. The monitor connects it to
//! these.
//!
//! ```text
//! Resolve ──> [plan] ── known ──> Answer
//!               │ ▲
//!    a question │ │ its outcome
//!               ▼ │
//!           [exchange] ── NeedSocket ──> Socket ──> packet to the nameserver ──> [answer]
//! ```
//!
//! [`plan`] says what a lookup needs to know, [`exchange`] puts one [`question`] to one nameserver after another,
//! [`answer`] reads what comes back, [`cache`] keeps it, [`health`] knows which nameservers answer and [`hosts`] is the
//! table; [`lookups`] joins them for all lookups that are under way. All input and output is in this file.

pub mod answer;
pub mod cache;
pub mod exchange;
pub mod health;
pub mod hosts;
pub mod lookups;
pub mod name;
pub mod plan;
pub mod question;

use crate::lockdown::{self, Inherited};
use crate::outbox::{Incoming, Outbox};
use crate::{Ending, event::Epoll};
use hosts::Hosts;
use lookups::{Action, Key, Lookups};
use name::HostName;
use plan::Setup;
use question::Entropy;
use rustix::event::epoll::{Event, EventFlags};
use rustix::io::{Errno, pread, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::rand::{GetRandomFlags, getrandom};
use sockd_common::message::Id;
use sockd_common::message::resolver::{FromResolver, RecordType, ToResolver, Transport};
use sockd_lockdown::Row;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The token of the channel among the events. The tokens of exchanges are their keys, which begin at 0.
const CHANNEL: u64 = u64::MAX;

/// The most messages, or packets of one nameserver, that are read before the others have their turn.
const READS_PER_TURN: usize = 16;

/// Serves the channel until the monitor closes it.
pub fn run(inherited: Inherited, profile: &[Row]) -> Ending {
    let Ok(epoll) = Epoll::new() else { return Ending::System };
    let Ok(locks) = lockdown::lock_down(profile) else { return Ending::System };
    let mut outbox = Outbox::new(inherited.channel);
    outbox.push(FromResolver::Ready(locks));
    if epoll.add(&outbox, CHANNEL, EventFlags::IN).is_err() {
        return Ending::System;
    }
    let mut resolver =
        Resolver { epoll, outbox, hearing: true, lookups: Lookups::default(), sockets: BTreeMap::new() };
    let mut events = Vec::with_capacity(64);
    loop {
        if let Err(ending) = resolver.take_turn(&mut events) {
            return ending;
        }
    }
}

struct Resolver {
    epoll: Epoll,
    outbox: Outbox<FromResolver, ToResolver>,
    /// Whether the channel is watched for messages; else for room to send.
    hearing: bool,
    lookups: Lookups,
    sockets: BTreeMap<Key, (OwnedFd, Transport)>,
}

impl Resolver {
    fn take_turn(&mut self, events: &mut Vec<Event>) -> Result<(), Ending> {
        self.outbox.flush()?;
        self.choose_interest()?;
        self.epoll.wait(events, self.time_left()).map_err(|_| Ending::System)?;
        for event in events.iter() {
            match event.data.u64() {
                CHANNEL if self.hearing => self.hear_monitor()?,
                CHANNEL => {}
                key => self.hear_nameserver(Key(key)),
            }
        }
        self.lookups.expire(Instant::now());
        self.act();
        Ok(())
    }

    /// While the monitor does not read, no more is heard from it.
    fn choose_interest(&mut self) -> Result<(), Ending> {
        let hearing = !self.outbox.is_stuck();
        if hearing != self.hearing {
            let flags = if hearing { EventFlags::IN } else { EventFlags::OUT };
            self.epoll.change(&self.outbox, CHANNEL, flags).map_err(|_| Ending::System)?;
            self.hearing = hearing;
        }
        Ok(())
    }

    /// The wait until the next deadline, and a little more so as not to wake before it.
    fn time_left(&self) -> Option<Duration> {
        let left = self.lookups.next_deadline()?.saturating_duration_since(Instant::now());
        Some(left.saturating_add(Duration::from_millis(1)))
    }

    fn hear_monitor(&mut self) -> Result<(), Ending> {
        for _ in 0..READS_PER_TURN {
            let Some(heard) = self.outbox.receive()? else { return Ok(()) };
            self.obey(heard)?;
            self.act();
        }
        Ok(())
    }

    fn obey(&mut self, heard: Incoming<ToResolver>) -> Result<(), Ending> {
        let now = Instant::now();
        match heard.message {
            ToResolver::Setup { servers, timeout, attempts, ndots, by_tcp, search } => {
                let search = search.as_slice().iter().filter_map(|name| HostName::from_text(name.as_bytes()));
                let timeout = Duration::from_secs(timeout.max(1).into());
                let search = search.collect();
                self.lookups.set_up(Setup { servers, timeout, attempts, ndots, by_tcp, search });
            }
            ToResolver::Hosts => {
                // A table that cannot be read leaves the one before in force.
                if let Some(text) = heard.descriptor.and_then(read_whole) {
                    self.lookups.replace_hosts(Hosts::parse(text));
                }
            }
            ToResolver::Resolve { id, query } => {
                if !self.lookups.resolve(id, query, now) {
                    return Err(Ending::Protocol);
                }
            }
            ToResolver::Socket { id, record } => match heard.descriptor {
                Some(socket) => self.use_socket(id, record, socket, now),
                None => self.lookups.no_socket(id, record, now),
            },
            ToResolver::NoSocket { id, record } => self.lookups.no_socket(id, record, now),
            ToResolver::Cancel { id } => self.lookups.cancel(id, now),
        }
        Ok(())
    }

    fn use_socket(&mut self, id: Id, record: RecordType, socket: OwnedFd, now: Instant) {
        let mut entropy: Entropy = [0; size_of::<Entropy>()];
        let random = matches!(getrandom(&mut entropy, GetRandomFlags::empty()), Ok(n) if n == entropy.len());
        if !random {
            return self.lookups.no_socket(id, record, now);
        }
        // A socket that nobody needs any longer is closed here.
        let Some((key, transport)) = self.lookups.socket(id, record, &entropy, now) else { return };
        match self.epoll.add(&socket, key.0, EventFlags::IN) {
            Ok(()) => drop(self.sockets.insert(key, (socket, transport))),
            Err(_) => self.lookups.lose_socket(key, now),
        }
    }

    fn hear_nameserver(&mut self, key: Key) {
        let mut buffer = [0; 4096];
        for _ in 0..READS_PER_TURN {
            let Some((socket, transport)) = self.sockets.get(&key) else { return };
            let now = Instant::now();
            match recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) if *transport == Transport::Tcp => self.lookups.lose_socket(key, now),
                Ok((length, _)) => self.lookups.receive(key, buffer.get(..length).unwrap_or_default(), now),
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(_) => self.lookups.lose_socket(key, now),
            }
            self.act();
        }
    }

    /// Does the actions that the lookups have decided, and the actions that follow from these.
    fn act(&mut self) {
        loop {
            let actions = self.lookups.take_actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Say(message) => self.outbox.push(message),
                    Action::Send(key, octets) => self.send(key, &octets),
                    Action::Close(key) => self.close(key),
                }
            }
        }
    }

    /// Closes a socket. While the monitor still holds it, that alone does not end the watch (epoll(7), question 6).
    fn close(&mut self, key: Key) {
        if let Some((socket, _)) = self.sockets.remove(&key) {
            let _watched_until_now = self.epoll.remove(&socket);
        }
    }

    /// Sends a question. The buffer of a new socket has far more room: a partial send is a failure.
    fn send(&mut self, key: Key, octets: &[u8]) {
        let Some((socket, _)) = self.sockets.get(&key) else { return };
        let sent = send(socket, octets, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        if sent != Ok(octets.len()) {
            self.lookups.lose_socket(key, Instant::now());
        }
    }
}

/// Reads a file from its beginning to its end, wherever another reader of the same descriptor has left off. `None` if
/// it is too long or cannot be read.
fn read_whole(file: OwnedFd) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let length = retry_on_intr(|| pread(&file, &mut buffer[..], text.len() as u64)).ok()?;
        let octets = buffer.get(..length).unwrap_or_default();
        if octets.is_empty() {
            return Some(text);
        }
        text.extend_from_slice(octets);
        if text.len() > hosts::MAX_FILE {
            return None;
        }
    }
}
