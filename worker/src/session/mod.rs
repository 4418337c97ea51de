//! The session worker reads the requests of one client host and relays its data.
//!
//! It has one loop over one epoll set with the channel to the monitor and the sockets of all sessions. `connection`
//! tells what one session does. This file tells how sessions begin and end, and how messages travel.

mod connection;
pub mod handshake;
mod paced;
mod socket;

use crate::event::Epoll;
use crate::lockdown::Inherited;
use crate::outbox::{Incoming, Outbox};
use crate::relay::Mover;
use crate::relay::pipes::Pool;
use crate::{Ending, lockdown};
use connection::{Connection, Next, REFUSED_LIMIT, Shared};
use paced::{PacedFlow, PacedQueue};
use rustix::event::epoll::{Event, EventFlags};
use slab::Slab;
use sockd_common::message::request::RefusalReason;
use sockd_common::message::session::{CloseReason, FromSession, Protocols, ToSession};
use sockd_common::message::{self, Id, LockdownReport, PROTOCOL_VERSION};
use sockd_lockdown::Row;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The token of the channel. No session has it, as there are far fewer slots.
const CHANNEL: u64 = u64::MAX;

/// The most events that one wake-up brings.
const EVENTS: usize = 256;

/// The most messages that are read in one go before the sessions have their turn.
const MESSAGES: usize = 64;

/// Seconds between two trims of idle pipes.
const TRIM_PAUSE: u32 = 60;

/// Serves the channel until the monitor closes it.
pub fn run(inherited: Inherited, profile: &[Row]) -> Ending {
    let Ok(epoll) = Epoll::new() else { return Ending::System };
    let Inherited { channel, pipes } = inherited;
    let outbox = Outbox::new(channel);
    if epoll.add(&outbox, CHANNEL, EventFlags::IN).is_err() {
        return Ending::System;
    }
    let Ok(locks) = lockdown::lock_down(profile) else { return Ending::System };
    let served = SessionWorker::set_up(epoll, outbox, Pool::new(pipes), FromSession::Ready(locks))
        .and_then(|mut worker| worker.serve());
    match served {
        Err(ending) => ending,
        Ok(never) => match never {},
    }
}

/// The loop ends with an [`Ending`] only.
type Served = Result<std::convert::Infallible, Ending>;

struct SessionWorker {
    epoll: Epoll,
    /// Holds at most two messages for every session, which go out together at the end of a turn.
    outbox: Outbox<FromSession, ToSession>,
    /// Whether the channel is watched for room to send.
    channel_full: bool,
    connections: Slab<Connection>,
    slots: BTreeMap<Id, usize>,
    /// Sessions with more to move than one turn allows.
    unfinished: Vec<(usize, Id)>,
    mover: Mover,
    protocols: Protocols,
    start: Instant,
    /// Seconds since the start.
    now: u32,
    /// Milliseconds since the start. The number wraps and is compared for equality only.
    now_ms: u32,
    paced: PacedQueue,
    /// The channel had a message in the last turn, and so is read until it is empty.
    is_told_much: bool,
    next_sweep: u32,
}

impl SessionWorker {
    /// Says `Ready` and waits for the settings, the monitor's first message.
    fn set_up(
        epoll: Epoll,
        mut outbox: Outbox<FromSession, ToSession>,
        pipes: Pool,
        ready: FromSession,
    ) -> Result<Self, Ending> {
        outbox.push(ready);
        outbox.flush()?;
        let mut events = Vec::with_capacity(1);
        loop {
            match outbox.receive()? {
                None => epoll.wait(&mut events, None).map_err(|_| Ending::System)?,
                Some(Incoming { message: ToSession::Setup { relay, protocols }, .. }) => {
                    return Ok(Self::new(epoll, outbox, Mover::new(relay, pipes), protocols));
                }
                Some(_) => return Err(Ending::Protocol),
            }
        }
    }

    fn new(epoll: Epoll, outbox: Outbox<FromSession, ToSession>, mover: Mover, protocols: Protocols) -> Self {
        Self {
            epoll,
            outbox,
            channel_full: false,
            connections: Slab::new(),
            slots: BTreeMap::new(),
            unfinished: Vec::new(),
            mover,
            protocols,
            start: Instant::now(),
            now: 0,
            now_ms: 0,
            paced: PacedQueue::new(),
            is_told_much: false,
            next_sweep: 0,
        }
    }

    fn serve(&mut self) -> Served {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let patience = self.patience();
            self.turn(&mut events, patience)?;
        }
    }

    /// Waits for something to do, and does it.
    fn turn(&mut self, events: &mut Vec<Event>, patience: Option<Duration>) -> Result<(), Ending> {
        self.epoll.wait(events, patience).map_err(|_| Ending::System)?;
        self.read_clock();
        self.resume_paced();
        for (slot, id) in std::mem::take(&mut self.unfinished) {
            self.with(slot, id, |connection, shared| {
                connection.queued = false;
                connection.advance(shared)
            });
        }
        self.is_told_much &= events.iter().any(|event| event.data.u64() == CHANNEL);
        for event in events.iter() {
            self.on_event(event)?;
        }
        if self.now >= self.next_sweep {
            self.sweep();
        }
        // Other workers may need the pages of idle pipes.
        if !self.mover.pipes.is_trimmed() {
            self.next_sweep = self.next_sweep.min(self.now.saturating_add(1));
        }
        self.flush()
    }

    fn read_clock(&mut self) {
        let since = self.start.elapsed();
        self.now = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
        // This is the lower half of a count that goes on for longer than the worker lives.
        self.now_ms = (since.as_millis() & u128::from(u32::MAX)) as u32;
    }

    /// Resumes the flows that have been paced since an earlier millisecond.
    fn resume_paced(&mut self) {
        while self.paced.front().is_some_and(|flow| flow.since_ms != self.now_ms) {
            let Some(PacedFlow { slot, id, source, .. }) = self.paced.pop_front() else { return };
            self.with(slot, id, |connection, shared| {
                connection.resume(source);
                connection.advance(shared)
            });
        }
    }

    /// How long to wait for an event: not at all while there is work, and for ever while no limit runs.
    fn patience(&self) -> Option<Duration> {
        if !self.unfinished.is_empty() {
            return Some(Duration::ZERO);
        }
        if !self.paced.is_empty() {
            return Some(Duration::from_millis(1));
        }
        if self.connections.is_empty() && self.mover.pipes.is_trimmed() {
            return None;
        }
        let due = Duration::from_secs(self.next_sweep.into());
        Some(due.saturating_sub(self.start.elapsed()).saturating_add(Duration::from_millis(1)))
    }

    fn on_event(&mut self, event: &Event) -> Result<(), Ending> {
        let (token, flags) = (event.data.u64(), event.flags);
        if token == CHANNEL {
            return self.on_channel();
        }
        let (slot, id, side) = socket::parts(token);
        if let Some(connection) = self.connections.get_mut(slot).filter(|connection| connection.id == id) {
            connection.notice(side, flags);
            self.advance(slot, id);
        }
        Ok(())
    }

    fn advance(&mut self, slot: usize, id: Id) {
        self.with(slot, id, |connection, shared| connection.advance(shared));
    }

    /// Lets a connection act, and does its next task.
    fn with(&mut self, slot: usize, id: Id, act: impl FnOnce(&mut Connection, &mut Shared<'_>) -> Next) {
        let Some(connection) = self.connections.get_mut(slot).filter(|connection| connection.id == id) else {
            return;
        };
        let (now, now_ms, protocols) = (self.now, self.now_ms, self.protocols);
        let Self { epoll, mover, paced, .. } = self;
        let mut shared = Shared { epoll, mover, protocols, slot, now, now_ms, paced };
        match act(connection, &mut shared) {
            Next::Wait if connection.is_refused() => {
                self.next_sweep = self.next_sweep.min(self.now.saturating_add(REFUSED_LIMIT));
            }
            Next::Wait => {}
            Next::Again if connection.queued => {}
            Next::Again => {
                connection.queued = true;
                self.unfinished.push((slot, id));
            }
            Next::Verify(credentials) => self.outbox.push(FromSession::Credentials { id, credentials }),
            Next::Ask(request) => self.outbox.push(FromSession::Request { id, request }),
            Next::End(why) => self.end(slot, id, why),
        }
    }

    fn end(&mut self, slot: usize, id: Id, why: CloseReason) {
        self.slots.remove(&id);
        let Some(connection) = self.connections.try_remove(slot) else { return };
        // The monitor still has both sockets open: their events would come for a later session with this id and slot.
        connection.unwatch(&self.epoll);
        // The descriptors are closed before the monitor hears of it.
        drop(connection);
        self.outbox.push(FromSession::Closed { id, why });
    }

    /// Ends refused clients that do not close, and gives up pages of idle pipes.
    fn sweep(&mut self) {
        let overdue = |(slot, connection): (usize, &Connection)| {
            connection.overdue(self.now).map(|why| (slot, connection.id, why))
        };
        let overdue: Vec<(usize, Id, CloseReason)> = self.connections.iter().filter_map(overdue).collect();
        for (slot, id, why) in overdue {
            self.end(slot, id, why);
        }
        self.mover.pipes.trim();
        let leaving = self.connections.iter().any(|(_, connection)| connection.is_refused());
        let pause = if leaving { 1 } else { TRIM_PAUSE };
        self.next_sweep = self.now.saturating_add(pause);
    }
}

/// Talking to the monitor.
impl SessionWorker {
    /// Receives messages. A message seldom has another behind it, and the channel is reported again if it has. So the
    /// worker tries for a second one only while messages come in every turn.
    fn on_channel(&mut self) -> Result<(), Ending> {
        let most = if std::mem::replace(&mut self.is_told_much, true) { MESSAGES } else { 1 };
        for _ in 0..most {
            match self.outbox.receive()? {
                Some(Incoming { message, descriptor }) => self.on_message(message, descriptor)?,
                None => break,
            }
        }
        Ok(())
    }

    fn on_message(&mut self, message: ToSession, descriptor: Option<OwnedFd>) -> Result<(), Ending> {
        match (message, descriptor) {
            (ToSession::Setup { relay, protocols }, _) => {
                self.mover.set_mode(relay);
                self.protocols = protocols;
                Ok(())
            }
            (ToSession::Serve { id, handshake }, Some(client)) => self.begin(id, client, handshake),
            (ToSession::Verified { id }, _) => {
                self.apply(id, |connection, shared| connection.verified(shared))
            }
            (ToSession::Listening { id, address }, _) => {
                self.apply(id, |connection, _| connection.listening(address))
            }
            (ToSession::Associated { id, address }, _) => {
                self.apply(id, |connection, _| connection.associated(address))
            }
            (ToSession::Relay { id, bound }, Some(server)) => {
                self.apply(id, |connection, shared| connection.start_relay(server, bound, shared))
            }
            (ToSession::Refuse { id, why }, _) => {
                self.apply(id, |connection, shared| connection.refuse(why, CloseReason::Refused, shared))
            }
            (ToSession::End { id }, _) => self.apply(id, |_, _| Some(Next::End(CloseReason::Ended))),
            // The kernel had no room for the descriptor. This session cannot be served, and the others live on.
            (ToSession::Serve { id, .. }, None) => {
                self.outbox.push(FromSession::Closed { id, why: CloseReason::NoResources });
                Ok(())
            }
            (ToSession::Relay { id, .. }, None) => self.apply(id, |connection, shared| {
                connection.refuse(RefusalReason::General, CloseReason::NoResources, shared)
            }),
        }
    }

    fn begin(
        &mut self,
        id: Id,
        client: OwnedFd,
        handshake: message::session::Handshake,
    ) -> Result<(), Ending> {
        if self.slots.contains_key(&id) {
            return Err(Ending::Protocol);
        }
        let slot = self.connections.insert(Connection::new(id, client, handshake, self.now));
        self.slots.insert(id, slot);
        self.with(slot, id, |connection, shared| connection.begin(shared));
        Ok(())
    }

    /// Applies a message to its session; one that has ended in the meantime does not need it. `act` returns `None` if
    /// the message makes no sense at this point.
    fn apply(
        &mut self,
        id: Id,
        act: impl FnOnce(&mut Connection, &mut Shared<'_>) -> Option<Next>,
    ) -> Result<(), Ending> {
        let Some(&slot) = self.slots.get(&id) else { return Ok(()) };
        let mut sensible = true;
        self.with(slot, id, |connection, shared| {
            act(connection, shared).unwrap_or_else(|| {
                sensible = false;
                Next::Wait
            })
        });
        if sensible { Ok(()) } else { Err(Ending::Protocol) }
    }

    /// Sends the messages that wait, as far as the channel has room.
    fn flush(&mut self) -> Result<(), Ending> {
        self.outbox.flush()?;
        let full = self.outbox.is_stuck();
        if full != self.channel_full {
            self.channel_full = full;
            let flags = if full { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            self.epoll.change(&self.outbox, CHANNEL, flags).map_err(|_| Ending::System)?;
        }
        Ok(())
    }
}

/// A session worker without its locks, one turn at a time, for a test that plays monitor, client and server.
#[doc(hidden)]
pub struct Unlocked(SessionWorker);

impl Unlocked {
    /// Sets the worker up. The monitor has sent its first message before.
    pub fn new(channel: OwnedFd, pipes: Vec<(OwnedFd, OwnedFd)>) -> Result<Self, Ending> {
        let epoll = Epoll::new().map_err(|_| Ending::System)?;
        let outbox = Outbox::new(channel);
        epoll.add(&outbox, CHANNEL, EventFlags::IN).map_err(|_| Ending::System)?;
        let none = LockdownReport {
            protocol: PROTOCOL_VERSION,
            landlock_abi: 0,
            landlock_enforced: false,
            memory_deny_write_execute: false,
        };
        SessionWorker::set_up(epoll, outbox, Pool::new(pipes), FromSession::Ready(none)).map(Self)
    }

    /// Waits for work, but no longer than `patience`, and does it.
    pub fn turn(&mut self, patience: Duration) -> Result<(), Ending> {
        self.0.turn(&mut Vec::with_capacity(EVENTS), Some(patience))
    }
}
