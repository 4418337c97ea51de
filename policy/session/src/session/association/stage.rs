//! How far an association has come with its worker, and what the worker owes.

use crate::keys::WorkerKey;
use crate::record::EndCause;
use crate::session::association::Association;
use crate::settings::{Settings, seconds};
use crate::violation::Violation;
use crate::waits::WaitKey;
use sockd_common::message::datagram::AssociationEnd;
use std::time::{Duration, Instant};

/// How long a worker may take to end an association.
const ENDING_LIMIT: Duration = Duration::from_secs(10);

/// How far an association has come.
#[derive(Clone, Copy, Debug)]
pub enum AssociationStage {
    /// The client has sent nothing; it must do so by this time.
    Silent(Option<Instant>),
    /// This worker has its socket.
    Lent(WorkerKey),
    /// This worker has been told to end it for this reason, and must have done so by this time.
    Ending(WorkerKey, EndCause, Option<Instant>),
}

/// What is due for an association.
#[derive(Debug, PartialEq, Eq)]
pub enum AssociationDue {
    /// It is over.
    Over(EndCause),
    /// Its worker has not ended it in time.
    Owed(WorkerKey),
    /// Flows have waited too long; the facts that they wait for have these keys.
    Flows(Vec<WaitKey>),
}

impl AssociationStage {
    /// The stage of an association whose client has sent nothing yet.
    pub fn silent(settings: &Settings, now: Instant) -> Self {
        Self::Silent(now.checked_add(seconds(settings.association_idle)))
    }

    /// The worker that has its socket.
    pub fn worker(self) -> Option<WorkerKey> {
        match self {
            Self::Silent(_) => None,
            Self::Lent(worker) | Self::Ending(worker, ..) => Some(worker),
        }
    }

    /// The worker that has its socket, unless it has been told to end it.
    pub fn lent_to(self) -> Option<WorkerKey> {
        self.worker().filter(|_| self.ending().is_none())
    }

    /// Why it is being ended, if it is.
    pub fn ending(self) -> Option<EndCause> {
        match self {
            Self::Ending(_, why, _) => Some(why),
            Self::Silent(_) | Self::Lent(_) => None,
        }
    }

    /// Returns its worker, which is told to end it; `None` if it has been told before.
    pub fn end(&mut self, why: EndCause, now: Instant) -> Option<WorkerKey> {
        let worker = self.lent_to()?;
        *self = Self::Ending(worker, why, now.checked_add(ENDING_LIMIT));
        Some(worker)
    }

    /// Why it has ended, given the reason of its worker.
    pub fn ended(self, why: AssociationEnd) -> Result<EndCause, Violation> {
        match (self.ending(), why) {
            (Some(asked), _) => Ok(asked),
            (None, AssociationEnd::Ended) => Err(Violation("an end that nobody has asked for")),
            (None, AssociationEnd::Idle) => Ok(EndCause::Idle),
            (None, AssociationEnd::NoResources) => Ok(EndCause::NoResources),
        }
    }

    /// When something is due.
    pub fn due_at(self, flows: &Association) -> Option<Instant> {
        match self {
            Self::Silent(due) | Self::Ending(_, _, due) => due,
            Self::Lent(_) => flows.due_at(),
        }
    }

    /// What is due at that time.
    pub fn due(self, flows: &Association, now: Instant) -> AssociationDue {
        match self {
            Self::Silent(_) => AssociationDue::Over(EndCause::Idle),
            Self::Ending(worker, ..) => AssociationDue::Owed(worker),
            Self::Lent(_) => AssociationDue::Flows(flows.flows.late(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Key;
    use crate::session::request::ClientRequest;
    use sockd_policy::{Command, UserId, Version};

    #[test]
    fn a_worker_ends_what_it_was_told_to_and_may_end_what_is_idle() {
        let (worker, now) = (Key::new(1), Instant::now());
        let request = ClientRequest::new(Version::Socks5, Command::Udp, UserId::parse(b"").unwrap());
        let flows = Association::new("192.0.2.1:4000".parse().unwrap(), request);
        let due = |stage: AssociationStage| stage.due(&flows, now);
        let mut stage = AssociationStage::silent(&Settings::default(), now);
        assert_eq!((stage.worker(), due(stage)), (None, AssociationDue::Over(EndCause::Idle)));
        stage = AssociationStage::Lent(worker);
        assert_eq!((stage.lent_to(), due(stage)), (Some(worker), AssociationDue::Flows(vec![])));
        assert_eq!(stage.ended(AssociationEnd::Idle), Ok(EndCause::Idle));
        assert!(stage.ended(AssociationEnd::Ended).is_err());
        assert_eq!(stage.end(EndCause::Killed, now), Some(worker));
        assert_eq!(stage.end(EndCause::Stopped, now), None, "once");
        assert_eq!((stage.lent_to(), stage.worker()), (None, Some(worker)));
        assert_eq!(due(stage), AssociationDue::Owed(worker));
        assert_eq!(stage.ended(AssociationEnd::Idle), Ok(EndCause::Killed), "that was the reason");
    }
}
