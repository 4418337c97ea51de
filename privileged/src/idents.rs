//! The monitor's half of identd queries: the connection to the client's port 113, and the ident worker that asks.
//!
//! The worker that asks is never the one that parsed the request: a user who has taken over the session worker of
//! his host must not be able to vouch for himself.

use crate::dial::{self, Dialled};
use crate::monitor::{Monitor, watch};
use crate::session::Event;
use crate::tally::Kind;
use crate::token::Token;
use crate::visits::Holds;
use crate::workers::Line;
use rustix::event::epoll;
use slab::Slab;
use sockd_common::message::{FromIdent, Id, Role, ToIdent};
use sockd_policy::Identity;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// RFC 1413.
const IDENT_PORT: u16 = 113;

/// An ident worker that has been told to give up a query gets this long to say so.
const CANCEL_LIMIT: Duration = Duration::from_secs(10);

/// The queries under way.
pub(crate) type Queries = Slab<IdentQuery>;

#[derive(Debug)]
pub(crate) struct IdentQuery {
    /// The session that waits; nothing once it does not any more.
    visit: Option<usize>,
    client_port: u16,
    proxy_port: u16,
    host: crate::workers::Host,
    stage: Stage,
    /// When the worker has to have given up.
    due: Option<Instant>,
}

#[derive(Debug)]
enum Stage {
    /// The connection is on its way.
    Dialling(OwnedFd, SocketAddr),
    /// The worker with this place asks.
    Asking(usize),
    /// Between the two, or over.
    Neither,
}

impl Monitor {
    /// Begins to ask the client's identd, from the address that the client connected to.
    pub(crate) fn ask_ident(&mut self, visit: usize) -> Option<Event> {
        let (client, proxy, host) =
            self.visits.get(visit).map(|visit| (visit.client, visit.proxy, visit.host))?;
        if let Some(limit) = self.tallies.limit(Kind::Ident, host, &self.world.settings) {
            self.rarely.err(&mut self.log, &format!("identd is not asked: {limit} by {host}"));
            return Some(Event::Identified(Identity::Unknown));
        }
        let identd = SocketAddr::new(client.ip(), IDENT_PORT);
        let dialled = match dial::dial(identd, Some(sockd_policy::canonical(proxy.ip()))) {
            Ok(dialled) => dialled,
            Err(_) => return Some(Event::Identified(Identity::Unknown)),
        };
        self.tallies.add(Kind::Ident, host);
        let index = self.queries.insert(IdentQuery {
            visit: Some(visit),
            client_port: client.port(),
            proxy_port: proxy.port(),
            host,
            stage: Stage::Neither,
            due: None,
        });
        if let Some(visit) = self.visits.get_mut(visit) {
            visit.holds = Holds::Query(index);
        }
        match dialled {
            Dialled::Connected(socket) => self.hand_to_ident_worker(index, socket),
            Dialled::Pending(socket) => {
                let token = Token::Query(u32::try_from(index).ok()?);
                let watched = watch(&self.epoll, &socket, token, epoll::EventFlags::OUT);
                if let Some(query) = self.queries.get_mut(index) {
                    query.stage = Stage::Dialling(socket, identd);
                }
                if watched.is_err() {
                    self.answer_query(index, Identity::Unknown);
                }
            }
        }
        None
    }

    /// The connection to identd stands, or has failed.
    pub(crate) fn identd_reached(&mut self, index: usize) {
        let stage = self.queries.get(index).map(|query| &query.stage);
        if !matches!(stage, Some(Stage::Dialling(socket, _)) if dial::is_settled(socket)) {
            return;
        }
        let Some((socket, identd)) = self.take_identd(index) else { return };
        match dial::finish(socket, identd) {
            Ok(socket) => self.hand_to_ident_worker(index, socket),
            Err(_) => self.answer_query(index, Identity::Unknown),
        }
    }

    fn take_identd(&mut self, index: usize) -> Option<(OwnedFd, SocketAddr)> {
        let query = self.queries.get_mut(index)?;
        match std::mem::replace(&mut query.stage, Stage::Neither) {
            Stage::Dialling(socket, identd) => {
                let _ = epoll::delete(&self.epoll, &socket);
                Some((socket, identd))
            }
            stage => {
                query.stage = stage;
                None
            }
        }
    }

    fn hand_to_ident_worker(&mut self, index: usize, socket: OwnedFd) {
        let Some(worker) = self.ident_worker(index) else {
            return self.answer_query(index, Identity::Unknown);
        };
        let Some(query) = self.queries.get_mut(index) else { return };
        query.stage = Stage::Asking(worker);
        let Ok(id) = u32::try_from(index).map(Id) else { return };
        let ask = ToIdent::Ask { id, client_port: query.client_port, server_port: query.proxy_port };
        self.tell_ident(worker, ask, Some(socket));
    }

    fn ident_worker(&mut self, index: usize) -> Option<usize> {
        let host = self.queries.get(index)?.host;
        if let Some(worker) = self.workers.ident(host) {
            self.workers.assign(worker, host);
            return Some(worker);
        }
        let worker = self.spawn(Role::Ident)?;
        self.workers.assign_ident(worker, host);
        self.workers.assign(worker, host);
        Some(worker)
    }

    fn tell_ident(&mut self, index: usize, message: ToIdent, descriptor: Option<OwnedFd>) {
        let Some(worker) = self.workers.worker(index) else { return };
        if let Line::Ident(link) = &mut worker.line {
            // A worker that is lost is noticed where its channel is read.
            if link.send(message, descriptor) && link.is_stuck() {
                self.flush_worker(index);
            }
        }
    }

    pub(crate) fn ident_worker_said(&mut self, worker: usize, message: FromIdent) {
        match message {
            FromIdent::Ready(locks) => self.worker_ready(worker, locks),
            FromIdent::Answer { id, user } => {
                let index = id.0 as usize;
                match self.queries.get(index).map(|query| &query.stage) {
                    Some(Stage::Asking(asked)) if *asked == worker => {
                        let user = user.and_then(|user| sockd_policy::UserId::parse(user.as_bytes()).ok());
                        self.answer_query(index, user.map_or(Identity::Unknown, Identity::Known));
                        self.workers.release(worker, &self.world.settings);
                    }
                    _ => self.violation(worker, "an answer that nobody asked for"),
                }
            }
        }
    }

    fn answer_query(&mut self, index: usize, identity: Identity) {
        drop(self.take_identd(index));
        let Some(query) = self.queries.try_remove(index) else { return };
        self.tallies.remove(Kind::Ident, query.host);
        if let (Some(due), Ok(place)) = (query.due, u32::try_from(index)) {
            self.deadlines.remove(&(due, Token::Query(place).pack()));
        }
        let Some(visit) = query.visit else { return };
        if let Some(found) = self.visits.get_mut(visit) {
            found.holds = Holds::Nothing;
            self.happen(visit, Event::Identified(identity));
        }
    }

    /// The session that waited does not any more; a worker that was asked still has to answer.
    pub(crate) fn cancel_query(&mut self, index: usize) {
        let Some(query) = self.queries.get_mut(index) else { return };
        query.visit = None;
        match (&query.stage, u32::try_from(index)) {
            (Stage::Asking(worker), Ok(id)) => {
                let worker = *worker;
                query.due = Instant::now().checked_add(CANCEL_LIMIT);
                self.deadlines.extend(query.due.map(|due| (due, Token::Query(id).pack())));
                self.tell_ident(worker, ToIdent::Cancel { id: Id(id) }, None);
            }
            _ => self.answer_query(index, Identity::Unknown),
        }
    }

    /// A worker owes the end of a query.
    pub(crate) fn query_overdue(&mut self, index: usize) {
        if let Some(&IdentQuery { stage: Stage::Asking(worker), .. }) = self.queries.get(index) {
            self.violation(worker, "a query is not given up when it has to be");
        }
    }

    /// An ident worker is gone: what it was asked cannot be verified.
    pub(crate) fn lose_queries(&mut self, worker: usize) {
        let of_worker = |query: &IdentQuery| matches!(query.stage, Stage::Asking(asked) if asked == worker);
        let lost: Vec<usize> =
            self.queries.iter().filter(|(_, query)| of_worker(query)).map(|(index, _)| index).collect();
        for index in lost {
            self.answer_query(index, Identity::Unknown);
        }
    }
}
