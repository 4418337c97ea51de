//! The sessions, each with what the monitor holds for it, and what sessions ask of other rooms.

mod association;
mod dialling;
mod lookup;
mod relay;

use crate::monitor::awaited::Awaited;
use crate::monitor::base::Base;
use crate::monitor::bind_port::Wanted;
use crate::monitor::dial::Caller;
use crate::net::connection::{Answers, before_relay, end, inspect};
use crate::net::dial::Dial;
use crate::net::sockets::own_address;
use sockd_common::message;
use sockd_common::message::auth::Credentials;
use sockd_common::message::session::{Handshake, ToSession};
use sockd_common::message::upstream::NextReply;
use sockd_session::checks::Login;
use sockd_session::limits::lines::Line;
use sockd_session::log::Times;
use sockd_session::pool::Verified;
use sockd_session::pool::choice::Settled;
use sockd_session::waits::ByWaitKey;
use sockd_session::{
    Action, Arrival, CheckKey, DialKey, Event, Host, Limit, LookupKey, Moved, PortKey, QueryKey, Record,
    Session, SessionKey, Slots, Task, Violation, WaitKey, Waiter, WorkerKey, seconds,
};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The sessions that there are.
#[derive(Debug, Default)]
pub struct Sessions(Slots<Entry, 's'>);

/// A session with what the monitor holds for it.
#[derive(Debug)]
struct Entry {
    session: Session,
    /// The address and the port that the client connected to: a [`SocketAddr`] takes half as much again.
    proxy: (IpAddr, u16),
    /// The session worker; a session id is honoured only on its channel.
    worker: WorkerKey,
    /// Its number among all sessions.
    number: u64,
    times: Times,
    held: ByWaitKey<Held>,
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
    /// The kernel asks the server whether it is still there.
    is_kept_alive: bool,
}

/// What the monitor holds open or has under way for what a session waits for. A key may be of something that is over
/// already: whoever is asked to give it up looks whose it is.
#[derive(Debug)]
enum Held {
    /// A user and a password that nobody has been asked about.
    Credentials(Credentials),
    /// The check of a password.
    Check(CheckKey),
    /// A connection on its way, since then.
    Dial(DialKey, Instant),
    /// A server or next server, connected.
    Server(OwnedFd),
    /// The port of a BIND.
    Port(PortKey),
    /// The same with who has come to it, until it is known whether that is the peer.
    PortWithPeer(PortKey, OwnedFd),
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
    fn host(&self) -> Host {
        Host::of(self.session.client().ip())
    }

    /// Something has come. What was asked is answered, and there is nothing to give up any more.
    fn has_come(&mut self, key: WaitKey, arrival: &Arrival) {
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

/// Their passwords.
impl Entry {
    /// Has the password checked that the worker has said. A user that is verified by a worker of others may be another one's
    /// to use.
    fn verify(&mut self, waiter: Waiter, awaited: &mut Awaited, base: &Base) -> Result<CheckKey, Login> {
        match self.held.remove(waiter.key) {
            _ if base.knows_user_too_late(self.worker) => Err(Login::NotAlone),
            Some(Held::Credentials(credentials)) => Ok(awaited.auth.check(waiter, self.host(), credentials)),
            _ => Err(Login::Unchecked),
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

    /// A session is over.
    pub fn remove(&mut self, key: SessionKey, awaited: &mut Awaited, base: &mut Base) {
        self.give_up_all(key, awaited, base);
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
        if let Event::Arrived(wait, arrival) = &event {
            entry.has_come(*wait, arrival);
        }
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

    /// Keeps who has come to a port until it is known whether that is the peer.
    pub fn accepted(&mut self, waiter: Waiter, server: OwnedFd) {
        let Some(entry) = self.0.get_mut(waiter.session) else { return };
        if let Some(Held::Port(port) | Held::PortWithPeer(port, _)) = entry.held.remove(waiter.key) {
            entry.held.insert(waiter.key, Held::PortWithPeer(port, server));
        }
    }

    /// Who has come to a port is not the peer: the connection closes.
    pub fn close_stranger(&mut self, waiter: Waiter) {
        let Some(entry) = self.0.get_mut(waiter.session) else { return };
        match entry.held.remove(waiter.key) {
            Some(Held::PortWithPeer(port, _)) => drop(entry.held.insert(waiter.key, Held::Port(port))),
            other => drop(other.map(|held| entry.held.insert(waiter.key, held))),
        }
    }

    /// Gives up what has been begun for one wait.
    pub fn give_up(&mut self, waiter: Waiter, awaited: &mut Awaited, base: &mut Base) {
        let held = self.0.get_mut(waiter.session).and_then(|entry| entry.held.remove(waiter.key));
        held.into_iter().for_each(|held| release(held, waiter, awaited, base));
    }

    /// Gives up everything that has been begun.
    pub fn give_up_all(&mut self, session: SessionKey, awaited: &mut Awaited, base: &mut Base) {
        let Some(entry) = self.0.get_mut(session) else { return };
        for (key, held) in entry.held.take() {
            release(held, Waiter { session, key }, awaited, base);
        }
    }

    /// Gives the worker the server that it relays to, as far as the line allows; `bound` is for the reply.
    pub fn hand_off(
        &mut self,
        waiter: Waiter,
        bound: Option<SocketAddr>,
        line: Option<Box<Line>>,
        awaited: &mut Awaited,
        base: &mut Base,
    ) {
        let Some(entry) = self.0.get_mut(waiter.session) else { return };
        let (worker, id) = (entry.worker, waiter.session.id());
        let (server, before) = match entry.held.remove(waiter.key) {
            Some(Held::Server(server)) => (Some(server), None),
            Some(Held::Upstream(_, server, answers)) => {
                let before = before_relay(&server, &answers);
                (Some(server), Some(Box::new(before)))
            }
            Some(Held::PortWithPeer(port, server)) => {
                release(Held::Port(port), waiter, awaited, base);
                (Some(server), None)
            }
            _ => (None, None),
        };
        if let Some(server) = server.map(Rc::new) {
            let bound = bound.unwrap_or_else(|| own_address(&server));
            entry.relay = Some(Relay { server: Rc::clone(&server), before, is_kept_alive: false });
            self.limit_first(waiter.session, line, base);
            base.tell(worker, &ToSession::Relay { id, bound }, Some(server));
        }
        self.give_up_all(waiter.session, awaited, base);
    }
}

/// What they wait for in vain.
impl Sessions {
    /// A question to an identd whose worker has not come by the deadline has not been asked: nobody was silent.
    pub fn unasked(&self, session: SessionKey, awaited: &mut Awaited, base: &mut Base) -> Option<Event> {
        let mut held = self.0.get(session)?.held.iter();
        let (key, query) = held.find_map(|(key, held)| match held {
            Held::Query(query) => Some((key, *query)),
            _ => None,
        })?;
        let arrival = awaited.askers.unasked(query, Waiter { session, key }, base)?;
        Some(Event::Arrived(key, arrival))
    }
}

/// Nothing waits for it any longer.
fn release(held: Held, waiter: Waiter, awaited: &mut Awaited, base: &mut Base) {
    match held {
        Held::Dial(dial, _) => base.cancel_dial(dial, Caller::Session(waiter)),
        Held::Port(port) | Held::PortWithPeer(port, _) => awaited.bind_ports.close(port, waiter, base),
        Held::Lookup(lookup) => awaited.resolver.cancel(lookup, waiter, base),
        Held::Query(query) | Held::Upstream(query, ..) => awaited.askers.cancel(query, waiter, base),
        Held::Check(check) => awaited.auth.cancel(check, waiter, base),
        Held::Ending(serial) => drop(awaited.handovers.remove(&serial)),
        Held::Server(_) | Held::Credentials(_) => {}
    }
}

/// What they ask for. Gives what has come of it where that is known at once.
impl Sessions {
    /// Begins something that a session waits for.
    pub fn begin_task(
        &mut self,
        waiter: Waiter,
        task: Task,
        awaited: &mut Awaited,
        base: &mut Base,
    ) -> Option<Arrival> {
        if let Task::Resolve(_) = task {
            self.make_room(waiter.session, awaited, base);
        }
        let entry = self.0.get_mut(waiter.session)?;
        let begun = match task {
            Task::Verify => match entry.verify(waiter, awaited, base) {
                Ok(check) => Ok(Held::Check(check)),
                Err(login) => Err(Arrival::LoggedIn(login)),
            },
            Task::Resolve(query) => {
                awaited.resolver.look_up(waiter, entry.host(), query, base).map(Held::Lookup)
            }
            // A user that is vouched for here may be another one's to use.
            Task::AskIdent if base.knows_user_too_late(entry.worker) => {
                return Some(Arrival::NoRoom(Limit::NOT_ALONE));
            }
            Task::AskIdent => {
                let client = entry.session.client();
                awaited.askers.ask_ident(waiter, client, entry.proxy.into(), base).map(Held::Query)
            }
            Task::Dial { to, from, reserved } => {
                return self.dial(waiter, Dial { to, from, reserved, due: None }, base);
            }
            Task::Listen { towards, at, reserved } => {
                let (host, proxy) = (entry.host(), entry.proxy.0);
                let wanted = Wanted { waiter, host, proxy, towards, at, reserved };
                match awaited.bind_ports.open(wanted, base) {
                    Ok((port, address)) => {
                        entry.held.insert(waiter.key, Held::Port(port));
                        Err(Arrival::Listening(Ok(address)))
                    }
                    Err(arrival) => Err(arrival),
                }
            }
            Task::AskUpstream(next, request) => {
                let Some(Held::Server(server)) = entry.held.remove(waiter.key) else { return None };
                let (answers, asked) = (Answers::of_version(request.version), (next, *request));
                let begun = awaited.askers.ask_upstream(waiter, entry.host(), &server, asked, base);
                begun.map(|query| Held::Upstream(query, server, answers))
            }
            Task::Count(line) => {
                return Some(match base.lines.enter(waiter.session, *line) {
                    true => Arrival::Counted,
                    false => Arrival::NoRoom(Limit::LINE),
                });
            }
            Task::Settle(user, handshake) => {
                return self.settle(waiter, &user, handshake, awaited, base);
            }
            Task::Classify(..) => return None,
        };
        begun.map(|held| drop(entry.held.insert(waiter.key, held))).err()
    }

    /// Where all lookups are taken, one that a session of another host has waited long enough for gives way.
    fn make_room(&mut self, session: SessionKey, awaited: &mut Awaited, base: &mut Base) {
        let Some(host) = self.0.get(session).map(Entry::host) else { return };
        if let Some(waited) = awaited.resolver.make_room(host, base) {
            base.set_deadline(waited.session, Some(Duration::ZERO));
        }
    }
}

/// Their workers, with `isolation: user`.
impl Sessions {
    /// The user is known. Where that one has another worker, the one that the client is with is ended, and the other one
    /// is told of the client when that has been reaped.
    fn settle(
        &mut self,
        waiter: Waiter,
        user: &Verified,
        handshake: Handshake,
        awaited: &mut Awaited,
        base: &mut Base,
    ) -> Option<Arrival> {
        let entry = self.0.get_mut(waiter.session)?;
        let (worker, pool) = (entry.worker, &mut base.workers.pool);
        let to = match pool.settle(worker, entry.host(), user, &base.config.settings) {
            Settled::Stays => return Some(Arrival::Settled),
            Settled::NotAlone => return Some(Arrival::NoRoom(Limit::NOT_ALONE)),
            Settled::HandOver(to) => to,
        };
        let serial = pool.workers.get(worker)?.serial;
        pool.take_over(to);
        entry.worker = to;
        entry.held.insert(waiter.key, Held::Ending(serial));
        awaited.handovers.insert(serial, (waiter, handshake));
        base.workers.retire(worker, true, None, &mut base.reactor);
        None
    }

    /// The worker of its user gets a client that another one has had, and that has ended.
    pub fn go_on(&self, key: SessionKey, handshake: Handshake, base: &mut Base) {
        let Some((entry, client)) = self.0.get(key).and_then(|entry| Some((entry, entry.client.clone()?)))
        else {
            return;
        };
        base.tell(entry.worker, &ToSession::Serve { id: key.id(), handshake }, Some(client));
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
