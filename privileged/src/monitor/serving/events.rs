//! Takes events to sessions, and performs the actions that follow.

use crate::monitor::associations::Wanted;
use crate::monitor::serving::Serving;
use sockd_common::message::Errno;
use sockd_common::message::session::ToSession;
use sockd_session::{Action, EndCause, Event, FailedCall, Failure, SessionKey, Waiter, seconds};
use std::time::Instant;

impl Serving {
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
            Action::Violation(what) => self.condemn(worker, what),
        }
        None
    }

    /// Opens an association for a session.
    fn associate(&mut self, key: SessionKey, hint: u16) -> Event {
        let Self { sessions, associations, base, .. } = self;
        let gone = || Failure::Call(FailedCall { call: "getsockname", errno: Errno(0) });
        let wanted = sessions.association(key).ok_or_else(gone);
        let open = |(flows, client, at)| associations.open(key, Wanted { flows, client, at, hint }, base);
        Event::Associated(wanted.and_then(open))
    }

    /// Ends an association for its session. Returns the event of its end, if that is known at once.
    fn dissociate(&mut self, key: SessionKey, why: EndCause) -> Option<Event> {
        self.give_up_all(key);
        let moved = self.associations.dissociate(key, why, &mut self.base)?;
        Some(Event::Dissociated(why, moved))
    }
}
