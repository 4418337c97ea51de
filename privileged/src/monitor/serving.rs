//! Serving: clients, the sessions that begin with them, and the workers that serve them. This file and its folder take
//! events to sessions, and perform the actions that follow.

mod admitting;
mod arrivals;
mod associating;
mod events;
mod orders;
mod tasks;
mod violations;
mod workers;

use crate::hook::handle::Hook;
use crate::loader::copies::SystemFiles;
use crate::loader::users::Table;
use crate::monitor::associations::Associations;
use crate::monitor::awaited::Awaited;
use crate::monitor::base::Base;
use crate::monitor::clients::{Client, Clients};
use crate::monitor::control::Control;
use crate::monitor::proxy_header::Headers;
use crate::monitor::reactor::{EventFlags, Token};
use crate::monitor::sessions::Sessions;
use crate::monitor::status::Status;
use crate::net::routing::AddressKinds;
use sockd_session::flow::Flow;
use sockd_session::pool::queue::Queue;
use sockd_session::sweep::Sweep;
use sockd_session::unreachable::Unreachable;
use sockd_session::{Event, FlowEvent, Resource, Violation, seconds};
use std::collections::VecDeque;
use std::time::Instant;

/// The clients, their sessions, the workers, and all that sessions need.
#[derive(Debug)]
pub struct Serving {
    /// The state that all parts of the monitor share.
    pub base: Base,
    /// The listeners.
    pub clients: Clients,
    /// Connections whose PROXY header has not arrived.
    pub headers: Headers,
    /// Clients that wait for the end of workers that are to end.
    queue: Queue<Client>,
    /// All sessions.
    pub sessions: Sessions,
    /// Everything that they wait for.
    pub awaited: Awaited,
    /// Their associations.
    pub associations: Associations,
    /// Chooses the relays that are inspected next.
    pub sweep: Sweep,
    /// The kinds of addresses for this host.
    pub routing: AddressKinds,
    /// Upstreams that are tried last.
    pub unreachable: Unreachable,
    /// The process that runs the commands of rules.
    pub hook: Hook,
    /// The status sockets.
    pub status: Status,
    /// The control socket.
    pub control: Control,
    /// Workers that have been blamed for a violation, by their serial numbers: they are to be ended.
    condemned: Vec<u32>,
    /// Whether all new clients begin with workers that serve nobody else, whether they are asked for a password or not.
    begin_alone: bool,
    /// Empty memory for the events that follow from one.
    further: VecDeque<Event>,
}

/// The calls of the loop.
impl Serving {
    /// Watches all descriptors, and starts the resolver.
    pub fn new(base: Base, clients: Clients, hook: Hook, files: SystemFiles) -> rustix::io::Result<Self> {
        let mut serving = Self {
            begin_alone: base.config.begins_alone(),
            base,
            clients,
            headers: Headers::default(),
            queue: Queue::default(),
            sessions: Sessions::default(),
            associations: Associations::default(),
            awaited: Awaited::new(files),
            sweep: Sweep::default(),
            routing: AddressKinds::new()?,
            unreachable: Unreachable::default(),
            hook,
            status: Status::default(),
            control: Control::default(),
            condemned: Vec::new(),
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

    /// Takes a new table of users.
    pub fn take_users(&mut self, Table { memory, users }: Table) {
        self.awaited.auth.take_table(memory, users, &mut self.base);
    }

    /// Handles a descriptor that is ready. The error says why nobody can be served any longer.
    pub fn ready(&mut self, token: Token) -> Result<(), String> {
        match token {
            Token::Listener(place) => self.accept(place),
            Token::Spawner => self.hear_spawner()?,
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
        self.end_condemned();
        Ok(())
    }

    /// When the next task without a deadline in the reactor is due.
    pub fn due_at(&self) -> Option<Instant> {
        let sweep = self.sweep.due_at().filter(|_| !self.sessions.is_empty());
        let dues = [self.base.workers.due_at(), self.queue.due_at(), self.awaited.due_at(), sweep];
        dues.into_iter().flatten().min()
    }

    /// Does everything that is due and has no deadline in the reactor.
    pub fn due(&mut self, now: Instant, keep_spares: bool) {
        self.serve_queue(now);
        let keepalive = self.base.config.settings.keepalive;
        for key in self.sweep.take(now, || self.sessions.relaying()) {
            if let Some(flow) = self.sessions.look_after(key, keepalive).filter(Flow::wants_a_decision) {
                self.dispatch(key, Event::Inspected(flow));
            }
        }
        for (worker, Violation(what)) in self.awaited.due(now, &mut self.base).into_iter().flatten() {
            self.violation(worker, what);
        }
        while let Some(lost) = self.base.workers.kill_lingering(now) {
            self.blame(&lost, "it has closed its channel and goes on");
        }
        let wanted = self.base.workers.pool.spares_wanted(&self.base.config.settings, now);
        self.start_spares(if keep_spares { wanted } else { 0 });
        let Base { counts, counting, .. } = &mut self.base;
        counting.associations(counts.in_all(Resource::Association), counts.in_all(Resource::Flow));
        self.end_condemned();
    }

    /// Handles a deadline that has passed.
    pub fn overdue(&mut self, token: Token, now: Instant) {
        match token {
            Token::Listener(_) => self.clients.resume(&self.base.reactor),
            Token::Dial(key) => {
                let overdue = self.base.dials.overdue(key, &mut self.base.reactor);
                self.dialled(overdue);
            }
            Token::Session(key) => match self.unasked(key, |wait| !wait.is_of_flow()) {
                Some(news) => self.dispatch_all([news]),
                None => self.dispatch(key, Event::Deadline),
            },
            Token::Worker(key) => self.worker_due(key, now),
            Token::Association(key) => {
                let news = self.association_due(key);
                self.dispatch_all(news);
            }
            Token::Status(place) => self.status.resume(place, &self.base.reactor),
            Token::Control => self.control.resume(&self.base.reactor),
            Token::Controller(key) => self.control.close(key, &mut self.base.reactor),
            Token::Header(key) => self.header_ready(key),
            _ => {}
        }
        self.end_condemned();
    }

    /// Applies new rules, routes and settings. A trial runs no commands.
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
            self.associations.all().into_iter().for_each(|key| self.flow_happens(key, FlowEvent::Recheck));
        }
    }

    /// Accepts nobody, as another tree serves.
    pub fn drain(&mut self) {
        self.status.close_numbers(&mut self.base.reactor);
        self.base.ledger.draining(true);
        self.accept_nobody();
    }

    fn accept_nobody(&mut self) {
        self.clients.close(&mut self.base.reactor);
        self.headers.close_all(&mut self.base);
        self.queue.clear();
        self.base.workers.pool.unused().into_iter().for_each(|worker| self.retire(worker, None));
    }

    /// Gives relays their grace. A client that would be refused meanwhile is served, as long as they last.
    pub fn stop(&mut self) {
        if self.clients.leave_activated(&self.base.reactor) {
            return;
        }
        self.accept_nobody();
        self.sessions.not_relaying().into_iter().for_each(|key| self.dispatch(key, Event::Stop));
    }

    /// Accepts nobody, and ends everything.
    pub fn end(&mut self) {
        self.accept_nobody();
        self.tell_all(|| Event::Stop);
    }

    /// Takes an event to every session.
    pub fn tell_all(&mut self, event: impl Fn() -> Event) {
        self.sessions.all().into_iter().for_each(|key| self.dispatch(key, event()));
    }

    /// Writes the lines of sessions whose workers have not reported their end in time, and the counts that have not
    /// been written yet.
    pub fn write_the_rest(&mut self) {
        self.tell_all(|| Event::WorkerLost);
        let late = Instant::now().checked_add(seconds(3600));
        late.into_iter().for_each(|late| self.base.log.catch_up(late));
    }

    fn hear_spawner(&mut self) -> Result<(), String> {
        while let Some((serial, how)) = self.base.workers.hear_spawner()? {
            self.worker_ended(serial, how);
        }
        self.serve_queue(Instant::now());
        let news = self.awaited.askers.ask_waiting(&mut self.base);
        self.dispatch_all(news);
        self.associations.take_waiting().into_iter().for_each(|key| self.association_ready(key));
        Ok(())
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
