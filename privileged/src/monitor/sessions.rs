//! The monitor carries out what sessions ask for: accepts, hands over, dials, listens, removes.

use crate::monitor::Monitor;
use crate::monitor::bind_port::Wanted;
use crate::monitor::dial::{Begun, Caller, Dial, Dialled};
use crate::monitor::listen;
use crate::monitor::pool::Line;
use crate::monitor::reactor::{EventFlags, Token};
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags, accept_with, acceptfrom_with, getsockname};
use sockd_common::message::session::ToSession;
use sockd_common::message::upstream::NextReply;
use sockd_common::message::{Id, Role};
use sockd_policy::guard::{AddressKind, embedded};
use sockd_session::client_host::Host;
use sockd_session::hook_values::Values;
use sockd_session::keys::{DialKey, LookupKey, PortKey, QueryKey, SessionKey, WorkerKey};
use sockd_session::log::{Level, classic};
use sockd_session::session::{Action, Candidate, Event, Phase, Session};
use sockd_session::settings::seconds;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Connections accepted from one listener before others have their turn.
const ACCEPTS_A_TURN: usize = 256;

/// New clients wait this long in the backlog when the system has no room for them.
const PAUSE: Duration = Duration::from_millis(100);

/// A session with what the monitor holds for it.
#[derive(Debug)]
pub(crate) struct Visit {
    pub session: Session,
    /// The address that the client connected to.
    pub proxy: SocketAddr,
    /// The session worker; a session id is honoured only on its channel.
    pub worker: WorkerKey,
    /// Its number among all sessions.
    pub number: u64,
    pub deadline: Option<Instant>,
    pub held: Held,
}

/// What the monitor holds open or has under way for a session.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// A connection on its way.
    pub dial: Option<DialKey>,
    /// The port of a BIND.
    pub port: Option<PortKey>,
    /// A server or next server, connected; the worker gets it when the request is granted.
    pub server: Option<OwnedFd>,
    /// A lookup.
    pub lookup: Option<LookupKey>,
    /// A query of the client's identd or of a next server.
    pub query: Option<QueryKey>,
}

impl Visit {
    /// Whose session it is.
    pub(crate) fn host(&self) -> Host {
        Host::of(self.session.client().ip())
    }
}

/// Accepting clients.
impl Monitor {
    pub(crate) fn accept(&mut self, place: u32) {
        for _ in 0..ACCEPTS_A_TURN {
            let Some(listener) = self.listeners.get(place as usize) else { return };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match acceptfrom_with(&listener.socket, flags) {
                Ok((client, address)) => {
                    let at = listener.address;
                    self.welcome(client, address, at);
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::MFILE | Errno::NFILE) => return self.turn_one_away(place),
                Err(error @ (Errno::NOBUFS | Errno::NOMEM)) => return self.pause(&error.to_string()),
                // The client is gone again, or the network said something about another connection (accept(2)).
                Err(_) => {}
            }
        }
    }

    /// Without descriptors a client would wait in the backlog, and the listener would stay readable. The reserve
    /// makes room for closing one connection; then everything pauses.
    fn turn_one_away(&mut self, place: u32) {
        self.reserve = None;
        if let Some(listener) = self.listeners.get(place as usize) {
            drop(accept_with(&listener.socket, SocketFlags::CLOEXEC));
        }
        self.reserve = self.base.reactor.reserve_descriptor();
        self.pause("no descriptors left");
    }

    fn pause(&mut self, why: &str) {
        self.base.log.quiet_err(&format!("clients are turned away: {why}"));
        self.pause = Instant::now().checked_add(PAUSE);
        self.watch_listeners(EventFlags::empty());
    }

    pub(crate) fn resume(&mut self) {
        self.pause = None;
        self.reserve = self.reserve.take().or_else(|| self.base.reactor.reserve_descriptor());
        self.watch_listeners(EventFlags::IN);
    }

    /// Changing what is there takes no memory, so it does not fail where that is short.
    fn watch_listeners(&self, flags: EventFlags) {
        for (place, listener) in (0u32..).zip(&self.listeners) {
            let _ = self.base.reactor.watch_for(&listener.socket, Token::Listener(place), flags);
        }
    }

    /// A client has come; `listener` is where.
    pub(crate) fn welcome(&mut self, client: OwnedFd, address: Option<SocketAddrAny>, listener: SocketAddr) {
        let Some(address) = address.and_then(|address| SocketAddr::try_from(address).ok()) else { return };
        let address = SocketAddr::new(sockd_policy::canonical(address.ip()), address.port());
        let host = Host::of(address.ip());
        let settings = &self.base.config.settings;
        if let Some(why) = self.rate_limiter.refuses(host, settings, Instant::now()) {
            let text = format!("clients are turned away: {why}, by {host}");
            return self.base.log.quiet_err(&text);
        }
        let all = u32::try_from(self.visits.len()).unwrap_or(u32::MAX);
        if all >= settings.max_sessions {
            return self.base.log.quiet_err("clients are turned away: max_sessions reached");
        }
        if self.base.counts.sessions(host) >= settings.max_sessions_per_host.into() {
            let text = format!("clients are turned away: max_sessions_per_host reached by {host}");
            return self.base.log.quiet_err(&text);
        }
        let Some(worker) = self.session_worker(host) else {
            return self.base.log.quiet_err("clients are turned away: no worker");
        };
        if self.base.workers.worker(worker).is_some_and(|worker| worker.is_full()) {
            let text = format!("clients are turned away: the worker does not keep up with {host}");
            return self.base.log.quiet_err(&text);
        }
        let proxy = match listener.ip().is_unspecified() {
            true => {
                getsockname(&client).ok().and_then(|own| SocketAddr::try_from(own).ok()).unwrap_or(listener)
            }
            false => listener,
        };
        self.begin(client, address, proxy, host, worker);
    }

    fn session_worker(&mut self, host: Host) -> Option<WorkerKey> {
        let settings = &self.base.config.settings;
        let chosen = self.base.workers.choose(host, settings);
        if let Some(idle) = chosen.and_then(|chosen| self.base.workers.in_the_way(host, chosen, settings)) {
            self.dismiss(idle, true, None);
            return self.spawn(Role::Session);
        }
        chosen.or_else(|| self.spawn(Role::Session))
    }

    fn begin(
        &mut self,
        client: OwnedFd,
        address: SocketAddr,
        proxy: SocketAddr,
        host: Host,
        worker: WorkerKey,
    ) {
        let number = self.base.counts.begin(host, self.visits.next_key());
        let session = Session::new(address);
        let visit = Visit { session, proxy, worker, number, deadline: None, held: Held::default() };
        let index = self.visits.insert(visit);
        self.base.workers.assign(worker, host);
        self.set_deadline(
            index,
            Some(sockd_session::settings::seconds(self.base.config.settings.request_limit)),
        );
        self.tell(worker, ToSession::Serve { id: index.id() }, Some(client));
        if let Some((oldest, limit)) = self.base.counts.oldest_beyond(host, &self.base.config.settings) {
            self.base.log.quiet_err(&format!("unfinished requests are closed: {limit} by {host}"));
            self.happen(oldest, Event::Stop);
        }
    }
}

/// Events of sessions and what follows from them.
impl Monitor {
    /// A worker speaks of a session: it must be one of its own.
    pub(crate) fn visit_event(&mut self, worker: WorkerKey, id: Id, event: Event) {
        match self.visits.get(id.into()) {
            Some(visit) if visit.worker == worker => self.happen(id.into(), event),
            _ => self.violation(worker, "a session that is not its own"),
        }
    }

    /// Takes an event through the session and carries out what follows, until nothing does.
    pub(crate) fn happen(&mut self, index: SessionKey, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Some(visit) = self.visits.get_mut(index) else { return };
            if matches!(event, Event::Replied(reply) if !matches!(reply, NextReply::Granted(_))) {
                // A next server that does not carry the request out is of no further use.
                visit.held.server = None;
            }
            let was_requesting = visit.session.phase() == Phase::Requesting;
            let actions = visit.session.on(event, &self.base.config);
            if was_requesting && visit.session.phase() != Phase::Requesting {
                self.base.counts.finished(visit.host(), visit.number);
            }
            for action in actions {
                events.extend(self.carry_out(index, action));
            }
        }
    }

    fn carry_out(&mut self, index: SessionKey, action: Action) -> Option<Event> {
        let (worker, id) = (self.visits.get(index)?.worker, index.id());
        match action {
            Action::Record(record) => {
                for (level, line) in classic::lines(&record) {
                    self.write_line(index, level, &line);
                }
            }
            Action::Deadline(limit) => self.set_deadline(index, limit),
            Action::Classify(addresses, port) => {
                return Some(Event::Classified(self.classify(&addresses, port)));
            }
            Action::Resolve(query) => return self.look_up(index, query),
            Action::AskIdent => return self.ask_ident(index),
            Action::Dial { to, from, reserved } => return self.dial(index, to, from, reserved),
            Action::Listen { towards, at, reserved } => {
                return self.listen(index, towards, at, reserved);
            }
            Action::Announce(address) => self.tell(worker, ToSession::Listening { id, address }, None),
            Action::CloseStranger => drop(self.take_server(index)),
            Action::Run(template, values) => self.run_command(&template, *values),
            Action::AskUpstream(next, request) => return self.ask_upstream(index, next, *request),
            Action::Remember { next, reachable } => self.remember(next, reachable),
            Action::HandOff { bound } => {
                let server = self.take_server(index);
                self.cancel_pending(index);
                if let Some(server) = server {
                    self.tell(worker, ToSession::Relay { id, bound }, Some(server));
                }
            }
            Action::Refuse(why) => {
                self.cancel_pending(index);
                self.tell(worker, ToSession::Refuse { id, why }, None);
            }
            Action::End => {
                self.cancel_pending(index);
                self.tell(worker, ToSession::End { id }, None);
            }
            Action::Remove => self.remove_session(index),
            Action::Violation(what) => self.violation(worker, what),
        }
        None
    }

    /// Every line about a relay; those about requests that are not granted as far as their limit goes.
    fn write_line(&mut self, index: SessionKey, level: Level, line: &str) {
        let Some(visit) = self.visits.get(index) else { return };
        let limit = self.base.config.settings.max_refusals_logged;
        if visit.session.is_relaying() || self.base.log.admits_refusal(visit.host(), limit) {
            self.base.log.line(level, line);
        }
    }

    /// Passes a command on to the hook process; nobody waits for it.
    fn run_command(&mut self, template: &str, values: Values) {
        let passed = match &self.hook {
            Some(hook) => hook.run(template, values),
            // It has ended, or commands were off when the daemon was started.
            None => Err("a rule command is not run: there is no command runner until a restart"),
        };
        if let Err(line) = passed {
            self.base.log.quiet_err(line);
        }
    }

    /// What the hook process tells.
    pub(crate) fn hook_spoke(&mut self) {
        while let Some(hook) = &self.hook {
            match hook.news() {
                Ok(None) => return,
                Ok(Some(line)) => self.base.log.quiet_err(&line),
                Err(line) => {
                    self.hook = None;
                    self.base.log.err(line);
                }
            }
        }
    }

    /// Sends a session worker a message.
    fn tell(&mut self, worker: WorkerKey, message: ToSession, descriptor: Option<OwnedFd>) {
        let Some(found) = self.base.workers.worker(worker) else { return };
        let Line::Session(link) = &mut found.line else { return };
        // The end of a worker is noticed, and told to all its sessions, where its channel is read.
        if link.send(message, descriptor) && link.is_stuck() {
            self.flush_worker(worker);
        }
    }

    fn classify(&mut self, addresses: &[IpAddr], port: u16) -> Vec<Candidate> {
        let candidates = addresses.iter().map(|address| {
            let (kind, at) = (self.kind_of(*address), SocketAddr::new(*address, port));
            let local = kind == AddressKind::Local;
            Candidate {
                address: *address,
                kind,
                own_listener: listen::is_own(&self.listeners, *address, port, local)
                    || self.only_client_of == Some(at),
                unreachable: self.unreachable.contains(at, Instant::now()),
            }
        });
        candidates.collect()
    }

    fn remember(&mut self, next: SocketAddr, reachable: bool) {
        if reachable {
            self.unreachable.remove(next);
        } else {
            let time = seconds(self.base.config.settings.upstream_retry);
            self.unreachable.insert(next, Instant::now(), time);
        }
    }

    /// An IPv6 address that stands for an IPv4 one (NAT64, 6to4) is what that one is.
    fn kind_of(&mut self, address: IpAddr) -> AddressKind {
        match (self.kinds.kind_of(address), embedded(address)) {
            (AddressKind::Unicast, Some(inner)) => self.kinds.kind_of(inner.into()),
            (kind, _) => kind,
        }
    }

    fn dial(
        &mut self,
        index: SessionKey,
        to: SocketAddr,
        from: Option<IpAddr>,
        reserved: bool,
    ) -> Option<Event> {
        let visit = self.visits.get_mut(index)?;
        let dial = Dial { to, from, reserved, due: None };
        let begun = self.base.dials.begin(dial, Caller::Session(index), &mut self.base.reactor);
        Some(Event::Dialled(match begun {
            Ok(Begun::Pending(key)) => {
                visit.held.dial = Some(key);
                return None;
            }
            Ok(Begun::Connected(server)) => {
                visit.held.server = Some(server);
                Ok(())
            }
            Err(failure) => Err(failure),
        }))
    }

    fn listen(
        &mut self,
        index: SessionKey,
        towards: IpAddr,
        at: Option<IpAddr>,
        reserved: bool,
    ) -> Option<Event> {
        let visit = self.visits.get_mut(index)?;
        let (host, proxy) = (visit.host(), visit.proxy.ip());
        let wanted = Wanted { session: index, host, proxy, towards, at, reserved };
        Some(match self.bind_ports.open(wanted, &mut self.base) {
            Ok((port, address)) => {
                visit.held.port = Some(port);
                Event::Listening(Ok(address))
            }
            Err(event) => event,
        })
    }

    /// It is known what became of a session's connection.
    pub(crate) fn session_dialled(&mut self, index: SessionKey, dialled: Dialled) {
        let Some(visit) = self.visits.get_mut(index) else { return };
        let dialled = dialled.map(|server| visit.held.server = Some(server));
        self.happen(index, Event::Dialled(dialled));
    }

    /// Somebody has come to the port of a BIND.
    pub(crate) fn port_ready(&mut self, key: PortKey) {
        let Some((index, accepted)) = self.bind_ports.accept(key, &mut self.base) else { return };
        let Some(visit) = self.visits.get_mut(index) else { return };
        match accepted {
            Ok((server, peer)) => {
                visit.held.server = Some(server);
                self.happen(index, Event::Accepted(peer));
            }
            Err(failure) => self.happen(index, Event::Listening(Err(failure))),
        }
    }

    fn take_server(&mut self, index: SessionKey) -> Option<OwnedFd> {
        self.visits.get_mut(index)?.held.server.take()
    }

    /// Nothing that is held or under way is of use any longer.
    fn cancel_pending(&mut self, index: SessionKey) {
        let Some(visit) = self.visits.get_mut(index) else { return };
        let Held { dial, port, lookup, query, server } = std::mem::take(&mut visit.held);
        drop(server);
        if let Some(dial) = dial {
            self.base.dials.cancel(dial, Caller::Session(index), &mut self.base.reactor);
        }
        if let Some(port) = port {
            self.bind_ports.close(port, index, &mut self.base);
        }
        if let Some(lookup) = lookup {
            self.cancel_lookup(lookup, index);
        }
        if let Some(query) = query {
            self.cancel_query(query, index);
        }
    }

    fn remove_session(&mut self, index: SessionKey) {
        self.cancel_pending(index);
        self.set_deadline(index, None);
        if let Some(visit) = self.visits.remove(index) {
            self.base.counts.end(visit.host(), visit.number);
            self.base.workers.release(visit.worker, &self.base.config.settings);
        }
    }

    pub(crate) fn set_deadline(&mut self, index: SessionKey, limit: Option<Duration>) {
        let Some(visit) = self.visits.get_mut(index) else { return };
        let due = limit.and_then(|limit| Instant::now().checked_add(limit));
        self.base.reactor.set_deadline(Token::Session(index), &mut visit.deadline, due);
    }

    pub(crate) fn visit_overdue(&mut self, index: SessionKey) {
        if let Some(visit) = self.visits.get_mut(index) {
            visit.deadline = None;
            // A late answer must not be taken for one to what is asked next, here or by the next session with
            // this number.
            self.cancel_pending(index);
            self.happen(index, Event::Deadline);
        }
    }

    /// A session worker is gone, and with it the sockets that it had.
    pub(crate) fn lose_visits(&mut self, worker: WorkerKey) {
        for index in self.visits.keys_where(|visit| visit.worker == worker) {
            self.happen(index, Event::WorkerLost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tens of thousands of relays may be there at once, most of them idle.
    #[test]
    fn a_visit_stays_small() {
        assert!(size_of::<Visit>() <= 112, "{}", size_of::<Visit>());
    }
}
