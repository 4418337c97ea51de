//! The tasks that sessions wait for: how they are begun, given up and handed on.

use crate::monitor::base::{Base, News};
use crate::monitor::bind_port::Wanted;
use crate::monitor::dial::{Begun, Caller};
use crate::monitor::serving::Serving;
use crate::monitor::sessions::{Held, Relay};
use crate::net::connection::{Answers, before_relay};
use crate::net::dial::Dial;
use crate::net::sockets::own_address;
use sockd_common::message::session::{Handshake, ToSession};
use sockd_policy::guard::AddressKind;
use sockd_session::admission::is_own;
use sockd_session::checks::Login;
use sockd_session::limits::lines::Line;
use sockd_session::pool::Verified;
use sockd_session::pool::choice::Settled;
use sockd_session::rtnetlink::Route;
use sockd_session::session::Candidate;
use sockd_session::{Arrival, Limit, SessionKey, Task, WaitKey, Waiter};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

/// The beginning of tasks.
impl Serving {
    /// Begins a task that a session waits for. Returns its outcome, if that is known at once.
    pub(super) fn begin_task(&mut self, waiter: Waiter, task: Task) -> Option<Arrival> {
        let Self { sessions, awaited, base, .. } = self;
        let entry = sessions.get_mut(waiter.session)?;
        let begun = match task {
            Task::Classify(addresses, port) => Err(self.classify(&addresses, port)),
            Task::Count(line) => Err(match base.lines.enter(waiter.session, *line) {
                true => Arrival::Counted,
                false => Arrival::NoRoom(Limit::LINE),
            }),
            Task::Resolve(query) => {
                awaited.resolver.look_up(waiter, entry.host(), query, base).map(Held::Lookup)
            }
            Task::Verify => match entry.held.remove(waiter.key) {
                // A worker that has served others could use the user that is verified.
                _ if base.knows_user_too_late(entry.worker) => Err(Arrival::LoggedIn(Login::NotAlone)),
                Some(Held::Credentials(credentials)) => {
                    Ok(Held::Check(awaited.auth.check(waiter, entry.host(), credentials)))
                }
                _ => Err(Arrival::LoggedIn(Login::Unchecked)),
            },
            // The same holds for a user that an identd vouches for.
            Task::AskIdent if base.knows_user_too_late(entry.worker) => {
                Err(Arrival::NoRoom(Limit::NOT_ALONE))
            }
            Task::AskIdent => {
                let client = entry.session.client();
                awaited.askers.ask_ident(waiter, client, entry.proxy.into(), base).map(Held::Query)
            }
            Task::Dial { to, from, reserved } => self.dial(waiter, Dial { to, from, reserved, due: None }),
            Task::Listen { towards, at, reserved } => {
                let (host, proxy) = (entry.host(), entry.proxy.0);
                let wanted = Wanted { waiter, host, proxy, towards, at, reserved };
                awaited.bind_ports.open(wanted, base).and_then(|(port, address)| {
                    entry.held.insert(waiter.key, Held::Port(port, None));
                    Err(Arrival::Listening(Ok(address)))
                })
            }
            Task::AskUpstream(next, request) => {
                let Some(Held::Server(server)) = entry.held.remove(waiter.key) else { return None };
                let (answers, asked) = (Answers::of_version(request.version), (next, *request));
                let begun = awaited.askers.ask_upstream(waiter, entry.host(), &server, asked, base);
                begun.map(|query| Held::Upstream(query, server, answers))
            }
            Task::Settle(user, handshake) => self.settle(waiter, &user, handshake)?,
        };
        begun.map(|held| self.sessions.hold(waiter, held)).err()
    }

    /// Classifies addresses for this host.
    fn classify(&mut self, addresses: &[IpAddr], port: u16) -> Arrival {
        let now = Instant::now();
        self.routing.hear_changes();
        let candidate = |address: &IpAddr| {
            let Route { kind, source } =
                self.routing.classify(*address, &self.base.config.settings.nat64_prefixes);
            Candidate {
                address: *address,
                kind,
                own_listener: is_own(&self.clients.own, *address, port, kind == AddressKind::Local),
                unreachable: self.unreachable.contains(SocketAddr::new(*address, port), now),
                source,
            }
        };
        Arrival::Classified(addresses.iter().map(candidate).collect())
    }

    fn dial(&mut self, waiter: Waiter, dial: Dial) -> Result<Held, Arrival> {
        let since = Instant::now();
        let Base { dials, reactor, .. } = &mut self.base;
        match dials.begin(dial, Caller::Session(waiter), reactor) {
            Ok(Begun::Pending(dial)) => Ok(Held::Dial(dial, since)),
            Ok(Begun::Connected(server)) => {
                self.base.counting.dialled(since.elapsed());
                Err(self.sessions.dialled(waiter, Ok(server), self.base.counting))
            }
            Err(failed) => Err(Arrival::Dialled(Err(failed))),
        }
    }
}

/// The end of tasks that are given up.
impl Serving {
    /// Gives up the task of one wait.
    pub(super) fn give_up(&mut self, waiter: Waiter) {
        let held = self.sessions.get_mut(waiter.session).and_then(|entry| entry.held.remove(waiter.key));
        held.into_iter().for_each(|held| self.release(held, waiter));
    }

    /// Gives up all tasks of a session.
    pub(super) fn give_up_all(&mut self, session: SessionKey) {
        let Some(entry) = self.sessions.get_mut(session) else { return };
        for (key, held) in entry.held.take() {
            self.release(held, Waiter { session, key });
        }
    }

    /// Releases the state of a task that nothing waits for any longer.
    fn release(&mut self, held: Held, waiter: Waiter) {
        let Self { awaited, base, .. } = self;
        match held {
            Held::Dial(dial, _) => base.dials.cancel(dial, Caller::Session(waiter), &mut base.reactor),
            Held::Port(port, _) => awaited.bind_ports.close(port, waiter, base),
            Held::Lookup(lookup) => awaited.resolver.cancel(lookup, waiter, base),
            Held::Query(query) | Held::Upstream(query, ..) => awaited.askers.cancel(query, waiter, base),
            Held::Check(check) => awaited.auth.cancel(check, waiter, base),
            Held::Ending(serial) => drop(awaited.handovers.remove(&serial)),
            Held::Server(_) | Held::Credentials(_) => {}
        }
    }

    /// The event for a query whose worker is not ready by the deadline: it has not been asked, so no identd was silent.
    pub(super) fn unasked(&mut self, session: SessionKey, is_late: impl Fn(WaitKey) -> bool) -> Option<News> {
        let Self { sessions, awaited, base, .. } = self;
        sessions.get_mut(session)?.held.iter().filter(|(key, _)| is_late(*key)).find_map(|(key, held)| {
            let (Held::Query(query), waiter) = (held, Waiter { session, key }) else { return None };
            Some((waiter, awaited.askers.unasked(*query, waiter, base)?))
        })
    }
}

/// The hand-off to a worker.
impl Serving {
    /// Gives the worker the server for its relay, within the limits of the line; `bound` is for the reply.
    pub(super) fn hand_off(&mut self, waiter: Waiter, bound: Option<SocketAddr>, line: Option<Box<Line>>) {
        let Self { sessions, awaited, base, .. } = self;
        let Some(entry) = sessions.get_mut(waiter.session) else { return };
        let (worker, id) = (entry.worker, waiter.session.id());
        let handed = match entry.held.remove(waiter.key) {
            Some(Held::Server(server)) => Some((server, None)),
            Some(Held::Upstream(_, server, answers)) => {
                let before = before_relay(&server, &answers);
                Some((server, Some(Box::new(before))))
            }
            Some(Held::Port(port, peer)) => {
                awaited.bind_ports.close(port, waiter, base);
                peer.map(|server| (server, None))
            }
            _ => None,
        };
        if let Some((server, before)) = handed {
            let server = Rc::new(server);
            let bound = bound.unwrap_or_else(|| own_address(&server));
            entry.relay = Some(Relay { server: Rc::clone(&server), before, is_kept_alive: false });
            sessions.limit_first(waiter.session, line, base);
            base.tell(worker, &ToSession::Relay { id, bound }, Some(server));
        }
        self.give_up_all(waiter.session);
    }

    /// Settles a client whose user is known. If that user has another worker, the client's present one is ended, and
    /// the other is told of the client when that has been reaped.
    fn settle(
        &mut self,
        waiter: Waiter,
        user: &Verified,
        handshake: Handshake,
    ) -> Option<Result<Held, Arrival>> {
        let Self { sessions, awaited, base, .. } = self;
        let entry = sessions.get_mut(waiter.session)?;
        let (worker, pool) = (entry.worker, &mut base.workers.pool);
        let to = match pool.settle(worker, entry.host(), user, &base.config.settings) {
            Settled::Stays => return Some(Err(Arrival::Settled)),
            Settled::NotAlone => return Some(Err(Arrival::NoRoom(Limit::NOT_ALONE))),
            Settled::HandOver(to) => to,
        };
        pool.take_over(to);
        entry.worker = to;
        let serial = base.workers.retire(worker, None, &mut base.reactor)?;
        awaited.handovers.insert(serial, (waiter, handshake));
        Some(Ok(Held::Ending(serial)))
    }

    /// Gives the client of a worker that has ended to the worker of its user.
    pub(super) fn go_on(&mut self, ended: u32) -> Option<News> {
        let (waiter, handshake) = self.awaited.handovers.remove(&ended)?;
        if let Some(entry) = self.sessions.get_mut(waiter.session)
            && let Some(client) = entry.client.clone()
        {
            let serve = ToSession::Serve { id: waiter.session.id(), handshake };
            self.base.tell(entry.worker, &serve, Some(client));
        }
        Some((waiter, Arrival::Settled))
    }
}
