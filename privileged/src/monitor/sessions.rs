//! The sessions, each with what the monitor holds for it, and what sessions ask of other rooms.

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

/// The sessions that there are.
#[derive(Debug, Default)]
pub struct Sessions(Slots<Entry, 's'>);

/// A session with what the monitor holds for it.
#[derive(Debug)]
pub struct Entry {
    /// Its story.
    pub session: Session,
    /// The address and the port that the client connected to: a [`SocketAddr`] takes half as much again.
    pub proxy: (IpAddr, u16),
    /// The session worker; a session id is honoured only on its channel.
    pub worker: WorkerKey,
    /// Its number among all sessions.
    number: u64,
    times: Times,
    /// What it waits for.
    pub held: ByWaitKey<Held>,
    /// The monitor's own descriptor of the connection to the client, until that is closed.
    pub client: Option<Rc<OwnedFd>>,
    /// What it relays to.
    pub relay: Option<Relay>,
}

/// What the monitor keeps of the server while its worker relays.
#[derive(Debug)]
pub struct Relay {
    /// The monitor's own descriptor of the connection to the server.
    pub server: Rc<OwnedFd>,
    /// What a next server was told and has replied before the relay began.
    pub before: Option<Box<Moved>>,
    /// The kernel asks the server whether it is still there.
    pub is_kept_alive: bool,
}

/// What the monitor holds open or has under way for what a session waits for. A key may be of something that is over
/// already: whoever is asked to give it up looks whose it is.
#[derive(Debug)]
pub enum Held {
    /// A user and a password that nobody has been asked about.
    Credentials(Credentials),
    /// The check of a password.
    Check(CheckKey),
    /// A connection on its way, since then.
    Dial(DialKey, Instant),
    /// A server or next server, connected.
    Server(OwnedFd),
    /// The port of a BIND, with who has come to it until it is known whether that is the peer.
    Port(PortKey, Option<OwnedFd>),
    /// A lookup.
    Lookup(LookupKey),
    /// A query of the client's identd.
    Query(QueryKey),
    /// The end of the worker with this number, which has had the client until now.
    Ending(u32),
    /// A query of the next server to which this is the connection, with its answers so far.
    Upstream(QueryKey, OwnedFd, Answers),
}

impl Entry {
    /// The client's host.
    pub fn host(&self) -> Host {
        Host::of(self.session.client().ip())
    }

    /// Something has come. What was asked is answered, and there is nothing to give up any more.
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

/// Their beginning and their end.
impl Sessions {
    /// The session of a client that has connected to `proxy` begins, and this worker serves it.
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

    /// A session is over, and waits for nothing.
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

/// What happens to them.
impl Sessions {
    /// Takes one event in; gives what is to be done.
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

    /// Writes every line about a relay, and those about requests that are not granted as far as their limit goes.
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

    /// A worker has read a user and a password. They are kept here until it is known whether they may be checked.
    pub fn introduced(&mut self, key: SessionKey, credentials: Credentials) -> Result<Event, Violation> {
        let user = message::UserId::new(credentials.user.as_bytes()).unwrap_or_default();
        let entry = self.0.get_mut(key).filter(|entry| entry.held.get(WaitKey::LOGIN).is_none());
        let entry = entry.ok_or(Violation("a password out of turn"))?;
        entry.held.insert(WaitKey::LOGIN, Held::Credentials(credentials));
        Ok(Event::Introduced(user))
    }

    /// Keeps what a session waits for.
    pub fn hold(&mut self, waiter: Waiter, held: Held) {
        if let Some(entry) = self.0.get_mut(waiter.session) {
            entry.held.insert(waiter.key, held);
        }
    }

    /// It is known what became of a session's connection.
    pub fn dialled(&mut self, waiter: Waiter, dialled: Dialled, counting: Counting) -> Arrival {
        let Some(entry) = self.0.get_mut(waiter.session) else { return Arrival::Dialled(dialled.map(drop)) };
        if let Some(Held::Dial(_, since)) = entry.held.remove(waiter.key) {
            counting.dialled(since.elapsed());
        }
        Arrival::Dialled(dialled.map(|server| drop(entry.held.insert(waiter.key, Held::Server(server)))))
    }

    /// Keeps who has come to a port until it is known whether that is the peer, in the place of who came before. For
    /// nobody, the connection to a stranger closes.
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

    /// Tens of thousands of relays may be there at once, most of them idle. Three cache lines: how a client has come, and
    /// whether keepalive has begun, took it beyond 160 bytes.
    #[test]
    fn an_entry_stays_small() {
        assert!(size_of::<Entry>() <= 192, "{}", size_of::<Entry>());
    }
}
