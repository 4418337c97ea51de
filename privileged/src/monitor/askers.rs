//! What the monitor has asked of other hosts by workers of their own: of the client's identd who the client is, of the
//! next SOCKS server whether it carries a request out.
//!
//! It is never the session worker that asks. A user who has taken over the session worker of his host must not be
//! able to vouch for himself, nor to ask a next server for what the rules forbid. One worker asks the hosts of one
//! address only, or one next server: it parses their answers.

use crate::monitor::Monitor;
use crate::monitor::dial::{Begun, Caller, Dial, Dialled};
use crate::monitor::pool::{Asks, Line};
use crate::monitor::reactor::Token;
use rustix::io::fcntl_dupfd_cloexec;
use sockd_common::message::ident::{FromIdent, ToIdent};
use sockd_common::message::request::{Command, Request};
use sockd_common::message::upstream::{FromUpstream, NextReply, ToUpstream};
use sockd_common::message::{Id, Role};
use sockd_policy::Identity;
use sockd_session::client_host::Host;
use sockd_session::keys::{DialKey, QueryKey, SessionKey, Slots, WorkerKey};
use sockd_session::limits::counts::Resource;
use sockd_session::session::Event;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// RFC 1413.
const IDENT_PORT: u16 = 113;

/// A worker that has been told to give up a query gets this long to say so: longer than one takes that is not ready yet
/// and never will be.
const CANCEL_LIMIT: Duration = Duration::from_secs(30);

/// The queries under way.
pub(crate) type Queries = Slots<AskedOf, 'q'>;

#[derive(Debug)]
pub(crate) struct AskedOf {
    /// The session that waits; nothing once it does not any more.
    visit: Option<SessionKey>,
    /// The host that is asked.
    host: Host,
    /// What it counts as, and of which client host.
    counts: (Resource, Host),
    what: What,
    stage: Stage,
    /// When the worker has to have given up.
    due: Option<Instant>,
}

#[derive(Debug)]
enum What {
    /// Whose is the connection with the client's port and ours?
    Identity { client_port: u16, proxy_port: u16 },
    /// Carry this out.
    Request {
        /// Who is asked.
        next: SocketAddr,
        request: Request,
        /// Replies that are still to come.
        replies: u8,
    },
}

impl What {
    /// Whose worker asks, where the host is this one.
    fn asks(&self, host: Host) -> Asks {
        match self {
            Self::Identity { .. } => (Role::Ident, host, None),
            Self::Request { next, .. } => (Role::Upstream, host, Some(*next)),
        }
    }

    /// What a session hears where nobody can be asked.
    fn failure(&self) -> Event {
        match self {
            Self::Identity { .. } => Event::Identified(Identity::Unknown),
            Self::Request { .. } => Event::Replied(NextReply::Cancelled),
        }
    }
}

#[derive(Debug)]
enum Stage {
    /// The connection to identd is on its way; the connection to a next server stands before it is asked.
    Dialling(DialKey),
    /// The worker with this place asks.
    Asking(WorkerKey),
    /// Between the two, or over.
    Neither,
}

impl Monitor {
    /// Begins to ask the client's identd, from the address that the client connected to.
    pub(crate) fn ask_ident(&mut self, visit: SessionKey) -> Option<Event> {
        let (client, proxy, host) =
            self.visits.get(visit).map(|visit| (visit.session.client(), visit.proxy, visit.host()))?;
        if let Some(limit) = self.base.counts.limit(Resource::Ident, host, &self.base.config.settings) {
            self.base.log.quiet_err(&format!("identd is not asked: {limit} by {host}"));
            return Some(Event::NoRoom(limit));
        }
        let identd = SocketAddr::new(client.ip(), IDENT_PORT);
        let from = Some(sockd_policy::canonical(proxy.ip()));
        let what = What::Identity { client_port: client.port(), proxy_port: proxy.port() };
        let index = self.begin_query(visit, host, (Resource::Ident, host), what);
        let dial = Dial { to: identd, from, reserved: false, due: None };
        match self.base.dials.begin(dial, Caller::Query(index), &mut self.base.reactor) {
            Ok(Begun::Connected(socket)) => self.hand_to_asker(index, socket),
            Ok(Begun::Pending(key)) => {
                self.queries.get_mut(index).into_iter().for_each(|query| query.stage = Stage::Dialling(key));
            }
            Err(_) => self.fail_query(index),
        }
        None
    }

    /// Has the next server, to which the session holds a connection, asked to carry out a request.
    pub(crate) fn ask_upstream(
        &mut self,
        visit: SessionKey,
        next: SocketAddr,
        request: Request,
    ) -> Option<Event> {
        let client = self.visits.get(visit)?.host();
        let (kind, replies) = match request.command {
            Command::Connect => (Resource::Upstream, 1),
            Command::Bind => (Resource::Bind, 2),
        };
        if let Some(limit) = self.base.counts.limit(kind, client, &self.base.config.settings) {
            return Some(Event::NoRoom(limit));
        }
        let server = self.visits.get(visit)?.held.server.as_ref()?;
        let Ok(twin) = fcntl_dupfd_cloexec(server, 3) else {
            return Some(Event::Replied(NextReply::Cancelled));
        };
        let what = What::Request { next, request, replies };
        let index = self.begin_query(visit, Host::of(next.ip()), (kind, client), what);
        self.hand_to_asker(index, twin);
        None
    }

    fn begin_query(
        &mut self,
        visit: SessionKey,
        host: Host,
        counts: (Resource, Host),
        what: What,
    ) -> QueryKey {
        self.base.counts.add(counts.0, counts.1);
        let query = AskedOf { visit: Some(visit), host, counts, what, stage: Stage::Neither, due: None };
        let index = self.queries.insert(query);
        if let Some(visit) = self.visits.get_mut(visit) {
            visit.held.query = Some(index);
        }
        index
    }

    /// The connection to identd stands, or has failed.
    pub(crate) fn identd_dialled(&mut self, index: QueryKey, dialled: Dialled) {
        match dialled {
            Ok(socket) => self.hand_to_asker(index, socket),
            Err(_) => self.fail_query(index),
        }
    }

    fn hand_to_asker(&mut self, index: QueryKey, socket: OwnedFd) {
        let Some(place) = self.asker(index) else { return self.fail_query(index) };
        let id = index.id();
        let Some(query) = self.queries.get_mut(index) else { return };
        query.stage = Stage::Asking(place);
        let Some(worker) = self.base.workers.worker(place) else { return };
        // A worker that is lost is noticed where its channel is read.
        let _ = match (&mut worker.line, &query.what) {
            (Line::Ident(link), What::Identity { client_port, proxy_port }) => {
                let ask = ToIdent::Ask { id, client_port: *client_port, server_port: *proxy_port };
                link.send(ask, Some(socket))
            }
            (Line::Upstream(link), What::Request { request, .. }) => {
                link.send(ToUpstream::Ask { id, request: request.clone() }, Some(socket))
            }
            _ => true,
        };
        self.flush_if_stuck(place);
    }

    fn flush_if_stuck(&mut self, place: WorkerKey) {
        if self.base.workers.worker(place).is_some_and(|worker| worker.is_stuck()) {
            self.flush_worker(place);
        }
    }

    /// The worker that asks the host, or the next server, of a query and no other.
    fn asker(&mut self, index: QueryKey) -> Option<WorkerKey> {
        let (host, asks) = self.queries.get(index).map(|query| (query.host, query.what.asks(query.host)))?;
        let worker = match self.base.workers.asker(asks) {
            Some(worker) => worker,
            None => {
                let worker = self.spawn(asks.0)?;
                self.base.workers.assign_asker(worker, asks);
                worker
            }
        };
        self.base.workers.assign(worker, host);
        Some(worker)
    }

    pub(crate) fn ident_worker_said(&mut self, worker: WorkerKey, message: FromIdent) {
        match message {
            FromIdent::Ready(locks) => self.worker_ready(worker, locks),
            FromIdent::Answer { id, user } => {
                let user = user.and_then(|user| sockd_policy::UserId::parse(user.as_bytes()).ok());
                let identity = user.map_or(Identity::Unknown, Identity::Known);
                self.asker_answered(worker, id, Event::Identified(identity));
            }
        }
    }

    pub(crate) fn upstream_worker_said(&mut self, worker: WorkerKey, message: FromUpstream) {
        match message {
            FromUpstream::Ready(locks) => self.worker_ready(worker, locks),
            FromUpstream::Answer { id, reply } => self.asker_answered(worker, id, Event::Replied(reply)),
        }
    }

    fn asker_answered(&mut self, worker: WorkerKey, id: Id, answer: Event) {
        let index = id.into();
        match self.queries.get_mut(index) {
            Some(query) if matches!(query.stage, Stage::Asking(asked) if asked == worker) => {
                if let (What::Request { replies: replies @ 2.., .. }, Event::Replied(NextReply::Granted(_))) =
                    (&mut query.what, &answer)
                {
                    *replies = replies.saturating_sub(1);
                    if let Some(visit) = query.visit {
                        self.happen(visit, answer);
                    }
                    return;
                }
                self.answer_query(index, answer);
                self.base.workers.release(worker, &self.base.config.settings);
            }
            _ => self.violation(worker, "an answer that nobody asked for"),
        }
    }

    fn fail_query(&mut self, index: QueryKey) {
        if let Some(failure) = self.queries.get(index).map(|query| query.what.failure()) {
            self.answer_query(index, failure);
        }
    }

    fn answer_query(&mut self, index: QueryKey, answer: Event) {
        let Some(mut query) = self.queries.remove(index) else { return };
        if let Stage::Dialling(dial) = query.stage {
            self.base.dials.cancel(dial, Caller::Query(index), &mut self.base.reactor);
        }
        self.base.counts.remove(query.counts.0, query.counts.1);
        self.base.reactor.set_deadline(Token::Query(index), &mut query.due, None);
        let Some(visit) = query.visit else { return };
        self.happen(visit, answer);
    }

    /// The session that waited does not any more; a worker that was asked still has to answer.
    pub(crate) fn cancel_query(&mut self, index: QueryKey, session: SessionKey) {
        let Some(query) = self.queries.get_mut(index) else { return };
        // It may be answered already, and its key another's.
        if query.visit.take_if(|waiting| *waiting == session).is_none() {
            return;
        }
        let Stage::Asking(place) = query.stage else { return self.fail_query(index) };
        let due = Instant::now().checked_add(CANCEL_LIMIT);
        self.base.reactor.set_deadline(Token::Query(index), &mut query.due, due);
        let id = index.id();
        let Some(worker) = self.base.workers.worker(place) else { return };
        let _ = match &mut worker.line {
            Line::Ident(link) => link.send(ToIdent::Cancel { id }, None),
            Line::Upstream(link) => link.send(ToUpstream::Cancel { id }, None),
            _ => true,
        };
        self.flush_if_stuck(place);
    }

    /// A worker owes the end of a query.
    pub(crate) fn query_overdue(&mut self, index: QueryKey) {
        if let Some(&AskedOf { stage: Stage::Asking(worker), .. }) = self.queries.get(index) {
            self.violation(worker, "a query is not given up when it has to be");
        }
    }

    /// A worker is gone: what it was asked is not answered.
    pub(crate) fn lose_queries(&mut self, worker: WorkerKey) {
        let of_worker = |query: &AskedOf| matches!(query.stage, Stage::Asking(asked) if asked == worker);
        for index in self.queries.keys_where(of_worker) {
            self.fail_query(index);
        }
    }
}
