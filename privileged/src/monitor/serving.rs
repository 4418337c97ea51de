//! Serving: clients, the sessions that begin with them, and the workers that serve them. What happens to a session is
//! taken to it here, and what it asks for is performed.

use crate::hook::handle::Hook;
use crate::loader::system_files::Copies;
use crate::loader::users::Table;
use crate::monitor::associations::Associations;
use crate::monitor::awaited::Awaited;
use crate::monitor::base::{Base, Heard, News};
use crate::monitor::clients::{ACCEPTS_PER_TURN, Client, Clients};
use crate::monitor::control::Control;
use crate::monitor::dial::Caller;
use crate::monitor::pool::Due;
use crate::monitor::proxy_header::Headers;
use crate::monitor::reactor::{EventFlags, Token};
use crate::monitor::roles::FromWorker;
use crate::monitor::sessions::Sessions;
use crate::monitor::status::Status;
use crate::net::dial::Dialled;
use crate::net::routing::AddressKinds;
use crate::net::sockets;
use crate::spawner::protocol::Ending;
use sockd_common::channel::Received;
use sockd_common::counters::DeathCause;
use sockd_common::message::auth::FromAuth;
use sockd_common::message::datagram::FromDatagram;
use sockd_common::message::ident::FromIdent;
use sockd_common::message::resolver::FromResolver;
use sockd_common::message::session::{FromSession, Handshake, Methods, ToSession};
use sockd_common::message::upstream::FromUpstream;
use sockd_common::message::{LockdownReport, Role};
use sockd_policy::guard::AddressKind;
use sockd_session::client_host::Host;
use sockd_session::flow::Flow;
use sockd_session::keys::{HeaderKey, PortKey, SessionKey, WorkerKey};
use sockd_session::limits::counts::Resource;
use sockd_session::limits::limit::{Limit, Met};
use sockd_session::pool::Expired;
use sockd_session::pool::choice::Choice;
use sockd_session::pool::endings::Lost;
use sockd_session::rtnetlink::Route;
use sockd_session::sandbox;
use sockd_session::session::{Action, Arrival, Candidate, Event, FlowEvent, Origin, Session, Task};
use sockd_session::settings::{Isolation, seconds};
use sockd_session::sweep::Sweep;
use sockd_session::unreachable::Unreachable;
use sockd_session::violation::Violation;
use sockd_session::waits::Waiter;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

/// Messages taken from one worker before the others have their turn.
const READS_PER_TURN: usize = 256;

/// Turns of reading after which the channel of a dead worker is empty: by the kernel's default for socket buffers it
/// holds fewer messages.
const DRAIN_READS: usize = 8;

/// Who is served, by whom, and what for.
#[derive(Debug)]
pub struct Serving {
    /// What the rooms share.
    pub base: Base,
    /// Where clients come from.
    pub clients: Clients,
    /// Those at listeners for balancers of whom it is not known yet.
    pub headers: Headers,
    /// The sessions that there are.
    pub sessions: Sessions,
    /// What they wait for.
    pub awaited: Awaited,
    /// Their associations.
    pub associations: Associations,
    /// Which relay is looked at next.
    pub sweep: Sweep,
    /// What addresses are to this host.
    pub routing: AddressKinds,
    /// Next servers that are tried last.
    pub unreachable: Unreachable,
    /// Who runs the commands of rules.
    pub hook: Hook,
    /// Who may look.
    pub status: Status,
    /// Who may give orders.
    pub control: Control,
    /// Clients that come begin with workers that serve nobody else, whether they are asked for a password or not.
    begin_alone: bool,
    /// Empty; memory for the events that follow from one.
    further: VecDeque<Event>,
}

/// As the loop sees it.
impl Serving {
    /// Watches what there is to be watched, and starts the resolver.
    pub fn new(base: Base, clients: Clients, hook: Hook, copies: Copies) -> rustix::io::Result<Self> {
        let mut serving = Self {
            begin_alone: base.config.begins_alone(),
            base,
            clients,
            headers: Headers::default(),
            sessions: Sessions::default(),
            associations: Associations::default(),
            awaited: Awaited::new(copies),
            sweep: Sweep::default(),
            routing: AddressKinds::new()?,
            unreachable: Unreachable::default(),
            hook,
            status: Status::default(),
            control: Control::default(),
            further: VecDeque::new(),
        };
        let reactor = &serving.base.reactor;
        reactor.watch(serving.base.workers.spawner(), Token::Spawner, EventFlags::IN)?;
        reactor.watch(serving.routing.changes(), Token::Routes, EventFlags::IN)?;
        if let Some(channel) = serving.hook.channel() {
            reactor.watch(channel, Token::Hook, EventFlags::IN)?;
        }
        serving.clients.watch(reactor)?;
        serving.clients.keep_alive(serving.base.config.settings.keepalive);
        serving.awaited.resolver.start(&mut serving.base);
        Ok(serving)
    }

    /// There are other users, or users at all.
    pub fn take_users(&mut self, Table { memory, users }: Table) {
        self.awaited.auth.take_table(memory, users, &mut self.base);
    }

    /// Something is ready. The error is why nobody can be served any longer.
    pub fn ready(&mut self, token: Token) -> Result<(), String> {
        match token {
            Token::Listener(place) => self.accept(place),
            Token::Spawner => return self.hear_spawner(),
            Token::Hook => self.hear_hook(),
            Token::Routes => self.routing.hear_changes(),
            Token::Worker(key) => self.hear_worker(key),
            Token::Dial(key) => {
                let ready = self.base.dials.ready(key, &mut self.base.reactor);
                self.dialled(ready);
            }
            Token::Port(key) => self.port_ready(key),
            Token::Header(key) => self.header_ready(key),
            Token::Association(key) => self.association_ready(key),
            Token::Status(place) => self.status.ready(place, &mut self.base.reactor),
            Token::Control => self.control.ready(&mut self.base.reactor),
            Token::Controller(key) => self.hear_orders(key),
            _ => {}
        }
        Ok(())
    }

    /// When something is due that is no deadline of the reactor's.
    pub fn due_at(&self) -> Option<Instant> {
        let Awaited { auth, resolver, askers, .. } = &self.awaited;
        let sweep = self.sweep.due_at().filter(|_| !self.sessions.is_empty());
        let dues = [
            self.base.workers.due_at(),
            self.clients.paused_until(),
            auth.due_at(),
            resolver.due_at(),
            askers.due_at(),
            sweep,
        ];
        dues.into_iter().flatten().min()
    }

    /// Everything whose time has come.
    pub fn due(&mut self, now: Instant, keep_spares: bool) {
        while let Some(token) = self.base.reactor.take_due(now) {
            self.overdue(token, now);
        }
        self.clients.resume(now, &self.base.reactor);
        let keepalive = self.base.config.settings.keepalive;
        for key in self.sweep.take(now, || self.sessions.relaying()) {
            if let Some(flow) = self.sessions.look_after(key, keepalive).filter(Flow::wants_a_decision) {
                self.dispatch(key, Event::Inspected(flow));
            }
        }
        let Awaited { auth, resolver, askers, .. } = &mut self.awaited;
        let overdue = [auth.due(now, &mut self.base), resolver.due(now, &mut self.base), askers.overdue(now)];
        for (worker, Violation(what)) in overdue.into_iter().flatten() {
            self.violation(worker, what);
        }
        while let Some(Lost { what, client, role }) = self.base.workers.kill_lingering(now) {
            self.blame(&what, role, client, "it has closed its channel and goes on");
        }
        let wanted = self.base.workers.pool.spares_wanted(&self.base.config.settings, now);
        self.start_spares(if keep_spares { wanted } else { 0 });
        let Base { workers, reactor, counts, counting, .. } = &mut self.base;
        workers.flush_spawner(reactor);
        counting.associations(counts.in_all(Resource::Association), counts.in_all(Resource::Flow));
    }

    fn overdue(&mut self, token: Token, now: Instant) {
        match token {
            Token::Dial(key) => {
                let overdue = self.base.dials.overdue(key, &mut self.base.reactor);
                self.dialled(overdue);
            }
            Token::Session(key) => {
                self.sessions.overdue(key);
                let event = self.sessions.unasked(key, &mut self.awaited, &mut self.base);
                self.dispatch(key, event.unwrap_or(Event::Deadline));
            }
            Token::Worker(key) => self.worker_due(key, now),
            Token::Association(key) => self.association_due(key),
            Token::Status(place) => self.status.resume(place, &self.base.reactor),
            Token::Control => self.control.resume(&self.base.reactor),
            Token::Controller(key) => self.control.close(key, &mut self.base.reactor),
            Token::Header(key) => self.header_ready(key),
            _ => {}
        }
    }

    /// Other rules, routes and settings are in force. A trial runs no commands.
    pub fn reloaded(&mut self) {
        if !self.hook.reload() && self.base.config.runs_hooks() && !self.base.is_trial {
            self.base.log.err("rules have commands, which are not run until a restart");
        }
        self.base.log.notice(&format!("reloaded: {}", self.base.config.summary()));
        self.base.ledger.rules_changed();
        self.clients.keep_alive(self.base.config.settings.keepalive);
        let lacking = self.base.config.settings.lacks_listener(&self.clients.own);
        lacking.into_iter().for_each(|lacking| self.base.log.err(&lacking));
        self.begin_alone = self.base.config.begins_alone();
        if self.base.config.settings.recheck_on_reload {
            self.tell_all(|| Event::Recheck);
            self.recheck_flows();
        }
    }

    /// Another tree serves from now on.
    pub fn drain(&mut self) {
        self.status.close_numbers(&mut self.base.reactor);
        self.base.ledger.draining(true);
        self.accept_nobody();
    }

    fn accept_nobody(&mut self) {
        self.clients.close(&self.base.reactor);
        self.headers.close_all(&mut self.base);
        self.base.workers.pool.unused().into_iter().for_each(|worker| self.retire(worker, false, None));
    }

    /// Relays have their grace. Whoever would be refused meanwhile is served, as long as they last.
    pub fn stop(&mut self) {
        if self.clients.leave_activated(&self.base.reactor) {
            return;
        }
        self.accept_nobody();
        self.sessions.not_relaying().into_iter().for_each(|key| self.dispatch(key, Event::Stop));
    }

    /// Nobody is accepted any more, and everything ends.
    pub fn end(&mut self) {
        self.accept_nobody();
        self.tell_all(|| Event::Stop);
    }

    /// Something happens to every session.
    pub fn tell_all(&mut self, event: impl Fn() -> Event) {
        self.sessions.all().into_iter().for_each(|key| self.dispatch(key, event()));
    }

    /// Sessions whose workers have not told of their end in time leave their lines all the same, and so does what
    /// has been counted and not written yet.
    pub fn write_the_rest(&mut self) {
        self.tell_all(|| Event::WorkerLost);
        let late = Instant::now().checked_add(seconds(3600));
        late.into_iter().for_each(|late| self.base.log.catch_up(late));
    }

    fn hear_hook(&mut self) {
        loop {
            match self.hook.news() {
                Ok(None) => return,
                Ok(Some((line, limit))) => {
                    limit.into_iter().for_each(|limit| self.base.counting.limited(limit.label()));
                    self.base.log.quiet_err(&line);
                }
                Err(line) => self.base.log.err(line),
            }
        }
    }
}

/// Clients and their sessions.
impl Serving {
    /// Serves a client that an inetd has handed over.
    pub fn serve_only(&mut self, client: OwnedFd, at: SocketAddr) {
        self.clients.add_own(at);
        if let Some(client) = Client::handed_over(client, at) {
            sockets::keep_alive(&client.socket, self.base.config.settings.keepalive);
            self.admit(client);
        }
    }

    fn accept(&mut self, listener: u32) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(arrived) = self.clients.accept(listener, &mut self.base) else { return };
            let client = self.headers.arrived(arrived, &mut self.base);
            client.into_iter().for_each(|client| self.admit(client));
        }
    }

    fn header_ready(&mut self, key: HeaderKey) {
        let client = self.headers.ready(key, &mut self.base);
        client.into_iter().for_each(|client| self.admit(client));
    }

    /// A client has come: a session begins for it, or it is turned away.
    fn admit(&mut self, client: Client) {
        let host = client.host();
        let admitted = self.clients.admit(&client, self.sessions.len(), &self.base).and_then(|()| {
            let methods = match client.origin {
                // It may only greet, and has no password.
                Origin::CHECK => Methods::NONE,
                _ => self.base.config.methods(client.address.ip(), self.awaited.auth.admits(host)),
            };
            Ok((self.session_worker(host, methods)?, methods))
        });
        match admitted {
            Ok((worker, methods)) => self.begin(client, worker, methods),
            Err(why) => self.base.limited("clients are turned away", why),
        }
    }

    fn session_worker(&mut self, host: Host, methods: Methods) -> Result<WorkerKey, Met> {
        let is_asked = methods.password && self.base.config.settings.isolation == Isolation::User;
        let begins_alone = self.begin_alone || is_asked;
        let (pool, settings) = (&mut self.base.workers.pool, &self.base.config.settings);
        let choice = match begins_alone {
            true => pool.choose_alone(host, settings),
            false => pool.choose(host, settings, Instant::now()),
        };
        let worker = match choice {
            Choice::Use(worker) => Some(worker),
            Choice::Start => self.base.start_worker(Role::Session),
            Choice::StartInstead(other) => {
                self.make_room(other);
                self.base.start_worker(Role::Session)
            }
            Choice::TurnAway(full) => return Err(full.into()),
        };
        if let Some(worker) = worker.filter(|_| begins_alone) {
            self.base.workers.pool.keep_alone(worker);
        }
        match worker {
            Some(worker) if self.base.workers.is_full(worker) => {
                Err(Met::other(format_args!("the worker does not keep up with {host}")))
            }
            Some(worker) => Ok(worker),
            None => Err(Met::other("no worker")),
        }
    }

    /// A worker without a request goes, so that another client host gets its place.
    fn make_room(&mut self, worker: WorkerKey) {
        if self.base.workers.pool.is_idle(worker) {
            return self.retire(worker, true, None);
        }
        self.base.limited("unfinished requests are closed", Limit::WORKERS);
        self.take_out(worker, true, None);
    }

    fn begin(&mut self, client: Client, worker: WorkerKey, methods: Methods) {
        let host = client.host();
        let proxy = client.proxy();
        let session = Session::new(client.address, methods.password).by_way_of(client.origin);
        let socket = Rc::new(client.socket);
        let (twin, base) = (Rc::clone(&socket), &mut self.base);
        let key = self.sessions.begin((session, proxy), twin, worker, base);
        let handshake = Handshake::Fresh(methods);
        self.base.tell(worker, &ToSession::Serve { id: key.id(), handshake }, Some(socket));
        if let Some((oldest, reached)) = self.base.counts.oldest_beyond(host, &self.base.config.settings) {
            self.base.limited("unfinished requests are closed", reached);
            self.dispatch(oldest, Event::Stop);
        }
    }

    fn dialled(&mut self, dialled: Option<(Caller, Dialled)>) {
        let Some((caller, dialled)) = dialled else { return };
        match caller {
            Caller::Session(waiter) => {
                let arrival = self.sessions.dialled(waiter, dialled, self.base.counting);
                self.dispatch_all(Some((waiter, arrival)));
            }
            Caller::Lookup(key, record) => {
                self.awaited.resolver.dialled(key, record, dialled, &mut self.base);
            }
            Caller::Query(key) => {
                let news = self.awaited.askers.dialled(key, dialled, &mut self.base);
                self.dispatch_all(news);
            }
        }
    }

    /// Somebody has come to the port of a BIND.
    fn port_ready(&mut self, key: PortKey) {
        let Some((waiter, accepted)) = self.awaited.bind_ports.accept(key, &mut self.base) else { return };
        let accepted = accepted.map(|(server, peer)| {
            self.sessions.accepted(waiter, server);
            peer
        });
        self.dispatch_all(Some((waiter, Arrival::Accepted(accepted))));
    }

    fn dispatch_all(&mut self, news: impl IntoIterator<Item = News>) {
        for (waiter @ Waiter { session, key }, arrival) in news {
            if key.is_of_flow() {
                self.sessions.has_come(waiter, &arrival);
                self.flow_happens(session, FlowEvent::Arrived(key, arrival));
            } else {
                self.dispatch(session, Event::Arrived(key, arrival));
            }
        }
    }

    /// Takes an event through its session and performs what follows, until nothing does.
    pub(super) fn dispatch(&mut self, key: SessionKey, event: Event) {
        let (mut next, mut further) = (Some(event), std::mem::take(&mut self.further));
        while let Some(event) = next {
            for action in self.sessions.on(key, event, &mut self.base) {
                further.extend(self.perform(key, action));
            }
            next = further.pop_front();
        }
        self.further = further;
    }

    pub(super) fn perform(&mut self, key: SessionKey, action: Action) -> Option<Event> {
        let (worker, id) = (self.sessions.worker(key)?, key.id());
        let Self { base, sessions, awaited, .. } = self;
        match action {
            Action::Record(record) => sessions.record(key, &record, base),
            Action::Deadline(limit) => sessions.set_deadline(key, limit, base),
            Action::Begin(wait, task) => {
                let arrival = match task {
                    Task::Classify(addresses, port) => Some(self.classify(&addresses, port)),
                    task => sessions.begin_task(Waiter { session: key, key: wait }, task, awaited, base),
                };
                return arrival.map(|arrival| Event::Arrived(wait, arrival));
            }
            Action::GiveUp(wait) => sessions.give_up(Waiter { session: key, key: wait }, awaited, base),
            Action::Accept => drop(base.tell(worker, &ToSession::Verified { id }, None)),
            Action::Announce(address) => drop(base.tell(worker, &ToSession::Listening { id, address }, None)),
            Action::Associate { hint } => return Some(self.associate(key, hint)),
            Action::Associated(address) => {
                base.tell(worker, &ToSession::Associated { id, address }, None);
            }
            Action::Dissociate(why) => return self.dissociate(key, why),
            Action::CloseStranger(wait) => sessions.close_stranger(Waiter { session: key, key: wait }),
            Action::Run(template, values) => {
                self.hook.run(&template, *values).unwrap_or_else(|line| base.log.quiet_err(line));
            }
            Action::Remember { next, reachable: true } => self.unreachable.remove(next),
            Action::Remember { next, reachable: false } => {
                let time = seconds(base.config.settings.upstream_retry);
                self.unreachable.insert(next, Instant::now(), time);
            }
            Action::HandOff { key: wait, bound, line } => {
                sessions.hand_off(Waiter { session: key, key: wait }, bound, line, awaited, base);
            }
            Action::Limit(line) => sessions.limit(key, line, base),
            Action::Inspect => return sessions.inspect(key).map(Event::Inspected),
            Action::CloseRelay { orderly } => return Some(sessions.close_relay(key, orderly)),
            Action::Reset => sessions.reset(key),
            Action::Refuse(why) => {
                sessions.give_up_all(key, awaited, base);
                base.tell(worker, &ToSession::Refuse { id, why }, None);
            }
            Action::End => {
                sessions.give_up_all(key, awaited, base);
                base.tell(worker, &ToSession::End { id }, None);
            }
            Action::Remove => sessions.remove(key, awaited, base),
            Action::Violation(what) => self.violation(worker, what),
        }
        None
    }

    /// What addresses are to this host.
    fn classify(&mut self, addresses: &[IpAddr], port: u16) -> Arrival {
        let now = Instant::now();
        self.routing.hear_changes();
        let candidate = |address: &IpAddr| {
            let Route { kind, source } =
                self.routing.classify(*address, &self.base.config.settings.nat64_prefixes);
            Candidate {
                address: *address,
                kind,
                own_listener: self.clients.is_own(*address, port, kind == AddressKind::Local),
                unreachable: self.unreachable.contains(SocketAddr::new(*address, port), now),
                source,
            }
        };
        Arrival::Classified(addresses.iter().map(candidate).collect())
    }
}

/// Workers and what they say.
impl Serving {
    fn start_spares(&mut self, wanted: usize) {
        for _ in 0..wanted {
            let Some(worker) = self.base.start_worker(Role::Session) else { return };
            self.base.workers.pool.keep_spare(worker);
        }
    }

    fn hear_worker(&mut self, key: WorkerKey) {
        for _ in 0..READS_PER_TURN {
            match self.base.workers.receive(key) {
                Ok(Received::Message(message, _)) => self.worker_said(key, message),
                Ok(Received::Nothing) => break,
                Ok(_) => return self.worker_gone(key),
                Err(error) => return self.violation(key, &error.to_string()),
            }
        }
        self.base.workers.flush(key, &mut self.base.reactor);
    }

    fn worker_said(&mut self, worker: WorkerKey, message: FromWorker) {
        let Self { base, awaited, .. } = self;
        let heard = match message {
            FromWorker::Session(FromSession::Ready(report))
            | FromWorker::Datagram(FromDatagram::Ready(report))
            | FromWorker::Ident(FromIdent::Ready(report))
            | FromWorker::Resolver(FromResolver::Ready(report))
            | FromWorker::Upstream(FromUpstream::Ready(report))
            | FromWorker::Auth(FromAuth::Ready(report)) => self.worker_ready(worker, &report),
            FromWorker::Session(message) => self.session_worker_said(worker, message),
            FromWorker::Datagram(message) => self.datagram_worker_said(worker, message),
            FromWorker::Ident(message) => awaited.askers.ident_heard(worker, message, base),
            FromWorker::Resolver(message) => awaited.resolver.heard(message, base),
            FromWorker::Upstream(message) => awaited.askers.upstream_heard(worker, message, base),
            FromWorker::Auth(message) => awaited.auth.heard(message, base),
        };
        match heard {
            Ok(news) => self.dispatch_all(news),
            Err(Violation(what)) => self.violation(worker, what),
        }
        self.check_passwords();
    }

    /// Has passwords checked that wait for it, as far as they can be now.
    fn check_passwords(&mut self) {
        while let Some(news) = self.awaited.auth.next(&mut self.base) {
            self.dispatch_all(Some(news));
        }
    }

    /// A worker has locked itself down. One that holds less than it has to is not used.
    fn worker_ready(&mut self, worker: WorkerKey, report: &LockdownReport) -> Heard {
        match sandbox::acceptable(report, &self.base.config.settings) {
            Err(lacking) => self.end_worker(worker, &lacking),
            Ok(()) if self.base.workers.mark_ready(worker) => {}
            Ok(()) => return Err(Violation("ready twice")),
        }
        Ok(None)
    }

    fn session_worker_said(&mut self, worker: WorkerKey, message: FromSession) -> Heard {
        let (id, event) = match message {
            FromSession::Ready(_) => return Ok(None),
            FromSession::Credentials { id, credentials } => {
                let key = self.sessions.named_by(worker, id)?;
                (id, self.sessions.introduced(key, credentials)?)
            }
            FromSession::Request { id, request } => (id, Event::Requested(request)),
            FromSession::Closed { id, why } => (id, Event::Closed(why)),
        };
        self.dispatch(self.sessions.named_by(worker, id)?, event);
        Ok(None)
    }

    fn worker_due(&mut self, worker: WorkerKey, now: Instant) {
        match self.base.workers.due(worker, now, &mut self.base.reactor) {
            Some(Due::Expired(Expired::Idle)) => self.retire(worker, false, None),
            Some(Due::Expired(Expired::NotReady)) => self.end_worker(worker, "not ready in time"),
            Some(Due::Unread) => self.violation(worker, "it does not read its channel"),
            None => {}
        }
    }

    /// A worker has said something that it cannot honestly say: it is killed, and the log says so.
    pub(super) fn violation(&mut self, worker: WorkerKey, what: &str) {
        let Some(found) = self.base.workers.pool.workers.get(worker) else { return };
        let (who, role, client) = (found.describe(), found.role, found.only_client());
        self.blame(&who, role, client, what);
        self.take_out(worker, true, None);
    }

    fn blame(&mut self, who: &str, role: Role, client: Option<Host>, what: &str) {
        self.base.counting.violated(role);
        client.into_iter().for_each(|host| self.clients.violated(host));
        self.base.log.err(&format!("violation by {who}: {what}; killed"));
    }

    /// A worker is of no use, and the log says why.
    fn end_worker(&mut self, worker: WorkerKey, why: &str) {
        let Some(found) = self.base.workers.pool.workers.get(worker) else { return };
        self.base.counting.died(found.role, DeathCause::Unfit);
        let line = format!("{} ended: {why}", found.describe());
        self.base.log.err(&line);
        self.take_out(worker, true, None);
    }

    /// A worker is gone. It is not known yet why: the line waits for what the spawner tells.
    fn worker_gone(&mut self, worker: WorkerKey) {
        let Some(found) = self.base.workers.pool.workers.get(worker) else { return };
        let lost = Lost { what: found.describe(), client: found.only_client(), role: found.role };
        self.take_out(worker, false, Some(lost));
    }

    /// Takes a worker out of service, and what it was for ends with it.
    fn take_out(&mut self, worker: WorkerKey, kill: bool, lost: Option<Lost>) {
        self.retire(worker, kill, lost);
        let sessions = self.sessions.of_worker(worker);
        sessions.into_iter().for_each(|key| self.dispatch(key, Event::WorkerLost));
        let ended = self.associations.worker_gone(worker, &mut self.base);
        self.dissociated(ended);
        let news = self.awaited.askers.worker_gone(worker, &mut self.base);
        self.dispatch_all(news);
        let news = self.awaited.resolver.worker_gone(worker, &mut self.base);
        self.dispatch_all(news);
        let news = self.awaited.auth.worker_gone(worker, &mut self.base);
        self.dispatch_all(news);
        self.check_passwords();
    }

    fn retire(&mut self, worker: WorkerKey, kill: bool, lost: Option<Lost>) {
        self.base.workers.retire(worker, kill, lost, &mut self.base.reactor);
    }

    fn hear_spawner(&mut self) -> Result<(), String> {
        self.base.workers.flush_spawner(&self.base.reactor);
        while let Some((serial, how)) = self.base.workers.hear_spawner()? {
            self.worker_ended(serial, how);
        }
        Ok(())
    }

    fn worker_ended(&mut self, serial: u32, how: Ending) {
        // What it said before it ended still counts. With all that its channel can hold it is gone, and its place may be
        // taken by another.
        for _ in 0..DRAIN_READS {
            let key = self.base.workers.pool.by_serial(serial);
            key.into_iter().for_each(|key| self.hear_worker(key));
        }
        let key = self.base.workers.pool.by_serial(serial);
        key.into_iter().for_each(|key| self.worker_gone(key));
        if let Some((waiter, handshake)) = self.awaited.handovers.remove(&serial) {
            self.sessions.go_on(waiter.session, handshake, &mut self.base);
            self.dispatch_all(Some((waiter, Arrival::Settled)));
        }
        let Some(Lost { what, client, role }) = self.base.workers.reap(serial) else { return };
        self.base.counting.died(role, how.cause());
        match how {
            // Where workers cannot be started, every client that comes would be another line.
            Ending::NotStarted(_) => self.base.log.quiet_err(&format!("a worker is {how}")),
            how if how.is_from_outside() => {
                self.base.log.err(&format!("{what} ended: {how} (from outside)"));
            }
            Ending::Exit(_) | Ending::Signal(_) => {
                self.base.log.err(&format!("{what} ended: {how}"));
                // An honest worker does not end of itself before it is retired: its client has made it end.
                client.into_iter().for_each(|host| self.clients.violated(host));
            }
        }
    }
}
