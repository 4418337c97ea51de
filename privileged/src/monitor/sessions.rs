//! The sessions, each with the state that the monitor holds for it.

mod association;
mod lookup;
mod relay;

use crate::monitor::base::Base;
use crate::net::connection::{Answers, end, inspect};
use crate::net::dial::Dialled;
use sockd_common::message;
use sockd_common::message::auth::Credentials;
use sockd_common::message::upstream::NextReply;
use sockd_session::counting::Counting;
use sockd_session::log::Times;
use sockd_session::waits::ByWaitKey;
use sockd_session::{
    Action, Arrival, CheckKey, DialKey, Event, Host, LookupKey, Moved, PortKey, QueryKey, Record, Session,
    SessionKey, Slots, Violation, WaitKey, Waiter, WorkerKey, seconds,
};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

/// All sessions.
#[derive(Debug, Default)]
pub struct Sessions(Slots<Entry, 's'>);

/// A session with the state that the monitor holds for it.
#[derive(Debug)]
pub struct Entry {
    /// The session itself, which decides.
    pub session: Session,
    /// The address and port that the client connected to, as a pair: a [`SocketAddr`] takes half as much again.
    pub proxy: (IpAddr, u16),
    /// The session worker; a session id is honoured only on its channel.
    pub worker: WorkerKey,
    /// Its number among all sessions.
    number: u64,
    times: Times,
    /// The tasks that it waits for.
    pub held: ByWaitKey<Held>,
    /// The monitor's own descriptor of the connection to the client, until that is closed.
    pub client: Option<Rc<OwnedFd>>,
    /// The server that it relays to, if it does.
    pub relay: Option<Relay>,
}

/// The monitor's state of the server while a worker relays.
#[derive(Debug)]
pub struct Relay {
    /// The monitor's own descriptor of the connection to the server.
    pub server: Rc<OwnedFd>,
    /// The bytes to and from an upstream before the relay began.
    pub before: Option<Box<Moved>>,
    /// Whether the kernel probes the server with keepalives.
    pub is_kept_alive: bool,
}

/// The monitor's state for a task that a session waits for. A key may be that of a task that is over already: the owner
/// of the state checks whose it is before it gives it up.
#[derive(Debug)]
pub enum Held {
    /// A user and a password that have not been checked yet.
    Credentials(Credentials),
    /// The check of a password.
    Check(CheckKey),
    /// A connection that is being made, and since when.
    Dial(DialKey, Instant),
    /// A server or upstream, connected.
    Server(OwnedFd),
    /// The port of a BIND, with a connection to it until it is known whether that is the peer's.
    Port(PortKey, Option<OwnedFd>),
    /// A lookup.
    Lookup(LookupKey),
    /// A query of the client's identd.
    Query(QueryKey),
    /// The end of the worker with this number, which has had the client so far.
    Ending(u32),
    /// A query of the upstream to which this is the connection, with its answers so far.
    Upstream(QueryKey, OwnedFd, Answers),
}

impl Entry {
    /// The client's host.
    pub fn host(&self) -> Host {
        Host::of(self.session.client().ip())
    }

    /// Notes an arrival. An answered task needs no giving up.
    pub fn has_come(&mut self, key: WaitKey, arrival: &Arrival) {
        match (self.held.get_mut(key), arrival) {
            (Some(Held::Lookup(_) | Held::Query(_) | Held::Check(_) | Held::Ending(_)), _) => {
                drop(self.held.remove(key))
            }
            (Some(Held::Upstream(_, _, answers)), Arrival::Replied(NextReply::Granted(bound))) => {
                answers.grant(*bound);
            }
            _ => {}
        }
    }
}

/// The beginning and the end of sessions.
impl Sessions {
    /// Begins the session of a client that has connected to `proxy`, served by this worker.
    pub fn begin(
        &mut self,
        (session, proxy): (Session, SocketAddr),
        socket: Rc<OwnedFd>,
        worker: WorkerKey,
        base: &mut Base,
    ) -> SessionKey {
        let host = Host::of(session.client().ip());
        let number = base.counts.begin(host, self.0.next_key());
        let held = ByWaitKey::default();
        let (client, relay) = (Some(socket), None);
        let times = Times::new(Instant::now());
        let proxy = (proxy.ip(), proxy.port());
        let entry = Entry { session, proxy, worker, number, times, held, client, relay };
        base.counting.moved(None, Some(entry.session.phase()));
        let key = self.0.insert(entry);
        base.workers.pool.assign(worker, host);
        base.ledger.live(self.0.len());
        self.0.get(key).into_iter().for_each(|entry| entry.list(key, base));
        base.set_deadline(key, Some(seconds(base.config.settings.request_limit)));
        key
    }

    /// Removes a session that is over, and waits for nothing.
    pub fn remove(&mut self, key: SessionKey, base: &mut Base) {
        base.set_deadline(key, None);
        if let Some(entry) = self.0.remove(key) {
            base.counting.moved(Some(entry.session.phase()), None);
            entry.client.iter().filter(|client| !inspect(client).is_over()).for_each(|client| end(client));
            self.limit(key, None, base);
            base.counts.end(entry.host(), entry.number);
            if !entry.session.phase().is_before_request() {
                base.workers.pool.request_over(entry.worker);
            }
            base.release_worker(entry.worker);
            base.ledger.clear(key.place());
            base.ledger.live(self.0.len());
        }
    }
}

/// The events of sessions.
impl Sessions {
    /// Takes an event to a session. Returns the actions that follow.
    pub fn on(&mut self, key: SessionKey, event: Event, base: &mut Base) -> Vec<Action> {
        let Some(entry) = self.0.get_mut(key) else { return Vec::new() };
        base.counting.happens(&event, entry.times.begun().elapsed());
        let (before, listed) = (entry.session.phase(), entry.session.listed_phase());
        let actions = entry.session.on(event, &base.config);
        base.counting.moved(Some(before), Some(entry.session.phase()));
        if entry.session.listed_phase() != listed {
            entry.list(key, base);
        }
        if before.is_before_request() && !entry.session.phase().is_before_request() {
            entry.times.requested(Instant::now());
            base.counts.finished(entry.host(), entry.number);
            base.workers.pool.has_request(entry.worker);
        }
        actions
    }

    /// Writes every line about a relay, and lines about refused requests up to their limit.
    pub fn record(&mut self, key: SessionKey, record: &Record, base: &mut Base) {
        base.counting.recorded(record);
        let Some(entry) = self.0.get_mut(key) else { return };
        let (limit, now) = (base.config.settings.max_refusals_logged, Instant::now());
        record.deciding_rule().into_iter().for_each(|line| base.ledger.hit(line));
        let is_silent = |socket| inspect(socket).is_silent_after(entry.session.origin().header_length());
        if record.is_cut_short() && entry.client.as_deref().is_some_and(is_silent) {
            return base.log.count_silent();
        }
        if matches!(record, Record::Connected(_)) {
            entry.times.connected(now);
        }
        for line in base.log.style().lines(entry.times.about(entry.number, now), record) {
            if record.is_about_relay() || base.log.admits_refusal(entry.host(), limit) {
                base.log.write(&line);
            }
        }
    }

    /// Keeps a user and a password that a worker has read, until it is known whether they may be checked.
    pub fn introduced(&mut self, key: SessionKey, credentials: Credentials) -> Result<Event, Violation> {
        let user = message::UserId::new(credentials.user.as_bytes()).unwrap_or_default();
        let entry = self.0.get_mut(key).filter(|entry| entry.held.get(WaitKey::LOGIN).is_none());
        let entry = entry.ok_or(Violation("a password out of turn"))?;
        entry.held.insert(WaitKey::LOGIN, Held::Credentials(credentials));
        Ok(Event::Introduced(user))
    }

    /// Keeps the state of a task that a session waits for.
    pub fn hold(&mut self, waiter: Waiter, held: Held) {
        if let Some(entry) = self.0.get_mut(waiter.session) {
            entry.held.insert(waiter.key, held);
        }
    }

    /// Takes the outcome of a session's dial.
    pub fn dialled(&mut self, waiter: Waiter, dialled: Dialled, counting: Counting) -> Arrival {
        let Some(entry) = self.0.get_mut(waiter.session) else { return Arrival::Dialled(dialled.map(drop)) };
        if let Some(Held::Dial(_, since)) = entry.held.remove(waiter.key) {
            counting.dialled(since.elapsed());
        }
        Arrival::Dialled(dialled.map(|server| drop(entry.held.insert(waiter.key, Held::Server(server)))))
    }

    /// Keeps a connection to a port until it is known whether it is the peer's, in the place of an earlier one. `None`
    /// closes the connection of a stranger.
    pub fn keep_peer(&mut self, waiter: Waiter, peer: Option<OwnedFd>) {
        if let Some(entry) = self.0.get_mut(waiter.session)
            && let Some(Held::Port(_, come)) = entry.held.get_mut(waiter.key)
        {
            *come = peer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tens of thousands of relays may exist at once, most of them idle. An entry has three cache lines: the client's
    /// origin and the state of keepalive took it beyond 160 bytes.
    #[test]
    fn an_entry_stays_small() {
        assert!(size_of::<Entry>() <= 192, "{}", size_of::<Entry>());
    }
}
