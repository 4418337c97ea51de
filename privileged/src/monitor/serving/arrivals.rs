//! What sessions and their flows wait for has come, or has failed.

use crate::monitor::base::News;
use crate::monitor::dial::Caller;
use crate::monitor::serving::Serving;
use crate::net::dial::Dialled;
use sockd_session::{Arrival, Event, FlowEvent, PortKey, Waiter};

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
}
