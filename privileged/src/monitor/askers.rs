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
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

/// The port of identd (RFC 1413).
const IDENT_PORT: u16 = 113;

/// The queries of ident and upstream workers.
#[derive(Debug, Default)]
pub struct Askers {
    queries: Queries,
    /// The queries, with their connections, that wait for another worker to end before theirs has a place.
    waiting: Vec<(QueryKey, Rc<OwnedFd>)>,
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
            Ok(Begun::Connected(socket)) => self.hand_over(key, socket.into(), base),
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
            Ok(twin) => self.hand_over(key, twin.into(), base),
            Err(_) => self.queries.fail(key, &mut base.counts),
        };
        failed.map_or(Ok(key), |(_, arrival)| Err(arrival))
    }

    /// Gives the socket to the worker that asks, or keeps it until there is a place for one. If no worker can be had,
    /// the query fails.
    fn hand_over(&mut self, key: QueryKey, socket: Rc<OwnedFd>, base: &mut Base) -> Option<News> {
        let (asker, task) = (self.queries.connected(key)?, (key, Rc::clone(&socket)));
        let Ok(worker) = base.asker(asker, task, &mut self.waiting) else {
            return self.queries.fail(key, &mut base.counts);
        };
        let (worker, id) = (worker?, key.id());
        // The loss of a worker is noticed when its channel is read.
        match self.queries.asked(key, worker) {
            Some(Question::Identity { client_port, proxy_port }) => {
                let (client_port, server_port) = (*client_port, *proxy_port);
                base.tell(worker, &ToIdent::Ask { id, client_port, server_port }, Some(socket));
            }
            Some(Question::Request { request, .. }) => {
                base.tell(worker, &ToUpstream::Ask { id, request: request.clone() }, Some(socket));
            }
            None => {}
        }
        None
    }

    /// Asks waiting queries, in their order, after a worker has ended. Those that still have no place wait on.
    pub fn ask_waiting(&mut self, base: &mut Base) -> Vec<News> {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().filter_map(|(key, socket)| self.hand_over(key, socket, base)).collect()
    }

    /// Takes the outcome of the dial to an identd.
    pub fn dialled(&mut self, key: QueryKey, dialled: Dialled, base: &mut Base) -> Option<News> {
        match dialled {
            Ok(socket) => self.hand_over(key, socket.into(), base),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::tests::crowded;
    use sockd_common::message::UserId;
    use sockd_common::message::request::{Command, Destination};
    use sockd_session::{SessionKey, WaitKey};

    #[test]
    fn only_queries_that_need_a_place_wait_for_one_and_in_order() {
        let (mut base, ending, _spawner) = crowded();
        let mut askers = Askers::default();
        let ask = |askers: &mut Askers, next: u8, base: &mut Base| {
            let waiter = Waiter { session: SessionKey::new(1), key: WaitKey::FIRST };
            let client = Host::of("192.0.2.1".parse().unwrap());
            let destination = Destination::Address("203.0.113.1".parse().unwrap());
            let user = UserId::new(b"jane").unwrap();
            let request = Request { version: 4, command: Command::Connect, destination, port: 80, user };
            let (server, _) = std::os::unix::net::UnixStream::pair().unwrap();
            let next = SocketAddr::from(([198, 51, 100, next], 1080));
            askers.ask_upstream(waiter, client, server, (next, request), base).unwrap()
        };
        let [one, other, again] = [1, 2, 1].map(|next| ask(&mut askers, next, &mut base));
        assert_eq!([one, other, again].map(|key| askers.queries.worker(key)), [None; 3]);

        base.workers.pool.reaped(ending[0]);
        assert!(askers.ask_waiting(&mut base).is_empty());
        let worker = askers.queries.worker(one);
        assert!(worker.is_some());
        assert_eq!([other, again].map(|key| askers.queries.worker(key)), [None, worker]);

        base.workers.pool.reaped(ending[1]);
        let [known, newcomer] = [1, 3].map(|next| ask(&mut askers, next, &mut base));
        assert_eq!([known, newcomer].map(|key| askers.queries.worker(key)), [worker, None]);
        assert!(askers.ask_waiting(&mut base).is_empty());
        assert_eq!([other, newcomer].map(|key| askers.queries.worker(key).is_some()), [true, false]);

        base.workers.pool.reaped(ending[2]);
        assert!(askers.ask_waiting(&mut base).is_empty());
        assert!(askers.queries.worker(newcomer).is_some());
    }
}
