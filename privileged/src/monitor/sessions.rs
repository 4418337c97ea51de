//! The sessions, each with what the monitor holds for it, and what sessions ask of other rooms.

use crate::monitor::askers::Askers;
use crate::monitor::base::Base;
use crate::monitor::bind_port::{BindPorts, Wanted};
use crate::monitor::connection::{end, inspect, reset};
use crate::monitor::dial::{Begun, Caller, Dial, Dialled};
use crate::monitor::reactor::Token;
use crate::monitor::resolver::Resolver;
use sockd_common::message::Id;
use sockd_common::message::request::Request;
use sockd_common::message::resolver::Query;
use sockd_common::message::session::ToSession;
use sockd_common::message::upstream::NextReply;
use sockd_session::client_host::Host;
use sockd_session::flow::{Connection, Flow, Moved};
use sockd_session::keys::{DialKey, LookupKey, PortKey, QueryKey, SessionKey, Slots, WorkerKey};
use sockd_session::log::classic;
use sockd_session::record::{Record, Unread};
use sockd_session::session::{Action, Event, Phase, Session};
use sockd_session::settings::seconds;
use sockd_session::violation::Violation;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What a trial adds to the classic line on a wrong version.
const NOT_YET: &str = "SOCKS5 is not spoken yet: use SOCKS4A, such as curl --socks4a";

/// Bytes of a reply of SOCKS4.
const REPLY_LENGTH: u64 = 8;

/// The sessions that there are.
#[derive(Debug, Default)]
pub struct Sessions(Slots<Entry, 's'>);

/// A session with what the monitor holds for it.
#[derive(Debug)]
struct Entry {
    session: Session,
    /// The address that the client connected to.
    proxy: SocketAddr,
    /// The session worker; a session id is honoured only on its channel.
    worker: WorkerKey,
    /// Its number among all sessions.
    number: u64,
    deadline: Option<Instant>,
    held: Held,
    /// The monitor's own descriptor of the connection to the client, until that is closed.
    client: Option<Rc<OwnedFd>>,
    relay: Option<Relay>,
}

/// What the monitor keeps of the server while its worker relays.
#[derive(Debug)]
struct Relay {
    /// The monitor's own descriptor of the connection to the server.
    server: Rc<OwnedFd>,
    /// What a next server was told and has replied before the relay began.
    before: Option<Box<Moved>>,
}

/// What the monitor holds open or has under way for a session. A key may be of something that is over already: whoever
/// is asked to give it up looks whose it is.
#[derive(Debug, Default)]
struct Held {
    /// A connection on its way.
    dial: Option<DialKey>,
    /// The port of a BIND.
    port: Option<PortKey>,
    /// A server or next server, connected; the worker gets it when the request is granted.
    server: Option<OwnedFd>,
    /// A lookup.
    lookup: Option<LookupKey>,
    /// A query of the client's identd or of a next server.
    query: Option<QueryKey>,
    /// How often a next server has granted the request; 0 where none was asked.
    upstream_replies: u8,
}

/// The rooms that sessions wait for.
#[derive(Debug, Default)]
pub struct Awaited {
    /// Ports of BIND requests.
    pub bind_ports: BindPorts,
    /// Lookups.
    pub resolver: Resolver,
    /// Queries of identds and next servers.
    pub askers: Askers,
}

impl Entry {
    fn host(&self) -> Host {
        Host::of(self.session.client().ip())
    }
}

/// Their beginning and their end.
impl Sessions {
    /// A client has connected to `proxy`, and this worker serves it.
    pub fn begin(
        &mut self,
        (client, proxy): (SocketAddr, SocketAddr),
        socket: Rc<OwnedFd>,
        worker: WorkerKey,
        base: &mut Base,
    ) -> SessionKey {
        let host = Host::of(client.ip());
        let number = base.counts.begin(host, self.0.next_key());
        let (session, held) = (Session::new(client), Held::default());
        let client = Some(socket);
        let key = self.0.insert(Entry {
            session,
            proxy,
            worker,
            number,
            deadline: None,
            held,
            client,
            relay: None,
        });
        base.workers.pool.assign(worker, host);
        self.set_deadline(key, Some(seconds(base.config.settings.request_limit)), base);
        key
    }

    /// A session is over.
    pub fn remove(&mut self, key: SessionKey, awaited: &mut Awaited, base: &mut Base) {
        self.cancel_pending(key, awaited, base);
        self.set_deadline(key, None, base);
        if let Some(entry) = self.0.remove(key) {
            entry.client.iter().filter(|client| !inspect(client).is_over()).for_each(|client| end(client));
            base.counts.end(entry.host(), entry.number);
            base.release_worker(entry.worker);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn all(&self) -> Vec<SessionKey> {
        self.0.keys_where(|_| true)
    }

    /// Those that do not relay, or not yet.
    pub fn not_relaying(&self) -> Vec<SessionKey> {
        self.0.keys_where(|entry| !entry.session.is_relaying())
    }

    /// Those that a worker serves.
    pub fn of_worker(&self, worker: WorkerKey) -> Vec<SessionKey> {
        self.0.keys_where(|entry| entry.worker == worker)
    }

    /// A worker speaks of a session: it must be one of its own.
    pub fn named_by(&self, worker: WorkerKey, id: Id) -> Result<SessionKey, Violation> {
        match self.worker(id.into()) {
            Some(own) if own == worker => Ok(id.into()),
            _ => Err(Violation("a session that is not its own")),
        }
    }

    /// The worker that serves a session.
    pub fn worker(&self, key: SessionKey) -> Option<WorkerKey> {
        self.0.get(key).map(|entry| entry.worker)
    }
}

/// What happens to them.
impl Sessions {
    /// Takes one event in; gives what is to be done.
    pub fn on(&mut self, key: SessionKey, event: Event, base: &mut Base) -> Vec<Action> {
        let Some(entry) = self.0.get_mut(key) else { return Vec::new() };
        if matches!(event, Event::Replied(reply) if !matches!(reply, NextReply::Granted(_))) {
            // A next server that does not carry the request out is of no further use.
            entry.held.server = None;
        }
        if matches!(event, Event::Replied(NextReply::Granted(_))) {
            entry.held.upstream_replies = entry.held.upstream_replies.saturating_add(1);
        }
        let was_requesting = entry.session.phase() == Phase::Requesting;
        let actions = entry.session.on(event, &base.config);
        if was_requesting && entry.session.phase() != Phase::Requesting {
            base.counts.finished(entry.host(), entry.number);
        }
        actions
    }

    /// Writes every line about a relay, and those about requests that are not granted as far as their limit goes.
    pub fn record(&self, key: SessionKey, record: &Record, base: &mut Base) {
        let Some(entry) = self.0.get(key) else { return };
        let limit = base.config.settings.max_refusals_logged;
        for (level, line) in classic::lines(record) {
            if record.is_about_relay() || base.log.admits_refusal(entry.host(), limit) {
                base.log.line(level, &line);
            }
        }
        if base.is_trial && matches!(record, Record::Unread { why: Unread::WrongVersion(5), .. }) {
            base.log.quiet_err(NOT_YET);
        }
    }

    /// A session waits no longer than this.
    pub fn set_deadline(&mut self, key: SessionKey, limit: Option<Duration>, base: &mut Base) {
        let Some(entry) = self.0.get_mut(key) else { return };
        let due = limit.and_then(|limit| Instant::now().checked_add(limit));
        base.reactor.set_deadline(Token::Session(key), &mut entry.deadline, due);
    }

    /// The deadline of a session has passed. A late answer must not be taken for one to what is asked next, here or by
    /// the next session with this key.
    pub fn overdue(&mut self, key: SessionKey, awaited: &mut Awaited, base: &mut Base) {
        if let Some(entry) = self.0.get_mut(key) {
            entry.deadline = None;
            self.cancel_pending(key, awaited, base);
        }
    }

    /// It is known what became of a session's connection.
    pub fn dialled(&mut self, key: SessionKey, dialled: Dialled) -> Event {
        Event::Dialled(dialled.map(|server| self.hold_server(key, server)))
    }

    /// Keeps a server until it is known whether the worker gets it.
    pub fn hold_server(&mut self, key: SessionKey, server: OwnedFd) {
        if let Some(entry) = self.0.get_mut(key) {
            entry.held.server = Some(server);
        }
    }

    /// A server is not the one that is waited for: its connection closes.
    pub fn close_server(&mut self, key: SessionKey) {
        if let Some(entry) = self.0.get_mut(key) {
            entry.held.server = None;
        }
    }

    /// Nothing that is held or under way is of use any longer.
    pub fn cancel_pending(&mut self, key: SessionKey, awaited: &mut Awaited, base: &mut Base) {
        let Some(entry) = self.0.get_mut(key) else { return };
        let Held { dial, port, server, lookup, query, .. } = std::mem::take(&mut entry.held);
        drop(server);
        if let Some(dial) = dial {
            base.cancel_dial(dial, Caller::Session(key));
        }
        if let Some(port) = port {
            awaited.bind_ports.close(port, key, base);
        }
        if let Some(lookup) = lookup {
            awaited.resolver.cancel(lookup, key, base);
        }
        if let Some(query) = query {
            awaited.askers.cancel(query, key, base);
        }
    }
}

/// What they ask for. The event is the answer where it is there at once.
impl Sessions {
    /// Connects.
    pub fn dial(&mut self, key: SessionKey, dial: Dial, base: &mut Base) -> Option<Event> {
        let entry = self.0.get_mut(key)?;
        match base.dial(dial, Caller::Session(key)) {
            Ok(Begun::Pending(dial)) => {
                entry.held.dial = Some(dial);
                None
            }
            Ok(Begun::Connected(server)) => Some(self.dialled(key, Ok(server))),
            Err(failure) => Some(Event::Dialled(Err(failure))),
        }
    }

    /// Opens the port of a BIND.
    pub fn listen(
        &mut self,
        key: SessionKey,
        (towards, at, reserved): (IpAddr, Option<IpAddr>, bool),
        awaited: &mut Awaited,
        base: &mut Base,
    ) -> Option<Event> {
        let entry = self.0.get_mut(key)?;
        let (host, proxy) = (entry.host(), entry.proxy.ip());
        let wanted = Wanted { session: key, host, proxy, towards, at, reserved };
        Some(match awaited.bind_ports.open(wanted, base) {
            Ok((port, address)) => {
                entry.held.port = Some(port);
                Event::Listening(Ok(address))
            }
            Err(event) => event,
        })
    }

    /// Asks the resolver.
    pub fn look_up(
        &mut self,
        key: SessionKey,
        query: Query,
        awaited: &mut Awaited,
        base: &mut Base,
    ) -> Option<Event> {
        let host = self.0.get(key)?.host();
        if let Some(waited) = awaited.resolver.make_room(host, base) {
            self.set_deadline(waited, Some(Duration::ZERO), base);
        }
        let entry = self.0.get_mut(key)?;
        let begun = awaited.resolver.look_up(key, host, query, base);
        begun.map(|lookup| entry.held.lookup = Some(lookup)).err()
    }

    /// Asks the client's identd.
    pub fn ask_ident(&mut self, key: SessionKey, awaited: &mut Awaited, base: &mut Base) -> Option<Event> {
        let entry = self.0.get_mut(key)?;
        let begun = awaited.askers.ask_ident(key, entry.session.client(), entry.proxy, base);
        begun.map(|query| entry.held.query = Some(query)).err()
    }

    /// Asks the next server, to which the session holds a connection.
    pub fn ask_upstream(
        &mut self,
        key: SessionKey,
        asked: (SocketAddr, Request),
        awaited: &mut Awaited,
        base: &mut Base,
    ) -> Option<Event> {
        let entry = self.0.get_mut(key)?;
        let host = entry.host();
        let begun = awaited.askers.ask_upstream(key, host, entry.held.server.as_ref()?, asked, base);
        begun.map(|query| entry.held.query = Some(query)).err()
    }

    /// Gives the worker the server that it relays to; `bound` is for the reply.
    pub fn hand_off(&mut self, key: SessionKey, bound: SocketAddr, awaited: &mut Awaited, base: &mut Base) {
        let Some(entry) = self.0.get_mut(key) else { return };
        let (worker, replies) = (entry.worker, entry.held.upstream_replies);
        if let Some(server) = entry.held.server.take().map(Rc::new) {
            let before = (replies > 0).then(|| Box::new(before(&server, replies)));
            entry.relay = Some(Relay { server: Rc::clone(&server), before });
            base.tell(worker, &ToSession::Relay { id: key.id(), bound }, Some(server));
        }
        self.cancel_pending(key, awaited, base);
    }
}

/// Their relays: the worker moves the bytes, the monitor keeps the connections.
impl Sessions {
    /// What the kernel says of both connections.
    pub fn inspect(&self, key: SessionKey) -> Option<Flow> {
        let entry = self.0.get(key)?;
        let client = entry.client.as_deref().map_or(Connection::CLOSED, inspect);
        Some(Flow { client, server: inspect(&entry.relay.as_ref()?.server) })
    }

    /// Closes both connections, for whoever has them open, and says what they have moved.
    pub fn close_relay(&mut self, key: SessionKey, orderly: bool) -> Event {
        let flow = self.inspect(key);
        let parts = self.0.get_mut(key).and_then(|entry| Some((entry.client.take()?, entry.relay.take()?)));
        let (Some(flow), Some((client, Relay { server, before }))) = (flow, parts) else {
            return Event::RelayClosed(Moved::default());
        };
        for (socket, connection) in [(client, flow.client), (server, flow.server)] {
            match orderly {
                true if !connection.is_over() => end(&socket),
                false if !connection.is_closed() => reset(&socket),
                _ => {}
            }
        }
        Event::RelayClosed(flow.moved(before.map_or(Moved::default(), |before| *before), orderly))
    }

    /// Resets the connection to the client.
    pub fn reset(&mut self, key: SessionKey) {
        let client = self.0.get_mut(key).and_then(|entry| entry.client.take());
        client.iter().for_each(|client| reset(client));
    }

    /// Those that relay.
    pub fn relaying(&self) -> Vec<SessionKey> {
        self.0.keys_where(|entry| entry.relay.is_some())
    }
}

/// What a next server was told and has replied. What it has sent behind its replies is the client's.
fn before(server: &OwnedFd, replies: u8) -> Moved {
    let told = Flow { client: Connection::CLOSED, server: inspect(server) }.moved(Moved::default(), true);
    Moved { up: told.up, down: u64::from(replies).saturating_mul(REPLY_LENGTH) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tens of thousands of relays may be there at once, most of them idle.
    #[test]
    fn an_entry_stays_small() {
        assert!(size_of::<Entry>() <= 144, "{}", size_of::<Entry>());
    }
}
