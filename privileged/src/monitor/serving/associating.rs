//! UDP associations: their sockets, deadlines, workers and flows.

use crate::monitor::base::{Heard, News};
use crate::monitor::serving::Serving;
use sockd_common::message::datagram::{FromDatagram, Relayed};
use sockd_session::session::AssociationDue;
use sockd_session::{EndCause, Event, FlowAction, FlowEvent, SessionKey, Violation, WorkerKey};
use std::collections::VecDeque;

/// The sockets, deadlines and workers of associations.
impl Serving {
    /// Handles a client's socket: its first datagram has come, a stranger's has been dropped, or a deadline has passed.
    pub fn association_ready(&mut self, key: SessionKey) {
        if let Some(why) = self.associations.latch(key, &mut self.base) {
            self.dissociated(key, why, Relayed::default());
        }
    }

    /// Handles the deadline of an association. Returns what a flow waits for, if that has failed.
    pub fn association_due(&mut self, key: SessionKey) -> Option<News> {
        match self.associations.overdue(key)? {
            AssociationDue::Over(why) => self.dissociated(key, why, Relayed::default()),
            AssociationDue::Owed(worker) => {
                self.condemn(worker, "an association is not ended when it has to be");
            }
            AssociationDue::Flows(late) => {
                let news = self.unasked(key, |wait| late.contains(&wait));
                if news.is_none() {
                    self.flow_happens(key, FlowEvent::Due);
                }
                return news;
            }
        }
        None
    }

    /// Takes a message of a datagram worker.
    pub fn datagram_worker_said(&mut self, worker: WorkerKey, message: FromDatagram) -> Heard {
        let (id, event) = match message {
            FromDatagram::Ready(_) => return Ok(None),
            FromDatagram::Want { id, flow, destination, port } => {
                (id, FlowEvent::Wanted { flow, destination, port })
            }
            FromDatagram::Gone { id, flow, moved } => (id, FlowEvent::Gone(flow, moved)),
            FromDatagram::Closed { id, why, moved } => {
                let key = self.associations.named_by(worker, id)?;
                self.dissociated(key, self.associations.ended(key, why)?, moved);
                return Ok(None);
            }
        };
        let key = self.associations.named_by(worker, id)?;
        self.flow_happens(key, event);
        Ok(None)
    }

    /// Tells a session that its association has ended; `open` is what the open flows have moved.
    pub fn dissociated(&mut self, key: SessionKey, why: EndCause, open: Relayed) {
        let moved = self.associations.remove(key, open, &mut self.base);
        self.give_up_all(key);
        self.dispatch(key, Event::Dissociated(why, moved));
    }
}

/// The flows of associations.
impl Serving {
    /// Takes an event to a flow and performs the actions that follow, until there are none.
    pub fn flow_happens(&mut self, key: SessionKey, event: FlowEvent) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            match self.associations.on(key, event, &mut self.base) {
                Ok(actions) => {
                    events
                        .extend(actions.into_iter().filter_map(|action| self.perform_for_flow(key, action)));
                }
                Err((worker, Violation(what))) => return self.condemn(worker, what),
            }
        }
    }

    fn perform_for_flow(&mut self, key: SessionKey, action: FlowAction) -> Option<FlowEvent> {
        match action {
            FlowAction::Do(action) => match self.perform(key, action)? {
                Event::Arrived(wait, arrival) => Some(FlowEvent::Arrived(wait, arrival)),
                _ => None,
            },
            action => self.associations.perform(key, action, &mut self.base),
        }
    }
}
