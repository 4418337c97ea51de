//! Finds the key for each result: a session is told results by their keys, a test names only the result.

use sockd_common::message::resolver::Answer;
use sockd_common::message::upstream::NextReply;
use sockd_policy::Identity;
use sockd_session::config::Config;
use sockd_session::limits::limit::Limit;
use sockd_session::record::FailedCall;
use sockd_session::session::{Action, Arrival, Candidate, Event, Fact, Session, Wait};
use sockd_session::waits::{WaitKey, WaitKeys};
use std::net::SocketAddr;

/// An event of a session, or a result for the first wait that it fits.
#[derive(Debug)]
pub(crate) enum Happens {
    Event(Event),
    Arrival(Arrival),
}

pub(crate) const DEADLINE: Happens = Happens::Event(Event::Deadline);
pub(crate) const RECHECK: Happens = Happens::Event(Event::Recheck);
pub(crate) const KILLED: Happens = Happens::Event(Event::Killed);
pub(crate) const STOP: Happens = Happens::Event(Event::Stop);
pub(crate) const WORKER_LOST: Happens = Happens::Event(Event::WorkerLost);

impl From<Event> for Happens {
    fn from(event: Event) -> Self {
        Self::Event(event)
    }
}

impl From<Arrival> for Happens {
    fn from(arrival: Arrival) -> Self {
        Self::Arrival(arrival)
    }
}

pub(crate) fn resolved(answer: Answer) -> Happens {
    Arrival::Resolved(answer).into()
}

pub(crate) fn classified(candidates: Vec<Candidate>) -> Happens {
    Arrival::Classified(candidates).into()
}

pub(crate) fn identified(identity: Identity) -> Happens {
    Arrival::Identified(identity).into()
}

pub(crate) fn dials(result: Result<(), FailedCall>) -> Happens {
    Arrival::Dialled(result).into()
}

pub(crate) fn listens(result: Result<SocketAddr, FailedCall>) -> Happens {
    Arrival::Listening(result).into()
}

pub(crate) fn no_room(limit: Limit) -> Happens {
    Arrival::NoRoom(limit).into()
}

pub(crate) fn accepts(result: Result<SocketAddr, FailedCall>) -> Happens {
    Arrival::Accepted(result).into()
}

pub(crate) fn replied(reply: NextReply) -> Happens {
    Arrival::Replied(reply).into()
}

/// Whether a result fits a wait.
pub(crate) fn fits(wait: Wait, arrival: &Arrival) -> bool {
    match arrival {
        Arrival::LoggedIn(_) => wait == Wait::Login,
        Arrival::Resolved(_) => {
            matches!(wait, Wait::Fact(fact) if !is_of_kinds(fact) && fact != Fact::Identity)
        }
        Arrival::Classified(_) => matches!(wait, Wait::Fact(fact) if is_of_kinds(fact)),
        Arrival::Identified(_) => wait == Wait::Fact(Fact::Identity),
        Arrival::Dialled(_) => matches!(wait, Wait::Connection(_) | Wait::UpstreamConnection),
        Arrival::Listening(_) | Arrival::Accepted(_) => wait == Wait::Port,
        Arrival::Settled => wait == Wait::Worker,
        Arrival::Counted => wait == Wait::Line,
        Arrival::NoRoom(_) => {
            matches!(
                wait,
                Wait::Fact(Fact::Identity) | Wait::Port | Wait::UpstreamReply | Wait::Worker | Wait::Line
            )
        }
        Arrival::Replied(_) => matches!(wait, Wait::UpstreamReply | Wait::UpstreamPeer),
    }
}

fn is_of_kinds(fact: Fact) -> bool {
    matches!(fact, Fact::Kinds | Fact::UpstreamKinds)
}

/// A key that no session here reaches.
fn stale() -> WaitKey {
    let mut keys = WaitKeys::default();
    (0..1000).fold(keys.next_key(), |_, _| keys.next_key())
}

pub(crate) trait Sees {
    /// The event with the key of the first wait that it fits.
    fn told(&self, what: impl Into<Happens>) -> Event;

    fn sees(&mut self, what: impl Into<Happens>, config: &Config) -> Vec<Action>;
}

impl Sees for Session {
    fn told(&self, what: impl Into<Happens>) -> Event {
        match what.into() {
            Happens::Event(event) => event,
            Happens::Arrival(arrival) => {
                let key = self.waits().find(|(_, wait)| fits(*wait, &arrival)).map(|(key, _)| key);
                Event::Arrived(key.unwrap_or_else(stale), arrival)
            }
        }
    }

    fn sees(&mut self, what: impl Into<Happens>, config: &Config) -> Vec<Action> {
        self.on(self.told(what), config)
    }
}
