//! Queries that workers put to other hosts: to the client's identd (who is the client?) and to an upstream (does it
//! grant the request?).
//!
//! The session worker never asks. A user who has taken over the session worker of his host must not be able to vouch
//! for himself, nor to ask an upstream for what the rules forbid. A worker parses answers, so it asks only the hosts of
//! one address, or one upstream.

use crate::monitor::base::{Base, Heard, News};
use crate::monitor::dial::{Begun, Caller};
use crate::net::dial::{Dial, Dialled};
use rustix::io::fcntl_dupfd_cloexec;
use sockd_common::message::Role;
use sockd_common::message::ident::{FromIdent, ToIdent};
use sockd_common::message::request::Request;
use sockd_common::message::upstream::{FromUpstream, ToUpstream};
use sockd_policy::{Identity, UserId};
use sockd_session::pool::Worker;
use sockd_session::queries::{Cancelled, Queries, Question};
use sockd_session::{Arrival, Host, QueryKey, Violation, Waiter, WorkerKey};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// The port of identd (RFC 1413).
const IDENT_PORT: u16 = 113;

/// The queries of ident and upstream workers.
#[derive(Debug, Default)]
pub struct Askers {
    queries: Queries,
    /// The queries, with their connections, that wait for another worker to end before theirs has a place.
    waiting: VecDeque<(QueryKey, OwnedFd)>,
}

impl Askers {
    /// Asks the identd of a client that has connected to `proxy`. The error is the answer if nobody can be asked.
    pub fn ask_ident(
        &mut self,
        waiter: Waiter,
        client: SocketAddr,
        proxy: SocketAddr,
        base: &mut Base,
    ) -> Result<QueryKey, Arrival> {
        let host = Host::of(client.ip());
        let question = Question::Identity { client_port: client.port(), proxy_port: proxy.port() };
        let begun = self.queries.begin(waiter, host, question, &mut base.counts, &base.config.settings);
        let key = begun.map_err(|reached| {
            base.limited("identd is not asked", reached);
            Arrival::NoRoom(reached.limit)
        })?;
        let to = SocketAddr::new(client.ip(), IDENT_PORT);
        let from = Some(sockd_policy::canonical(proxy.ip()));
        let dial = Dial { to, from, reserved: false, due: None };
        let failed = match base.dials.begin(dial, Caller::Query(key), &mut base.reactor) {
            Ok(Begun::Connected(socket)) => self.hand_over(key, socket, base),
            Ok(Begun::Pending(dial)) => {
                self.queries.dialling(key, dial);
                None
            }
            Err(failed) => self.queries.unreached(key, failed, &mut base.counts),
        };
        failed.map_or(Ok(key), |(_, arrival)| Err(arrival))
    }

    /// Asks an upstream, to which `server` is a connection, to carry out a request for a session of this client host.
    pub fn ask_upstream(
        &mut self,
        waiter: Waiter,
        client: Host,
        server: impl AsFd,
        (next, request): (SocketAddr, Request),
        base: &mut Base,
    ) -> Result<QueryKey, Arrival> {
        let question = Question::Request { next, request };
        let begun = self.queries.begin(waiter, client, question, &mut base.counts, &base.config.settings);
        let key = begun.map_err(|reached| Arrival::NoRoom(reached.limit))?;
        let failed = match fcntl_dupfd_cloexec(server, 3) {
            Ok(twin) => self.hand_over(key, twin, base),
            Err(_) => self.queries.fail(key, &mut base.counts),
        };
        failed.map_or(Ok(key), |(_, arrival)| Err(arrival))
    }

    /// Gives the socket to the worker that asks, or keeps it until there is a place for one. If no worker can be had,
    /// the query fails.
    fn hand_over(&mut self, key: QueryKey, socket: OwnedFd, base: &mut Base) -> Option<News> {
        let asker = self.queries.asker(key)?;
        if base.must_wait(asker) {
            self.queries.waits_for_worker(key);
            self.waiting.push_back((key, socket));
            return None;
        }
        let Some(worker) = base.asker(asker) else { return self.queries.fail(key, &mut base.counts) };
        let id = key.id();
        // The loss of a worker is noticed when its channel is read.
        match self.queries.asked(key, worker) {
            Some(Question::Identity { client_port, proxy_port }) => {
                let (client_port, server_port) = (*client_port, *proxy_port);
                base.tell(worker, &ToIdent::Ask { id, client_port, server_port }, Some(socket.into()));
            }
            Some(Question::Request { request, .. }) => {
                base.tell(worker, &ToUpstream::Ask { id, request: request.clone() }, Some(socket.into()));
            }
            None => {}
        }
        None
    }

    /// Asks waiting queries, in their order, after a worker has ended, until one has to wait for the next.
    pub fn ask_waiting(&mut self, base: &mut Base) -> Vec<News> {
        let mut news = Vec::new();
        while let Some((key, _)) = self.waiting.front()
            && self.queries.asker(*key).is_none_or(|asker| !base.must_wait(asker))
            && let Some((key, socket)) = self.waiting.pop_front()
        {
            news.extend(self.hand_over(key, socket, base));
        }
        news
    }

    /// Takes the outcome of the dial to an identd.
    pub fn dialled(&mut self, key: QueryKey, dialled: Dialled, base: &mut Base) -> Option<News> {
        match dialled {
            Ok(socket) => self.hand_over(key, socket, base),
            Err(failed) => self.queries.unreached(key, failed, &mut base.counts),
        }
    }

    /// Takes a message of an ident worker.
    pub fn ident_heard(&mut self, worker: WorkerKey, message: FromIdent, base: &mut Base) -> Heard {
        match message {
            FromIdent::Ready(_) => Ok(None),
            FromIdent::Answer { id, user } => {
                let user = user.and_then(|user| UserId::parse(user.as_bytes()).ok());
                let identity = user.map_or(Identity::Unknown, Identity::Known);
                self.answered(worker, id.into(), Arrival::Identified(identity), base)
            }
        }
    }

    /// Takes a message of an upstream worker.
    pub fn upstream_heard(&mut self, worker: WorkerKey, message: FromUpstream, base: &mut Base) -> Heard {
        match message {
            FromUpstream::Ready(_) => Ok(None),
            FromUpstream::Answer { id, reply } => {
                self.answered(worker, id.into(), Arrival::Replied(reply), base)
            }
        }
    }

    fn answered(&mut self, worker: WorkerKey, key: QueryKey, answer: Arrival, base: &mut Base) -> Heard {
        let (waiter, is_over) = self.queries.answered(key, worker, &answer, &mut base.counts)?;
        if is_over {
            base.release_worker(worker);
        }
        Ok(waiter.map(|waiter| (waiter, answer)))
    }

    /// Cancels a query whose session waits no longer. A worker that was asked still has to answer.
    pub fn cancel(&mut self, key: QueryKey, waiter: Waiter, base: &mut Base) {
        match self.queries.cancel(key, waiter, &mut base.counts, Instant::now()) {
            None => {}
            Some(Cancelled::Ended) => self.waiting.retain(|(waiting, _)| *waiting != key),
            Some(Cancelled::Undialled(dial)) => {
                base.dials.cancel(dial, Caller::Query(key), &mut base.reactor);
            }
            Some(Cancelled::Owed(worker)) => {
                let id = key.id();
                match base.workers.pool.workers.get(worker).map(|worker| worker.role) {
                    Some(Role::Upstream) => base.tell(worker, &ToUpstream::Cancel { id }, None),
                    _ => base.tell(worker, &ToIdent::Cancel { id }, None),
                }
            }
        }
    }

    /// Gives up a query whose worker is not ready yet. Returns the answer to the session.
    pub fn unasked(&mut self, key: QueryKey, waiter: Waiter, base: &mut Base) -> Option<Arrival> {
        let workers = &base.workers.pool.workers;
        let is_ready = |worker| workers.get(worker).is_none_or(Worker::is_ready);
        let arrival = self.queries.unasked(key, is_ready)?;
        self.cancel(key, waiter, base);
        Some(arrival)
    }

    /// When a worker has to end a query.
    pub fn due_at(&self) -> Option<Instant> {
        self.queries.due_at()
    }

    /// A worker that has not ended a cancelled query in time, if any.
    pub fn overdue(&mut self, now: Instant) -> Option<(WorkerKey, Violation)> {
        self.queries.overdue(now)
    }

    /// Fails the queries of a worker that is gone.
    pub fn worker_gone(&mut self, worker: WorkerKey, base: &mut Base) -> Vec<News> {
        self.queries.fail_asked(worker, &mut base.counts)
    }
}
