//! Takes events to sessions, and performs the actions that follow.

use crate::monitor::base::News;
use crate::monitor::dial::Caller;
use crate::monitor::serving::Serving;
use crate::net::dial::Dialled;
use sockd_common::message::session::ToSession;
use sockd_policy::guard::AddressKind;
use sockd_session::admission::is_own;
use sockd_session::rtnetlink::Route;
use sockd_session::session::Candidate;
use sockd_session::{Action, Arrival, Event, FlowEvent, PortKey, SessionKey, Waiter, seconds};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// The events of sessions and of all that they wait for.
impl Serving {
    pub(super) fn dialled(&mut self, dialled: Option<(Caller, Dialled)>) {
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

    /// Accepts a connection to the port of a BIND.
    pub(super) fn port_ready(&mut self, key: PortKey) {
        let Some((waiter, accepted)) = self.awaited.bind_ports.accept(key, &mut self.base) else { return };
        let accepted = accepted.map(|(server, peer)| {
            self.sessions.keep_peer(waiter, Some(server));
            peer
        });
        self.dispatch_all(Some((waiter, Arrival::Accepted(accepted))));
    }

    pub(super) fn dispatch_all(&mut self, news: impl IntoIterator<Item = News>) {
        for (Waiter { session, key }, arrival) in news {
            if let Some(entry) = self.sessions.get_mut(session) {
                entry.has_come(key, &arrival);
            }
            if key.is_of_flow() {
                self.flow_happens(session, FlowEvent::Arrived(key, arrival));
            } else {
                self.dispatch(session, Event::Arrived(key, arrival));
            }
        }
    }

    /// Takes an event to its session and performs the actions that follow, until there are none.
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
        let Self { base, sessions, .. } = self;
        let waiter = |wait| Waiter { session: key, key: wait };
        match action {
            Action::Record(record) => sessions.record(key, &record, base),
            Action::Deadline(limit) => base.set_deadline(key, limit),
            Action::Begin(wait, task) => {
                let arrival = self.begin_task(waiter(wait), task)?;
                return Some(Event::Arrived(wait, arrival));
            }
            Action::GiveUp(wait) => self.give_up(waiter(wait)),
            Action::Accept => base.tell(worker, &ToSession::Verified { id }, None),
            Action::Announce(address) => base.tell(worker, &ToSession::Listening { id, address }, None),
            Action::Associate { hint } => return Some(self.associate(key, hint)),
            Action::Associated(address) => base.tell(worker, &ToSession::Associated { id, address }, None),
            Action::Dissociate(why) => return self.dissociate(key, why),
            Action::CloseStranger(wait) => sessions.keep_peer(waiter(wait), None),
            Action::Run(template, values) => {
                self.hook.run(&template, *values).unwrap_or_else(|line| base.log.quiet_err(line));
            }
            Action::Remember { next, reachable: true } => self.unreachable.remove(next),
            Action::Remember { next, reachable: false } => {
                let time = seconds(base.config.settings.upstream_retry);
                self.unreachable.insert(next, Instant::now(), time);
            }
            Action::HandOff { key: wait, bound, line } => self.hand_off(waiter(wait), bound, line),
            Action::Limit(line) => sessions.limit(key, line, base),
            Action::Inspect => return sessions.inspect(key).map(Event::Inspected),
            Action::CloseRelay { orderly } => return Some(sessions.close_relay(key, orderly)),
            Action::Reset => sessions.reset(key),
            Action::Refuse(why) => {
                self.give_up_all(key);
                self.base.tell(worker, &ToSession::Refuse { id, why }, None);
            }
            Action::End => {
                self.give_up_all(key);
                self.base.tell(worker, &ToSession::End { id }, None);
            }
            Action::Remove => {
                self.give_up_all(key);
                self.sessions.remove(key, &mut self.base);
            }
            Action::Violation(what) => self.violation(worker, what),
        }
        None
    }

    /// Classifies addresses for this host.
    pub(super) fn classify(&mut self, addresses: &[IpAddr], port: u16) -> Arrival {
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
}
