//! New clients: each begins a session with a worker, or is turned away.

use crate::monitor::base::Base;
use crate::monitor::clients::{ACCEPTS_PER_TURN, Client};
use crate::monitor::serving::Serving;
use crate::net::sockets;
use sockd_common::message::Role;
use sockd_common::message::session::{Handshake, Methods, ToSession};
use sockd_session::admission::Admission;
use sockd_session::pool::choice::Choice;
use sockd_session::{Event, HeaderKey, Host, Isolation, Limit, Met, Origin, Session, WorkerKey};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

/// Clients and their sessions.
impl Serving {
    /// Serves a client that an inetd has handed over.
    pub fn serve_only(&mut self, client: OwnedFd, at: SocketAddr) {
        self.clients.own.push(at);
        if let Some(client) = Client::handed_over(client, at) {
            sockets::keep_alive(&client.socket, self.base.config.settings.keepalive);
            self.admit(client);
        }
    }

    pub(super) fn accept(&mut self, listener: u32) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(arrived) = self.clients.accept(listener, &mut self.base) else { return };
            let client = self.headers.arrived(arrived, &mut self.base);
            client.into_iter().for_each(|client| self.admit(client));
        }
    }

    pub(super) fn header_ready(&mut self, key: HeaderKey) {
        let client = self.headers.ready(key, &mut self.base);
        client.into_iter().for_each(|client| self.admit(client));
    }

    /// Admits a new client. Waiting clients go first: a place may have become free in this very turn.
    fn admit(&mut self, client: Client) {
        self.serve_queue(Instant::now());
        let (who, settings) = ((client.host(), client.origin), &self.base.config.settings);
        let admitted = self.clients.admission.admits(who, settings, Instant::now());
        self.serve(admitted.map(|()| client));
    }

    /// Serves clients that have waited until a worker may start; those that have waited for too long are turned away.
    pub(super) fn serve_queue(&mut self, now: Instant) {
        let waits =
            |base: &Base, host, known: &mut _| base.workers.pool.waits(host, &base.config.settings, known);
        while let Some(next) = self.queue.next(now, |host, known| waits(&self.base, host, known)) {
            self.serve(next.map_err(Met::from));
        }
    }

    /// Begins a session for a client, lets it wait until a worker may start, or turns it away.
    fn serve(&mut self, admitted: Result<Client, Met>) {
        let now = Instant::now();
        let served = admitted.and_then(|client| {
            let (host, Base { counts, config, .. }) = (client.host(), &mut self.base);
            Admission::has_room((host, client.origin), self.sessions.len(), counts, &config.settings)?;
            let methods = match client.origin {
                // A health check may only greet, and has no password.
                Origin::CHECK => Methods::NONE,
                _ => config.methods(client.address.ip(), self.awaited.auth.admits(host)),
            };
            Ok((self.session_worker(host, methods)?, methods, client))
        });
        match served {
            Ok((Some(worker), methods, client)) => self.begin(client, worker, methods),
            Ok((None, _, client)) => self.queue.push(client.host(), client, &self.base.config.settings, now),
            Err(why) => self.base.limited("clients are turned away", why),
        }
    }

    /// The worker for a new session; `None` if the client has to wait.
    fn session_worker(&mut self, host: Host, methods: Methods) -> Result<Option<WorkerKey>, Met> {
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
            Choice::Wait(_) if self.queue.has_room(host) => return Ok(None),
            Choice::Wait(full) | Choice::TurnAway(full) => return Err(full.into()),
        };
        let worker = worker.ok_or_else(|| Met::other("no worker"))?;
        if begins_alone {
            self.base.workers.pool.keep_alone(worker);
        }
        match self.base.workers.is_full(worker) {
            true => Err(Met::other(format_args!("the worker does not keep up with {host}"))),
            false => Ok(Some(worker)),
        }
    }

    /// Ends a worker without a request, so that another client host gets its place.
    fn make_room(&mut self, worker: WorkerKey) {
        if self.base.workers.pool.is_idle(worker) {
            return self.retire(worker, None);
        }
        self.base.limited("unfinished requests are closed", Limit::WORKERS);
        self.take_out(worker, None);
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
}
