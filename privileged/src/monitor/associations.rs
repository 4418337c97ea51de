//! The UDP associations: their sockets, and the workers that relay for them.
//!
//! The monitor keeps a descriptor of its own of every socket that it lends. A shutdown of it ends the sending of every
//! other holder.

use crate::monitor::base::Base;
use crate::monitor::reactor::{EventFlags, Token};
use crate::net::datagram;
use crate::net::sockets::{failed, in_random_order};
use rustix::io::Errno;
use sockd_common::message::datagram::{AssociationEnd, FlowId, Relayed, ToDatagram};
use sockd_common::message::{Id, Role};
use sockd_session::limits::rate::FlowRate;
use sockd_session::pool::AskerKey;
use sockd_session::session::{AssociationDue, AssociationStage};
use sockd_session::settings::UdpSource;
use sockd_session::{
    Association, EndCause, FailedCall, Failure, FlowAction, FlowEvent, Host, Isolation, Limit, Moved,
    Resource, SessionKey, Violation, WorkerKey,
};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

/// The most attempts to get a port from the kernel that no other association has.
const PORTS_TRIED: usize = 8;

/// The associations, by their sessions.
#[derive(Debug, Default)]
pub struct Associations {
    entries: HashMap<SessionKey, Entry>,
    /// The ports that peers see. Two associations at one port could hear each other's peers.
    ports: HashSet<u16>,
    /// The associations that wait for another worker to end before theirs has a place.
    waiting: Vec<SessionKey>,
    rate: FlowRate,
}

#[derive(Debug)]
struct Entry {
    flows: Association,
    host: Host,
    /// The key of the worker that relays.
    asker: AskerKey,
    /// The client's socket.
    client: Rc<OwnedFd>,
    /// The source of the client's first datagram.
    latched: Option<SocketAddr>,
    stage: AssociationStage,
    /// The sockets of open flows.
    sockets: HashMap<FlowId, Rc<OwnedFd>>,
    /// The ports that peers see: the first for all flows, others if that one is taken for a family or an address.
    ports: Vec<u16>,
}

/// An association that a session asks for.
#[derive(Debug)]
pub struct Wanted {
    /// Its flows.
    pub flows: Association,
    /// The address from which the client has connected.
    pub client: SocketAddr,
    /// The address that its connection came to.
    pub at: SocketAddr,
    /// The port from which it says that it will send; 0 if it does not say.
    pub hint: u16,
}

/// The beginning of associations.
impl Associations {
    /// Opens the port for the client's datagrams. Returns the address that the client is told.
    pub fn open(&mut self, key: SessionKey, wanted: Wanted, base: &mut Base) -> Result<SocketAddr, Failure> {
        let Wanted { flows, client, at, hint } = wanted;
        let (host, settings) = (Host::of(client.ip()), &base.config.settings);
        if let Some(reached) = base.counts.limit(Resource::Association, host, settings) {
            return Err(Failure::Limited(reached.limit));
        }
        let port = (settings.udp_source == UdpSource::Strict && hint != 0).then_some(hint);
        let side = match settings.udp_ports {
            None => datagram::client_side(client.ip(), port, at, [0]),
            Some(ports) => datagram::client_side(client.ip(), port, at, in_random_order(ports)),
        };
        let (socket, own) = side.map_err(Failure::Call)?;
        let watched = base.reactor.watch(&socket, Token::Association(key), EventFlags::IN);
        watched.map_err(|error| Failure::Call(failed("epoll_ctl")(error)))?;
        // Clients that must share nothing do not share this worker either.
        let alone = matches!(settings.isolation, Isolation::Connection | Isolation::User);
        let asker = AskerKey { role: Role::Datagram, host, server: alone.then_some(own) };
        let stage = AssociationStage::silent(settings, Instant::now());
        let told = SocketAddr::new(settings.announced(own.ip()), own.port());
        let (client, sockets, ports) = (Rc::new(socket), HashMap::new(), Vec::new());
        let entry = Entry { flows, host, asker, client, latched: None, stage, sockets, ports };
        base.counts.add(Resource::Association, host);
        self.entries.insert(key, entry);
        self.look_in_time(key, base);
        Ok(told)
    }

    /// Lends the client's socket to a worker once the first datagram is here. Returns the association's end, if any.
    pub fn latch(&mut self, key: SessionKey, base: &mut Base) -> Option<EndCause> {
        let entry = self.entries.get_mut(&key).filter(|entry| entry.stage.worker().is_none())?;
        if entry.latched.is_none() {
            match datagram::latch(&entry.client) {
                Ok(from) => entry.latched = Some(from?),
                Err(failed) => return Some(EndCause::ClientFailed(failed.errno)),
            }
            base.reactor.unwatch(&entry.client);
        }
        let client = entry.latched?;
        let Ok(worker) = base.asker(entry.asker, key, &mut self.waiting) else {
            return Some(EndCause::NoResources);
        };
        let worker = worker?;
        entry.stage = AssociationStage::Lent(worker);
        let socket = Rc::clone(&entry.client);
        base.tell(worker, &ToDatagram::Open { id: key.id(), client }, Some(socket));
        self.look_in_time(key, base);
        None
    }

    /// Takes the associations that wait for a worker, in their order. Each waits on if it still has no place.
    pub fn take_waiting(&mut self) -> Vec<SessionKey> {
        std::mem::take(&mut self.waiting)
    }

    /// Sets the deadline at which an association is checked.
    fn look_in_time(&self, key: SessionKey, base: &mut Base) {
        let Some(Entry { stage, flows, .. }) = self.entries.get(&key) else { return };
        base.reactor.set_deadline(Token::Association(key), stage.due_at(flows));
    }
}

/// The end of associations.
impl Associations {
    /// Ends an association. Returns what it has moved, unless its worker has yet to tell.
    pub fn dissociate(&mut self, key: SessionKey, why: EndCause, base: &mut Base) -> Option<Moved> {
        let entry = self.entries.get_mut(&key).filter(|entry| entry.stage.worker().is_some());
        let Some(entry) = entry else { return Some(self.remove(key, Relayed::default(), base)) };
        let worker = entry.stage.end(why, Instant::now())?;
        base.tell(worker, &ToDatagram::End { id: key.id() }, None);
        entry.end_sockets();
        self.look_in_time(key, base);
        None
    }

    /// The cause of an association's end, by the worker's word.
    pub fn ended(&self, key: SessionKey, why: AssociationEnd) -> Result<EndCause, Violation> {
        self.entries.get(&key).map_or(Ok(EndCause::Idle), |entry| entry.stage.ended(why))
    }

    /// The associations of a worker, each with the cause of its end if the worker is gone.
    pub fn of_worker(&self, worker: WorkerKey) -> Vec<(SessionKey, EndCause)> {
        let of_worker = self.entries.iter().filter(|(_, entry)| entry.stage.worker() == Some(worker));
        of_worker.map(|(key, entry)| (*key, entry.stage.ending().unwrap_or(EndCause::WorkerEnded))).collect()
    }

    /// Closes everything of an association. Returns what it has moved; `open` is the part of its open flows.
    pub fn remove(&mut self, key: SessionKey, open: Relayed, base: &mut Base) -> Moved {
        let Some(entry) = self.entries.remove(&key) else { return Moved::default() };
        base.reactor.set_deadline(Token::Association(key), None);
        self.waiting.retain(|waiting| *waiting != key);
        match entry.stage.worker() {
            Some(worker) => base.release_worker(worker),
            None => base.reactor.unwatch(&entry.client),
        }
        entry.end_sockets();
        for port in &entry.ports {
            self.ports.remove(port);
        }
        (0..entry.flows.len()).for_each(|_| base.counts.remove(Resource::Flow, entry.host));
        base.counts.remove(Resource::Association, entry.host);
        entry.flows.moved(open)
    }

    /// The step that is due for an association whose deadline has passed.
    pub fn overdue(&self, key: SessionKey) -> Option<AssociationDue> {
        self.entries.get(&key).map(|entry| entry.stage.due(&entry.flows, Instant::now()))
    }
}

impl Entry {
    /// Stops all sending, for every holder of the sockets.
    fn end_sockets(&self) {
        self.sockets.values().chain([&self.client]).for_each(|socket| datagram::end(socket));
    }
}

/// The flows of associations.
impl Associations {
    /// The association that a worker names, which must be one that it relays for.
    pub fn named_by(&self, worker: WorkerKey, id: Id) -> Result<SessionKey, Violation> {
        let own = self.entries.get(&id.into()).filter(|entry| entry.stage.worker() == Some(worker));
        own.map(|_| id.into()).ok_or(Violation("an association that is not its own"))
    }

    /// All associations.
    pub fn all(&self) -> Vec<SessionKey> {
        self.entries.keys().copied().collect()
    }

    /// Takes an event of a flow. Returns the actions that follow, or the worker that has broken the protocol.
    pub fn on(
        &mut self,
        key: SessionKey,
        event: FlowEvent,
        base: &mut Base,
    ) -> Result<Vec<FlowAction>, (WorkerKey, Violation)> {
        let Self { entries, rate, .. } = self;
        let Some(Entry { stage, flows, host, .. }) = entries.get_mut(&key) else { return Ok(Vec::new()) };
        let Some(worker) = stage.worker() else { return Ok(Vec::new()) };
        let now = Instant::now();
        let is_wanted = matches!(event, FlowEvent::Wanted { .. });
        if let FlowEvent::Wanted { flow, .. } = event {
            if stage.ending().is_some() {
                return Ok(Vec::new());
            }
            // An honest worker never asks for so many flows. One that reads now and then would fill the memory here.
            if base.workers.is_full(worker) {
                return Err((worker, Violation("it does not read its channel")));
            }
            if !rate.admits(*host, now) || is_full(*host, base) {
                base.tell(worker, &ToDatagram::NoFlow { id: key.id(), flow }, None);
                return Ok(Vec::new());
            }
        }
        let done = flows.on(event, now, &base.config);
        if is_wanted && done.is_ok() {
            base.counts.add(Resource::Flow, *host);
        }
        self.look_in_time(key, base);
        done.map_err(|violation| (worker, violation))
    }

    /// Connects a socket for a flow, and lends it.
    fn open_flow(
        &mut self,
        key: SessionKey,
        flow: FlowId,
        (to, from): (SocketAddr, Option<IpAddr>),
        base: &mut Base,
    ) -> Result<(), FailedCall> {
        let Self { entries, ports, .. } = self;
        let lent = entries.get_mut(&key).and_then(|entry| Some((entry.stage.lent_to()?, entry)));
        let Some((worker, entry)) = lent else { return Err(failed("socket")(Errno::BADF)) };
        let shared = entry.ports.first().map(|port| datagram::flow(to, from, Some(*port)));
        let socket = match shared {
            Some(Ok((socket, _))) => socket,
            Some(Err(failed)) if failed != in_use() => return Err(failed),
            _ => {
                let (socket, port) = at_new_port(to, from, ports)?;
                ports.insert(port);
                entry.ports.push(port);
                socket
            }
        };
        let socket = Rc::new(socket);
        entry.sockets.insert(flow, Rc::clone(&socket));
        base.tell(worker, &ToDatagram::Flow { id: key.id(), flow, peer: to }, Some(socket));
        Ok(())
    }

    /// Performs an action of a flow, except for those that are also actions of sessions.
    pub fn perform(&mut self, key: SessionKey, action: FlowAction, base: &mut Base) -> Option<FlowEvent> {
        let Entry { stage, host, sockets, .. } = self.entries.get_mut(&key)?;
        let (id, worker) = (key.id(), stage.lent_to());
        match action {
            FlowAction::Open { flow, to, from } => {
                return Some(FlowEvent::Opened(flow, self.open_flow(key, flow, (to, from), base)));
            }
            FlowAction::Refuse(flow) | FlowAction::Full(flow) => {
                if matches!(action, FlowAction::Full(_)) {
                    base.counting.limited(Limit::FLOWS.label());
                }
                base.counts.remove(Resource::Flow, *host);
                worker.into_iter().for_each(|to| base.tell(to, &ToDatagram::NoFlow { id, flow }, None));
            }
            FlowAction::End(flow) => {
                worker.into_iter().for_each(|to| base.tell(to, &ToDatagram::EndFlow { id, flow }, None));
                sockets.get(&flow).into_iter().for_each(|socket| datagram::end(socket));
            }
            // The worker may have kept a copy of the socket.
            FlowAction::Close(flow) => {
                base.counts.remove(Resource::Flow, *host);
                sockets.remove(&flow).into_iter().for_each(|socket| datagram::end(&socket));
            }
            FlowAction::Do(_) => {}
        }
        None
    }
}

/// Whether a host has reached its limit of flows; the log then says that datagrams are dropped.
fn is_full(host: Host, base: &mut Base) -> bool {
    let reached = base.counts.limit(Resource::Flow, host, &base.config.settings);
    reached.map(|reached| base.limited("datagrams are dropped", reached)).is_some()
}

/// The error that another program has a port.
fn in_use() -> FailedCall {
    failed("bind")(Errno::ADDRINUSE)
}

/// Makes the socket of a flow, at a port that no association has.
fn at_new_port(
    to: SocketAddr,
    from: Option<IpAddr>,
    ports: &HashSet<u16>,
) -> Result<(OwnedFd, u16), FailedCall> {
    for _ in 0..PORTS_TRIED {
        let (socket, port) = datagram::flow(to, from, None)?;
        if !ports.contains(&port) {
            return Ok((socket, port));
        }
    }
    Err(in_use())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::tests::crowded;
    use sockd_common::message::UserId;
    use sockd_common::message::request::{Command, Destination, Request};
    use sockd_session::{Event, Session};
    use std::net::UdpSocket;

    /// Opens an association for a client at this address of loopback, and sends the first datagram.
    fn open(associations: &mut Associations, key: SessionKey, host: u8, base: &mut Base) {
        let client = UdpSocket::bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
        let address = client.local_addr().unwrap();
        let mut session = Session::new(address, false);
        let destination = Destination::Address([0, 0, 0, 0].into());
        let user = UserId::new(b"").unwrap();
        let request = Request { version: 5, command: Command::Associate, destination, port: 0, user };
        session.on(Event::Requested(request), &base.config);
        let (flows, at) = (session.association().unwrap(), SocketAddr::from(([127, 0, 0, 1], 0)));
        let own = associations.open(key, Wanted { flows, client: address, at, hint: 0 }, base).unwrap();
        client.send_to(b"a datagram", own).unwrap();
        assert_eq!(associations.latch(key, base), None);
    }

    #[test]
    fn only_associations_that_need_a_place_wait_for_one_and_in_order() {
        let (mut base, ending, _spawner) = crowded();
        let mut associations = Associations::default();
        let keys = [0, 1, 2, 3, 4].map(SessionKey::new);
        let workers = |associations: &Associations| {
            let worker = |key| associations.entries.get(key).and_then(|entry| entry.stage.worker());
            keys.each_ref().map(worker)
        };
        let serve_waiting = |associations: &mut Associations, base: &mut Base| {
            for key in associations.take_waiting() {
                assert_eq!(associations.latch(key, base), None);
            }
        };
        for (key, host) in keys.into_iter().zip([1, 2, 1]) {
            open(&mut associations, key, host, &mut base);
        }
        assert_eq!(workers(&associations), [None; 5]);

        base.workers.pool.reaped(ending[0]);
        serve_waiting(&mut associations, &mut base);
        let [worker, ..] = workers(&associations);
        assert!(worker.is_some());
        assert_eq!(workers(&associations), [worker, None, worker, None, None]);

        base.workers.pool.reaped(ending[1]);
        open(&mut associations, keys[3], 1, &mut base);
        open(&mut associations, keys[4], 3, &mut base);
        assert_eq!(workers(&associations), [worker, None, worker, worker, None]);
        serve_waiting(&mut associations, &mut base);
        let has_worker = workers(&associations).map(|worker| worker.is_some());
        assert_eq!(has_worker, [true, true, true, true, false]);
    }
}
