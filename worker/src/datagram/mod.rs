//! The datagram worker relays the datagrams of one client host, over sockets that the monitor has connected.
//!
//! It reads the headers of SOCKS and nothing else. `header` knows their bytes, `flows` has the flow of each
//! destination, and `association` moves the datagrams. This file tells how associations begin and end, and how messages
//! travel.

mod association;
pub mod bucket;
pub mod flows;
pub mod header;
mod receive;

use crate::Ending;
use crate::event::Epoll;
use crate::lockdown::{self, Inherited};
use crate::outbox::{Incoming, Outbox};
use association::{Association, Shared, parts};
use bucket::Bucket;
use receive::Receiver;
use rustix::event::epoll::{Event, EventFlags};
use slab::Slab;
use sockd_common::message::Id;
use sockd_common::message::datagram::{AssociationEnd, FlowLimits, FromDatagram, Relayed, ToDatagram};
use sockd_lockdown::Row;
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The token of the channel. No association has it, as there are far fewer.
const CHANNEL: u64 = u64::MAX;

/// The most events that one wake-up brings.
const EVENTS: usize = 256;

/// The most messages that are read in one go before the sockets have their turn.
const MESSAGES: usize = 64;

/// The most bytes that wait for decisions in the whole worker.
const WAITING: usize = 32 << 20;

/// The time between two sweeps of idle flows and associations.
const SWEEP: Duration = Duration::from_secs(1);

/// Serves the channel until the monitor closes it.
pub fn run(inherited: Inherited, profile: &[Row]) -> Ending {
    let Ok(epoll) = Epoll::new() else { return Ending::System };
    let outbox = Outbox::new(inherited.channel);
    if epoll.add(&outbox, CHANNEL, EventFlags::IN).is_err() {
        return Ending::System;
    }
    // The keys of all hash tables of this thread come from here: later there is no call for them.
    let _keys = RandomState::new();
    let receiver = Receiver::new();
    let Ok(locks) = lockdown::lock_down(profile) else { return Ending::System };
    let mut worker = match set_up(epoll, outbox, receiver, FromDatagram::Ready(locks)) {
        Ok(worker) => worker,
        Err(ending) => return ending,
    };
    loop {
        if let Err(ending) = worker.turn() {
            return ending;
        }
    }
}

/// Says `Ready` and waits for the settings, the monitor's first message.
fn set_up(
    epoll: Epoll,
    mut outbox: Outbox<FromDatagram, ToDatagram>,
    receiver: Receiver,
    ready: FromDatagram,
) -> Result<DatagramWorker, Ending> {
    outbox.push(ready);
    outbox.flush()?;
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        match outbox.receive()? {
            None => epoll.wait(&mut events, None).map_err(|_| Ending::System)?,
            Some(Incoming { message: ToDatagram::Setup(limits), .. }) => {
                return Ok(DatagramWorker::new(epoll, outbox, receiver, limits, events));
            }
            Some(_) => return Err(Ending::Protocol),
        }
    }
}

struct DatagramWorker {
    shared: Shared,
    associations: Slab<Association>,
    slots: BTreeMap<Id, usize>,
    events: Vec<Event>,
    start: Instant,
    next_sweep: u32,
}

impl DatagramWorker {
    fn new(
        epoll: Epoll,
        outbox: Outbox<FromDatagram, ToDatagram>,
        receiver: Receiver,
        limits: FlowLimits,
        events: Vec<Event>,
    ) -> Self {
        let (bucket, left) = (Bucket::default(), WAITING);
        let shared =
            Shared { epoll, outbox, receiver, limits, bucket, left, is_stuck: false, now: 0, now_ms: 0 };
        Self {
            shared,
            associations: Slab::new(),
            slots: BTreeMap::new(),
            events,
            start: Instant::now(),
            next_sweep: 0,
        }
    }

    /// Waits for something to do, and does it.
    fn turn(&mut self) -> Result<(), Ending> {
        let patience = (!self.associations.is_empty()).then_some(SWEEP);
        let mut events = std::mem::take(&mut self.events);
        self.shared.epoll.wait(&mut events, patience).map_err(|_| Ending::System)?;
        self.read_clock();
        let mut is_spoken_to = false;
        for event in &events {
            match event.data.u64() {
                CHANNEL => is_spoken_to = true,
                token => self.on_socket(token, event.flags),
            }
        }
        self.events = events;
        // The channel comes last: a message may put a new association in the slot of one that ends, and no event of the
        // old one's sockets must be taken for the new one's.
        if is_spoken_to {
            self.on_channel()?;
        }
        if self.shared.now >= self.next_sweep {
            self.sweep();
        }
        self.flush()
    }

    fn read_clock(&mut self) {
        let since = self.start.elapsed();
        self.shared.now = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
        self.shared.now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    }

    fn on_socket(&mut self, token: u64, flags: EventFlags) {
        let (slot, flow) = parts(token);
        if let Some(association) = self.associations.get_mut(slot) {
            association.ready(flow, flags, &mut self.shared);
        }
    }

    fn sweep(&mut self) {
        self.next_sweep = self.shared.now.saturating_add(1);
        let mut idle = Vec::new();
        for (_, association) in &mut self.associations {
            if association.sweep(&mut self.shared) {
                idle.push(association.id);
            }
        }
        idle.into_iter().for_each(|id| self.end(id, AssociationEnd::Idle));
    }

    fn end(&mut self, id: Id, why: AssociationEnd) {
        let slot = self.slots.remove(&id);
        let Some(association) = slot.and_then(|slot| self.associations.try_remove(slot)) else { return };
        let moved = association.end(&mut self.shared);
        self.shared.outbox.push(FromDatagram::Closed { id, why, moved });
    }
}

/// Talking to the monitor.
impl DatagramWorker {
    fn on_channel(&mut self) -> Result<(), Ending> {
        for _ in 0..MESSAGES {
            match self.shared.outbox.receive()? {
                Some(Incoming { message, descriptor }) => self.on_message(message, descriptor)?,
                None => break,
            }
        }
        Ok(())
    }

    fn on_message(&mut self, message: ToDatagram, descriptor: Option<OwnedFd>) -> Result<(), Ending> {
        match (message, descriptor) {
            (ToDatagram::Setup(limits), _) => self.shared.limits = limits,
            (ToDatagram::Open { id, .. }, _) if self.slots.contains_key(&id) => {
                return Err(Ending::Protocol);
            }
            (ToDatagram::Open { id, client }, Some(socket)) => {
                let entry = self.associations.vacant_entry();
                let slot = entry.key();
                match Association::begin(id, slot, (socket, client), &self.shared) {
                    Some(association) => {
                        entry.insert(association);
                        self.slots.insert(id, slot);
                    }
                    None => self.no_resources(id),
                }
            }
            // The kernel had no room for the descriptor. This association cannot be served, and the others live on.
            (ToDatagram::Open { id, .. }, None) => self.no_resources(id),
            (ToDatagram::Flow { id, flow, peer }, socket) => {
                let opened = self.with(id, |slot, association, shared| match socket {
                    Some(socket) => association.open(slot, flow, (socket, peer), shared),
                    None => {
                        association.lost(flow, shared);
                        Some(())
                    }
                });
                return opened.ok_or(Ending::Protocol);
            }
            (ToDatagram::NoFlow { id, flow }, _) => {
                self.with(id, |_, association, shared| {
                    association.refuse(flow, shared);
                    Some(())
                });
            }
            (ToDatagram::EndFlow { id, flow }, _) => {
                self.with(id, |_, association, shared| {
                    association.close(flow, shared);
                    Some(())
                });
            }
            (ToDatagram::End { id }, _) => self.end(id, AssociationEnd::Ended),
        }
        Ok(())
    }

    fn no_resources(&mut self, id: Id) {
        let (why, moved) = (AssociationEnd::NoResources, Relayed::default());
        self.shared.outbox.push(FromDatagram::Closed { id, why, moved });
    }

    /// Applies a message to its association; one that has ended in the meantime does not need it.
    fn with(
        &mut self,
        id: Id,
        act: impl FnOnce(usize, &mut Association, &mut Shared) -> Option<()>,
    ) -> Option<()> {
        let Some(&slot) = self.slots.get(&id) else { return Some(()) };
        act(slot, self.associations.get_mut(slot)?, &mut self.shared)
    }

    /// Sends the messages that wait, as far as the channel has room.
    fn flush(&mut self) -> Result<(), Ending> {
        self.shared.outbox.flush()?;
        let full = self.shared.outbox.is_stuck();
        if full != self.shared.is_stuck {
            self.shared.is_stuck = full;
            let flags = if full { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            let changed = self.shared.epoll.change(&self.shared.outbox, CHANNEL, flags);
            changed.map_err(|_| Ending::System)?;
        }
        Ok(())
    }
}
